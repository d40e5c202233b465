//! The tenants' side: the accept loop, connections, and a clean end.
//!
//! Nothing of a connection is trusted, and everything of it is bounded: how many there are in all and from one address, the handshake (by `tls`), the size
//! and time of a head, the time in which an answer is read, streams and those that are thrown away. When the proxy stops it takes no
//! connection any more, answers what is being asked, within a deadline, and ends.

mod answer;
mod assignments;
mod lists;
mod pace;
mod routes;
mod scrape;
mod sending;
mod sensor_logs;
mod sensors;
mod synthesis;
mod tier;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use sonde_inventory::Catalogue;
use sonde_listen::{Connections, Place, Spare, is_want_of_descriptors, is_want_of_the_node};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::about::About;
use crate::access_log::AccessLog;
use crate::config::Config;
use crate::discovery;
use crate::flight::Flights;
use crate::limits::Accounts;
use crate::sensor_health::SensorHealth;
use crate::sensors::Sensors;
use crate::tls::{Peer, PublicTls};
use crate::upstream::Upstream;

pub(crate) use answer::{Answer, sentence, typed};
pub(crate) use pace::{Broken, Paces};
pub(crate) use scrape::{EXPECTED_OWNER, wait};
pub(crate) use synthesis::{STATES, exposition};
pub(crate) use tier::serve as serve_tier;

use pace::{Pace, Paced};

/// From the end of a request to the end of the next head: longer than a Prometheus lets a connection idle. What is slower within is ended by [`pace`].
const HEAD_DEADLINE: Duration = Duration::from_secs(330);
/// How long requests in flight are waited for when the proxy stops: the longest ordinary scrape.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);
/// Largest head of a request, and most headers in it.
const HEAD_BYTES: usize = 32 << 10;
const MOST_HEADERS: usize = 64;
/// Requests at once on one HTTP/2 connection: one connection serves many targets.
const STREAMS: u32 = 128;
/// Of an answer, what may wait in memory for a caller that does not read.
const SEND_BYTES: usize = 64 << 10;
/// What a caller may send that nobody reads: no route takes a body of any size.
const WINDOW_BYTES: u32 = 64 << 10;
/// Streams that were reset before they were looked at, or for the caller's own fault.
const RESETS: usize = 20;
const FAULTS: usize = 64;
/// A silent peer is asked this often whether it is there, and given so long to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const ALIVE_WITHIN: Duration = Duration::from_secs(20);
/// Accept errors are met with a pause that doubles to this: spinning would make it worse.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// What the routes answer from.
pub struct Door {
    pub catalogue: Arc<Catalogue>,
    pub config: watch::Receiver<Arc<Config>>,
    pub accounts: Arc<Accounts>,
    pub flights: Flights,
    pub upstream: Upstream,
    pub discovery: discovery::Settings,
    pub about: Arc<About>,
    pub log: AccessLog,
    pub(crate) paces: Paces,
    pub(crate) sensor_health: SensorHealth,
    pub(crate) sensors: Sensors,
    pub connections: Arc<Connections>,
    pub spare: Spare,
}

/// Serves until `stop` becomes true, then drains.
pub async fn serve(listener: TcpListener, tls: PublicTls, door: Arc<Door>, mut stop: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    let mut pause = SHORTEST_PAUSE;
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok((stream, from)) => (stream, from.ip()),
            Err(error) => {
                pause = make_room(&door, &error, pause).await;
                continue;
            }
        };
        pause = SHORTEST_PAUSE;
        door.about.connections.add(1);
        let _ = stream.set_nodelay(true);
        let place = door.connections.admit(Some(from));
        door.about.displaced.add(u64::from(place.displaced));
        tokio::spawn(admitted(stream, from, tls.clone(), door.clone(), place, graceful.watcher()));
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in flight were cut off after {DRAIN_DEADLINE:?}");
    }
}

/// Resolves when it is time to stop, also when whoever could say so is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// After a connection that could not be accepted: a descriptor for the next attempt, or else a pause; returns the next one.
async fn make_room(door: &Door, error: &io::Error, pause: Duration) -> Duration {
    if is_want_of_descriptors(error) {
        door.about.descriptors_out.add(1);
        if door.spare.is_whole() {
            tracing::warn!(%error, "descriptors are out; spare ones are used");
        }
        if door.spare.give() {
            return SHORTEST_PAUSE;
        }
        if !is_want_of_the_node(error) && door.connections.put_out_quietest() {
            door.about.displaced.add(1);
        }
    } else {
        tracing::warn!(%error, "a connection could not be accepted");
    }
    tokio::time::sleep(pause).await;
    (pause * 2).min(LONGEST_PAUSE)
}

/// One connection's life: until it ends, another needs its place, or it breaks its pace.
async fn admitted(
    stream: TcpStream,
    from: IpAddr,
    tls: PublicTls,
    door: Arc<Door>,
    mut place: Place,
    watcher: Watcher,
) {
    let pace = door.paces.add(place.id);
    let connection = Connection { id: place.id, from, peer: None, pace: pace.clone(), door: door.clone() };
    tokio::select! {
        () = begin(stream, tls, connection, watcher) => {}
        _ = &mut place.put_out => {}
        () = pace.ended() => {}
    }
    door.paces.remove(place.id);
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(crate) struct Connection {
    id: u64,
    pub(crate) from: IpAddr,
    pub(crate) peer: Option<Peer>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) door: Arc<Door>,
}

async fn begin(stream: TcpStream, tls: PublicTls, mut connection: Connection, watcher: Watcher) {
    // Each stage on the heap, and gone when the next begins: a connection is idle nearly always, and there are thousands.
    match Box::pin(tls.accept(stream)).await {
        Ok((stream, peer)) => {
            let is_http2 = peer.is_http2();
            connection.peer = Some(peer);
            let stream = Paced::new(stream, connection.pace.clone(), !is_http2);
            Box::pin(converse(stream, is_http2, connection, watcher)).await;
        }
        Err(error) => tracing::debug!(%error, "a handshake failed"),
    }
}

/// One connection, request by request. HTTP/2 only where TLS has agreed on it.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    is_http2: bool,
    connection: Connection,
    watcher: Watcher,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let connection = connection.clone();
        connection.door.connections.heard(connection.id);
        // Counted from here, not from when the answer is first polled for.
        let asked = connection.pace.asked();
        let arrived = Instant::now();
        // On the heap: HTTP/1.1 keeps its room for as long as the connection lives, and HTTP/2 moves it into a task of its own.
        Box::pin(async move { Ok::<_, Infallible>(routes::answer(&connection, asked, arrived, request).await) })
    });
    let stream = TokioIo::new(stream);
    let ended = if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_BYTES as u32)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(FAULTS)
            .max_send_buf_size(SEND_BYTES)
            .keep_alive_interval(Some(KEEP_ALIVE))
            .keep_alive_timeout(ALIVE_WITHIN);
        Box::pin(watcher.watch(builder.serve_connection(stream, service))).await
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(HEAD_BYTES)
            .max_headers(MOST_HEADERS);
        Box::pin(watcher.watch(builder.serve_connection(stream, service))).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended in an error");
    }
}
