//! What answers behind a port or a socket of the double: a closure, silence, or a real server.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use super::world::streams::StreamError;

/// As the node.
const MAX_READ_BYTES: u32 = 64 * 1024;

type Serve = Rc<RefCell<dyn FnMut(&[u8]) -> Vec<u8>>>;

/// A server of the double.
pub(super) enum Peer {
    Scripted(Serve),
    Silent,
    Tcp(u16),
    Unix(String),
}

impl Peer {
    pub(super) fn scripted(serve: impl FnMut(&[u8]) -> Vec<u8> + 'static) -> Self {
        Self::Scripted(Rc::new(RefCell::new(serve)))
    }

    pub(super) fn connect(&self, timeout_milliseconds: u32) -> Result<Connection, StreamError> {
        let timeout = Duration::from_millis(u64::from(timeout_milliseconds.max(1)));
        let end = match self {
            Self::Scripted(serve) => {
                let greeting = (serve.borrow_mut())(&[]);
                End::Scripted { serve: Rc::clone(serve), pending: RefCell::new(greeting.into()) }
            }
            Self::Silent => End::Silent,
            Self::Tcp(port) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                End::Tcp(TcpStream::connect_timeout(&address, timeout).map_err(|error| fault(&error))?)
            }
            Self::Unix(path) => End::Unix(UnixStream::connect(path).map_err(|error| fault(&error))?),
        };
        Ok(Connection { end, timeout: Cell::new(timeout) })
    }
}

enum End {
    Scripted { serve: Serve, pending: RefCell<VecDeque<u8>> },
    Silent,
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// `streams.connection`.
pub struct Connection {
    end: End,
    timeout: Cell<Duration>,
}

impl Connection {
    /// `connection.read`.
    pub fn read(&self, max: u32) -> Result<Vec<u8>, StreamError> {
        let max = max.min(MAX_READ_BYTES) as usize;
        let mut buffer = vec![0; max];
        let length = match &self.end {
            End::Silent => return Err(StreamError::Timeout),
            End::Scripted { pending, .. } => {
                let mut pending = pending.borrow_mut();
                let length = max.min(pending.len());
                return Ok(pending.drain(..length).collect());
            }
            End::Tcp(stream) => {
                stream.set_read_timeout(Some(self.timeout.get())).map_err(|error| fault(&error))?;
                (&*stream).read(&mut buffer)
            }
            End::Unix(stream) => {
                stream.set_read_timeout(Some(self.timeout.get())).map_err(|error| fault(&error))?;
                (&*stream).read(&mut buffer)
            }
        };
        buffer.truncate(length.map_err(|error| fault(&error))?);
        Ok(buffer)
    }

    /// `connection.write`.
    pub fn write(&self, bytes: &[u8]) -> Result<(), StreamError> {
        match &self.end {
            End::Silent => Ok(()),
            End::Scripted { serve, pending } => {
                let answer = (serve.borrow_mut())(bytes);
                pending.borrow_mut().extend(answer);
                Ok(())
            }
            End::Tcp(stream) => (&*stream).write_all(bytes).map_err(|error| fault(&error)),
            End::Unix(stream) => (&*stream).write_all(bytes).map_err(|error| fault(&error)),
        }
    }

    /// `connection.set-timeout`.
    pub fn set_timeout(&self, milliseconds: u32) {
        self.timeout.set(Duration::from_millis(u64::from(milliseconds.max(1))));
    }
}

pub(super) fn fault(error: &std::io::Error) -> StreamError {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => StreamError::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => StreamError::Timeout,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => StreamError::Closed,
        _ => StreamError::Other(error.to_string()),
    }
}
