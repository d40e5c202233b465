//! The agent's HTTP side: connections, from the first byte to the last answer.
//!
//! It holds none of the broker's privileges and trusts nothing of a request. Connections are bounded in number and in the time that
//! they may take to say what they want. Who is let in, and what happens at a stop, is `sonde_listen`'s.

pub(crate) mod admin;
mod answer;
mod explain;
mod exposition;
mod json;
mod query;
mod routes;
mod sandbox;
mod tls;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::Watcher;
use sonde_listen::{Connections, Entrance, Guest, Http, Http2};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

#[cfg(test)]
pub(crate) use exposition::about_sensors;
pub use routes::Room;
#[cfg(test)]
pub(crate) use sandbox::families as sandbox_families;
pub(crate) use tls::is_proxy;
pub use tls::{TlsError, TlsFiles};

/// From a connection's opening to its first byte.
const FIRST_BYTE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long requests in flight are waited for when the agent stops.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
const HTTP: Http = Http {
    // Longer than a Prometheus lets a connection idle.
    head_deadline: Duration::from_secs(300),
    head_bytes: 32 << 10,
    headers: 64,
    http2: Some(Http2 {
        streams: 16,
        // No route takes a body of any size.
        window_bytes: 64 << 10,
        send_bytes: 64 << 10,
        keep_alive: Duration::from_secs(60),
    }),
};

/// Asks the server whether it is at work; it answers as it answers a request.
pub type Ask = oneshot::Sender<()>;

/// Serves until `stop` becomes true, then drains. `descriptors` is how many the process may have.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsFiles>,
    room: Arc<Room>,
    descriptors: u64,
    asked: mpsc::Receiver<Ask>,
    stop: watch::Receiver<bool>,
) {
    let entrance = Entrance {
        listener,
        connections: Arc::new(Connections::fitting(descriptors)),
        spare: room.spare.clone(),
        drain: DRAIN_DEADLINE,
    };
    let happened = |event| room.happened(event);
    let begin = |stream, guest, leaving| begin(stream, tls.clone(), Caller { guest, room: room.clone() }, leaving);
    // In one task: who asks whether the server is at work means whoever lets in.
    tokio::select! {
        () = entrance.serve(stop, happened, begin) => {}
        () = answer_whether_at_work(asked) => {}
    }
}

async fn answer_whether_at_work(mut asked: mpsc::Receiver<Ask>) {
    while let Some(asked) = asked.recv().await {
        // A task of its own, as a request is.
        tokio::spawn(async move { asked.send(()) });
    }
    // Nobody will ask any more.
    std::future::pending::<()>().await;
}

/// Who is at the other end of a connection.
#[derive(Clone)]
struct Caller {
    guest: Guest,
    room: Arc<Room>,
}

/// From the first byte to the first request.
async fn begin(stream: TcpStream, tls: Option<TlsFiles>, caller: Caller, leaving: Watcher) {
    let Some(tls) = tls else {
        // Whoever says nothing at all is not waited for as long as a scraper between two scrapes.
        let first = tokio::time::timeout(FIRST_BYTE_DEADLINE, stream.peek(&mut [0])).await;
        if matches!(first, Ok(Ok(1))) {
            converse(stream, false, caller, leaving).await;
        }
        return;
    };
    let shaken = tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await;
    match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            converse(stream, is_http2, caller, leaving).await;
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
    is_http2: bool,
    caller: Caller,
    leaving: Watcher,
) {
    if !is_http2 {
        caller.guest.speaks_http1();
    }
    let answer = move |request| {
        let caller = caller.clone();
        caller.guest.heard();
        async move { routes::answer(&caller.room, caller.guest.id, request).await }
    };
    HTTP.converse(stream, is_http2, leaving, answer).await;
}
