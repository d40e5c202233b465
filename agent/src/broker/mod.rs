//! The broker of one instance: opens what a run on it may touch, by the rules of design §5.7.
//!
//! The only part of the agent that enters a namespace or takes on other credentials. It does not trust that
//! the sandbox has checked the grant's ports and paths against the instance: what belongs to the instance is decided here,
//! from the kernel, at the moment of opening. It opens and connects; it never reads or writes for a sensor.

mod files;
mod local_addresses;
mod namespaces;
mod tcp;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use sonde_collect::{Found, Roots, kstats};
use sonde_host::{Broker, BrokerError, BrokerFuture, Kstat, KstatValue, Process};
use tokio::sync::Semaphore;

use crate::floor::Scraper;
use crate::gate::{Answer, Gate, READ_DEADLINE};
use crate::reading_threads::ReadingThreads;

pub use namespaces::{NamespaceThread, Owners};

/// Threads with an instance's credentials that may be at work, or stuck, at once on the node.
const DISPOSABLE_THREADS: usize = 32;
/// Longest secret.
const SECRET_BYTES: u64 = 4 << 10;

/// What all brokers of the node share.
pub struct BrokerRoom {
    pub(crate) roots: Arc<Roots>,
    pub(crate) namespace_thread: NamespaceThread,
    pub(crate) owners: Owners,
    disposable: Arc<Semaphore>,
}

impl BrokerRoom {
    pub fn new(roots: Arc<Roots>) -> Self {
        Self {
            roots,
            namespace_thread: NamespaceThread::default(),
            owners: Owners::default(),
            disposable: Arc::new(Semaphore::new(DISPOSABLE_THREADS)),
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
    pub(crate) floor: std::time::Duration,
    /// Where the operator keeps the secrets that this sensor may have.
    pub(crate) secrets: BTreeMap<String, PathBuf>,
}

impl Broker for InstanceBroker {
    fn connect_tcp(&self, port: u16, deadline: Instant) -> BrokerFuture<'_, TcpStream> {
        Box::pin(self.tcp(port, deadline))
    }

    fn connect_unix<'a>(&'a self, path: &'a str, _deadline: Instant) -> BrokerFuture<'a, UnixStream> {
        Box::pin(self.unix_socket(path))
    }

    fn open_file<'a>(&'a self, path: &'a str, _deadline: Instant) -> BrokerFuture<'a, File> {
        Box::pin(self.file(path))
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
            let listing = tokio::task::spawn_blocking(move || kstats::processes(&roots, &found));
            let listed = listing.await.map_err(|error| BrokerError::Other(error.to_string()))?;
            Ok(listed.into_iter().take(most).map(process).collect())
        })
    }

    fn secret<'a>(&'a self, name: &'a str) -> BrokerFuture<'a, Option<String>> {
        let path = self.secrets.get(name).cloned();
        Box::pin(async move {
            let Some(path) = path else { return Ok(None) };
            let reading = tokio::task::spawn_blocking(move || read_secret(&path));
            reading.await.map_err(|error| BrokerError::Other(error.to_string()))?.map(Some)
        })
    }
}

/// A secret is the file's content less the newline at its end. The error never holds any of it.
fn read_secret(path: &std::path::Path) -> Result<String, BrokerError> {
    use std::io::Read;
    let unreadable = |error: std::io::Error| BrokerError::Other(format!("its file cannot be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
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
