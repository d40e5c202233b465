//! A broker without an instance: straight to a host and port, for an author who tries a sensor.
//!
//! `sonde sensor test` and the benchmarks use it. It reaches whatever the caller can reach, so it has no place in an agent.
//! What needs an instance (files, kstats, processes, Unix sockets) is denied with a sentence that says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use sonde_host::{BrokerError, Kstat, Process};

use crate::broker::{Broker, BrokerFuture};

/// Connects to a host by name or address.
#[derive(Debug, Clone, Default)]
pub struct DirectBroker {
    /// Where every connection goes; nowhere if absent.
    pub host: Option<String>,
    /// The port that every granted port stands for; each for itself if absent.
    pub port: Option<u16>,
    /// Files that hold secrets, by name.
    pub secrets: BTreeMap<String, PathBuf>,
}

impl DirectBroker {
    /// Looks the host's name up, so that a mistyped one is not taken for a server that is down.
    ///
    /// # Errors
    /// The name has no address.
    pub async fn resolve(&self) -> std::io::Result<()> {
        let Some(host) = &self.host else { return Ok(()) };
        let found = tokio::net::lookup_host((host.as_str(), self.port.unwrap_or(0))).await;
        found.map(drop).map_err(|error| std::io::Error::other(format!("{host:?} has no address: {error}")))
    }
}

fn denied<T: Send + 'static>(what: &str) -> BrokerFuture<'static, T> {
    let sentence = format!("there are no {what} without an instance");
    Box::pin(async { Err(BrokerError::Denied(sentence)) })
}

impl Broker for DirectBroker {
    fn connect_tcp(&self, port: u16, deadline: Instant) -> BrokerFuture<'_, TcpStream> {
        let port = self.port.unwrap_or(port);
        Box::pin(async move {
            let Some(host) = &self.host else {
                return Err(BrokerError::Denied("no target was given (--target HOST[:PORT])".into()));
            };
            let connecting = tokio::net::TcpStream::connect((host.as_str(), port));
            let connected = tokio::time::timeout_at(deadline.into(), connecting).await;
            match connected.map_err(|_| BrokerError::Timeout)?.and_then(tokio::net::TcpStream::into_std) {
                Ok(stream) => Ok(stream),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Err(BrokerError::Refused),
                Err(error) => Err(BrokerError::Other(error.to_string())),
            }
        })
    }

    fn connect_unix<'a>(&'a self, _: &'a str, _: Instant) -> BrokerFuture<'a, UnixStream> {
        denied("Unix sockets")
    }

    fn open_file<'a>(&'a self, _: &'a str, _: Instant) -> BrokerFuture<'a, File> {
        denied("files")
    }

    fn kstats<'a>(&'a self, _: &'a str) -> BrokerFuture<'a, Vec<Kstat>> {
        denied("kstats")
    }

    fn processes(&self, _: usize) -> BrokerFuture<'_, Vec<Process>> {
        denied("processes")
    }

    fn secret<'a>(&'a self, name: &'a str) -> BrokerFuture<'a, Option<String>> {
        let path = self.secrets.get(name).cloned();
        Box::pin(async move {
            let Some(path) = path else { return Ok(None) };
            let read = std::fs::read_to_string(&path);
            let text = read.map_err(|error| BrokerError::Other(format!("its file cannot be read: {error}")))?;
            Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
        })
    }
}
