//! The admin routes: how the proxy is, on a thread, a runtime and a socket of their own.
//!
//! They answer when every serving thread is busy or a flood is on, and need nothing of those: `/healthz` says whether the serving threads answer, `/readyz` whether
//! there is an inventory and no stop, `/metrics` what the proxy knows of itself. Only on loopback, in plain HTTP, for the operator; never by account.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use sonde_inventory::Store;
use sonde_listen::admin::{self, Answer, Wanted};
use sonde_listen::{Event, Notify, Spare, stopped};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::about::{Inventory, Now};
use crate::names;
use crate::reload::Reloader;
use crate::reports::Reports;
use crate::serve::{Door, exposition};

/// The serving threads are asked this often whether they are there, and are not when they have been silent for so long.
const PERIOD: Duration = Duration::from_secs(1);
const SILENT_AFTER: Duration = Duration::from_secs(10);

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
                () = admin::serve(listener, Arc::new(desk)) => {}
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

impl admin::Desk for Desk {
    async fn answer(&self, wanted: Wanted, headers: &HeaderMap) -> Answer {
        match wanted {
            Wanted::Health => health(&self.pulse),
            Wanted::Readiness => readiness(self),
            Wanted::Metrics => about(self, headers),
            Wanted::Reload => match self.reloader.reload().await {
                Ok(done) => sentence(StatusCode::OK, &done),
                Err(refused) => sentence(StatusCode::UNPROCESSABLE_ENTITY, &refused),
            },
        }
    }

    fn happened(&self, event: Event) {
        self.door.happened(event);
    }

    fn spare(&self) -> Arc<Spare> {
        self.door.spare.clone()
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
            damaged_artifacts: desk.store.damaged_artifacts(),
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
