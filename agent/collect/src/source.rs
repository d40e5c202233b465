//! Reading one kernel file again and again: kept open and read at offset 0 while the budget of
//! descriptors lasts, else opened anew each time.
//!
//! Errors are told apart by raw errno, never by `ErrorKind`: ENOENT, ENODEV and ESRCH mean that what the
//! file was about is gone, EOPNOTSUPP that this kernel does not do it, anything else is a problem to be
//! counted. One file's fault never costs another its value.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::starvation;
use crate::state::ProblemReason;

/// Enough for every cgroup and PSI file and for most others in one read.
const BUFFER_BYTES: usize = 8 * 1024;
/// No file read here is longer than this by right: a `cgroup.procs` of 100,000 pids is 700 KB.
const BUFFER_MAX_BYTES: usize = 1 << 20;

/// A seq file hands out whole records, as many as fit in its own page: a read of less than half a page
/// that did not fill our buffer was the last, because no record here is half a page long.
const SHORT_READ_BYTES: usize = 2 * 1024;

/// Why a file gave no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It, or what it was about, is not there (any more).
    Gone,
    /// The kernel does not do this here.
    Unsupported,
    /// Something worth counting.
    Problem(ProblemReason),
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NODEV | Errno::SRCH => Self::Gone,
            Errno::OPNOTSUPP => Self::Unsupported,
            Errno::ACCESS | Errno::PERM => Self::Problem(ProblemReason::Denied),
            Errno::MFILE | Errno::NFILE => Self::Problem(ProblemReason::Descriptors),
            other => Self::Problem(ProblemReason::Errno(other.raw_os_error())),
        }
    }
}

/// A buffer that grows to what the longest file needed, and is reused.
#[derive(Debug)]
pub struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; BUFFER_BYTES])
    }
}

impl Buffer {
    /// All of the file behind `fd`, from its beginning.
    pub fn read(&mut self, fd: &OwnedFd) -> Result<&[u8], Fault> {
        match self.read_part(fd, BUFFER_MAX_BYTES)? {
            (text, true) => Ok(text),
            (_, false) => Err(Fault::Problem(ProblemReason::TooLong)),
        }
    }

    /// What the file behind `fd` begins with, at most `most` bytes, and whether that is all of it.
    pub fn read_part(&mut self, fd: &OwnedFd, most: usize) -> Result<(&[u8], bool), Fault> {
        let mut filled = 0;
        loop {
            let room = self.0.len().min(most);
            let read = match rustix::io::pread(fd, &mut self.0[filled..room], filled as u64) {
                Ok(read) => read,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            filled += read;
            if read == 0 || (read < SHORT_READ_BYTES && filled < room) {
                return Ok((&self.0[..filled], true));
            }
            if filled == most {
                return Ok((&self.0[..filled], false));
            }
            if filled == room {
                self.0.resize((self.0.len() * 2).min(most), 0);
            }
        }
    }

    /// All of the file at `path`.
    pub fn read_path(&mut self, path: &Path) -> Result<&[u8], Fault> {
        let fd = open(path)?;
        self.read(&fd)
    }
}

/// Opens for reading only, never blocking on a FIFO.
pub fn open(path: &Path) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    starvation::note(opened.as_ref().err().copied());
    Ok(opened?)
}

/// How many files may be kept open, all readers together. Each costs the kernel some 4.4 KB once read.
#[derive(Clone, Debug)]
pub struct FdBudget(Arc<AtomicUsize>);

impl FdBudget {
    /// Of `files` files.
    pub fn new(files: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(files)))
    }

    /// How many more may be kept.
    pub fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Half of what this process may open, and no more than `most`: the other half is for sockets.
    pub fn of_process(most: usize) -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let half = limit.current.map_or(most, |current| usize::try_from(current / 2).unwrap_or(most));
        Self::new(half.min(most))
    }

    pub(crate) fn take(&self) -> Option<Permit> {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        Some(Permit(self.0.clone()))
    }
}

/// The right to keep one file open; given back on drop.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One file that is read at each reading.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    open: Option<(OwnedFd, Permit)>,
}

impl Kept {
    /// Opens it. `Err(Gone)` where there is no such file.
    pub fn new(path: PathBuf, budget: &FdBudget) -> Result<Self, Fault> {
        let fd = open(&path)?;
        let open = budget.take().map(|permit| (fd, permit));
        Ok(Self { path, open })
    }

    /// Its bytes now.
    pub fn read<'b>(&self, buffer: &'b mut Buffer) -> Result<&'b [u8], Fault> {
        match &self.open {
            Some((fd, _)) => buffer.read(fd),
            None => buffer.read_path(&self.path),
        }
    }

    /// What it begins with now, at most `most` bytes, and whether that is all.
    pub fn read_part<'b>(&self, buffer: &'b mut Buffer, most: usize) -> Result<(&'b [u8], bool), Fault> {
        match &self.open {
            Some((fd, _)) => buffer.read_part(fd, most),
            None => buffer.read_part(&open(&self.path)?, most),
        }
    }

    /// Whether it is the same file at each reading, whatever takes its path.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

/// A directory of a cgroup that is looked at at each reading.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    open: Option<(OwnedFd, Permit)>,
}

impl Directory {
    /// Takes a handle on it as far as the budget goes, if it is there.
    pub(crate) fn new(path: PathBuf, budget: &FdBudget) -> Self {
        let open = budget.take().and_then(|permit| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Some((rustix::fs::open(&path, flags, Mode::empty()).ok()?, permit))
        });
        Self { path, open }
    }

    /// Its inode, and whether there are directories in it, of what stands at the path now.
    pub(crate) fn look(&self) -> Result<(u64, bool), Fault> {
        let stat = rustix::fs::stat(&self.path)?;
        Ok((stat.st_ino, has_children(&stat)))
    }

    /// Whether there are directories in it. Of one that is gone by now it may say anything.
    pub(crate) fn has_children(&self) -> Result<bool, Fault> {
        match &self.open {
            Some((fd, _)) => Ok(has_children(&rustix::fs::fstat(fd)?)),
            None => Ok(self.look()?.1),
        }
    }
}

/// A directory without others in it has two links: its name, and its own `.`.
fn has_children(directory: &Stat) -> bool {
    !matches!(directory.st_nlink, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_budget_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, "1\n").unwrap();
        let budget = FdBudget::new(1);
        let first = Kept::new(path.clone(), &budget).unwrap();
        let second = Kept::new(path.clone(), &budget).unwrap();
        assert!(first.is_open() && !second.is_open());
        let mut buffer = Buffer::default();
        assert_eq!(first.read(&mut buffer), Ok(&b"1\n"[..]));
        assert_eq!(second.read(&mut buffer), Ok(&b"1\n"[..]));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(first.read(&mut buffer), Ok(&b"1\n"[..]));
        assert_eq!(second.read(&mut buffer), Err(Fault::Gone));
        drop(first);
        assert_eq!(budget.left(), 1);
    }

    #[test]
    fn long_files_are_read_whole_and_endless_ones_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = vec![b'x'; BUFFER_BYTES * 3 + 17];
        file.as_file().write_all_at(&long, 0).unwrap();
        let mut buffer = Buffer::default();
        assert_eq!(buffer.read_path(file.path()).unwrap().len(), long.len());
        for (most, length, whole) in [
            (long.len() + 1, long.len(), true),
            (long.len(), long.len(), false),
            (BUFFER_BYTES * 2, BUFFER_BYTES * 2, false),
            (10, 10, false),
        ] {
            let mut buffer = Buffer::default();
            let fd = open(file.path()).unwrap();
            for _ in 0..2 {
                let (text, is_whole) = buffer.read_part(&fd, most).unwrap();
                assert_eq!((text.len(), is_whole), (length, whole), "at most {most}");
            }
            // A part needs no more room than it has.
            assert!(buffer.0.len() <= most.max(BUFFER_BYTES));
        }
        file.as_file().set_len(BUFFER_MAX_BYTES as u64 + 1).unwrap();
        assert_eq!(buffer.read_path(file.path()), Err(Fault::Problem(ProblemReason::TooLong)));
    }

    #[test]
    fn faults_by_errno() {
        for (errno, fault) in [
            (Errno::NOENT, Fault::Gone),
            (Errno::NODEV, Fault::Gone),
            (Errno::SRCH, Fault::Gone),
            (Errno::OPNOTSUPP, Fault::Unsupported),
            (Errno::ACCESS, Fault::Problem(ProblemReason::Denied)),
            (Errno::MFILE, Fault::Problem(ProblemReason::Descriptors)),
            (Errno::IO, Fault::Problem(ProblemReason::Errno(5))),
        ] {
            assert_eq!(Fault::from(errno), fault);
        }
    }
}
