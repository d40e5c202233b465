//! Noticing births and deaths when they happen: inotify on the directories that can hold containers, and
//! a pidfd for the leader of each process group.
//!
//! An event only says that a scan is due, so an overflowing queue costs nothing but that scan. A directory is watched before
//! it is looked at again, so that what is made between the two is not missed. All sits behind one
//! epoll descriptor, which can also be given to an event loop.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::discover::{Change, Discovery};
use crate::found::Kind;

/// The kernel's default is 8,192 a user or more; what is above this is left to the periodic scan. Those that another than root can make
/// come last, so that his are no cause for that.
const WATCHES_MAX: usize = 4096;
/// Room for some hundred events at once.
const EVENTS_BYTES: usize = 16 * 1024;
/// How often a scan is repeated because it found new directories to watch, before the next event must do it.
const ROUNDS_MAX: usize = 4;

/// A directory to be watched, and what in it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The directory.
    pub directory: PathBuf,
    /// The one file in it that matters; none for directories made and removed.
    pub file: Option<OsString>,
}

impl Watch {
    /// Directories made and removed in it.
    pub fn directories(directory: PathBuf) -> Self {
        Self { directory, file: None }
    }

    /// One file made, replaced or removed in it.
    pub fn file(directory: PathBuf, file: OsString) -> Self {
        Self { directory, file: Some(file) }
    }
}

/// What matters in a watched directory.
#[derive(Debug, Default)]
struct Interest {
    descriptor: i32,
    directories: bool,
    files: Vec<OsString>,
}

impl Interest {
    fn wants(&self, name: Option<&OsStr>, is_directory: bool) -> bool {
        if is_directory {
            return self.directories;
        }
        name.is_some_and(|name| self.files.iter().any(|file| file == name))
    }
}

/// Wakes when a scan is due.
#[derive(Debug)]
pub struct Watcher {
    epoll: OwnedFd,
    inotify: OwnedFd,
    watched: HashMap<PathBuf, Interest>,
    paths: HashMap<i32, PathBuf>,
    /// Leaders of process groups, by pid and start.
    leaders: HashMap<(u32, u64), OwnedFd>,
}

/// What `epoll` says is ready.
const INOTIFY: u64 = 0;
const LEADER: u64 = 1;

impl Watcher {
    /// Watches nothing yet: [`Self::scan`] does.
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(INOTIFY);
        epoll::add(&epoll, &inotify, data, epoll::EventFlags::IN)?;
        Ok(Self { epoll, inotify, watched: HashMap::new(), paths: HashMap::new(), leaders: HashMap::new() })
    }

    /// Scans, watches what the scan found, and scans again as long as there was something new to
    /// watch: whatever is made in between is seen by one or the other.
    pub fn scan(&mut self, discovery: &mut Discovery) -> Vec<Change> {
        let mut changes = Vec::new();
        for _ in 0..ROUNDS_MAX {
            self.drain();
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
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut fds = [PollFd::new(&self.epoll, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) if self.drain() => return Ok(true),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Takes all that has been reported; true where something of it makes a scan due. For those who
    /// wait on the descriptor themselves.
    pub fn drain(&mut self) -> bool {
        let mut due = self.drain_leaders();
        let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
        let mut forgotten = Vec::new();
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                // Nothing left; any other error leaves the periodic scan.
                Err(_) => break,
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                due = true;
            } else if flags.contains(ReadFlags::IGNORED) {
                // The directory is gone, and with it the watch.
                forgotten.push(event.wd());
                due = true;
            } else {
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                let interest = self.paths.get(&event.wd()).and_then(|path| self.watched.get(path));
                due |= interest.is_some_and(|interest| interest.wants(name, flags.contains(ReadFlags::ISDIR)));
            }
        }
        for descriptor in forgotten {
            if let Some(path) = self.paths.remove(&descriptor) {
                self.watched.remove(&path);
            }
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
        let wanted = wanted(watches);
        let unwanted: Vec<PathBuf> = self.watched.keys().filter(|path| !wanted.contains(path)).cloned().collect();
        for path in unwanted {
            if let Some(interest) = self.watched.remove(&path) {
                self.paths.remove(&interest.descriptor);
                // It fails where the directory went first, which is just as well.
                let _ = inotify::remove_watch(&self.inotify, interest.descriptor);
            }
        }
        for interest in self.watched.values_mut() {
            interest.directories = false;
            interest.files.clear();
        }
        let mut new = false;
        for watch in watches.iter().filter(|watch| wanted.contains(&watch.directory)) {
            new |= self.follow_one(watch);
        }
        new
    }

    fn follow_one(&mut self, watch: &Watch) -> bool {
        let new = !self.watched.contains_key(&watch.directory);
        if new {
            let flags = WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_TO
                | WatchFlags::MOVED_FROM
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::ONLYDIR;
            let Ok(descriptor) = inotify::add_watch(&self.inotify, &watch.directory, flags) else {
                return false;
            };
            self.paths.insert(descriptor, watch.directory.clone());
            let interest = Interest { descriptor, ..Interest::default() };
            self.watched.insert(watch.directory.clone(), interest);
        }
        if let Some(interest) = self.watched.get_mut(&watch.directory) {
            match &watch.file {
                Some(file) => interest.files.push(file.clone()),
                None => interest.directories = true,
            }
        }
        new
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

/// The first [`WATCHES_MAX`] directories: one that comes earlier in the order takes the place of one that was watched before.
fn wanted(watches: &[Watch]) -> HashSet<&PathBuf> {
    let mut wanted = HashSet::new();
    for watch in watches {
        if wanted.len() >= WATCHES_MAX {
            break;
        }
        wanted.insert(&watch.directory);
    }
    wanted
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
        let watched = |watch: &Watch| watcher.watched.contains_key(&watch.directory);
        assert!(watched(&all[0]) && watched(&tenants[0]) && !watched(&tenants[1]) && !watched(&tenants[2]));
    }
}
