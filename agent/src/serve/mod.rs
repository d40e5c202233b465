//! The agent's HTTP side: the accept loop, connections, and a clean end.
//!
//! It holds none of the broker's privileges and trusts nothing of a request. Connections are bounded in number and in the time that
//! they may take to say what they want. When the agent stops, what is being answered is answered, within a deadline.

mod answer;
mod exposition;
mod json;
mod routes;
mod tls;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::keeper::stopped;

pub use routes::Room;
pub use tls::{TlsError, TlsFiles};

/// Connections at once. A Prometheus keeps one a target open.
const CONNECTIONS: usize = 4096;
/// From a connection's opening, or the end of its last request, to the end of the next head.
const HEAD_DEADLINE: Duration = Duration::from_secs(300);
/// How long a handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long requests in flight are waited for when the agent stops.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// Largest head of a request.
const HEAD_BYTES: usize = 32 << 10;
const MOST_HEADERS: usize = 64;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 256;
/// Accept errors are met with a pause that doubles to this: when descriptors are out, spinning would make it worse.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Serves until `stop` becomes true, then drains.
pub async fn serve(listener: TcpListener, tls: Option<TlsFiles>, room: Arc<Room>, mut stop: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let next_connection = AtomicU64::new(0);
    let mut pause = Duration::from_millis(1);
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = Duration::from_millis(1);
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            room.about.connections_refused.add(1);
            continue;
        };
        room.about.connections.add(1);
        let _ = stream.set_nodelay(true);
        let connection = next_connection.fetch_add(1, Ordering::Relaxed);
        let (room, tls, watcher) = (room.clone(), tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            match tls {
                None => converse(stream, connection, room, watcher).await,
                Some(tls) => {
                    let shaken = tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await;
                    match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                        Ok(stream) => converse(stream, connection, room, watcher).await,
                        Err(error) => {
                            room.about.connections_refused.add(1);
                            tracing::debug!(%error, "a handshake failed");
                        }
                    }
                }
            }
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await;
    if drained.is_err() {
        tracing::warn!("requests in flight were cut off after {DRAIN_DEADLINE:?}");
    }
}

/// One connection, request by request.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: u64,
    room: Arc<Room>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let service = service_fn(move |request| {
        let room = room.clone();
        async move { Ok::<_, Infallible>(routes::answer(&room, connection, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_BYTES)
        .max_headers(MOST_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES as u32)
        .keep_alive_interval(Some(Duration::from_secs(60)));
    let conversation = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(conversation).await {
        tracing::debug!(%error, "a connection ended in an error");
    }
}
