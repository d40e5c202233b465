//! Where agents come in: reports of what runs on their nodes, and what these are to run, under each node's own certificate, and nothing else.
//!
//! Connections are as many as there are nodes, and bounded all the same. What a report may say is `reports`' to judge; here it is seen to that it is
//! the node's own word. What `assignments` gives a node is of accounts that have something on it. A connection on which an answer is not read is ended.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sonde_inventory::report::PATH;
use sonde_listen::Connections;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::assignments::Assigning;
use super::sending::Overdue;
use super::{SHORTEST_PAUSE, stopped};
use crate::identity::{TierRole, tier_role};
use crate::reports::{self, Reports};
use crate::sensors::Sensors;
use crate::tls::TierTls;

/// Connections at once: an agent has one, and a moment of two when it comes back.
const CONNECTIONS: usize = 16_384;
const HEAD_BYTES: usize = 16 << 10;
const MOST_HEADERS: usize = 32;
/// An agent says something several times in its lease.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);
const STREAMS: u32 = 4;
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Serves until `stop` becomes true. What is being reported then is reported again elsewhere.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: TierTls,
    reports: Arc<Reports>,
    sensors: Sensors,
    mut stop: watch::Receiver<bool>,
) {
    let desk = Arc::new(Desk { reports, assignments: Assigning::new(sensors) });
    let connections = Arc::new(Connections::of(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(SHORTEST_PAUSE * 100).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let mut place = connections.admit(None);
        let (tls, desk, connections, mut stop) = (tls.clone(), desk.clone(), connections.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = converse(stream, tls, desk, &connections, place.id) => {}
                _ = &mut place.put_out => {}
                () = stopped(&mut stop) => {}
            }
        });
    }
}

async fn converse(stream: TcpStream, tls: TierTls, desk: Arc<Desk>, connections: &Connections, id: u64) {
    let (stream, peer) = match tls.accept(stream).await {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::debug!(%error, "a handshake at the tier's listener failed");
            return;
        }
    };
    let is_http2 = peer.is_http2();
    let overdue = Overdue::default();
    let answered = |request: Request<Incoming>| {
        connections.heard(id);
        // Asked for each request: the connection may outlive the certificate.
        let (desk, role, overdue) = (desk.clone(), tier_role(&peer), overdue.clone());
        async move { overdue.watch(answer(&desk, role, request).await) }
    };
    tokio::select! {
        () = speak(TokioIo::new(stream), is_http2, answered) => {}
        () = overdue.comes() => {
            tracing::warn!(role = ?tier_role(&peer), "an agent's connection was ended: an answer on it was not read in time");
        }
    }
}

/// Serves one connection for as long as it lasts.
async fn speak<S, F>(stream: S, is_http2: bool, answered: impl Fn(Request<Incoming>) -> F)
where
    S: Read + Write + Unpin,
    F: Future<Output = Response<Bytes>> + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answered(request);
        async move { Ok::<_, Infallible>(answer.await.map(Full::new)) }
    });
    let ended = if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_BYTES as u32)
            .keep_alive_interval(Some(KEEP_ALIVE));
        builder.serve_connection(stream, service).await
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(HEAD_BYTES)
            .max_headers(MOST_HEADERS);
        builder.serve_connection(stream, service).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an agent's connection ended in an error");
    }
}

/// What is answered from.
struct Desk {
    reports: Arc<Reports>,
    assignments: Assigning,
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;

    /// More than the two ends of a connection hold.
    const LARGE: usize = 1 << 20;
    const READ_WITHIN: Duration = Duration::from_secs(60);

    /// What `converse` does once it knows who is there; returns when it ended, and how.
    async fn served(stream: tokio::io::DuplexStream, is_http2: bool) -> (Instant, bool) {
        let overdue = Overdue::default();
        let answered = |_| {
            let overdue = overdue.clone();
            async move { overdue.watch(Response::new(Bytes::from(vec![b'x'; LARGE]))) }
        };
        let is_overdue = tokio::select! {
            () = speak(TokioIo::new(stream), is_http2, answered) => false,
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
            let waited = tokio::time::timeout(HEAD_DEADLINE - Duration::from_secs(1), &mut serving).await;
            assert!(waited.is_err(), "it was ended");
        }
        drop(agent);
        assert!(!serving.await.unwrap().1);
    }
}
