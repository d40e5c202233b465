//! The reader of a cgroup instance: a plan of files, decided once at the start by what is there.
//!
//! Each file of the plan that exists is kept open and parsed into the reading, in one pass. v1
//! controllers give CPU, memory, tasks, devices and the freezer where they are mounted; the cgroup2 tree gives
//! what it has besides: everything when unified, pressure and the split of CPU time when hybrid.
//! A cgroup2's controllers and what the leader may have change seldom and are read anew every [`SELDOM`]; limits, where each write to one is
//! seen, when there was one. The network namespace's files are read through the leader, never for one in the host's.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::descriptors::{self, FileLimits};
use crate::events::{Counts, Events, Listening, Noticed};
use crate::found::Found;
use crate::led::Led;
use crate::limits::{self, Caps};
use crate::members::Members;
use crate::mounts::{Controller, Roots};
use crate::plan::{Item, PLAN, is_told_by, take};
use crate::reader::Scratch;
use crate::reading::{Gone, LeaderState, Reading};
use crate::source::{Buffer, Directory, Fault, FdBudget, Kept};
use crate::space::Watch;
use crate::state::ReadProblem;
use crate::{bytes, dataset, process, starvation, walk};

/// Between two looks at what changes seldom.
pub(crate) const SELDOM: Duration = Duration::from_secs(5);
/// Between two looks at limits to which every write is seen: only in case one was not.
const LIMITS_SEEN: Duration = Duration::from_secs(60);

/// Pids of an instance that has cgroups below its own, at most.
const PIDS_MAX: usize = 100_000;

#[derive(Debug)]
pub(crate) struct CgroupReader {
    found: Arc<Found>,
    roots: Arc<Roots>,
    budget: FdBudget,
    /// Of the hierarchy where instances are looked for.
    directory: Option<Directory>,
    files: Vec<(Item, &'static str, Kept)>,
    members: Members,
    caps: Caps,
    limits_read_at: Option<Instant>,
    /// What changes seldom and nobody tells of was read then.
    seldom_read_at: Option<Instant>,
    /// Soft limits of open files, by pid, as of `seldom_read_at`.
    file_limits: FileLimits,
    /// What the kernel says by itself; none where nobody listens.
    events: Option<Listening>,
    leader: Option<Led>,
    started_unix_seconds: Option<f64>,
    /// Asks for the space of the root's file system; none where nobody gave a pool to ask.
    space: Option<Watch>,
    /// Faults at opening that may pass, such as a lack of descriptors.
    opening_problems: Vec<ReadProblem>,
    controllers_file: Option<Kept>,
    /// What it said at the opening: what is enabled there can change while a cgroup2 lives.
    controllers: Option<Vec<u8>>,
    /// Whether a file that was there has gone since: its controller was disabled, and may be enabled again.
    lost_a_file: bool,
}

impl CgroupReader {
    pub(crate) fn new(found: Arc<Found>, roots: Arc<Roots>, budget: FdBudget, buffer: &mut Buffer) -> Self {
        let directory = found.cgroups.primary(&roots).map(|path| Directory::new(path.to_owned(), &budget));
        let mut reader = Self {
            started_unix_seconds: found.created.and_then(unix_seconds),
            found,
            roots,
            budget,
            directory,
            files: Vec::with_capacity(PLAN.len()),
            members: Members::default(),
            caps: Caps::default(),
            limits_read_at: None,
            seldom_read_at: None,
            file_limits: FileLimits::new(),
            events: None,
            leader: None,
            space: None,
            opening_problems: Vec::new(),
            controllers_file: None,
            controllers: None,
            lost_a_file: false,
        };
        let controllers = reader.found.cgroups.v2.as_ref().map(|directory| directory.join("cgroup.controllers"));
        reader.controllers_file = controllers.and_then(|path| Kept::new(path, &reader.budget).ok());
        reader.controllers = reader.read_controllers(buffer).map(<[u8]>::to_vec);
        reader.open_plan();
        reader
    }

    pub(crate) fn watch_space(&mut self, watch: Watch) {
        self.space = Some(watch);
    }

    /// Has what the kernel says by itself listened to; `before` was noticed by an earlier reader of the same life.
    pub(crate) fn listen(&mut self, events: &Events, before: Option<Arc<Noticed>>) {
        self.events = Some(events.listen_to(&self.found, &self.budget, before));
    }

    pub(crate) fn noticed(&self) -> Option<&Arc<Noticed>> {
        self.events.as_ref().map(|listening| &listening.noticed)
    }

    fn open_plan(&mut self) {
        self.files.clear();
        self.opening_problems.clear();
        let found = self.found.clone();
        for (item, place, name) in PLAN {
            let directory = match place {
                Some(controller) => found.cgroups.v1(controller),
                None => found.cgroups.v2.as_deref(),
            };
            let Some(directory) = directory else { continue };
            if self.has(item) || is_told_by(item).is_some_and(|other| self.has(other)) {
                continue;
            }
            match Kept::new(directory.join(name), &self.budget) {
                Ok(file) => self.files.push((item, name, file)),
                Err(Fault::Problem(reason)) => {
                    self.opening_problems.push(ReadProblem { file: name, reason });
                }
                Err(Fault::Gone | Fault::Unsupported) => {}
            }
        }
        self.members.open(&found, &self.roots, &self.budget, &mut self.opening_problems);
    }

    /// Opens the plan anew where the cgroup's controllers are others now; their files come and go with them.
    fn follow_controllers(&mut self, buffer: &mut Buffer) {
        starvation::forget();
        let now = self.read_controllers(buffer);
        if starvation::was_noted() {
            // Nothing could be opened anew: what is open stays open.
            return;
        }
        if now != self.controllers.as_deref() || self.lost_a_file {
            self.controllers = now.map(<[u8]>::to_vec);
            self.lost_a_file = false;
            self.open_plan();
            // With a controller come its limits and its counts.
            self.limits_read_at = None;
            self.events = self.events.take().map(|events| events.anew(&self.found, &self.budget));
        }
    }

    fn read_controllers<'b>(&self, buffer: &'b mut Buffer) -> Option<&'b [u8]> {
        self.controllers_file.as_ref()?.read(buffer).ok()
    }

    fn has(&self, item: Item) -> bool {
        self.files.iter().any(|(kept, ..)| *kept == item)
    }

    /// Fills `reading`.
    pub(crate) fn read(&mut self, reading: &mut Reading, scratch: &mut Scratch) -> Result<(), Gone> {
        let directory = self.directory.as_ref().ok_or(Gone)?;
        let has_children = directory.has_children().map_err(|_| Gone)?;
        if !self.opening_problems.is_empty() {
            self.open_plan();
        }
        let seldom = is_due(self.seldom_read_at, SELDOM, reading.taken_at);
        if seldom {
            self.follow_controllers(&mut scratch.buffer);
        }
        reading.problems.extend(&self.opening_problems);
        self.read_plan(reading, &mut scratch.buffer);
        let pids = self.pids(has_children, reading, &mut scratch.buffer);
        self.read_leader(pids.as_ref().map(|(pids, _)| pids.as_slice()), reading, scratch);
        if seldom {
            self.read_seldom(reading.taken_at, &mut scratch.buffer);
        }
        self.read_limits(reading, &mut scratch.buffer);
        self.count_zombies(has_children, reading);
        // A part of them would be a wrong count.
        if let Some((pids, true)) = pids {
            self.count_processes(&pids, reading);
        }
        if let Some(events) = &self.events {
            events.noticed.saw(Counts::of(reading));
        }
        reading.started_unix_seconds = self.started_unix_seconds;
        // Asked for before the processes were counted; as often as not the answer is there by now.
        if reading.leader.is_some() {
            let lately = self.space.as_ref().map(|space| space.last(reading.taken_at)).unwrap_or_default();
            (reading.space, reading.fullest_space) = (lately.space, lately.fullest);
            reading.zfs = dataset::of_root(&self.roots, reading, &mut scratch.buffer);
        }
        self.identity()
    }

    /// Checks, when all is read, that the cgroup is the one this reader was made for. No inode is ever used again: what is still this
    /// one now has been so all the time.
    fn identity(&self) -> Result<(), Gone> {
        match self.directory.as_ref().map(Directory::look) {
            Some(Ok((inode, _))) if inode == self.found.birth.mark => Ok(()),
            _ => Err(Gone),
        }
    }

    fn read_plan(&mut self, reading: &mut Reading, buffer: &mut Buffer) {
        let mut inactive_file = None;
        let mut began = Instant::now();
        for (at, (item, name, file)) in self.files.iter().enumerate() {
            match file.read(buffer) {
                Ok(text) => {
                    if let Some(inactive) = take(*item, text, reading) {
                        inactive_file = Some(inactive);
                    }
                }
                Err(Fault::Problem(reason)) => {
                    reading.problems.push(ReadProblem { file: name, reason });
                }
                Err(Fault::Gone) => self.lost_a_file = true,
                Err(Fault::Unsupported) => {}
            }
            // The clock is asked where one part ends and the next begins, and not for each file.
            let next = self.files.get(at + 1).map(|(item, ..)| item.part());
            if next != Some(item.part()) {
                if let Some(took_ns) = item.part().of(&mut reading.took) {
                    *took_ns += nanoseconds_since(began);
                }
                began = Instant::now();
            }
        }
        reading.memory.set_working_set(inactive_file);
        if let Some(devices) = &mut reading.io {
            for device in devices {
                device.device = crate::node::device_name(&self.roots, &device.device);
            }
        }
    }

    /// Whether the limits may be others than those that are known.
    fn limits_are_due(&self, now: Instant) -> bool {
        let told = self.events.as_ref().filter(|events| events.sees_limits);
        let changed = told.is_some_and(|events| events.noticed.take_limits_changed());
        changed || is_due(self.limits_read_at, if told.is_some() { LIMITS_SEEN } else { SELDOM }, now)
    }

    fn read_limits(&mut self, reading: &mut Reading, buffer: &mut Buffer) {
        if self.limits_are_due(reading.taken_at) {
            starvation::forget();
            let caps = limits::read(&self.found.cgroups, &self.roots, buffer);
            // Without descriptors nobody knows them anew, and those of before hold until there are some.
            self.limits_read_at = if starvation::was_noted() { None } else { Some(reading.taken_at) };
            if self.limits_read_at.is_some() {
                self.caps.take(caps);
            }
        }
        reading.limits = self.caps.limits;
        reading.device_limits.clone_from(&self.caps.device_limits);
        reading.huge_pages.clone_from(&self.caps.huge_pages);
        if reading.limits.cpu_quota_us.is_none() {
            reading.throttling = None;
        }
    }

    /// What the leader may have, and what of huge pages there is.
    fn read_seldom(&mut self, now: Instant, buffer: &mut Buffer) {
        starvation::forget();
        let leader = self.leader.as_ref().map(|led| &led.leader);
        let of_leader = leader.map(|leader| limits::of_leader(leader, &self.roots, buffer));
        // Where there is no such controller there are no such files, and they need not be looked for.
        let has_huge_pages =
            self.controllers.as_ref().is_some_and(|all| bytes::fields(all).any(|name| name == b"hugetlb"));
        let huge_pages =
            if has_huge_pages { limits::huge_pages(&self.found.cgroups, &self.roots, buffer) } else { Vec::new() };
        if starvation::was_noted() {
            return;
        }
        self.seldom_read_at = Some(now);
        self.caps.huge_pages = huge_pages;
        self.file_limits.clear();
        let of_leader = of_leader.unwrap_or_default();
        self.caps.set_leaders(of_leader);
        if let (Some(pid), Some(limit)) = (leader.map(|leader| leader.pid), of_leader.open_files) {
            self.file_limits.push((pid, limit.number()));
        }
    }

    /// The kernel counts tasks until somebody has waited for them, and lists only those that live.
    fn count_zombies(&self, has_children: bool, reading: &mut Reading) {
        use std::os::unix::fs::MetadataExt;
        let (Some(tasks), Some(live)) = (reading.pids.tasks, reading.pids.live_threads) else { return };
        // Where as many live as count there is nobody below, and it need not be asked.
        let alone = (tasks == live && !has_children) || {
            let cgroups = &self.found.cgroups;
            let directory = cgroups.v1(Controller::Pids).or(cgroups.v2.as_deref());
            directory.and_then(|path| std::fs::metadata(path).ok()).is_some_and(|it| it.nlink() == 2)
        };
        reading.pids.zombies = alone.then(|| tasks.saturating_sub(live));
    }

    /// The processes, and whether these are all; none where they cannot be told.
    fn pids(&self, has_children: bool, reading: &mut Reading, buffer: &mut Buffer) -> Option<(Vec<u32>, bool)> {
        if !has_children {
            return Some((self.members.read(reading, buffer)?, true));
        }
        self.members.read_threads(reading, buffer);
        let primary = self.found.cgroups.primary(&self.roots)?;
        starvation::forget();
        let below = walk::pids_below(primary, PIDS_MAX);
        // Who could not open the lists has seen nobody, which does not mean that nobody is there.
        (!starvation::was_noted()).then_some(below)
    }

    /// The leader's state, and through its network namespace the interfaces.
    fn read_leader(&mut self, pids: Option<&[u32]>, reading: &mut Reading, scratch: &mut Scratch) {
        let state = self.leader.as_ref().and_then(|led| led.state(&mut scratch.buffer));
        let is_one = |state: &LeaderState| pids.is_none_or(|pids| pids.contains(&state.pid));
        let known = state.filter(|state| process::is_live(state.state) && is_one(state));
        if known.is_none() {
            // Closed before anything else: an open net file keeps the dead one's namespace alive.
            self.leader = None;
            if pids.is_none_or(|pids| !pids.is_empty()) {
                self.find_leader();
            }
        } else if self.leader.as_ref().is_some_and(|led| led.lacks_a_file)
            && let Some(whole) = Led::find(&self.found, &self.roots, &self.budget).filter(|led| !led.lacks_a_file)
        {
            self.leader = Some(whole);
        }
        let Some(led) = &self.leader else { return };
        reading.leader = known.or_else(|| led.state(&mut scratch.buffer));
        if let Some(space) = &mut self.space {
            space.ask(&led.leader, reading.taken_at);
        }
        led.read_network(scratch, reading);
        reading.main_lives = self.main_lives(reading.leader);
    }

    /// Whether the process that the runtime started lives, whichever leads now; none where that cannot be told.
    fn main_lives(&self, leader: Option<LeaderState>) -> Option<bool> {
        let (pid, start_ticks) = self.found.init.filter(|(pid, _)| *pid != 0)?;
        if leader.is_some_and(|leader| leader.pid == pid && process::is_live(leader.state)) {
            return Some(true);
        }
        match process::stat(&self.roots.proc, pid) {
            Ok(stat) => Some(stat.start_ticks == start_ticks && process::is_live(stat.state)),
            Err(error) => process::is_gone(&error).then_some(false),
        }
    }

    fn find_leader(&mut self) {
        self.leader = Led::find(&self.found, &self.roots, &self.budget);
        if let (Some(led), None) = (&self.leader, self.started_unix_seconds) {
            self.started_unix_seconds = Some(crate::reader::started_unix_seconds(led.leader.start_ticks));
        }
    }

    fn count_processes(&mut self, pids: &[u32], reading: &mut Reading) {
        // cgroup.procs leaves out the dead; only a leader that is one right now can be among them.
        let mut live = pids.len() as u64;
        if let [only] = pids
            && reading.leader.is_none()
            && process::stat(&self.roots.proc, *only).is_ok_and(|stat| !process::is_live(stat.state))
        {
            live = 0;
        }
        reading.live_processes = Some(live);
        reading.pids.processes = Some(live);
        reading.descriptors = descriptors::count(&self.roots, pids, &mut self.file_limits);
    }
}

/// Whether what was read then is to be read anew now.
fn is_due(read_at: Option<Instant>, every: Duration, now: Instant) -> bool {
    read_at.is_none_or(|at| now.saturating_duration_since(at) >= every)
}

/// How long since then.
pub(crate) fn nanoseconds_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn unix_seconds(time: SystemTime) -> Option<f64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs_f64())
}
