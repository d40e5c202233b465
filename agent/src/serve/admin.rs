//! The admin routes: how the agent is, on a thread and a socket of their own.
//!
//! They answer when every serving thread is busy or stuck, and need nothing of those: `/healthz` says which part does not answer, `/metrics` what
//! the agent knows of itself. Only on loopback, in plain HTTP, for the operator; tenants' data is not here. Connections are few, and one too
//! many takes the place of the quietest.

use std::convert::Infallible;
use std::net::{IpAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sonde_listen::{Connections, is_want_of_descriptors};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::routes::{Room, expose};
use super::sandbox;
use super::tls::TlsFiles;
use super::{FIRST_BYTE_DEADLINE, HEAD_BYTES, LONGEST_PAUSE, MOST_HEADERS};
use crate::about::Now;
use crate::reload::Reloader;

/// Connections at once.
const CONNECTIONS: usize = 32;
/// From the end of a request to the end of the next head; an operator's Prometheus comes oftener.
const HEAD_DEADLINE: Duration = Duration::from_secs(120);

/// Between two reloads: whoever asks sooner waits, one after the other.
const RELOADS_EVERY: Duration = Duration::from_millis(250);

/// What the admin routes answer from.
pub(crate) struct Desk {
    pub(crate) room: Arc<Room>,
    reloader: Reloader,
    /// When the last reload was done.
    reloaded: Mutex<Option<Instant>>,
}

impl Desk {
    pub(crate) fn new(room: Arc<Room>, reloader: Reloader) -> Self {
        Self { room, reloader, reloaded: Mutex::default() }
    }

    async fn reload(&self) -> Result<(), String> {
        let mut reloaded = self.reloaded.lock().await;
        if let Some(at) = *reloaded {
            tokio::time::sleep_until(at + RELOADS_EVERY).await;
        }
        let done = self.reloader.reload().await;
        *reloaded = Some(Instant::now());
        done
    }
}

/// Serves for as long as it is polled.
pub(crate) async fn serve(listener: StdListener, desk: Arc<Desk>) {
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
                    desk.room.about.connections_refused.add(1);
                }
                let (desk, connections) = (desk.clone(), connections.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = converse(stream, desk, &connections, place.id) => {}
                        _ = &mut place.put_out => {}
                    }
                });
            }
            Err(error) if is_want_of_descriptors(&error) && desk.room.spare.give() => {}
            Err(_) => tokio::time::sleep(LONGEST_PAUSE).await,
        }
    }
}

async fn converse(stream: TcpStream, desk: Arc<Desk>, connections: &Connections, id: u64) {
    let first = tokio::time::timeout(FIRST_BYTE_DEADLINE, stream.peek(&mut [0])).await;
    if !matches!(first, Ok(Ok(1))) {
        return;
    }
    let service = service_fn(|request| {
        connections.heard(id);
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(route(&desk, &request).await) }
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

/// Whether it was meant for this address by who sent it: a page in a browser on this machine can be made to ask, with its own origin, or under a
/// name of its own that it has led here.
fn is_meant(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_here = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_here && !headers.contains_key(ORIGIN)
}

async fn route(desk: &Desk, request: &Request<Incoming>) -> Answer {
    if !is_meant(request.headers()) {
        return answer::sentence(
            StatusCode::FORBIDDEN,
            "the admin routes are for this machine's operator, by a loopback address",
        );
    }
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/v1/reload" if request.method() == Method::POST => match desk.reload().await {
            Ok(()) => answer::sentence(StatusCode::OK, "reloaded"),
            Err(refused) => answer::sentence(StatusCode::UNPROCESSABLE_ENTITY, &refused),
        },
        "/v1/reload" => answer::sentence(StatusCode::METHOD_NOT_ALLOWED, "reload is asked for with POST"),
        "/healthz" | "/readyz" | "/metrics" if !get => {
            answer::sentence(StatusCode::METHOD_NOT_ALLOWED, "this route is asked for with GET")
        }
        "/healthz" => health(desk),
        "/readyz" => readiness(&desk.room),
        "/metrics" => about(&desk.room, request.headers()),
        _ => answer::sentence(StatusCode::NOT_FOUND, "there is no such thing here; instances are at the other address"),
    }
}

fn health(desk: &Desk) -> Answer {
    match desk.room.pulses.silent() {
        None => answer::sentence(StatusCode::OK, "ok"),
        Some((part, silence)) => {
            let sentence = format!("{part} has not answered for {} s", silence.as_secs());
            answer::sentence(StatusCode::SERVICE_UNAVAILABLE, &sentence)
        }
    }
}

/// Whether the first look for instances is done.
pub(super) fn readiness(room: &Room) -> Answer {
    if *room.ready.borrow() {
        answer::sentence(StatusCode::OK, "ready")
    } else {
        answer::sentence(StatusCode::SERVICE_UNAVAILABLE, "the first look for instances is not done")
    }
}

/// The agent about itself. It waits for nothing and needs no other thread.
pub(super) fn about(room: &Room, headers: &HeaderMap) -> Answer {
    let (instances, gone) = room.catalogue.count();
    let sensors = room.catalogue.live().iter().map(|instance| instance.placed().len()).sum();
    let now = Now {
        instances,
        gone,
        sensors,
        stuck: room.threads.stuck_ever(),
        floor: room.threads.floor(None, room.config.borrow().floor),
        overloaded: room.threads.is_overloaded(),
        certificate_faults: room.tls.as_ref().map_or(0, TlsFiles::faults),
        silences: room.pulses.silences().collect(),
    };
    let (facts, rejected_code) = (room.schedule.facts(), room.loader.rejected_code());
    expose(room, headers, StatusCode::OK, |writer| {
        room.about.write(writer, &now);
        room.readiness.write(writer, room.spare.is_whole());
        sandbox::write(writer, &facts, rejected_code);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_in_browsers_are_not_meant() {
        let meant = |host: &str, origin: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            if origin {
                headers.insert(ORIGIN, "http://localhost:9100".parse().unwrap());
            }
            is_meant(&headers)
        };
        for host in ["127.0.0.1:9101", "localhost:9101", "[::1]:9101", "127.0.0.1"] {
            assert!(meant(host, false) && !meant(host, true), "{host}");
        }
        for host in ["rebound.example:9101", "10.0.0.1:9101", "localhost.example", ""] {
            assert!(!meant(host, false), "{host}");
        }
        assert!(!is_meant(&HeaderMap::new()));
    }
}
