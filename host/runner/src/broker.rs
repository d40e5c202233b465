//! The seam to whoever may open things: the only way out of a run.
//!
//! A sensor asks a capability; the capability checks the grant and the run's limits, then asks the broker of *this*
//! run. In a runner that is [`RemoteBroker`](crate::remote::RemoteBroker), which asks another process with the run's ticket; for an author's trial it is
//! [`DirectBroker`](crate::DirectBroker). The broker checks the grant's port or path a second time against what it knows of the instance:
//! neither side trusts the other to have done so.

use std::fs::File;
use std::future::Future;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::time::Instant;

use sonde_host::{BrokerError, Kstat, Process};

/// What a broker call resolves to.
pub type BrokerFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BrokerError>> + Send + 'a>>;

/// Opens what a run on one instance may touch.
pub trait Broker: Send + Sync {
    /// A connected, non-blocking stream to a port inside the instance's network namespace.
    fn connect_tcp(&self, port: u16, deadline: Instant) -> BrokerFuture<'_, TcpStream>;
    /// The same for the capability `http`, which the grant has ports of its own for.
    fn connect_http(&self, port: u16, deadline: Instant) -> BrokerFuture<'_, TcpStream> {
        self.connect_tcp(port, deadline)
    }
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
