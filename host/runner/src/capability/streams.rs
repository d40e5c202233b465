//! `streams`, `tcp`, `unix`: bytes to and from the instance.
//!
//! The descriptor comes connected from the broker. Each read and write has a deadline, the run's own at the
//! latest, and is counted against the run's bytes; a connect is counted against its sockets even when it fails, or else
//! a sensor could scan ports for nothing.

use std::time::{Duration, Instant};

use sonde_host::BrokerError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmtime::component::Resource;

use super::not_granted;
use crate::bindings::sonde::sensor::{streams, tcp, types, unix};
use crate::ctx::{Ctx, within};

use streams::StreamError;

/// The most that one read gives: what is copied into the guest is not metered by wasmtime.
const READ_BYTES: u32 = 64 << 10;

/// What making a connection costs the node: two processes woken, a namespace entered and left, the kernel's own handshake.
pub(super) const CONNECT_MICROSECONDS: u64 = 150;
/// One system call, and being woken when there is something.
const TRANSFER_MICROSECONDS: u64 = 2;

/// By which capability a port is opened: the grant has a list for each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Tcp,
    Http,
}

/// A stream's transport.
pub(super) enum Transport {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

/// A connected stream that a run holds.
pub struct Connection {
    transport: Transport,
    timeout: Duration,
}

impl Connection {
    async fn read(&mut self, into: &mut Vec<u8>, max: usize) -> std::io::Result<usize> {
        let mut limited = into;
        match &mut self.transport {
            Transport::Tcp(stream) => stream.take(max as u64).read_buf(&mut limited).await,
            Transport::Unix(stream) => stream.take(max as u64).read_buf(&mut limited).await,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.transport {
            Transport::Tcp(stream) => stream.write_all(bytes).await,
            Transport::Unix(stream) => stream.write_all(bytes).await,
        }
    }
}

fn io_error(error: &std::io::Error) -> StreamError {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionReset | Kind::BrokenPipe | Kind::ConnectionAborted | Kind::UnexpectedEof => StreamError::Closed,
        Kind::ConnectionRefused => StreamError::Refused,
        Kind::TimedOut => StreamError::Timeout,
        _ => StreamError::Other(error.to_string()),
    }
}

impl From<BrokerError> for StreamError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Refused | BrokerError::Gone | BrokerError::NotFound => Self::Refused,
            BrokerError::Timeout => Self::Timeout,
            BrokerError::Denied(why) => Self::Denied(why),
            other @ (BrokerError::NotReadable | BrokerError::Other(_)) => Self::Other(other.to_string()),
        }
    }
}

impl Ctx {
    /// Opens a TCP transport that the caller has found in the grant.
    pub(super) async fn open_port(
        &mut self,
        door: Door,
        port: u16,
        deadline: Instant,
    ) -> Result<tokio::net::TcpStream, StreamError> {
        self.take_socket().map_err(StreamError::Denied)?;
        let broker = self.broker.clone();
        let opening = match door {
            Door::Tcp => broker.connect_tcp(port, deadline),
            Door::Http => broker.connect_http(port, deadline),
        };
        let opened = within(deadline, opening).await;
        let stream = opened.unwrap_or(Err(BrokerError::Timeout))?;
        tokio::net::TcpStream::from_std(stream).map_err(|error| io_error(&error))
    }

    fn keep(&mut self, transport: Transport, timeout_ms: u32) -> wasmtime::Result<Resource<Connection>> {
        let timeout = Duration::from_millis(u64::from(timeout_ms));
        self.hold(Connection { transport, timeout })
    }
}

impl types::Host for Ctx {}

impl streams::Host for Ctx {}

impl streams::HostConnection for Ctx {
    async fn read(
        &mut self,
        connection: Resource<Connection>,
        max: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, StreamError>> {
        self.call_worth(1, TRANSFER_MICROSECONDS)?;
        let wanted = max.min(READ_BYTES) as usize;
        let left = self.meter.bytes_in as usize;
        if wanted == 0 {
            return Ok(Ok(Vec::new()));
        }
        if left == 0 {
            let limit = self.grant.limits.bytes_in;
            return Ok(Err(StreamError::Denied(format!("the limit of {limit} bytes received a run is used up"))));
        }
        let deadline = self.deadline;
        let connection = self.table.get_mut(&connection)?;
        let deadline = deadline.min(Instant::now() + connection.timeout);
        let mut bytes = Vec::new();
        match within(deadline, connection.read(&mut bytes, wanted.min(left))).await {
            None => Ok(Err(StreamError::Timeout)),
            Some(Err(error)) => Ok(Err(io_error(&error))),
            Some(Ok(_)) => {
                self.meter.bytes_in -= bytes.len() as u64;
                self.charge_bytes(bytes.len())?;
                Ok(Ok(bytes))
            }
        }
    }

    async fn write(
        &mut self,
        connection: Resource<Connection>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), StreamError>> {
        self.call_worth(1, TRANSFER_MICROSECONDS)?;
        self.charge_bytes(bytes.len())?;
        let Some(left) = self.meter.bytes_out.checked_sub(bytes.len() as u64) else {
            let limit = self.grant.limits.bytes_out;
            return Ok(Err(StreamError::Denied(format!("the limit of {limit} bytes sent a run is used up"))));
        };
        self.meter.bytes_out = left;
        let deadline = self.deadline;
        let connection = self.table.get_mut(&connection)?;
        let deadline = deadline.min(Instant::now() + connection.timeout);
        match within(deadline, connection.write(&bytes)).await {
            None => Ok(Err(StreamError::Timeout)),
            Some(Err(error)) => Ok(Err(io_error(&error))),
            Some(Ok(())) => Ok(Ok(())),
        }
    }

    fn set_timeout(&mut self, connection: Resource<Connection>, milliseconds: u32) -> wasmtime::Result<()> {
        self.call()?;
        self.table.get_mut(&connection)?.timeout = Duration::from_millis(u64::from(milliseconds));
        Ok(())
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.let_go(connection).map(drop)
    }
}

impl tcp::Host for Ctx {
    async fn connect(
        &mut self,
        port: u16,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Resource<Connection>, StreamError>> {
        self.call()?;
        self.charge_opening(CONNECT_MICROSECONDS)?;
        if !self.grant.tcp.contains(&port) {
            return Ok(Err(StreamError::Denied(not_granted(&format!("TCP port {port}")))));
        }
        let deadline = self.until(timeout_ms);
        match self.open_port(Door::Tcp, port, deadline).await {
            Ok(stream) => Ok(Ok(self.keep(Transport::Tcp(stream), timeout_ms)?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl unix::Host for Ctx {
    async fn connect(
        &mut self,
        path: String,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Resource<Connection>, StreamError>> {
        self.call()?;
        self.charge_opening(CONNECT_MICROSECONDS)?;
        self.charge_bytes(path.len())?;
        if !self.grant.unix.contains(&path) {
            return Ok(Err(StreamError::Denied(not_granted(&format!("the socket {path:?}")))));
        }
        if let Err(why) = self.take_socket() {
            return Ok(Err(StreamError::Denied(why)));
        }
        let deadline = self.until(timeout_ms);
        let broker = self.broker.clone();
        let opened = within(deadline, broker.connect_unix(&path, deadline)).await;
        let stream = match opened.unwrap_or(Err(BrokerError::Timeout)) {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error.into())),
        };
        match tokio::net::UnixStream::from_std(stream) {
            Ok(stream) => Ok(Ok(self.keep(Transport::Unix(stream), timeout_ms)?)),
            Err(error) => Ok(Err(io_error(&error))),
        }
    }
}
