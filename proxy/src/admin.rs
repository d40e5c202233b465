//! The admin routes: how the proxy is, on a thread, a runtime and a socket of their own.
//!
//! They answer when every serving thread is busy or a flood is on, and need nothing of those: `/healthz` says whether the serving threads answer, `/readyz` whether
//! there is an inventory and no stop, `/metrics` what the proxy knows of itself. Only on loopback, in plain HTTP, for the operator; never by account.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sonde_inventory::Store;
use sonde_listen::{Connections, Notify};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::about::{Inventory, Now};
use crate::names;
use crate::reload::Reloader;
use crate::reports::Reports;
use crate::serve::{Door, exposition, stopped};

/// Connections at once.
const CONNECTIONS: usize = 32;
const FIRST_BYTE_DEADLINE: Duration = Duration::from_secs(10);
/// From the end of a request to the end of the next head.
const HEAD_DEADLINE: Duration = Duration::from_secs(120);
const HEAD_BYTES: usize = 32 << 10;
const MOST_HEADERS: usize = 64;
const PAUSE: Duration = Duration::from_millis(100);
/// The serving threads are asked this often whether they are there, and are not when they have been silent for so long.
const PERIOD: Duration = Duration::from_secs(1);
const SILENT_AFTER: Duration = Duration::from_secs(10);

type Answer = Response<Full<Bytes>>;

/// What the admin routes answer from.
pub(crate) struct Desk {
    pub(crate) door: Arc<Door>,
    pub(crate) reloader: Reloader,
    pub(crate) store: Store,
    pub(crate) reports: Arc<Reports>,
    /// The zone's server's, where there is one.
    pub(crate) names: Option<Arc<names::Counters>>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) pulse: Arc<Pulse>,
}

/// When the serving threads were last heard.
#[derive(Debug)]
pub(crate) struct Pulse {
    began: Instant,
    heard_ms: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { began: Instant::now(), heard_ms: AtomicU64::new(0) }
    }
}

impl Pulse {
    fn hear(&self) {
        self.heard_ms.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.heard_ms.load(Ordering::Relaxed)))
    }
}

/// Starts the thread. It serves until `gone` becomes true, which is after the stop, so that `/readyz` is heard to say so.
pub(crate) fn start(
    listener: StdListener,
    desk: Desk,
    serving: Handle,
    notify: Arc<Notify>,
    mut gone: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(async move {
            tokio::spawn(ask(serving, desk.pulse.clone(), notify));
            tokio::select! {
                () = serve(listener, Arc::new(desk)) => {}
                () = stopped(&mut gone) => {}
            }
        });
    })?;
    Ok(())
}

/// Asks the serving threads again and again, and tells the service manager while they answer.
async fn ask(serving: Handle, pulse: Arc<Pulse>, notify: Arc<Notify>) {
    loop {
        let asked = serving.spawn(async {});
        if tokio::time::timeout(SILENT_AFTER, asked).await.is_ok_and(|asked| asked.is_ok()) {
            pulse.hear();
            if notify.watchdog().is_some() {
                notify.alive();
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn serve(listener: StdListener, desk: Arc<Desk>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin routes cannot be served");
            return;
        }
    };
    let connections = Arc::new(Connections::of(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // A spare descriptor, for the operator who wants to know what is wrong.
            if !desk.door.spare.give() {
                tokio::time::sleep(PAUSE).await;
            }
            continue;
        };
        let mut place = connections.admit(None);
        let (desk, connections) = (desk.clone(), connections.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = converse(stream, desk, &connections, place.id) => {}
                _ = &mut place.put_out => {}
            }
        });
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

/// Whether it was meant for this address by who sent it, and not by a page in a browser on this machine.
fn is_meant(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_here = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_here && !headers.contains_key(ORIGIN)
}

async fn route(desk: &Desk, request: &Request<Incoming>) -> Answer {
    if !is_meant(request.headers()) {
        let why = "the admin routes are for this machine's operator, by a loopback address";
        return sentence(StatusCode::FORBIDDEN, why);
    }
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/v1/reload" if request.method() == Method::POST => match desk.reloader.reload().await {
            Ok(done) => sentence(StatusCode::OK, &done),
            Err(refused) => sentence(StatusCode::UNPROCESSABLE_ENTITY, &refused),
        },
        "/v1/reload" => sentence(StatusCode::METHOD_NOT_ALLOWED, "reload is asked for with POST"),
        "/healthz" | "/readyz" | "/metrics" if !get => {
            sentence(StatusCode::METHOD_NOT_ALLOWED, "this route is asked for with GET")
        }
        "/healthz" => health(&desk.pulse),
        "/readyz" => readiness(desk),
        "/metrics" => about(desk, request.headers()),
        _ => sentence(StatusCode::NOT_FOUND, "there is no such thing here; tenants' routes are at the other address"),
    }
}

fn health(pulse: &Pulse) -> Answer {
    let silence = pulse.silence();
    if silence < SILENT_AFTER {
        return sentence(StatusCode::OK, "ok");
    }
    let why = format!("the serving threads have not answered for {} s", silence.as_secs());
    sentence(StatusCode::SERVICE_UNAVAILABLE, &why)
}

fn readiness(desk: &Desk) -> Answer {
    if *desk.stop.borrow() {
        sentence(StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else if !desk.door.catalogue.is_synced() {
        sentence(StatusCode::SERVICE_UNAVAILABLE, "the inventory is not here yet")
    } else {
        sentence(StatusCode::OK, "ready")
    }
}

/// The proxy about itself. It waits for nothing and needs no other thread.
fn about(desk: &Desk, headers: &HeaderMap) -> Answer {
    let door = &desk.door;
    let (accounts_active, scrapes) = door.accounts.counts();
    let now = Now {
        connections: door.connections.count(),
        accounts_active,
        scrapes,
        kept_bytes: door.flights.counts().1,
        upstream: door.upstream.facts(),
        handshakes: desk.reloader.tls.handshakes(),
        certificate_faults: desk.reloader.certificate_faults(),
        records: door.catalogue.counts(),
        is_synced: door.catalogue.is_synced(),
        silence: desk.pulse.silence(),
        inventory: Inventory {
            health: desk.store.health(),
            changes: desk.store.changes(),
            reports: desk.reports.figures(),
        },
    };
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let (content_type, body) = exposition(accept, |writer| {
        door.about.write(writer, &now);
        if let Some(names) = &desk.names {
            names.write(writer);
        }
    });
    typed(StatusCode::OK, content_type, body)
}

fn sentence(status: StatusCode, sentence: &str) -> Answer {
    typed(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
