//! Regular files under the instance's root, read only.
//!
//! Manifest: `[capabilities] files = ["/etc/redis/redis.conf", "/var/lib/app/stats/*"]`. The node
//! opens them with the instance's own credentials.

use crate::raw::files as raw;
use crate::{Failure, Reason};

/// The node gives no more at once.
const MAX_READ_BYTES: usize = 64 * 1024;

/// Size and age of a file.
pub use crate::raw::files::Metadata;

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// There is none.
    NotFound,
    /// Not a regular file, or not readable with the instance's credentials.
    NotReadable,
    /// Not within the node's time.
    Timeout,
    /// The grant does not hold the path, or a limit of the run is used up; says which.
    Denied(String),
    /// Anything else, in words.
    Other(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotFound => "there is no such file",
            Self::NotReadable => "it is not a file that the instance can read",
            Self::Timeout => "the file did not answer in time",
            Self::Denied(why) | Self::Other(why) => why,
        })
    }
}

impl std::error::Error for Error {}

impl From<raw::FileError> for Error {
    fn from(error: raw::FileError) -> Self {
        match error {
            raw::FileError::NotFound => Self::NotFound,
            raw::FileError::NotReadable => Self::NotReadable,
            raw::FileError::Timeout => Self::Timeout,
            raw::FileError::Denied(why) => Self::Denied(why),
            raw::FileError::Other(why) => Self::Other(why),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = match &error {
            Error::NotFound | Error::NotReadable => Reason::Unreachable,
            Error::Timeout => Reason::Timeout,
            Error::Denied(_) => Reason::Denied,
            Error::Other(_) => Reason::Other,
        };
        Self::new(reason, error.to_string())
    }
}

/// A file's beginning, at most `max` bytes of it.
///
/// # Errors
/// See [`Error`].
pub fn read(path: &str, max: usize) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    while all.len() < max {
        let part = read_at(path, all.len() as u64, max - all.len())?;
        if part.is_empty() {
            break;
        }
        all.extend_from_slice(&part);
    }
    Ok(all)
}

/// At most `max` bytes (never more than 64 KiB) from an offset; nothing at the file's end.
///
/// # Errors
/// See [`Error`].
pub fn read_at(path: &str, offset: u64, max: usize) -> Result<Vec<u8>, Error> {
    Ok(raw::read(path, offset, u32::try_from(max.min(MAX_READ_BYTES)).unwrap_or(u32::MAX))?)
}

/// Size and time of the last change.
///
/// # Errors
/// See [`Error`].
pub fn stat(path: &str) -> Result<Metadata, Error> {
    Ok(raw::stat(path)?)
}
