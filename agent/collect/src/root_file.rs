//! Reading a file that root alone could have written: what a runtime keeps of its containers.
//!
//! Such a file names things and gives owners their evidence, so it is believed only where nobody else had a hand in it: it and every
//! directory above it, up to one that is trusted, belong to root and can be written by nobody else, and none of them
//! is a symbolic link. What is checked cannot change afterwards, because only root could change it. A file is read up to a bound
//! and never waited for.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::starvation;

/// Everybody's right to write, and the group's.
const WRITE_OTHERS: u32 = 0o002;
const WRITE_GROUP: u32 = 0o020;

/// Why a file is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootFileError {
    /// It cannot be read; most often it is not there.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// Someone other than root could have written it.
    #[error("it or a directory above it can be written by others than root")]
    Writable,
    /// More than any true one has.
    #[error("it is too long")]
    TooLong,
}

/// Who is believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust<'a> {
    /// The directory from which on down everything is checked.
    pub(crate) root: &'a Path,
    /// Whose files these are: 0 outside tests.
    pub(crate) owner: u32,
    /// Whether the group root may write too (LXC makes its directories so).
    pub(crate) root_group: bool,
}

impl Trust<'_> {
    fn holds(&self, metadata: &Metadata) -> bool {
        let group = metadata.mode() & WRITE_GROUP == 0 || (self.root_group && metadata.gid() == 0);
        metadata.uid() == self.owner && metadata.mode() & WRITE_OTHERS == 0 && group
    }
}

/// The bytes of the regular file at `path`, which lies below `trust.root`: all of them, at most `most`.
pub(crate) fn read(path: &Path, trust: Trust<'_>, most: u64) -> Result<Vec<u8>, RootFileError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| {
        starvation::note(Some(errno));
        RootFileError::Read(errno.into())
    })?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(RootFileError::Read)?;
    let above_safe = path.parent().is_some_and(|above| is_trusted(above, trust));
    if !metadata.is_file() || !trust.holds(&metadata) || !above_safe {
        return Err(RootFileError::Writable);
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(RootFileError::Read)?;
    if bytes.len() as u64 > most {
        return Err(RootFileError::TooLong);
    }
    Ok(bytes)
}

/// Whether a directory at or below `trust.root`, and all between, are such that none but root can make anything in them.
pub(crate) fn is_trusted(directory: &Path, trust: Trust<'_>) -> bool {
    let is_roots =
        |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir() && trust.holds(&metadata));
    directory.starts_with(trust.root)
        && directory.ancestors().take_while(|above| above.starts_with(trust.root)).all(is_roots)
}

/// What tells that a file is the one that was read: inode, size, and both times in nanoseconds.
pub(crate) type Signature = (u64, u64, i128, i128);

/// The signature of what is at a path now, a link not followed. None where nothing is.
pub(crate) fn signature(path: &Path) -> Option<Signature> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Some((
        metadata.ino(),
        metadata.size(),
        nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    ))
}
