//! Where agents come in: reports of what runs on their nodes, and what these are to run, under each node's own certificate, and nothing else.
//!
//! Connections are as many as there are nodes, and bounded all the same. What a report may say is `reports`' to judge; here it is seen to that it is
//! the node's own word. What `assignments` gives a node is of accounts that have something on it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sonde_inventory::report::PATH;
use sonde_listen::Connections;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::assignments::Assigning;
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
    let service = service_fn(|request: Request<Incoming>| {
        connections.heard(id);
        // Asked for each request: the connection may outlive the certificate.
        let (desk, role) = (desk.clone(), tier_role(&peer));
        async move { Ok::<_, Infallible>(answer(&desk, role, request).await.map(Full::new)) }
    });
    let stream = TokioIo::new(stream);
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
