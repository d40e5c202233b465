//! Where agents come in: reports of what runs on their nodes, and what these are to run, under each node's own certificate, and nothing else.
//!
//! Connections are as many as there are nodes, and bounded all the same. What a report may say is `reports`' to judge; here it is seen to that it is
//! the node's own word. What `assignments` gives a node is of accounts that have something on it. A connection on which an answer is not read is ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::server::graceful::Watcher;
use sonde_inventory::report::PATH;
use sonde_listen::{Connections, Entrance, Guest, Http, Http2};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Door;
use super::assignments::Assigning;
use super::sending::Overdue;
use crate::identity::{TierRole, tier_role};
use crate::reports::{self, Reports};
use crate::sensors::Sensors;
use crate::tls::TierTls;

/// Connections at once: an agent has one, and a moment of two when it comes back.
const CONNECTIONS: usize = 16_384;
/// Of the descriptors that the process may have; tenants have half, and the rest is for agents' answers and files.
const PART: u64 = 4;
const HTTP: Http = Http {
    // An agent says something several times in its lease.
    head_deadline: Duration::from_secs(60),
    head_bytes: 16 << 10,
    headers: 32,
    http2: Some(Http2 {
        streams: 4,
        // A report is 8 MiB at most, and from another continent perhaps.
        window_bytes: 1 << 20,
        send_bytes: 256 << 10,
        keep_alive: Duration::from_secs(20),
    }),
};

/// What is answered from.
pub(crate) struct Desk {
    door: Arc<Door>,
    reports: Arc<Reports>,
    assignments: Assigning,
    most_connections: usize,
}

impl Desk {
    /// Of a process that may have so many descriptors: of these, nodes have a part at most.
    pub(crate) fn new(door: Arc<Door>, reports: Arc<Reports>, sensors: Sensors, descriptors: u64) -> Self {
        let most_connections = usize::try_from(descriptors / PART).unwrap_or(CONNECTIONS).clamp(1, CONNECTIONS);
        Self { door, reports, assignments: Assigning::new(sensors), most_connections }
    }
}

/// Serves until `stop` becomes true. What is being reported then is reported again elsewhere.
pub(crate) async fn serve(listener: TcpListener, tls: TierTls, desk: Desk, stop: watch::Receiver<bool>) {
    let desk = Arc::new(desk);
    let entrance = Entrance {
        listener,
        connections: Arc::new(Connections::of(desk.most_connections)),
        spare: desk.door.spare.clone(),
        drain: Duration::ZERO,
    };
    let happened = |event| desk.door.happened(event);
    let converse = |stream, guest, leaving| converse(stream, tls.clone(), desk.clone(), guest, leaving);
    entrance.serve(stop, happened, converse).await;
}

async fn converse(stream: TcpStream, tls: TierTls, desk: Arc<Desk>, guest: Guest, leaving: Watcher) {
    let (stream, peer) = match tls.accept(stream).await {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::debug!(%error, "a handshake at the tier's listener failed");
            return;
        }
    };
    let is_http2 = peer.is_http2();
    let overdue = Overdue::default();
    let who = peer.clone();
    let answered = {
        let overdue = overdue.clone();
        move |request: Request<Incoming>| {
            guest.heard();
            // Asked for each request: the connection may outlive the certificate.
            let (desk, role, overdue) = (desk.clone(), tier_role(&peer), overdue.clone());
            async move { overdue.watch(answer(&desk, role, request).await).map(Full::new) }
        }
    };
    tokio::select! {
        () = HTTP.converse(stream, is_http2, leaving, answered) => {}
        () = overdue.comes() => {
            tracing::warn!(role = ?tier_role(&who), "an agent's connection was ended: an answer on it was not read in time");
        }
    }
}

async fn answer(desk: &Desk, role: Option<TierRole>, request: Request<Incoming>) -> Response<Bytes> {
    match role {
        Some(TierRole::Node(node)) if request.uri().path() == PATH => {
            reports::answer(&desk.reports, node, request).await
        }
        Some(TierRole::Node(node)) if request.method() == Method::GET => {
            desk.assignments.answer(node, request.uri().path()).await
        }
        Some(TierRole::Node(_)) => refused(StatusCode::NOT_FOUND, "there is no such thing here\n"),
        _ => refused(StatusCode::FORBIDDEN, "reports are for nodes, under their own certificates\n"),
    }
}

fn refused(status: StatusCode, why: &'static str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(why.as_bytes()));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::server::graceful::GracefulShutdown;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;

    /// More than the two ends of a connection hold.
    const LARGE: usize = 1 << 20;
    const READ_WITHIN: Duration = Duration::from_secs(60);

    /// What `converse` does once it knows who is there; returns when it ended, and how.
    async fn served(stream: tokio::io::DuplexStream, is_http2: bool) -> (Instant, bool) {
        let overdue = Overdue::default();
        let (watched, graceful) = (overdue.clone(), GracefulShutdown::new());
        let answered = move |_| {
            let overdue = watched.clone();
            async move { overdue.watch(Response::new(Bytes::from(vec![b'x'; LARGE]))).map(Full::new) }
        };
        let is_overdue = tokio::select! {
            () = HTTP.converse(stream, is_http2, graceful.watcher(), answered) => false,
            () = overdue.comes() => true,
        };
        (Instant::now(), is_overdue)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_read_ends_its_connection() {
        let begun = Instant::now();
        let (mut agent, proxy) = tokio::io::duplex(1024);
        let serving = tokio::spawn(served(proxy, false));
        agent.write_all(b"GET / HTTP/1.1\r\nhost: p\r\n\r\n").await.unwrap();
        // A byte each second is not reading it.
        let drip = tokio::spawn(async move {
            while agent.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let (ended, is_overdue) = serving.await.unwrap();
        drip.abort();
        assert!(is_overdue && ended - begun >= READ_WITHIN && ended - begun < READ_WITHIN * 2, "{:?}", ended - begun);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_a_window_ends_its_connection() {
        let begun = Instant::now();
        let (agent, proxy) = tokio::io::duplex(64 << 10);
        let serving = tokio::spawn(served(proxy, true));
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(64 << 10);
        let (mut sender, connection) = builder.handshake::<_, Full<Bytes>>(TokioIo::new(agent)).await.unwrap();
        // It answers pings and takes no byte more than its window.
        let speaking = tokio::spawn(connection);
        let request = Request::get("http://p/").body(Full::default()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let (ended, is_overdue) = serving.await.unwrap();
        assert!(is_overdue && ended - begun >= READ_WITHIN && ended - begun < READ_WITHIN * 2, "{:?}", ended - begun);
        drop(answer);
        speaking.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_answers_are_read_stays() {
        let (mut agent, proxy) = tokio::io::duplex(1024);
        let mut serving = tokio::spawn(served(proxy, false));
        for _ in 0..3 {
            agent.write_all(b"GET / HTTP/1.1\r\nhost: p\r\n\r\n").await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(agent.read_u8().await.unwrap());
            }
            agent.read_exact(&mut vec![0; LARGE]).await.unwrap();
            let waited = tokio::time::timeout(HTTP.head_deadline - Duration::from_secs(1), &mut serving).await;
            assert!(waited.is_err(), "it was ended");
        }
        drop(agent);
        assert!(!serving.await.unwrap().1);
    }
}
