//! `files`: regular files under the instance's root, read only.
//!
//! The broker opens (below the root, no magic links, no other mounts, without blocking); here the grant's
//! patterns are checked and the bytes counted. A read happens on the blocking pool with the run's deadline.

use std::os::unix::fs::FileExt;
use std::time::{Instant, UNIX_EPOCH};

use super::not_granted;
use crate::bindings::sonde::sensor::files;
use crate::broker::BrokerError;
use crate::ctx::{Ctx, within};

use files::{FileError, Metadata};

/// The most that one read gives.
const READ_BYTES: u32 = 64 << 10;

impl From<BrokerError> for FileError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::NotFound | BrokerError::Gone => Self::NotFound,
            BrokerError::NotReadable => Self::NotReadable,
            BrokerError::Timeout => Self::Timeout,
            BrokerError::Denied(why) => Self::Denied(why),
            other @ (BrokerError::Refused | BrokerError::Other(_)) => Self::Other(other.to_string()),
        }
    }
}

impl Ctx {
    async fn open(&mut self, path: &str, deadline: Instant) -> Result<std::fs::File, FileError> {
        if !self.grant.allows_file(path) {
            return Err(FileError::Denied(not_granted(&format!("the file {path:?}"))));
        }
        let broker = self.broker.clone();
        let opened = within(deadline, broker.open_file(path, deadline)).await;
        Ok(opened.unwrap_or(Err(BrokerError::Timeout))?)
    }
}

/// Runs `work` on the blocking pool until `deadline`. What blocks longer is left behind there, not waited for.
async fn blocking<T: Send + 'static>(
    deadline: Instant,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, FileError> {
    match within(deadline, tokio::task::spawn_blocking(work)).await {
        None => Err(FileError::Timeout),
        Some(Ok(Ok(value))) => Ok(value),
        Some(Ok(Err(error))) => Err(FileError::Other(error.to_string())),
        Some(Err(error)) => Err(FileError::Other(error.to_string())),
    }
}

impl files::Host for Ctx {
    async fn read(&mut self, path: String, offset: u64, max: u32) -> wasmtime::Result<Result<Vec<u8>, FileError>> {
        self.call()?;
        let wanted = u64::from(max.min(READ_BYTES)).min(self.meter.bytes_in) as usize;
        if wanted == 0 && max > 0 {
            let limit = self.grant.limits.bytes_in;
            return Ok(Err(FileError::Denied(format!("the limit of {limit} bytes received a run is used up"))));
        }
        let deadline = self.deadline;
        let file = match self.open(&path, deadline).await {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let read = blocking(deadline, move || {
            let mut bytes = vec![0; wanted];
            let got = file.read_at(&mut bytes, offset)?;
            bytes.truncate(got);
            Ok(bytes)
        });
        let read = read.await;
        if let Ok(bytes) = &read {
            self.meter.bytes_in -= bytes.len() as u64;
        }
        Ok(read)
    }

    async fn stat(&mut self, path: String) -> wasmtime::Result<Result<Metadata, FileError>> {
        self.call()?;
        let deadline = self.deadline;
        let file = match self.open(&path, deadline).await {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let read = blocking(deadline, move || {
            let metadata = file.metadata()?;
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok(Metadata { size_bytes: metadata.len(), modified_milliseconds: modified.as_millis() as u64 })
        });
        Ok(read.await)
    }
}
