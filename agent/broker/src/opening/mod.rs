//! Opening what belongs to one instance, by the rules of design §5.7.
//!
//! Here alone a namespace is entered and other credentials are taken on. What belongs to the instance is decided here,
//! from the kernel, at the moment of opening, whatever a ticket or a grant says. It opens and connects; it never reads or writes for a sensor, but
//! secrets, which the operator keeps in files.

mod credentials;
mod files;
mod local_addresses;
mod namespaces;
mod owners;
mod places;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use sonde_collect::{Found, Roots, kstats};
use sonde_host::{BrokerError, Process};
use sonde_manifest::MOST_SECRET_BYTES;

use namespaces::NamespaceThread;
use owners::Owners;
use places::Places;

/// Longest secret, as a file is read.
const SECRET_BYTES: u64 = MOST_SECRET_BYTES as u64;

/// The most processes in one list.
const PROCESSES: usize = 1024;

/// What the openings of all instances share.
pub(crate) struct OpeningRoom {
    pub(crate) roots: Arc<Roots>,
    pub(crate) owners: Owners,
    namespace_thread: NamespaceThread,
    /// For threads with an instance's credentials.
    opening: Places,
    /// For looking at an instance's processes, and at an operator's files.
    looking: Places,
}

impl OpeningRoom {
    pub(crate) fn new(roots: Arc<Roots>) -> Self {
        Self {
            owners: Owners::new(roots.clone()),
            roots,
            namespace_thread: NamespaceThread::default(),
            opening: Places::default(),
            looking: Places::default(),
        }
    }
}

/// An instance, as far as opening goes.
#[derive(Clone)]
pub(crate) struct InstanceBroker {
    pub(crate) room: Arc<OpeningRoom>,
    pub(crate) found: Arc<Found>,
    pub(crate) owner: Arc<str>,
}

impl InstanceBroker {
    /// Runs `work` on the blocking pool, in one of the places for it.
    async fn looking<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BrokerError> {
        let place = self.room.looking.take(self.found.name.uuid, &self.owner, deadline).await?;
        let looking = tokio::task::spawn_blocking(move || {
            let seen = work();
            drop(place);
            seen
        });
        let seen = tokio::time::timeout_at(deadline.into(), looking).await.map_err(|_| BrokerError::Timeout)?;
        seen.map_err(|error| BrokerError::Other(error.to_string()))
    }
}

impl InstanceBroker {
    /// The instance's processes.
    pub(crate) async fn processes(&self, deadline: Instant) -> Result<Vec<Process>, BrokerError> {
        let (found, roots) = (self.found.clone(), self.room.roots.clone());
        let listed = self.looking(deadline, move || kstats::processes(&roots, &found)).await?;
        Ok(listed.into_iter().take(PROCESSES).map(process).collect())
    }

    /// A secret by its name, read anew each time.
    pub(crate) async fn secret(
        &self,
        secrets: &BTreeMap<String, PathBuf>,
        name: &str,
        deadline: Instant,
    ) -> Result<String, BrokerError> {
        let path = secrets.get(name).cloned().ok_or(BrokerError::NotFound)?;
        self.looking(deadline, move || read_secret(&path)).await?
    }
}

/// A secret is a regular file's content less the newlines at its end. The error never holds any of it.
fn read_secret(path: &std::path::Path) -> Result<String, BrokerError> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let unreadable = |error: std::io::Error| BrokerError::Other(format!("its file cannot be read: {error}"));
    // A FIFO put in its place must not hold the thread.
    let without_blocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(without_blocking).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(BrokerError::Other("it is not in a regular file".into()));
    }
    let mut text = String::new();
    file.take(SECRET_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > SECRET_BYTES {
        return Err(BrokerError::Other(format!("its file has more than {SECRET_BYTES} bytes")));
    }
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

fn process(process: kstats::Process) -> Process {
    Process {
        pid: process.pid,
        name: process.name,
        state: process.state,
        threads: process.threads,
        resident_bytes: process.resident_bytes,
        cpu_ms: process.cpu_milliseconds,
        started_unix_ms: process.started_milliseconds,
    }
}
