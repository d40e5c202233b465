//! DNS over TCP (RFC 7766): for answers that are cut over UDP, and for transfers.
//!
//! A connection asks one thing after another and gets its answers in that order; one that says nothing for a while is closed. There are so many, and
//! so many from one address, so that nobody can take them all.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::message::{Reply, Transport, reply};
use super::{Counters, Shared, transfer};

/// Of all, and from one address: a resolver of a large site asks for what was cut over a few.
const MOST: usize = 256;
const MOST_OF_ADDRESS: usize = 16;
/// Between two questions, and for each to come in or go out.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of one connection, so that it does not live for ever by asking again and again.
const MOST_QUESTIONS: u32 = 1000;
/// No question is as long.
const LONGEST_QUESTION: usize = 4096;
/// When the kernel gives no connection, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections by address.
type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let counts = Counts::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        let Ok((stream, source)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let place = Place::take(&counts, source.ip().to_canonical()).filter(|_| connections.len() < MOST);
        match place {
            Some(place) => drop(connections.spawn(connection(stream, source, Arc::clone(&shared), place))),
            None => Counters::add(&shared.counters.tcp_refused),
        }
    }
}

/// A connection, counted until dropped.
struct Place {
    counts: Counts,
    address: IpAddr,
}

impl Place {
    fn take(counts: &Counts, address: IpAddr) -> Option<Self> {
        let mut open = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.entry(address).or_default();
        if *own >= MOST_OF_ADDRESS {
            return None;
        }
        *own += 1;
        Some(Self { counts: Arc::clone(counts), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(open.remove(&self.address)),
        }
    }
}

async fn connection(mut stream: TcpStream, source: SocketAddr, shared: Arc<Shared>, _place: Place) {
    // However it ends: there is nobody to tell.
    let _ = answer_all(&mut stream, source, &shared).await;
}

async fn answer_all(stream: &mut TcpStream, source: SocketAddr, shared: &Shared) -> io::Result<()> {
    for _ in 0..MOST_QUESTIONS {
        let packet = timeout(PATIENCE, question(stream)).await??;
        Counters::add(&shared.counters.tcp_questions);
        match reply(&shared.zone, &packet, source.ip(), Transport::Tcp, false) {
            Reply::Silence => return Ok(()),
            Reply::Message(bytes, code) => {
                shared.counters.replied(code);
                timeout(PATIENCE, send(stream, &bytes)).await??;
            }
            Reply::Transfer(question) => {
                Counters::add(&shared.counters.transfers);
                for message in transfer::messages(&shared.zone, &question, source.ip(), &shared.secondaries) {
                    shared.counters.replied(message.metadata.response_code);
                    let bytes = message.to_vec().map_err(io::Error::other)?;
                    timeout(PATIENCE, send(stream, &bytes)).await??;
                }
            }
        }
    }
    Ok(())
}

/// A message behind its length.
async fn question(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > LONGEST_QUESTION {
        return Err(io::Error::other("no question is as long"));
    }
    let mut packet = vec![0; length];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let Ok(length) = u16::try_from(bytes.len()) else { return Err(io::Error::other("the answer is too long")) };
    let mut whole = Vec::with_capacity(bytes.len() + 2);
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(bytes);
    stream.write_all(&whole).await
}
