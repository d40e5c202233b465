//! A broker by script: whoever the sensor connects to is here, on the loopback, and does one thing.
//!
//! Each connection is a real socket with a thread at its other end, so that the host's own reading and writing is what is tested. Whatever is
//! not a TCP connection is refused.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use sonde_host::{BrokerError, Kstat, Process};
use sonde_runner::{Broker, BrokerFuture};

/// How long a peer waits for a request. Only a defect makes it that long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the peer does with each connection.
pub(crate) enum Peer {
    /// Refuses it.
    Absent,
    /// Never finishes connecting; counts who waits.
    Tarpit(Arc<AtomicUsize>),
    /// Takes it, reads nothing and says nothing.
    Silent,
    /// Says this, and that is all.
    Speaks(Vec<u8>),
    /// Reads a request's head, says this, and then no more.
    Stalls(Vec<u8>),
    /// Reads a request's head, says this, and closes its side.
    Answers(Vec<u8>, mpsc::Sender<Vec<u8>>, Received),
}

/// The request that a peer has read.
#[derive(Clone)]
pub(crate) struct Received(Arc<Mutex<mpsc::Receiver<Vec<u8>>>>, Arc<Mutex<Vec<u8>>>);

impl Received {
    pub(crate) fn get(&self) -> Vec<u8> {
        let mut request = self.1.lock().expect("no panic while held");
        if request.is_empty() {
            let receiver = self.0.lock().expect("no panic while held");
            *request = receiver.recv_timeout(PATIENCE).expect("the peer was asked");
        }
        request.clone()
    }
}

impl Peer {
    pub(crate) fn answers(response: &str) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self::Answers(response.as_bytes().to_vec(), sender, Received(Arc::new(Mutex::new(receiver)), Arc::default()))
    }

    /// What [`Peer::Answers`] is asked.
    pub(crate) fn received(&self) -> Received {
        match self {
            Self::Answers(_, _, received) => received.clone(),
            _ => panic!("only a peer that answers reads"),
        }
    }

    fn accept(&self) -> std::io::Result<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        stream.set_nonblocking(true)?;
        let (mut peer, _) = listener.accept()?;
        let unread = || mpsc::channel().0;
        let (said, asked) = match self {
            Self::Absent | Self::Tarpit(_) => return Err(std::io::ErrorKind::ConnectionRefused.into()),
            Self::Silent => (Vec::new(), None),
            Self::Speaks(said) => (said.clone(), None),
            Self::Stalls(said) => (said.clone(), Some(unread())),
            Self::Answers(said, asked, _) => (said.clone(), Some(asked.clone())),
        };
        let stays = matches!(self, Self::Silent | Self::Stalls(_));
        std::thread::spawn(move || {
            if let Some(asked) = asked {
                // Nobody may want to know.
                let _ = asked.send(request(&mut peer));
            }
            // The sensor may have gone away with its limit.
            let _ = peer.write_all(&said);
            if !stays {
                let _ = peer.shutdown(Shutdown::Write);
            }
            // Open until the sensor closes: what it sends must not be answered by a reset.
            let _ = peer.set_read_timeout(Some(PATIENCE));
            let _ = std::io::copy(&mut peer, &mut std::io::sink());
        });
        Ok(stream)
    }
}

/// A request's head; the guest sends no body.
fn request(peer: &mut TcpStream) -> Vec<u8> {
    let _ = peer.set_read_timeout(Some(PATIENCE));
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && peer.read(&mut byte).is_ok_and(|got| got == 1) {
        head.push(byte[0]);
    }
    head
}

impl Broker for Peer {
    fn connect_tcp(&self, _: u16, _: Instant) -> BrokerFuture<'_, TcpStream> {
        Box::pin(async {
            match self {
                Self::Absent => Err(BrokerError::Refused),
                Self::Tarpit(waiting) => {
                    waiting.fetch_add(1, Ordering::SeqCst);
                    std::future::pending().await
                }
                _ => self.accept().map_err(|error| BrokerError::Other(error.to_string())),
            }
        })
    }
    fn connect_unix<'a>(&'a self, _: &'a str, _: Instant) -> BrokerFuture<'a, UnixStream> {
        Box::pin(async { Err(BrokerError::Refused) })
    }
    fn open_file<'a>(&'a self, _: &'a str, _: Instant) -> BrokerFuture<'a, File> {
        Box::pin(async { Err(BrokerError::NotFound) })
    }
    fn kstats<'a>(&'a self, _: &'a str) -> BrokerFuture<'a, Vec<Kstat>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn processes(&self, _: usize) -> BrokerFuture<'_, Vec<Process>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn secret<'a>(&'a self, _: &'a str) -> BrokerFuture<'a, Option<String>> {
        Box::pin(async { Ok(None) })
    }
}
