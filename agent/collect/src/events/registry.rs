//! Who is listened to, by what, and where their counts stand.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::inotify::{self, WatchFlags};

use rustix::io::Errno;

use super::counts::{Counts, Noticed};
use crate::found::{CgroupDirs, Found};
use crate::mounts::Controller;
use crate::reading::Memory;
use crate::source::{Buffer, FdBudget, Permit};
use crate::unheard::{Of, Unheard, Why};
use crate::{bytes, cgroup_v1, cgroup_v2};

/// Files that are modified and are no limit: events, and who enters.
const NO_LIMITS: [&[u8]; 11] = [
    b"memory.events",
    b"memory.events.local",
    b"pids.events",
    b"pids.events.local",
    b"memory.swap.events",
    b"cgroup.events",
    b"cgroup.procs",
    b"cgroup.threads",
    b"cgroup.freeze",
    b"cgroup.event_control",
    b"tasks",
];
/// v1's hierarchies in which there are limits.
const WITH_LIMITS: [Controller; 4] = [Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Blkio];

/// Where an instance's counts stand.
#[derive(Clone, Debug)]
pub(super) struct Files(CgroupDirs);

impl Files {
    pub(super) fn of(found: &Found) -> Self {
        Self(found.cgroups.clone())
    }

    /// What they say now.
    pub(super) fn read(&self, buffer: &mut Buffer) -> Counts {
        let mut counts = Counts::default();
        let mut memory = Memory::default();
        if let Some(directory) = self.0.v1(Controller::Memory) {
            if let Ok(text) = buffer.read_path(&directory.join("memory.oom_control")) {
                cgroup_v1::oom_control(text, &mut memory);
            }
            memory.limit_hits = buffer.read_path(&directory.join("memory.failcnt")).ok().and_then(bytes::single);
        } else if let Some(directory) = &self.0.v2
            && let Ok(text) = buffer.read_path(&directory.join("memory.events"))
        {
            cgroup_v2::memory_events(text, &mut memory);
        }
        (counts.oom_kills, counts.memory_limit_hits) = (memory.oom_kills, memory.limit_hits);
        let pids = self.0.v1(Controller::Pids).or(self.0.v2.as_deref());
        if let Some(text) = pids.and_then(|directory| buffer.read_path(&directory.join("pids.events")).ok()) {
            counts.forks_refused = cgroup_v2::max_events(text);
        }
        counts
    }
}

/// One who is listened to.
#[derive(Debug)]
struct Entry {
    noticed: Arc<Noticed>,
    files: Files,
    watches: Vec<i32>,
    /// v1's word that memory is out.
    oom: Option<(OwnedFd, Permit)>,
}

/// What a watch is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    /// A directory with limits.
    Limits,
    /// A file with counts. The kernel tells of it only while it has its inode in memory, and a watch on the file itself keeps it there.
    Counts,
}

#[derive(Debug)]
pub(super) struct Registry {
    next: u64,
    /// Watches that may still be taken.
    room: usize,
    entries: HashMap<u64, Entry>,
    /// What a watch is on, and whose it is: two readers of one instance have the same.
    watches: HashMap<i32, (Watched, Vec<u64>)>,
    /// Where it is counted what cannot be watched.
    pub(super) unheard: Arc<Unheard>,
    pub(super) ended: bool,
}

impl Registry {
    pub(super) fn of_at_most(watches: usize, unheard: Arc<Unheard>) -> Self {
        let (entries, watches_of) = Default::default();
        Self { next: 0, room: watches, entries, watches: watches_of, unheard, ended: false }
    }

    /// Begins to listen to an instance: its number, and whether all writes to its limits are seen.
    pub(super) fn add(
        &mut self,
        inotify: &OwnedFd,
        epoll: &OwnedFd,
        found: &Found,
        budget: &FdBudget,
        noticed: Arc<Noticed>,
    ) -> (u64, bool) {
        let number = self.next;
        self.next += 1;
        let directories = directories(&found.cgroups);
        let mut watches: Vec<i32> = Vec::with_capacity(directories.len() + 2);
        for directory in &directories {
            watches.extend(self.watch(inotify, directory, Watched::Limits, number));
        }
        let sees_limits = !directories.is_empty() && watches.len() == directories.len();
        for file in told(&found.cgroups) {
            watches.extend(self.watch(inotify, &file, Watched::Counts, number));
        }
        let oom = found.cgroups.v1(Controller::Memory).and_then(|directory| self.oom(directory, epoll, number, budget));
        self.entries.insert(number, Entry { noticed, files: Files::of(found), watches, oom });
        (number, sees_limits)
    }

    fn watch(&mut self, inotify: &OwnedFd, path: &Path, watched: Watched, number: u64) -> Option<i32> {
        if self.room == 0 {
            self.unheard.note(Of::Limits, Why::Bound);
            return None;
        }
        let watch = inotify::add_watch(inotify, path, WatchFlags::MODIFY);
        let descriptor = watch.inspect_err(|errno| self.unheard.refused(Of::Limits, *errno)).ok()?;
        let (_, whose) = self.watches.entry(descriptor).or_insert_with(|| (watched, Vec::new()));
        if whose.is_empty() {
            self.room -= 1;
        }
        whose.push(number);
        Some(descriptor)
    }

    /// v1's word that memory is out; none where the kernel does not give it.
    fn oom(&self, directory: &Path, epoll: &OwnedFd, number: u64, budget: &FdBudget) -> Option<(OwnedFd, Permit)> {
        let Some(permit) = budget.take() else {
            self.unheard.note(Of::Limits, Why::Bound);
            return None;
        };
        let told = told_of_oom(directory, epoll, number);
        Some((told.inspect_err(|errno| self.unheard.refused(Of::Limits, *errno)).ok()?, permit))
    }

    /// Ends it; gives the watches that nobody else has.
    pub(super) fn remove(&mut self, number: u64) -> Vec<i32> {
        let watches = self.entries.remove(&number).map(|entry| entry.watches).unwrap_or_default();
        watches.into_iter().filter(|descriptor| self.leave(*descriptor, number)).collect()
    }

    /// Whether that was the last of the watch.
    fn leave(&mut self, descriptor: i32, number: u64) -> bool {
        let Some((_, whose)) = self.watches.get_mut(&descriptor) else { return false };
        whose.retain(|other| *other != number);
        let nobody = whose.is_empty();
        if nobody {
            self.forget(descriptor);
        }
        nobody
    }

    /// The directory of that watch is gone, and the watch with it.
    pub(super) fn forget(&mut self, descriptor: i32) {
        if self.watches.remove(&descriptor).is_some() {
            self.room += 1;
        }
    }

    /// Something was modified, in a directory the file of that name: whose counts are to be read.
    pub(super) fn changed(&self, descriptor: i32, name: Option<&[u8]>) -> impl Iterator<Item = u64> + use<'_> {
        let watch = self.watches.get(&descriptor);
        let is_limit = |name: &[u8]| !NO_LIMITS.contains(&name) && !name.ends_with(b".pressure");
        if let (Some((Watched::Limits, whose)), true) = (watch, name.is_some_and(is_limit)) {
            whose.iter().filter_map(|number| self.entries.get(number)).for_each(|entry| entry.noticed.note_limits());
        }
        let told = watch.filter(|(watched, _)| *watched == Watched::Counts);
        told.into_iter().flat_map(|(_, whose)| whose.iter().copied())
    }

    /// Nobody knows what has changed: all may have.
    pub(super) fn all_changed(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|(number, entry)| {
            entry.noticed.note_limits();
            *number
        })
    }

    /// Takes what an eventfd says, so that it is silent until it says more.
    pub(super) fn hush(&self, number: u64) {
        if let Some((oom, _)) = self.entries.get(&number).and_then(|entry| entry.oom.as_ref()) {
            let _ = rustix::io::read(oom, &mut [0_u8; 8]);
        }
    }

    pub(super) fn files(&self, number: u64) -> Option<(Files, Arc<Noticed>)> {
        self.entries.get(&number).map(|entry| (entry.files.clone(), entry.noticed.clone()))
    }
}

/// Where limits and counts of an instance are: where v1 has all that has limits, there are none in the cgroup2 tree beside it.
fn directories(cgroups: &CgroupDirs) -> Vec<PathBuf> {
    let of_v1: Vec<PathBuf> =
        WITH_LIMITS.into_iter().filter_map(|controller| cgroups.v1(controller).map(Path::to_owned)).collect();
    let v2 = cgroups.v2.clone().filter(|_| of_v1.len() < WITH_LIMITS.len());
    of_v1.into_iter().chain(v2).collect()
}

/// Files that the kernel modifies when it counts.
fn told(cgroups: &CgroupDirs) -> impl Iterator<Item = PathBuf> {
    let v2 = cgroups.v2.as_deref();
    let memory = v2.filter(|_| cgroups.v1(Controller::Memory).is_none()).map(|it| it.join("memory.events"));
    let pids = cgroups.v1(Controller::Pids).or(v2).map(|it| it.join("pids.events"));
    memory.into_iter().chain(pids)
}

/// Asks v1 to say when memory is out (cgroup-v1/memory.rst, "OOM Control"). The kernel keeps the eventfd until it is closed.
fn told_of_oom(directory: &Path, epoll: &OwnedFd, number: u64) -> Result<OwnedFd, Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let oom = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let control = File::open(directory.join("memory.oom_control")).map_err(errno)?;
    let order = format!("{} {}", oom.as_raw_fd(), control.as_raw_fd());
    std::fs::write(directory.join("cgroup.event_control"), order).map_err(errno)?;
    epoll::add(epoll, &oom, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
    Ok(oom)
}
