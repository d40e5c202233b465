//! A broker by script: whoever the guest connects to is here, on the loopback, and does one thing.
//!
//! Each connection is a real socket with a thread at its other end, which ends when the guest's side is closed. Whatever is not a TCP
//! connection is refused; a secret and a file are there for whoever gets past the grant.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use sonde_host::{BrokerError, Kstat, KstatValue, Process};
use sonde_hostile::Peer;
use sonde_runner::{Broker, BrokerFuture};

/// Between two bytes of a peer that drips.
const DRIP: Duration = Duration::from_millis(5);
/// Repetitions that an endless peer says at once.
const BLOCK: usize = 256;
/// How long a peer holds on to a connection at most: far past any run's deadline.
const PATIENCE: Duration = Duration::from_secs(30);

/// The broker of one run.
pub(crate) struct Scripted(pub(crate) Peer);

impl Scripted {
    fn accept(&self) -> std::io::Result<TcpStream> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let ours = TcpStream::connect(listener.local_addr()?)?;
        let (theirs, _) = listener.accept()?;
        ours.set_nonblocking(true)?;
        theirs.set_read_timeout(Some(PATIENCE))?;
        theirs.set_write_timeout(Some(PATIENCE))?;
        let peer = self.0;
        std::thread::spawn(move || act(peer, theirs));
        Ok(ours)
    }
}

/// Plays the peer's part until the guest's side is closed.
fn act(peer: Peer, mut stream: TcpStream) {
    // Whoever is no longer listened to has nothing more to do: errors end the part.
    let _ = match peer {
        Peer::Absent | Peer::Tarpit => Ok(()),
        Peer::Silent => until_closed(&mut stream),
        Peer::Says(words) => says(&mut stream, words),
        Peer::Endless(first, again) => endless(&mut stream, first, again),
        Peer::Drips(words) => drips(&mut stream, words),
    };
}

fn says(stream: &mut TcpStream, words: &[u8]) -> std::io::Result<()> {
    head(stream)?;
    stream.write_all(words)?;
    stream.shutdown(Shutdown::Write)?;
    until_closed(stream)
}

fn endless(stream: &mut TcpStream, first: &[u8], again: &[u8]) -> std::io::Result<()> {
    if !first.is_empty() {
        head(stream)?;
    }
    stream.write_all(first)?;
    let block = again.repeat(BLOCK);
    loop {
        stream.write_all(&block)?;
    }
}

fn drips(stream: &mut TcpStream, words: &[u8]) -> std::io::Result<()> {
    head(stream)?;
    words.iter().cycle().try_for_each(|byte| {
        std::thread::sleep(DRIP);
        stream.write_all(&[*byte])
    })
}

/// The head of a request: an answer that comes before it is none.
fn head(stream: &mut TcpStream) -> std::io::Result<()> {
    let (mut heard, mut byte) = (Vec::new(), [0]);
    while !heard.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        heard.push(byte[0]);
    }
    Ok(())
}

fn until_closed(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut heard = [0; 4096];
    while stream.read(&mut heard)? > 0 {}
    Ok(())
}

impl Broker for Scripted {
    fn connect_tcp(&self, _: u16, _: Instant) -> BrokerFuture<'_, TcpStream> {
        Box::pin(async {
            match self.0 {
                Peer::Absent => Err(BrokerError::Refused),
                Peer::Tarpit => std::future::pending().await,
                _ => self.accept().map_err(|error| BrokerError::Other(error.to_string())),
            }
        })
    }
    fn connect_unix<'a>(&'a self, _: &'a str, _: Instant) -> BrokerFuture<'a, UnixStream> {
        Box::pin(async { Err(BrokerError::Refused) })
    }
    fn open_file<'a>(&'a self, _: &'a str, _: Instant) -> BrokerFuture<'a, File> {
        Box::pin(async { File::open("/proc/self/status").map_err(|_| BrokerError::NotFound) })
    }
    fn kstats<'a>(&'a self, _: &'a str) -> BrokerFuture<'a, Vec<Kstat>> {
        let statistics = vec![("value".to_owned(), KstatValue::Unsigned(1))];
        Box::pin(async { Ok(vec![Kstat { module: "cpu".into(), name: String::new(), statistics }]) })
    }
    fn processes(&self, _: usize) -> BrokerFuture<'_, Vec<Process>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn secret<'a>(&'a self, _: &'a str) -> BrokerFuture<'a, Option<String>> {
        Box::pin(async { Ok(Some("hunter2".to_owned())) })
    }
}
