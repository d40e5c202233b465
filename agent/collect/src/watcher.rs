//! Noticing births and deaths when they happen: inotify on the directories that can hold containers, and
//! a pidfd for the leader of each process group.
//!
//! An event says that a scan is due; and a removal is handed to that scan, because a life that is over before anybody looks is
//! seen nowhere else. A directory is watched before it is looked at again, so that what is made between the two is not missed. Directories of
//! root's and those that another can make events in have a queue each: a storm of his fills his own. A queue that was full costs removals and
//! is counted; the scan that it makes due looks at everything, as each does. All sits behind one epoll descriptor, which can also be
//! given to an event loop.

mod queue;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::discover::{Change, Discovery};
use crate::found::Kind;
use crate::unheard::{Of, Unheard, Why};
use queue::Queue;

/// The kernel's default is 8,192 a user or more; what is above this is left to the periodic scan. Those that another than root can make
/// come last, so that his are no cause for that.
const WATCHES_MAX: usize = 4096;
/// How often a scan is repeated because it found new directories to watch, before the next event must do it.
const ROUNDS_MAX: usize = 4;

/// A directory to be watched, and what in it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The directory.
    pub directory: PathBuf,
    /// The one file in it that matters; none for directories made and removed.
    pub file: Option<OsString>,
    /// Whether another than root can make and remove in it.
    pub foreign: bool,
}

impl Watch {
    /// Directories made and removed in it.
    pub fn directories(directory: PathBuf) -> Self {
        Self { directory, file: None, foreign: false }
    }

    /// The same in a directory of another than root's.
    pub fn foreign(directory: PathBuf) -> Self {
        Self { directory, file: None, foreign: true }
    }

    /// One file made, replaced or removed in it.
    pub fn file(directory: PathBuf, file: OsString) -> Self {
        Self { directory, file: Some(file), foreign: false }
    }
}

/// Wakes when a scan is due.
#[derive(Debug)]
pub struct Watcher {
    epoll: OwnedFd,
    /// Root's directories, and those of others.
    queues: [Queue; 2],
    /// Leaders of process groups, by pid and start.
    leaders: HashMap<(u32, u64), OwnedFd>,
    unheard: Arc<Unheard>,
    /// What was wanted and is not watched: it is counted once while it is so.
    refused: HashSet<PathBuf>,
}

/// What `epoll` says is ready.
const INOTIFY: u64 = 0;
const LEADER: u64 = 1;

impl Watcher {
    /// Watches nothing yet: [`Self::scan`] does.
    pub fn new() -> io::Result<Self> {
        Self::counting(Arc::default())
    }

    /// The same, and counts there what is not heard.
    pub fn counting(unheard: Arc<Unheard>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let queues = [Queue::new(Of::Births)?, Queue::new(Of::ForeignBirths)?];
        for queue in &queues {
            epoll::add(&epoll, queue.inotify(), epoll::EventData::new_u64(INOTIFY), epoll::EventFlags::IN)?;
        }
        Ok(Self { epoll, queues, leaders: HashMap::new(), unheard, refused: HashSet::new() })
    }

    /// Scans, watches what the scan found, and scans again as long as there was something new to
    /// watch: whatever is made in between is seen by one or the other.
    pub fn scan(&mut self, discovery: &mut Discovery) -> Vec<Change> {
        let mut changes = Vec::new();
        for _ in 0..ROUNDS_MAX {
            self.drain();
            for queue in &mut self.queues {
                for (directory, times) in queue.removed.drain() {
                    if !discovery.hear(directory, times) {
                        self.unheard.note(queue.of, Why::Overflow);
                    }
                }
            }
            changes.extend(discovery.scan());
            self.follow_leaders(discovery);
            if !self.follow(discovery.watches()) {
                break;
            }
        }
        changes
    }

    /// Waits until a scan is due or the time is up; true where one is due.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.drain() {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut fds = [PollFd::new(&self.epoll, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Takes all that has been reported; true where something of it makes a scan due. For those who
    /// wait on the descriptor themselves, and before they do: something may have been reported while a scan was at it.
    pub fn drain(&mut self) -> bool {
        let mut due = self.drain_leaders();
        for queue in &mut self.queues {
            queue.hear(&self.unheard);
            due |= std::mem::take(&mut queue.due);
        }
        due
    }

    fn drain_leaders(&mut self) -> bool {
        let before = self.leaders.len();
        self.leaders.retain(|_, pidfd| {
            let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
            let ended = !matches!(rustix::event::poll(&mut fds, Some(&Timespec::default())), Ok(0));
            if ended {
                let _ = epoll::delete(&self.epoll, &*pidfd);
            }
            !ended
        });
        self.leaders.len() < before
    }

    /// Watches these directories, as many as it may, and no others; true where one is watched that was not before.
    fn follow(&mut self, watches: &[Watch]) -> bool {
        let (wanted, beyond) = wanted(watches);
        // What went meanwhile is known to be unwatched only once that is heard; what is heard for the next scan is kept for it.
        for (queue, foreign) in self.queues.iter_mut().zip([false, true]) {
            queue.hear(&self.unheard);
            queue.keep(|path| wanted.get(path) == Some(&foreign));
        }
        let mut new = false;
        let mut refused: Vec<(&Watch, Option<Why>)> = Vec::new();
        for watch in watches {
            let Some(foreign) = wanted.get(&watch.directory) else { continue };
            match self.queues[usize::from(*foreign)].follow(watch) {
                Ok(is_new) => new |= is_new,
                Err(errno) => refused.push((watch, Why::of(errno))),
            }
        }
        refused.extend(beyond.into_iter().map(|watch| (watch, Some(Why::Bound))));
        self.count_refused(&refused);
        new
    }

    /// Counts each once while it is so: every scan tries again.
    fn count_refused(&mut self, refused: &[(&Watch, Option<Why>)]) {
        let before = std::mem::take(&mut self.refused);
        for (watch, why) in refused {
            let Some(why) = why else { continue };
            if self.refused.insert(watch.directory.clone()) && !before.contains(&watch.directory) {
                self.unheard.note(if watch.foreign { Of::ForeignBirths } else { Of::Births }, *why);
            }
        }
    }

    fn follow_leaders(&mut self, discovery: &Discovery) {
        let leaders: HashSet<(u32, u64)> = discovery
            .instances()
            .filter_map(|found| match found.kind {
                Kind::Processes { pid, start_ticks, .. } => Some((pid, start_ticks)),
                Kind::Cgroup => None,
            })
            .collect();
        // Closing a descriptor takes it out of epoll, as nobody else has it.
        self.leaders.retain(|leader, _| leaders.contains(leader));
        for leader in leaders {
            if self.leaders.contains_key(&leader) {
                continue;
            }
            let pid = i32::try_from(leader.0).ok().and_then(Pid::from_raw);
            let pidfd = pid.map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
            if let Some(Ok(pidfd)) = pidfd {
                let data = epoll::EventData::new_u64(LEADER);
                if epoll::add(&self.epoll, &pidfd, data, epoll::EventFlags::IN).is_ok() {
                    self.leaders.insert(leader, pidfd);
                }
            }
        }
    }
}

/// The first [`WATCHES_MAX`] directories, and whether each is another's than root's; and those beyond. One that comes earlier in the order takes
/// the place of one that was watched before.
fn wanted(watches: &[Watch]) -> (HashMap<&PathBuf, bool>, Vec<&Watch>) {
    let mut wanted: HashMap<&PathBuf, bool> = HashMap::new();
    let mut beyond = Vec::new();
    for watch in watches {
        if let Some(foreign) = wanted.get_mut(&watch.directory) {
            *foreign &= watch.foreign;
        } else if wanted.len() < WATCHES_MAX {
            wanted.insert(&watch.directory, watch.foreign);
        } else if beyond.len() < WATCHES_MAX {
            beyond.push(watch);
        }
    }
    (wanted, beyond)
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_watched_whatever_was_before() {
        let top = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::new().unwrap();
        let made = |name: &str| {
            let directory = top.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            Watch::directories(directory)
        };
        let tenants: Vec<Watch> = (0..3).map(|n| made(&n.to_string())).collect();
        assert!(watcher.follow(&tenants));
        let mut all = vec![made("roots")];
        // As if there were so many: what does not exist takes a place in the order like any other.
        all.extend((0..WATCHES_MAX - 2).map(|n| Watch::directories(top.path().join(format!("gone-{n}")))));
        all.extend(tenants.clone());
        assert!(watcher.follow(&all));
        let watched = |watch: &Watch| watcher.queues[0].watches(&watch.directory);
        assert!(watched(&all[0]) && watched(&tenants[0]) && !watched(&tenants[1]) && !watched(&tenants[2]));
    }
}
