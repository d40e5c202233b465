//! The seam to whoever may open things: the only way out of a run.
//!
//! A sensor asks a capability; the capability checks the grant and the run's limits, then asks the broker of *this*
//! instance. What comes back is an open descriptor or plain values, so the broker can live in another
//! process without the host noticing. The broker checks the grant's port or path a second time against what it knows of the instance:
//! neither side trusts the other to have done so.

use std::fs::File;
use std::future::Future;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::time::Instant;

/// Why the broker did not open or answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    #[error("not within the time given")]
    Timeout,
    #[error("no such file")]
    NotFound,
    /// Not a regular file, or not readable with the instance's credentials.
    #[error("not a readable regular file")]
    NotReadable,
    /// Against the rules of design §5.7; the sentence names the rule.
    #[error("{0}")]
    Denied(String),
    /// The instance went away.
    #[error("the instance is gone")]
    Gone,
    #[error("{0}")]
    Other(String),
}

/// A statistic's value.
#[derive(Debug, Clone, PartialEq)]
pub enum KstatValue {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
}

/// A kernel statistic group: module, name, and values by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Kstat {
    pub module: String,
    pub name: String,
    pub statistics: Vec<(String, KstatValue)>,
}

/// One process of the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    pub state: char,
    pub threads: u32,
    pub resident_bytes: u64,
    pub cpu_ms: u64,
    pub started_unix_ms: u64,
}

/// What a broker call resolves to.
pub type BrokerFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BrokerError>> + Send + 'a>>;

/// Opens what a run on one instance may touch.
pub trait Broker: Send + Sync {
    /// A connected, non-blocking stream to a port inside the instance's network namespace.
    fn connect_tcp(&self, port: u16, deadline: Instant) -> BrokerFuture<'_, TcpStream>;
    /// A connected, non-blocking stream to a socket path under the instance's root.
    fn connect_unix<'a>(&'a self, path: &'a str, deadline: Instant) -> BrokerFuture<'a, UnixStream>;
    /// A regular file under the instance's root, open for reading.
    fn open_file<'a>(&'a self, path: &'a str, deadline: Instant) -> BrokerFuture<'a, File>;
    /// The instance's kstats of one module, or of all where it is empty.
    fn kstats<'a>(&'a self, module: &'a str) -> BrokerFuture<'a, Vec<Kstat>>;
    /// The instance's processes, at most `most`.
    fn processes(&self, most: usize) -> BrokerFuture<'_, Vec<Process>>;
    /// A secret by the name that the grant holds, read anew each time.
    fn secret<'a>(&'a self, name: &'a str) -> BrokerFuture<'a, Option<String>>;
}

/// The broker of `describe`, which has no instance: everything is denied.
#[derive(Debug)]
pub struct NoInstance;

impl NoInstance {
    fn deny<T: Send + 'static>() -> BrokerFuture<'static, T> {
        Box::pin(async { Err(BrokerError::Denied("there is no instance while a sensor describes itself".into())) })
    }
}

impl Broker for NoInstance {
    fn connect_tcp(&self, _: u16, _: Instant) -> BrokerFuture<'_, TcpStream> {
        Self::deny()
    }
    fn connect_unix<'a>(&'a self, _: &'a str, _: Instant) -> BrokerFuture<'a, UnixStream> {
        Self::deny()
    }
    fn open_file<'a>(&'a self, _: &'a str, _: Instant) -> BrokerFuture<'a, File> {
        Self::deny()
    }
    fn kstats<'a>(&'a self, _: &'a str) -> BrokerFuture<'a, Vec<Kstat>> {
        Self::deny()
    }
    fn processes(&self, _: usize) -> BrokerFuture<'_, Vec<Process>> {
        Self::deny()
    }
    fn secret<'a>(&'a self, _: &'a str) -> BrokerFuture<'a, Option<String>> {
        Self::deny()
    }
}
