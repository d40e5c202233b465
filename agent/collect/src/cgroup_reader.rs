//! The reader of a cgroup instance: a plan of files, decided once at the start by what is there.
//!
//! Each file of the plan that exists is kept open and parsed into the reading, in one pass. v1
//! controllers give CPU, memory, tasks, devices and the freezer where they are mounted; the cgroup2 tree gives
//! what it has besides: everything when unified, pressure and the split of CPU time when hybrid.
//! Limits and a cgroup2's controllers change seldom and are read anew every [`LIMITS_EVERY`]. The network namespace's files
//! are read through the leader, never for one in the host's.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::descriptors::{self, FileLimits};
use crate::found::Found;
use crate::led::Led;
use crate::limits::{self, Caps};
use crate::mounts::{Controller, Mode, Roots};
use crate::plan::{Item, PLAN, take};
use crate::reading::{Gone, LeaderState, Reading};
use crate::source::{Buffer, Fault, FdBudget, Kept};
use crate::space::Watch;
use crate::state::ReadProblem;
use crate::{process, starvation, walk};

/// Between two looks at the limits.
pub(crate) const LIMITS_EVERY: Duration = Duration::from_secs(5);

/// The list of an instance's processes.
const PROCS: &str = "cgroup.procs";
/// Pids of an instance that has cgroups below its own, at most.
const PIDS_MAX: usize = 100_000;

#[derive(Debug)]
pub(crate) struct CgroupReader {
    found: Arc<Found>,
    roots: Arc<Roots>,
    budget: FdBudget,
    files: Vec<(Item, &'static str, Kept)>,
    procs: Option<Kept>,
    caps: Caps,
    limits_read_at: Option<Instant>,
    /// Soft limits of open files, by pid, as of `limits_read_at`.
    file_limits: FileLimits,
    leader: Option<Led>,
    started_unix_seconds: Option<f64>,
    /// Asks for the space of the root's file system; none where nobody gave a pool to ask.
    space: Option<Watch>,
    buffer: Buffer,
    /// Faults at opening that may pass, such as a lack of descriptors.
    opening_problems: Vec<ReadProblem>,
    /// `cgroup.controllers` as of the opening: what is enabled there can change while a cgroup2 lives.
    controllers: Option<Vec<u8>>,
    /// Whether a file that was there has gone since: its controller was disabled, and may be enabled again.
    lost_a_file: bool,
}

impl CgroupReader {
    pub(crate) fn new(found: Arc<Found>, roots: Arc<Roots>, budget: FdBudget) -> Self {
        let mut reader = Self {
            started_unix_seconds: found.created.and_then(unix_seconds),
            found,
            roots,
            budget,
            files: Vec::with_capacity(PLAN.len()),
            procs: None,
            caps: Caps::default(),
            limits_read_at: None,
            file_limits: FileLimits::new(),
            leader: None,
            space: None,
            buffer: Buffer::default(),
            opening_problems: Vec::new(),
            controllers: None,
            lost_a_file: false,
        };
        reader.controllers = reader.read_controllers();
        reader.open_plan();
        reader
    }

    pub(crate) fn watch_space(&mut self, watch: Watch) {
        self.space = Some(watch);
    }

    fn open_plan(&mut self) {
        self.files.clear();
        self.opening_problems.clear();
        let found = self.found.clone();
        // v1's lists of pids are cached with the open file, and each read within a second of the last gets the old list
        // and keeps it alive: a file that was kept open would never tell of who came and went. These are opened anew.
        let anew = FdBudget::new(0);
        for (item, place, name) in PLAN {
            let directory = match place {
                Some(controller) => found.cgroups.v1(controller),
                None => found.cgroups.v2.as_deref(),
            };
            let Some(directory) = directory else { continue };
            // The cgroup2 tree splits CPU time as well and in one file; two more of v1 are not needed then.
            let split = matches!(item, Item::CpuacctUser | Item::CpuacctSystem);
            if self.has(item) || (split && self.has(Item::CpuStatV2)) {
                continue;
            }
            let budget = if item == Item::Threads && place.is_some() { &anew } else { &self.budget };
            match Kept::new(directory.join(name), budget) {
                Ok(file) => self.files.push((item, name, file)),
                Err(Fault::Problem(reason)) => {
                    self.opening_problems.push(ReadProblem { file: name, reason });
                }
                Err(Fault::Gone | Fault::Unsupported) => {}
            }
        }
        self.open_procs(&anew);
    }

    fn open_procs(&mut self, anew: &FdBudget) {
        let Some(primary) = self.found.cgroups.primary(&self.roots) else { return };
        let budget = if self.roots.mounts.mode() == Mode::Unified { &self.budget } else { anew };
        match Kept::new(primary.join(PROCS), budget) {
            Ok(file) => self.procs = Some(file),
            // What is open stays open.
            Err(Fault::Problem(reason)) => self.opening_problems.push(ReadProblem { file: PROCS, reason }),
            Err(Fault::Gone | Fault::Unsupported) => self.procs = None,
        }
    }

    /// Opens the plan anew where the cgroup's controllers are others now; their files come and go with them.
    fn follow_controllers(&mut self) {
        starvation::forget();
        let now = self.read_controllers();
        if starvation::was_noted() {
            // Nothing could be opened anew: what is open stays open.
            return;
        }
        if now != self.controllers || self.lost_a_file {
            self.controllers = now;
            self.lost_a_file = false;
            self.open_plan();
        }
    }

    fn read_controllers(&mut self) -> Option<Vec<u8>> {
        let path = self.found.cgroups.v2.as_ref()?.join("cgroup.controllers");
        self.buffer.read_path(&path).ok().map(<[u8]>::to_vec)
    }

    fn has(&self, item: Item) -> bool {
        self.files.iter().any(|(kept, ..)| *kept == item)
    }

    /// Fills `reading`.
    pub(crate) fn read(&mut self, reading: &mut Reading) -> Result<(), Gone> {
        let has_children = self.identity()?;
        if !self.opening_problems.is_empty() {
            self.open_plan();
        }
        if self.limits_are_due(reading.taken_at) {
            self.follow_controllers();
        }
        reading.problems.extend(&self.opening_problems);
        self.read_plan(reading);
        let pids = self.pids(has_children, reading);
        self.read_leader(pids.as_ref().map(|(pids, _)| pids.as_slice()), reading);
        self.read_limits(reading);
        self.count_zombies(reading);
        // A part of them would be a wrong count.
        if let Some((pids, true)) = pids {
            self.count_processes(&pids, reading);
        }
        reading.started_unix_seconds = self.started_unix_seconds;
        // Asked for before the processes were counted; as often as not the answer is there by now.
        if reading.leader.is_some()
            && let Some(watch) = &self.space
        {
            let lately = watch.last(reading.taken_at);
            (reading.space, reading.fullest_space) = (lately.space, lately.fullest);
        }
        self.identity().map(|_| ())
    }

    /// Checks that the cgroup is the one this reader was made for; tells whether it has cgroups below.
    fn identity(&self) -> Result<bool, Gone> {
        use std::os::unix::fs::MetadataExt;
        let directory = self.found.cgroups.primary(&self.roots).ok_or(Gone)?;
        match std::fs::metadata(directory) {
            Ok(metadata) if metadata.ino() == self.found.birth.mark => Ok(metadata.nlink() != 2),
            _ => Err(Gone),
        }
    }

    fn read_plan(&mut self, reading: &mut Reading) {
        let mut inactive_file = None;
        for (item, name, file) in &self.files {
            match file.read(&mut self.buffer) {
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
        }
        reading.memory.set_working_set(inactive_file);
        if let Some(devices) = &mut reading.io {
            for device in devices {
                device.device = crate::node::device_name(&self.roots, &device.device);
            }
        }
    }

    fn limits_are_due(&self, now: Instant) -> bool {
        self.limits_read_at.is_none_or(|at| now.saturating_duration_since(at) >= LIMITS_EVERY)
    }

    fn read_limits(&mut self, reading: &mut Reading) {
        if self.limits_are_due(reading.taken_at) {
            starvation::forget();
            let leader = self.leader.as_ref().map(|led| &led.leader);
            let caps = limits::read(&self.found.cgroups, &self.roots, leader, &mut self.buffer);
            // Without descriptors nobody knows them anew, and those of before hold.
            if !starvation::was_noted() {
                self.caps = caps;
                self.limits_read_at = Some(reading.taken_at);
                self.file_limits.clear();
            }
        }
        reading.limits = self.caps.limits;
        reading.device_limits.clone_from(&self.caps.device_limits);
        reading.huge_pages.clone_from(&self.caps.huge_pages);
        if reading.limits.cpu_quota_us.is_none() {
            reading.throttling = None;
        }
    }

    /// The kernel counts tasks until somebody has waited for them, and lists only those that live.
    fn count_zombies(&self, reading: &mut Reading) {
        use std::os::unix::fs::MetadataExt;
        let cgroups = &self.found.cgroups;
        let directory = cgroups.v1(Controller::Pids).or(cgroups.v2.as_deref());
        let alone = directory.and_then(|path| std::fs::metadata(path).ok()).is_some_and(|it| it.nlink() == 2);
        if let (Some(tasks), Some(live), true) = (reading.pids.tasks, reading.pids.live_threads, alone) {
            reading.pids.zombies = Some(tasks.saturating_sub(live));
        }
    }

    /// The processes, and whether these are all; none where they cannot be told.
    fn pids(&mut self, has_children: bool, reading: &mut Reading) -> Option<(Vec<u32>, bool)> {
        if has_children {
            let primary = self.found.cgroups.primary(&self.roots)?;
            starvation::forget();
            let below = walk::pids_below(primary, PIDS_MAX);
            // Who could not open the lists has seen nobody, which does not mean that nobody is there.
            return (!starvation::was_noted()).then_some(below);
        }
        let mut pids = Vec::new();
        match self.procs.as_ref()?.read(&mut self.buffer) {
            Ok(text) => process::parse_pids(text, &mut pids),
            Err(Fault::Problem(reason)) => {
                reading.problems.push(ReadProblem { file: PROCS, reason });
                return None;
            }
            Err(Fault::Gone | Fault::Unsupported) => return None,
        }
        Some((pids, true))
    }

    /// The leader's state, and through its network namespace the interfaces.
    fn read_leader(&mut self, pids: Option<&[u32]>, reading: &mut Reading) {
        let state = self.leader.as_ref().and_then(|led| led.state(&mut self.buffer));
        let is_one = |state: &LeaderState| pids.is_none_or(|pids| pids.contains(&state.pid));
        let known = state.filter(|state| process::is_live(state.state) && is_one(state));
        if known.is_none() {
            // Closed before anything else: an open net file keeps the dead one's namespace alive.
            self.leader = None;
            if pids.is_none_or(|pids| !pids.is_empty()) {
                self.leader = self.find_leader();
            }
        } else if self.leader.as_ref().is_some_and(|led| led.lacks_a_file)
            && let Some(whole) = self.find_leader().filter(|led| !led.lacks_a_file)
        {
            self.leader = Some(whole);
        }
        let Some(led) = &self.leader else { return };
        reading.leader = known.or_else(|| led.state(&mut self.buffer));
        if let Some(space) = &mut self.space {
            space.ask(&led.leader, reading.taken_at);
        }
        led.read_network(&mut self.buffer, reading);
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

    fn find_leader(&mut self) -> Option<Led> {
        let leader = self.found.leader(&self.roots)?;
        let led = Led::open(leader, &self.roots, &self.budget)?;
        if self.started_unix_seconds.is_none() {
            self.started_unix_seconds = Some(crate::reader::started_unix_seconds(led.leader.start_ticks));
        }
        Some(led)
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

fn unix_seconds(time: SystemTime) -> Option<f64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs_f64())
}
