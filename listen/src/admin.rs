//! The operator's routes of a daemon: a few connections on a loopback socket, and which request asks for what.
//!
//! Agent and proxy have the same ones: `/healthz`, `/readyz`, `/metrics`, and `POST /v1/reload`. They differ in what they answer, which is theirs. Plain
//! HTTP/1.1, and only for who meant it: a page in a browser on this machine can be made to ask here, with its own origin or under a name of its own that it has
//! led here, and is refused. One connection too many takes the place of the quietest.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::Connections;

/// Connections at once.
const CONNECTIONS: usize = 32;
const FIRST_BYTE_DEADLINE: Duration = Duration::from_secs(10);
/// From the end of a request to the end of the next head; an operator's Prometheus comes oftener.
const HEAD_DEADLINE: Duration = Duration::from_secs(120);
/// Largest head of a request, and most headers in it.
const HEAD_BYTES: usize = 32 << 10;
const MOST_HEADERS: usize = 64;
/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

pub type Answer = Response<Full<Bytes>>;

/// Who answers, of a daemon.
pub trait Desk: Send + Sync + 'static {
    /// What a request that passed is answered with.
    fn answer(&self, wanted: Wanted, headers: &HeaderMap) -> impl Future<Output = Answer> + Send;

    /// A connection has taken the place of another.
    fn displaced(&self) {}

    /// Makes room after a connection that could not be accepted, with a spare descriptor: whether the next may be tried at once.
    fn make_room(&self, error: &io::Error) -> bool;
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Health,
    Readiness,
    Metrics,
    Reload,
}

/// Serves for as long as it is polled.
pub async fn serve(listener: StdListener, desk: Arc<impl Desk>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin routes cannot be served");
            return;
        }
    };
    let connections = Arc::new(Connections::of(CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let mut place = connections.admit(None);
                if place.displaced {
                    desk.displaced();
                }
                let (desk, connections) = (desk.clone(), connections.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = converse(stream, desk, &connections, place.id) => {}
                        _ = &mut place.put_out => {}
                    }
                });
            }
            Err(error) if desk.make_room(&error) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn converse<D: Desk>(stream: TcpStream, desk: Arc<D>, connections: &Connections, id: u64) {
    let first = tokio::time::timeout(FIRST_BYTE_DEADLINE, stream.peek(&mut [0])).await;
    if !matches!(first, Ok(Ok(1))) {
        return;
    }
    let service = service_fn(|request: Request<Incoming>| {
        connections.heard(id);
        let desk = desk.clone();
        async move {
            Ok::<_, Infallible>(match wanted(request.method(), request.uri().path(), request.headers()) {
                Ok(wanted) => desk.answer(wanted, request.headers()).await,
                Err((status, sentence)) => refuse(status, sentence),
            })
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_BYTES)
        .max_headers(MOST_HEADERS);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "an admin's connection ended in an error");
    }
}

fn refuse(status: StatusCode, sentence: &str) -> Answer {
    let mut answer = Answer::new(Full::new(format!("{sentence}\n").into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

type Refusal = (StatusCode, &'static str);

fn wanted(method: &Method, path: &str, headers: &HeaderMap) -> Result<Wanted, Refusal> {
    if !is_meant(headers) {
        let why = "the admin routes are for this machine's operator, by a loopback address";
        return Err((StatusCode::FORBIDDEN, why));
    }
    let wanted = match path {
        "/v1/reload" => Wanted::Reload,
        "/healthz" => Wanted::Health,
        "/readyz" => Wanted::Readiness,
        "/metrics" => Wanted::Metrics,
        _ => return Err((StatusCode::NOT_FOUND, "there is no such thing here; see /metrics, /healthz and /readyz")),
    };
    let is_look = matches!(*method, Method::GET | Method::HEAD);
    match wanted {
        Wanted::Reload if method != Method::POST => {
            Err((StatusCode::METHOD_NOT_ALLOWED, "reload is asked for with POST"))
        }
        Wanted::Health | Wanted::Readiness | Wanted::Metrics if !is_look => {
            Err((StatusCode::METHOD_NOT_ALLOWED, "this route is asked for with GET"))
        }
        wanted => Ok(wanted),
    }
}

/// Whether it was meant for this address by who sent it: see the module.
fn is_meant(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_here = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_here && !headers.contains_key(ORIGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if origin {
            headers.insert(ORIGIN, "http://localhost:9100".parse().unwrap());
        }
        headers
    }

    #[test]
    fn pages_in_browsers_are_not_meant() {
        for host in ["127.0.0.1:9101", "localhost:9101", "[::1]:9101", "127.0.0.1"] {
            assert!(is_meant(&headers(host, false)) && !is_meant(&headers(host, true)), "{host}");
        }
        for host in ["rebound.example:9101", "10.0.0.1:9101", "localhost.example", ""] {
            assert!(!is_meant(&headers(host, false)), "{host}");
        }
        assert!(!is_meant(&HeaderMap::new()));
        let of_a_page = wanted(&Method::POST, "/v1/reload", &headers("localhost", true));
        assert_eq!(of_a_page.unwrap_err().0, StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_route_has_its_method() {
        let asked = |method, path| wanted(&method, path, &headers("localhost", false)).map_err(|(status, _)| status);
        assert_eq!(asked(Method::GET, "/healthz"), Ok(Wanted::Health));
        assert_eq!(asked(Method::HEAD, "/metrics"), Ok(Wanted::Metrics));
        assert_eq!(asked(Method::POST, "/v1/reload"), Ok(Wanted::Reload));
        assert_eq!(asked(Method::GET, "/v1/reload"), Err(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(asked(Method::POST, "/readyz"), Err(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(asked(Method::GET, "/"), Err(StatusCode::NOT_FOUND));
    }
}
