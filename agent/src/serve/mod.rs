//! The agent's HTTP side: the accept loop, connections, and a clean end.
//!
//! It holds none of the broker's privileges and trusts nothing of a request. Connections are bounded in number and in the time that
//! they may take to say what they want. Where descriptors are out, spare ones are used, and then the quietest connections'. When the agent stops,
//! what is being answered is answered, within a deadline.

pub(crate) mod admin;
mod answer;
mod explain;
mod exposition;
mod json;
mod query;
mod routes;
mod sandbox;
mod tls;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use sonde_listen::{Connections, is_want_of_descriptors, is_want_of_the_node};

use crate::keeper::stopped;

#[cfg(test)]
pub(crate) use exposition::about_sensors;
pub use routes::Room;
#[cfg(test)]
pub(crate) use sandbox::families as sandbox_families;
pub(crate) use tls::is_proxy;
pub use tls::{TlsError, TlsFiles};

/// From the end of a request to the end of the next head: longer than a Prometheus lets a connection idle.
const HEAD_DEADLINE: Duration = Duration::from_secs(300);
/// From a connection's opening to its first byte.
const FIRST_BYTE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long requests in flight are waited for when the agent stops.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// Largest head of a request.
const HEAD_BYTES: usize = 32 << 10;
const MOST_HEADERS: usize = 64;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 16;
/// Of an answer, what may wait in memory for a caller that does not read.
const SEND_BYTES: usize = 64 << 10;
/// A silent peer is asked this often whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Accept errors are met with a pause that doubles to this: spinning would make it worse.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// Spare descriptors that were given are taken back this long after.
const TAKE_BACK: Duration = Duration::from_secs(1);

/// Asks the server whether it is at work; it answers as it answers a request.
pub type Ask = oneshot::Sender<()>;

/// Serves until `stop` becomes true, then drains. `descriptors` is how many the process may have.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsFiles>,
    room: Arc<Room>,
    descriptors: u64,
    mut asked: mpsc::Receiver<Ask>,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Arc::new(Connections::fitting(descriptors));
    let graceful = GracefulShutdown::new();
    let mut pause = SHORTEST_PAUSE;
    // Its beat is its own: who connects again and again must not put it off.
    let mut taking_back = tokio::time::interval(TAKE_BACK);
    taking_back.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => accepted,
            Some(asked) = asked.recv() => {
                tokio::spawn(async move { asked.send(()) });
                continue;
            }
            _ = taking_back.tick(), if !room.spare.is_whole() => {
                if room.spare.take_back() {
                    tracing::info!("there are descriptors again");
                }
                continue;
            }
        };
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause = make_room(&room, &connections, &error, pause).await;
                continue;
            }
        };
        pause = SHORTEST_PAUSE;
        room.about.connections.add(1);
        let _ = stream.set_nodelay(true);
        let mut place = connections.admit(None);
        if place.displaced {
            room.about.connections_refused.add(1);
        }
        let caller = Caller { id: place.id, connections: connections.clone(), room: room.clone() };
        let (tls, watcher) = (tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            tokio::select! {
                () = begin(stream, tls, caller, watcher) => {}
                _ = &mut place.put_out => {}
            }
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await;
    if drained.is_err() {
        tracing::warn!("requests in flight were cut off after {DRAIN_DEADLINE:?}");
    }
}

/// After a connection that could not be accepted: descriptors for the next attempt, or else a pause; returns the next one.
async fn make_room(room: &Room, connections: &Connections, error: &io::Error, pause: Duration) -> Duration {
    if is_want_of_descriptors(error) {
        room.about.descriptors_out.add(1);
        if room.spare.is_whole() {
            tracing::warn!(%error, "descriptors are out; spare ones are used");
        }
        if room.spare.give() {
            return SHORTEST_PAUSE;
        }
        // A scraper with a connection is worth more than a new one, where its place would be somebody else's at once.
        if !is_want_of_the_node(error) && connections.put_out_quietest() {
            room.about.connections_refused.add(1);
        }
    } else {
        tracing::warn!(%error, "a connection could not be accepted");
    }
    tokio::time::sleep(pause).await;
    (pause * 2).min(LONGEST_PAUSE)
}

/// Who is at the other end of a connection.
#[derive(Clone)]
struct Caller {
    id: u64,
    connections: Arc<Connections>,
    room: Arc<Room>,
}

/// From the first byte to the first request.
async fn begin(stream: TcpStream, tls: Option<TlsFiles>, caller: Caller, watcher: Watcher) {
    let Some(tls) = tls else {
        // Whoever says nothing at all is not waited for as long as a scraper between two scrapes.
        let first = tokio::time::timeout(FIRST_BYTE_DEADLINE, stream.peek(&mut [0])).await;
        if matches!(first, Ok(Ok(1))) {
            converse(stream, false, caller, watcher).await;
        }
        return;
    };
    let shaken = tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await;
    match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            converse(stream, http2, caller, watcher).await;
        }
        Err(error) => {
            caller.room.about.connections_refused.add(1);
            tracing::debug!(%error, "a handshake failed");
        }
    }
}

/// One connection, request by request. HTTP/2 only where TLS has agreed on it.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    caller: Caller,
    watcher: Watcher,
) {
    let service = service_fn(move |request| {
        let caller = caller.clone();
        caller.connections.heard(caller.id);
        async move { Ok::<_, Infallible>(routes::answer(&caller.room, caller.id, request).await) }
    });
    let stream = TokioIo::new(stream);
    let ended = if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_BYTES as u32)
            .max_send_buf_size(SEND_BYTES)
            .keep_alive_interval(Some(KEEP_ALIVE));
        watcher.watch(builder.serve_connection(stream, service)).await
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(HEAD_BYTES)
            .max_headers(MOST_HEADERS);
        watcher.watch(builder.serve_connection(stream, service)).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended in an error");
    }
}
