//! `files`: regular files under the instance's root, read only.
//!
//! The broker opens (below the root, no magic links, no other mounts, without blocking); here the grant's
//! patterns are checked and the bytes counted. A read happens on the blocking pool with the run's deadline. One that is stuck in the
//! kernel outlives its run, so reads are counted: a sensor whose file system is stuck can hold a few threads, and not all.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::not_granted;
use crate::bindings::sonde::sensor::files;
use crate::broker::{Broker, BrokerError};
use crate::ctx::{Ctx, within};

use files::{FileError, Metadata};

/// What opening a file costs the node, in ordinary host calls: a thread with other credentials, a path resolved.
const OPEN_WORTH: u64 = 50;
/// The most that one read gives.
const READ_BYTES: u32 = 64 << 10;
/// Reads that may be under way, or stuck, at once: far less than tokio's blocking threads.
const READS: usize = 64;
/// Of one sensor on one instance. A run reads one file at a time, so all but one of them are stuck.
const READS_OF_ONE: usize = 4;
/// Longest wait for one of [`READS`]: a thousand times what a read takes, and a small part of a run's time.
const READ_WAIT: Duration = Duration::from_millis(250);

/// The reads of the process, whose blocking threads they hold.
static PLACES: Semaphore = Semaphore::const_new(READS);
/// How many of them are of which broker, which is to say of which sensor on which instance; by the broker's address.
static BY_BROKER: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

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

/// A read's place, held until the read has ended.
struct ReadPlace {
    /// Kept, so that no other broker comes to live at its address.
    broker: Arc<dyn Broker>,
    _of_all: SemaphorePermit<'static>,
}

fn by_broker() -> MutexGuard<'static, BTreeMap<usize, usize>> {
    BY_BROKER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address(broker: &Arc<dyn Broker>) -> usize {
    Arc::as_ptr(broker).cast::<()>().addr()
}

impl ReadPlace {
    async fn take(broker: &Arc<dyn Broker>, deadline: Instant) -> Result<Self, FileError> {
        let refused = |whose: &str| FileError::Other(format!("too many reads of files are stuck {whose}"));
        let waiting = within(deadline.min(Instant::now() + READ_WAIT), PLACES.acquire());
        let place = waiting.await.ok_or_else(|| refused("on this node"))?;
        let of_all = place.expect("nobody closes the semaphore");
        let mut counts = by_broker();
        let count = counts.entry(address(broker)).or_default();
        if *count >= READS_OF_ONE {
            return Err(refused("in the kernel for this sensor on this instance"));
        }
        *count += 1;
        Ok(Self { broker: broker.clone(), _of_all: of_all })
    }
}

impl Drop for ReadPlace {
    fn drop(&mut self) {
        let mut counts = by_broker();
        let key = address(&self.broker);
        let count = counts.get_mut(&key).expect("it was counted when it was taken");
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// Runs `work` on the blocking pool until `deadline`. What blocks longer is left behind there, not waited for.
async fn blocking<T: Send + 'static>(
    broker: &Arc<dyn Broker>,
    deadline: Instant,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, FileError> {
    let place = ReadPlace::take(broker, deadline).await?;
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
        self.call_worth(OPEN_WORTH)?;
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
        let read = blocking(&self.broker, deadline, move || {
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
        self.call_worth(OPEN_WORTH)?;
        let deadline = self.deadline;
        let file = match self.open(&path, deadline).await {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let read = blocking(&self.broker, deadline, move || {
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
    use crate::direct::DirectBroker;
    use std::sync::mpsc::channel;

    #[tokio::test]
    async fn stuck_reads_of_one_sensor_leave_room_for_others() {
        let soon = || Instant::now() + Duration::from_secs(20);
        let direct = || Arc::new(DirectBroker::default()) as Arc<dyn Broker>;
        let (stuck, well) = (direct(), direct());
        let mut releases = Vec::new();
        for _ in 0..READS_OF_ONE {
            let (release, held) = channel::<()>();
            releases.push(release);
            let read = blocking(&stuck, Instant::now() + Duration::from_millis(1), move || {
                let _ = held.recv();
                Ok(())
            });
            assert!(matches!(read.await, Err(FileError::Timeout)));
        }
        let Err(FileError::Other(why)) = blocking(&stuck, soon(), || Ok(())).await else { panic!("not refused") };
        assert_eq!(why, "too many reads of files are stuck in the kernel for this sensor on this instance");
        blocking(&well, soon(), || Ok(())).await.unwrap();
        releases.clear();
        let deadline = soon();
        while blocking(&stuck, soon(), || Ok(())).await.is_err() {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        let mine = [address(&stuck), address(&well)];
        while by_broker().keys().any(|key| mine.contains(key)) {
            assert!(Instant::now() < deadline, "what holds nothing is forgotten");
            tokio::task::yield_now().await;
        }
    }
}
