//! Byte streams to the instance, opened by [`tcp`](crate::tcp) or [`unix`](crate::unix).
//!
//! A stream reads and writes by the traits of `std::io`, so that a `BufReader` works on it. Each
//! operation has a deadline (one second unless set), below the run's own two: a server that accepts and
//! then says nothing yields a failure in words instead of a run that is cut off.

use std::io;
use std::time::Duration;

use crate::raw::streams as raw;
use crate::{Failure, Reason};

/// For connecting, and for each read and write, unless set otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// The node gives no more at once.
const MAX_READ_BYTES: usize = 64 * 1024;

/// Why an operation on a stream failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Nobody listens there.
    Refused,
    /// Not within the time given.
    Timeout,
    /// The peer closed or reset the stream.
    Closed,
    /// The grant does not hold it, or a limit of the run is used up; says which.
    Denied(String),
    /// Anything else, in words.
    Other(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "nobody listens there",
            Self::Timeout => "no answer within the time given",
            Self::Closed => "the peer closed the connection",
            Self::Denied(why) | Self::Other(why) => why,
        })
    }
}

impl std::error::Error for Error {}

impl From<raw::StreamError> for Error {
    fn from(error: raw::StreamError) -> Self {
        match error {
            raw::StreamError::Refused => Self::Refused,
            raw::StreamError::Timeout => Self::Timeout,
            raw::StreamError::Closed => Self::Closed,
            raw::StreamError::Denied(why) => Self::Denied(why),
            raw::StreamError::Other(why) => Self::Other(why),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = match &error {
            Error::Refused => Reason::Unreachable,
            Error::Timeout => Reason::Timeout,
            Error::Closed => Reason::Protocol,
            Error::Denied(_) => Reason::Denied,
            Error::Other(_) => Reason::Other,
        };
        Self::new(reason, error.to_string())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Refused => io::ErrorKind::ConnectionRefused,
            Error::Timeout => io::ErrorKind::TimedOut,
            Error::Closed => io::ErrorKind::ConnectionReset,
            Error::Denied(_) => io::ErrorKind::PermissionDenied,
            Error::Other(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// A connected stream. Dropping it closes it.
pub struct Connection {
    raw: raw::Connection,
}

impl Connection {
    pub(crate) fn new(raw: raw::Connection) -> Self {
        Self { raw }
    }

    /// How long each later read or write may take; at least a millisecond.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.raw.set_timeout(milliseconds(timeout));
    }

    /// At least one byte and at most `max` (never more than 64 KiB), or nothing at the stream's end.
    /// Spares the copy that `Read` makes.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn receive(&mut self, max: usize) -> Result<Vec<u8>, Error> {
        let max = u32::try_from(max.min(MAX_READ_BYTES)).unwrap_or(u32::MAX);
        Ok(self.raw.read(max)?)
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.raw.write(bytes)?)
    }
}

impl io::Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let bytes = self.receive(buffer.len())?;
        // The node keeps to `max`; the double must too.
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        Ok(length)
    }
}

impl io::Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn milliseconds(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1)
}
