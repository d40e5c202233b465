//! `files`: regular files under the instance's root, read only.
//!
//! The broker opens (below the root, no magic links, no other mounts, without blocking); here the grant's
//! patterns are checked and the bytes counted. A read happens on the blocking pool with the run's deadline. One that is stuck in the
//! kernel outlives its run, so reads are counted: an account whose file system is stuck can hold a few threads, and not all.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use sonde_host::BrokerError;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::not_granted;
use crate::bindings::sonde::sensor::files;
use crate::ctx::{Ctx, within};

use files::{FileError, Metadata};

/// What opening a file costs the node: a thread with other credentials, a path resolved, two processes woken. In ordinary host calls, and in
/// microseconds.
const OPEN_WORTH: u64 = 50;
const OPEN_MICROSECONDS: u64 = 150;
/// The most that one read gives.
const READ_BYTES: u32 = 64 << 10;
/// Reads that may be under way, or stuck, at once: far less than tokio's blocking threads.
const READS: usize = 64;
/// Of one account: a quarter, so that one whose file system is stuck holds back its own.
const READS_OF_ONE: usize = 16;
/// Longest wait for one of [`READS`]: a thousand times what a read takes, and a small part of a run's time.
const READ_WAIT: Duration = Duration::from_millis(250);

/// The reads of the process, whose blocking threads they hold.
static PLACES: Semaphore = Semaphore::const_new(READS);
/// How many of them are of which account.
static BY_ACCOUNT: Mutex<BTreeMap<u64, usize>> = Mutex::new(BTreeMap::new());

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
    /// A file, and the place in which it is to be read and closed.
    async fn open(&mut self, path: &str, deadline: Instant) -> Result<(std::fs::File, ReadPlace), FileError> {
        if !self.grant.allows_file(path) {
            return Err(FileError::Denied(not_granted(&format!("the file {path:?}"))));
        }
        let place = ReadPlace::take(self.account, deadline).await?;
        let broker = self.broker.clone();
        let opened = within(deadline, broker.open_file(path, deadline)).await;
        Ok((opened.unwrap_or(Err(BrokerError::Timeout))?, place))
    }
}

/// A read's place, held until the read has ended.
struct ReadPlace {
    account: u64,
    _of_all: SemaphorePermit<'static>,
}

fn by_account() -> MutexGuard<'static, BTreeMap<u64, usize>> {
    BY_ACCOUNT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReadPlace {
    async fn take(account: u64, deadline: Instant) -> Result<Self, FileError> {
        let refused = |whose: &str| FileError::Other(format!("too many reads of files are stuck {whose}"));
        let waiting = within(deadline.min(Instant::now() + READ_WAIT), PLACES.acquire());
        let place = waiting.await.ok_or_else(|| refused("on this node"))?;
        let of_all = place.expect("nobody closes the semaphore");
        let mut counts = by_account();
        let count = counts.entry(account).or_default();
        if *count >= READS_OF_ONE {
            return Err(refused("in the kernel for this account"));
        }
        *count += 1;
        Ok(Self { account, _of_all: of_all })
    }
}

impl Drop for ReadPlace {
    fn drop(&mut self) {
        let mut counts = by_account();
        let count = counts.get_mut(&self.account).expect("it was counted when it was taken");
        *count -= 1;
        if *count == 0 {
            counts.remove(&self.account);
        }
    }
}

/// Runs `work` on the blocking pool until `deadline`, in a place that was taken before there was a file. What blocks longer is left behind
/// there, not waited for; to close a file can block as well, so that is done there too.
async fn blocking<T: Send + 'static>(
    place: ReadPlace,
    deadline: Instant,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, FileError> {
    let work = move || {
        let done = work();
        drop(place);
        done
    };
    match within(deadline, tokio::task::spawn_blocking(work)).await {
        None => Err(FileError::Timeout),
        Some(Ok(Ok(value))) => Ok(value),
        Some(Ok(Err(error))) => Err(FileError::Other(error.to_string())),
        Some(Err(error)) => Err(FileError::Other(error.to_string())),
    }
}

impl files::Host for Ctx {
    async fn read(&mut self, path: String, offset: u64, max: u32) -> wasmtime::Result<Result<Vec<u8>, FileError>> {
        self.call_worth(OPEN_WORTH, OPEN_MICROSECONDS)?;
        self.charge_bytes(path.len())?;
        let wanted = u64::from(max.min(READ_BYTES)).min(self.meter.bytes_in) as usize;
        if wanted == 0 && max > 0 {
            let limit = self.grant.limits.bytes_in;
            return Ok(Err(FileError::Denied(format!("the limit of {limit} bytes received a run is used up"))));
        }
        let deadline = self.deadline;
        let (file, place) = match self.open(&path, deadline).await {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let read = blocking(place, deadline, move || {
            let mut bytes = vec![0; wanted];
            let got = file.read_at(&mut bytes, offset)?;
            bytes.truncate(got);
            Ok(bytes)
        });
        let read = read.await;
        if let Ok(bytes) = &read {
            self.meter.bytes_in -= bytes.len() as u64;
            self.charge_bytes(bytes.len())?;
        }
        Ok(read)
    }

    async fn stat(&mut self, path: String) -> wasmtime::Result<Result<Metadata, FileError>> {
        self.call_worth(OPEN_WORTH, OPEN_MICROSECONDS)?;
        self.charge_bytes(path.len())?;
        let deadline = self.deadline;
        let (file, place) = match self.open(&path, deadline).await {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let read = blocking(place, deadline, move || {
            let metadata = file.metadata()?;
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok(Metadata { size_bytes: metadata.len(), modified_milliseconds: modified.as_millis() as u64 })
        });
        Ok(read.await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[tokio::test]
    async fn stuck_reads_of_one_account_leave_room_for_others() {
        let soon = || Instant::now() + Duration::from_secs(20);
        let (stuck, well) = (1, 2);
        let mut releases = Vec::new();
        for _ in 0..READS_OF_ONE {
            let (release, held) = channel::<()>();
            releases.push(release);
            let place = ReadPlace::take(stuck, soon()).await.unwrap();
            let read = blocking(place, Instant::now() + Duration::from_millis(1), move || {
                let _ = held.recv();
                Ok(())
            });
            assert!(matches!(read.await, Err(FileError::Timeout)));
        }
        let Err(FileError::Other(why)) = ReadPlace::take(stuck, soon()).await else { panic!("not refused") };
        assert_eq!(why, "too many reads of files are stuck in the kernel for this account");
        blocking(ReadPlace::take(well, soon()).await.unwrap(), soon(), || Ok(())).await.unwrap();
        releases.clear();
        let deadline = soon();
        while ReadPlace::take(stuck, soon()).await.is_err() {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        while !by_account().is_empty() {
            assert!(Instant::now() < deadline, "what holds nothing is forgotten");
            tokio::task::yield_now().await;
        }
    }
}
