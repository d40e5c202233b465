//! The operator's routes of a daemon: a few connections on a loopback socket, and which request asks for what.
//!
//! Agent and proxy have the same ones: `/healthz`, `/readyz`, `/metrics`, and `POST /v1/reload`. They differ in what they answer, which is theirs. Plain
//! HTTP/1.1, and only for who meant it: a page in a browser on this machine can be made to ask here, with its own origin or under a name of its own that it has
//! led here, and is refused. One connection too many takes the place of the quietest.

use std::net::{IpAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::server::graceful::Watcher;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::{Connections, Entrance, Event, Guest, Http, Spare};

/// Connections at once.
const CONNECTIONS: usize = 32;
const FIRST_BYTE_DEADLINE: Duration = Duration::from_secs(10);
/// An operator's Prometheus comes oftener than each two minutes.
const HTTP: Http = Http { head_deadline: Duration::from_secs(120), head_bytes: 32 << 10, headers: 64, http2: None };

pub type Answer = Response<Full<Bytes>>;

/// Who answers, of a daemon.
pub trait Desk: Send + Sync + 'static {
    /// What a request that passed is answered with.
    fn answer(&self, wanted: Wanted, headers: &HeaderMap) -> impl Future<Output = Answer> + Send;

    /// Counts what happened to connections.
    fn happened(&self, event: Event);

    /// The descriptors that are kept for when there are none.
    fn spare(&self) -> Arc<Spare>;
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
    let entrance = Entrance {
        listener,
        connections: Arc::new(Connections::of(CONNECTIONS)),
        spare: desk.spare(),
        drain: Duration::ZERO,
    };
    // Never said: whoever polls this stops doing so.
    let (_stop, stopping) = watch::channel(false);
    let happened = |event| desk.happened(event);
    entrance.serve(stopping, happened, |stream, guest, leaving| converse(stream, guest, leaving, desk.clone())).await;
}

async fn converse(stream: TcpStream, guest: Guest, leaving: Watcher, desk: Arc<impl Desk>) {
    let first = tokio::time::timeout(FIRST_BYTE_DEADLINE, stream.peek(&mut [0])).await;
    if !matches!(first, Ok(Ok(1))) {
        return;
    }
    let answer = move |request: Request<Incoming>| {
        guest.heard();
        let desk = desk.clone();
        async move {
            match wanted(request.method(), request.uri().path(), request.headers()) {
                Ok(wanted) => desk.answer(wanted, request.headers()).await,
                Err((status, sentence)) => refuse(status, sentence),
            }
        }
    };
    HTTP.converse(stream, false, leaving, answer).await;
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
