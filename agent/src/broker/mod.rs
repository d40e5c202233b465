//! The broker of one instance: opens what a run on it may touch, by the rules of design §5.7.
//!
//! The only part of the agent that enters a namespace or takes on other credentials. It does not trust that
//! the sandbox has checked the grant's ports and paths against the instance: what belongs to the instance is decided here,
//! from the kernel, at the moment of opening. It opens and connects; it never reads or writes for a sensor.

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
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_collect::{Found, Roots, kstats};
use sonde_host::{Broker, BrokerError, BrokerFuture, Kstat, KstatValue, Process};

use crate::floor::Scraper;
use crate::gate::{Answer, Gate, READ_DEADLINE};
use crate::reading_threads::ReadingThreads;

use namespaces::NamespaceThread;
use owners::Owners;
use places::Places;

/// Longest secret.
const SECRET_BYTES: u64 = 4 << 10;

/// Longest wait for what has no deadline of its own; the run's is over before.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all brokers of the node share.
pub struct BrokerRoom {
    pub(crate) roots: Arc<Roots>,
    pub(crate) owners: Owners,
    namespace_thread: NamespaceThread,
    /// For threads with an instance's credentials.
    opening: Places,
    /// For looking at an instance's processes, and at an operator's files.
    looking: Places,
}

impl BrokerRoom {
    pub fn new(roots: Arc<Roots>) -> Self {
        Self {
            owners: Owners::new(roots.clone()),
            roots,
            namespace_thread: NamespaceThread::default(),
            opening: Places::default(),
            looking: Places::default(),
        }
    }
}

/// The broker of one sensor on one instance.
pub struct InstanceBroker {
    pub(crate) room: Arc<BrokerRoom>,
    pub(crate) found: Arc<Found>,
    pub(crate) owner: Arc<str>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) threads: Arc<ReadingThreads>,
    pub(crate) floor: Duration,
    /// Where the operator keeps the secrets that this sensor may have.
    pub(crate) secrets: BTreeMap<String, PathBuf>,
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
        looking.await.map_err(|error| BrokerError::Other(error.to_string()))
    }
}

impl Broker for InstanceBroker {
    fn connect_tcp(&self, port: u16, deadline: Instant) -> BrokerFuture<'_, TcpStream> {
        Box::pin(self.tcp(port, deadline))
    }

    fn connect_unix<'a>(&'a self, path: &'a str, deadline: Instant) -> BrokerFuture<'a, UnixStream> {
        Box::pin(self.unix_socket(path, deadline))
    }

    fn open_file<'a>(&'a self, path: &'a str, deadline: Instant) -> BrokerFuture<'a, File> {
        Box::pin(self.file(path, deadline))
    }

    fn kstats<'a>(&'a self, module: &'a str) -> BrokerFuture<'a, Vec<Kstat>> {
        Box::pin(async move {
            match self.gate.read(Scraper::Anybody, self.floor, READ_DEADLINE, &self.threads).await {
                Answer::Taken(taken) => Ok(kstats::kstats(&taken.reading, module).into_iter().map(kstat).collect()),
                Answer::Gone => Err(BrokerError::Gone),
                Answer::NotInTime => Err(BrokerError::Timeout),
            }
        })
    }

    fn processes(&self, most: usize) -> BrokerFuture<'_, Vec<Process>> {
        let (found, roots) = (self.found.clone(), self.room.roots.clone());
        Box::pin(async move {
            let listed = self.looking(Instant::now() + PATIENCE, move || kstats::processes(&roots, &found)).await?;
            Ok(listed.into_iter().take(most).map(process).collect())
        })
    }

    fn secret<'a>(&'a self, name: &'a str) -> BrokerFuture<'a, Option<String>> {
        let path = self.secrets.get(name).cloned();
        Box::pin(async move {
            let Some(path) = path else { return Ok(None) };
            self.looking(Instant::now() + PATIENCE, move || read_secret(&path)).await?.map(Some)
        })
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

fn kstat(kstat: kstats::Kstat) -> Kstat {
    let value = |value| match value {
        kstats::KstatValue::Unsigned(value) => KstatValue::Unsigned(value),
        kstats::KstatValue::Signed(value) => KstatValue::Signed(value),
        kstats::KstatValue::Float(value) => KstatValue::Float(value),
        kstats::KstatValue::Text(value) => KstatValue::Text(value),
    };
    Kstat {
        module: kstat.module.to_string(),
        name: kstat.name,
        statistics: kstat.statistics.into_iter().map(|(name, v)| (name.to_string(), value(v))).collect(),
    }
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
