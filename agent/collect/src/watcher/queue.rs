//! One queue of the kernel's, the directories that it tells of, and what was heard.
//!
//! What is not wanted any more is told of until the kernel has said that the watch is gone: what happened before is in the queue still, and is
//! somebody's death. Removals are kept by directory, up to a bound, until a scan takes them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::Watch;
use crate::unheard::{Of, Unheard, Why};

/// Room for some hundred events at once.
const EVENTS_BYTES: usize = 16 * 1024;
/// Directories of which removals are kept for the next scan. Of root's as many as the kernel keeps events by default; of others' as many as are
/// looked at in one tree.
const REMOVED_MAX: usize = 16_384;
const REMOVED_FOREIGN_MAX: usize = 1024;

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

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) of: Of,
    inotify: OwnedFd,
    watched: HashMap<PathBuf, Interest>,
    paths: HashMap<i32, PathBuf>,
    /// How often directories were removed.
    pub(super) removed: HashMap<PathBuf, u32>,
    /// Whether a scan is due.
    pub(super) due: bool,
    /// Whether events were lost, among which may be that a watch is gone: then all are set anew.
    anew: bool,
}

impl Queue {
    pub(super) fn new(of: Of) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let (watched, paths, removed) = Default::default();
        Ok(Self { of, inotify, watched, paths, removed, due: false, anew: false })
    }

    pub(super) fn inotify(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    #[cfg(test)]
    pub(super) fn watches(&self, directory: &std::path::Path) -> bool {
        self.watched.contains_key(directory)
    }

    /// Takes all that the kernel has to say.
    pub(super) fn hear(&mut self, unheard: &Unheard) {
        let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
        let mut forgotten = Vec::new();
        let mut lost = false;
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
                (self.due, self.anew, lost) = (true, true, true);
                continue;
            }
            if flags.contains(ReadFlags::IGNORED) {
                // The directory is gone, and with it the watch; or it was not wanted any more.
                forgotten.push(event.wd());
                continue;
            }
            let Some(path) = self.paths.get(&event.wd()) else { continue };
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let is_directory = flags.contains(ReadFlags::ISDIR);
            let interest = self.watched.get(path).filter(|interest| interest.descriptor == event.wd());
            self.due |= interest.is_some_and(|interest| interest.wants(name, is_directory));
            let is_end = is_directory && flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM);
            if let Some(name) = name.filter(|_| is_end) {
                lost |= !note_removed(&mut self.removed, self.of, path.join(name));
            }
        }
        if lost {
            unheard.note(self.of, Why::Overflow);
        }
        for descriptor in forgotten {
            self.forget(descriptor);
        }
    }

    fn forget(&mut self, descriptor: i32) {
        let Some(path) = self.paths.remove(&descriptor) else { return };
        if self.watched.get(&path).is_some_and(|interest| interest.descriptor == descriptor) {
            self.watched.remove(&path);
            self.due = true;
        }
    }

    /// Ends the watches on all others. Of what is kept, nothing matters until it is followed again.
    pub(super) fn keep(&mut self, wanted: impl Fn(&PathBuf) -> bool) {
        let inotify = &self.inotify;
        self.watched.retain(|path, interest| {
            let stays = wanted(path);
            if !stays {
                // It fails where the directory went first, which is just as well. Its number is known until the kernel has said so.
                let _ = inotify::remove_watch(inotify, interest.descriptor);
            }
            interest.directories = false;
            interest.files.clear();
            stays
        });
        if std::mem::take(&mut self.anew) {
            self.paths.retain(|descriptor, path| {
                self.watched.get(path).is_some_and(|interest| interest.descriptor == *descriptor)
            });
            self.watched.clear();
        }
    }

    /// Watches a directory; true where it was not watched before.
    pub(super) fn follow(&mut self, watch: &Watch) -> Result<bool, Errno> {
        let new = !self.watched.contains_key(&watch.directory);
        if new {
            let flags = WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_TO
                | WatchFlags::MOVED_FROM
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::ONLYDIR;
            let descriptor = inotify::add_watch(&self.inotify, &watch.directory, flags)?;
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
        Ok(new)
    }
}

/// False where there are too many already.
fn note_removed(removed: &mut HashMap<PathBuf, u32>, of: Of, directory: PathBuf) -> bool {
    let most = if of == Of::ForeignBirths { REMOVED_FOREIGN_MAX } else { REMOVED_MAX };
    let room = removed.len() < most || removed.contains_key(&directory);
    if room {
        *removed.entry(directory).or_default() += 1;
    }
    room
}
