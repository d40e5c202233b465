//! Which request gets what: the routes of design §5.3.
//!
//! Nothing here waits for a sensor, and for the kernel only within a deadline. A body of the request is never read. Errors are sentences
//! in plain text, so that no client takes one for data.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, ACCEPT_ENCODING, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use sonde_collect::{InstanceState, Judgement, Names, Reason};
use sonde_expo::{Writer, accept_encoding, negotiate};
use sonde_host::{Accounts, Loader, Schedule, Slot};
use sonde_listen::{Event, Spare};
use tokio::sync::{mpsc, oneshot, watch};

use super::admin;
use super::answer::{self, Answer};
use super::exposition::{self, View};
use super::json::{InstanceRow, SensorRow};
use super::query::{Parts, unescape};
use super::sandbox::UsageRow;
use super::tls::TlsFiles;
use crate::about::About;
use crate::config::Config;
use crate::floor::Scraper;
use crate::gate::{Answer as Read, CONTENT, READ_DEADLINE};
use crate::instance::{Catalogue, Instance, Lookup};
use crate::node::NodeGate;
use crate::pulses::Pulses;
use crate::readiness::Readiness;
use crate::reading_threads::ReadingThreads;
use crate::report::Credentials;

/// The header by which a scraper says how long it waits, in seconds.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";
/// The header by which a proxy names the owner that it expects.
const EXPECTED_OWNER: &str = "x-sonde-owner";
/// Why an instance has no exposition.
const REASON: &str = "x-sonde-reason";
/// The part of a scraper's time that may be spent on waiting for the kernel; the rest is for the way back.
const WAITING_SHARE: f64 = 0.5;
/// How old a reading may be by which an instance is said to run, where its native series are not asked for.
const STATE_FLOOR: Duration = CONTENT;
/// How long `refresh` may take.
const REFRESH_DEADLINE: Duration = Duration::from_secs(10);
/// A first guess at an exposition's size, so that the buffer grows once or never.
const EXPOSITION_BYTES: usize = 16 << 10;

/// What the routes answer from.
pub struct Room {
    pub catalogue: Arc<Catalogue>,
    pub node: NodeGate,
    pub threads: Arc<ReadingThreads>,
    pub schedule: Schedule,
    pub loader: Arc<Loader>,
    pub accounts: Arc<Accounts>,
    pub config: watch::Receiver<Arc<Config>>,
    pub about: Arc<About>,
    pub refresh: mpsc::Sender<oneshot::Sender<()>>,
    /// True once the first look for instances is done.
    pub ready: watch::Receiver<bool>,
    pub readiness: Readiness,
    pub spare: Arc<Spare>,
    pub pulses: Arc<Pulses>,
    pub tls: Option<TlsFiles>,
    /// Of the connections to proxies.
    pub reporting: Option<Arc<Credentials>>,
    /// `http://ADDRESS`, for the URLs in answers to those who did not say how they came here.
    pub base_url: String,
}

impl Room {
    /// Of the listener's files and of those of the connections to proxies.
    pub(super) fn certificate_faults(&self) -> u64 {
        let reporting = self.reporting.as_ref().map_or(0, |credentials| credentials.faults());
        self.tls.as_ref().map_or(0, TlsFiles::faults) + reporting
    }

    /// Counts what happened at a listener.
    pub(super) fn happened(&self, event: Event) {
        match event {
            Event::Admitted => self.about.connections.add(1),
            Event::PutOut => self.about.connections_refused.add(1),
            Event::NoDescriptors => self.about.descriptors_out.add(1),
        }
    }

    /// How often is read, and by which names it is told, by the configuration in force.
    fn of_readings(&self) -> (Duration, Names) {
        let config = self.config.borrow();
        (config.floor, config.names)
    }
}

/// Answers one request and counts it.
pub(super) async fn answer(room: &Room, connection: u64, request: Request<Incoming>) -> Answer {
    let answer = route(room, connection, &request).await;
    room.about.answered(answer.status().as_u16());
    answer
}

/// What a request says of itself, beside its path.
struct Asking<'a> {
    headers: &'a HeaderMap,
    query: &'a str,
    scraper: Scraper,
    wait: Duration,
}

async fn route(room: &Room, connection: u64, request: &Request<Incoming>) -> Answer {
    let path: Vec<&str> = request.uri().path().trim_start_matches('/').split('/').collect();
    let asking = asking(connection, request);
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    match (path.as_slice(), get) {
        (["v1", "refresh"], _) if request.method() == Method::POST => refresh(room).await,
        (["v1", "refresh"], _) => refused("refresh is asked for with POST"),
        (["v1", wanted, "sensors", name, "release"], _) if request.method() == Method::POST => {
            release(room, wanted, name, &asking).await
        }
        (["v1", _, "sensors", _, "release"], _) => refused("release is asked for with POST"),
        (_, false) => refused("this route is asked for with GET"),
        (["metrics"], _) => admin::about(room, asking.headers),
        (["healthz"], _) => answer::sentence(StatusCode::OK, "ok"),
        (["readyz"], _) => admin::readiness(room),
        (["v1", "instances"], _) => instances(room, &asking).await,
        (["v1", "usage"], _) => usage(room, &asking),
        (["v1", "node" | "gz", "metrics"], _) => node(room, &asking).await,
        (["v1", "node" | "gz", "sensors"], _) => answer::json::<SensorRow>(&[]),
        (["v1", wanted, what @ ("metrics" | "sensors")], _) => {
            let Some(wanted) = unescape(wanted) else { return not_found() };
            match *what {
                "metrics" => instance(room, &wanted, &asking).await,
                _ => sensors(room, &wanted, &asking),
            }
        }
        _ => not_found(),
    }
}

fn asking(connection: u64, request: &Request<Incoming>) -> Asking<'_> {
    let timeout = request.headers().get(SCRAPE_TIMEOUT);
    let seconds = timeout.and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
    let wait = seconds
        .filter(|seconds| (0.0..3600.0).contains(seconds))
        .map_or(READ_DEADLINE, |seconds| Duration::from_secs_f64(seconds * WAITING_SHARE));
    Asking {
        headers: request.headers(),
        query: request.uri().query().unwrap_or_default(),
        scraper: if timeout.is_some() { Scraper::Connection(connection) } else { Scraper::Anybody },
        wait,
    }
}

fn not_found() -> Answer {
    answer::sentence(StatusCode::NOT_FOUND, "there is no such thing here")
}

fn ambiguous() -> Answer {
    answer::sentence(StatusCode::NOT_FOUND, "more than one instance is called so; ask by UUID, which /v1/instances has")
}

fn refused(why: &str) -> Answer {
    answer::sentence(StatusCode::METHOD_NOT_ALLOWED, why)
}

/// An exposition in the format that the scraper asked for.
pub(super) fn expose(
    room: &Room,
    headers: &HeaderMap,
    status: StatusCode,
    write: impl FnOnce(&mut Writer<'_>),
) -> Answer {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let negotiated = negotiate(header(ACCEPT));
    let mut body = Vec::with_capacity(EXPOSITION_BYTES);
    let mut writer = Writer::new(negotiated, &mut body);
    write(&mut writer);
    writer.finish();
    room.about.scrape_bytes.add(body.len() as u64);
    answer::exposition(status, negotiated.content_type, body, accept_encoding(header(ACCEPT_ENCODING)))
}

async fn instance(room: &Room, wanted: &str, asking: &Asking<'_>) -> Answer {
    let began = Instant::now();
    let answer = match room.catalogue.look_up(wanted) {
        Lookup::Unknown => return not_found(),
        Lookup::Ambiguous => return ambiguous(),
        Lookup::Gone(gone) => {
            if let Some(misdirected) = misdirected(asking, &gone.owner) {
                return misdirected;
            }
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let answer = expose(room, asking.headers, status, |writer| exposition::write_gone(writer, &gone));
            with_reason(answer, &gone.judgement)
        }
        Lookup::Live(instance) => {
            if let Some(misdirected) = misdirected(asking, &instance.owner) {
                return misdirected;
            }
            let placed = instance.placed();
            let parts = match Parts::of(asking.query, placed.iter().map(|placed| &*placed.name)) {
                Ok(parts) => parts,
                Err(sentence) => return answer::sentence(StatusCode::BAD_REQUEST, &sentence),
            };
            // Who wants no sensor, or has none, needs no run ahead of the next scrape; and to tell the schedule wakes its thread.
            let wants_runs = parts.sensors() && placed.iter().any(|placed| placed.slot.is_some());
            if let (Scraper::Connection(scraper), true) = (asking.scraper, wants_runs) {
                room.schedule.scraped(instance.target, scraper);
            }
            live(room, &instance, asking, &parts, began).await
        }
    };
    room.about.scrapes.add(1);
    room.about.scrape_ns.add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    answer
}

async fn live(room: &Room, instance: &Instance, asking: &Asking<'_>, parts: &Parts, asked: Instant) -> Answer {
    let (floor, names) = room.of_readings();
    // Without native series a reading is only to tell whether the instance has stopped, and anybody's of late does for that.
    let (scraper, floor) =
        if parts.native() { (asking.scraper, floor) } else { (Scraper::Anybody, floor.max(STATE_FLOOR)) };
    match instance.gate.read(scraper, floor, asking.wait, &room.threads).await {
        Read::Taken(taken) => {
            room.about.met(&taken.reading.problems);
            room.about.scrapes_cached.add(u64::from(taken.reading.taken_at < asked));
            if taken.reading.taken_at.elapsed() > instance.gate.floor(floor, &room.threads) + READ_DEADLINE {
                room.about.readings_late.add(1);
            }
            if taken.judgement.state == InstanceState::Stopped {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let write = |writer: &mut Writer<'_>| exposition::write_state(writer, &instance.base, &taken.judgement);
                return with_reason(expose(room, asking.headers, status, write), &taken.judgement);
            }
            expose(room, asking.headers, StatusCode::OK, |writer| {
                exposition::write_instance(writer, instance, &taken, &View { names, asked, parts });
            })
        }
        Read::Gone => {
            let judgement = instance.gone(Reason::Removed);
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let write = |writer: &mut Writer<'_>| exposition::write_state(writer, &instance.base, &judgement);
            with_reason(expose(room, asking.headers, status, write), &judgement)
        }
        Read::NotInTime => {
            room.about.readings_late.add(1);
            answer::sentence(StatusCode::SERVICE_UNAVAILABLE, "the kernel has not answered in time")
        }
    }
}

/// The state and the reasons, as a header: `gone; oom_killed`.
fn with_reason(mut answer: Answer, judgement: &Judgement) -> Answer {
    let reasons: Vec<&str> = judgement.reasons.iter().map(|reason| reason.as_str()).collect();
    let text = format!("{}; {}", judgement.state.as_str(), reasons.join(","));
    if let Ok(value) = HeaderValue::from_str(&text) {
        answer.headers_mut().insert(REASON, value);
    }
    answer
}

/// 421 where the proxy expects another owner than the instance has.
fn misdirected(asking: &Asking<'_>, owner: &str) -> Option<Answer> {
    let expected = asking.headers.get(EXPECTED_OWNER)?;
    let differs = expected.as_bytes() != owner.as_bytes();
    differs.then(|| answer::sentence(StatusCode::MISDIRECTED_REQUEST, "the instance is not the expected owner's"))
}

fn sensors(room: &Room, wanted: &str, asking: &Asking<'_>) -> Answer {
    match room.catalogue.look_up(wanted) {
        Lookup::Live(instance) => misdirected(asking, &instance.owner).unwrap_or_else(|| {
            let rows: Vec<SensorRow> = instance.placed().iter().map(SensorRow::new).collect();
            answer::json(&rows)
        }),
        Lookup::Gone(gone) => misdirected(asking, &gone.owner).unwrap_or_else(|| answer::json::<SensorRow>(&[])),
        Lookup::Ambiguous => ambiguous(),
        Lookup::Unknown => not_found(),
    }
}

/// Lets a sensor run again that was backed off or quarantined.
async fn release(room: &Room, wanted: &str, name: &str, asking: &Asking<'_>) -> Answer {
    let (Some(wanted), Some(name)) = (unescape(wanted), unescape(name)) else { return not_found() };
    let instance = match room.catalogue.look_up(&wanted) {
        Lookup::Live(instance) => instance,
        Lookup::Ambiguous => return ambiguous(),
        Lookup::Gone(_) | Lookup::Unknown => return not_found(),
    };
    if let Some(misdirected) = misdirected(asking, &instance.owner) {
        return misdirected;
    }
    let placed = instance.placed();
    let slot = placed.iter().find(|placed| *placed.name == *name).and_then(|placed| placed.slot.clone());
    let Some(slot) = slot else { return not_found() };
    // Runners may have died of its code, which then runs nowhere: it is let go wherever that is so.
    let digest = slot.sensor.digest;
    let is_of_digest = |slot: &Slot| slot.standing().quarantine.is_some_and(|quarantine| quarantine.of_digest);
    room.schedule.release(slot).await;
    for instance in room.catalogue.live() {
        let slots = instance.placed().iter().filter_map(|placed| placed.slot.clone()).collect::<Vec<_>>();
        for slot in slots.into_iter().filter(|slot| slot.sensor.digest == digest && is_of_digest(slot)) {
            room.schedule.release(slot).await;
        }
    }
    answer::sentence(StatusCode::OK, "released")
}

/// What each account used of the node; where the proxy names the owner that it asks for, that one alone.
fn usage(room: &Room, asking: &Asking<'_>) -> Answer {
    let expected = asking.headers.get(EXPECTED_OWNER).map(HeaderValue::as_bytes);
    let is_meant = |name: &str| expected.is_none_or(|expected| expected == name.as_bytes());
    let all = room.accounts.all();
    let rows: Vec<UsageRow> = all.iter().filter(|a| is_meant(&a.name)).map(|account| UsageRow::new(account)).collect();
    answer::json(&rows)
}

async fn instances(room: &Room, asking: &Asking<'_>) -> Answer {
    let floor = room.config.borrow().floor;
    let host = asking.headers.get(HOST).and_then(|value| value.to_str().ok());
    let base_url = match (host, room.base_url.split_once("://")) {
        (Some(host), Some((scheme, _))) => format!("{scheme}://{host}"),
        _ => room.base_url.clone(),
    };
    // One deadline for all of them: what is stuck costs the list once.
    let deadline = Instant::now() + asking.wait.min(READ_DEADLINE);
    let mut rows = Vec::new();
    for instance in room.catalogue.live() {
        let wait = deadline.saturating_duration_since(Instant::now());
        let judgement = match instance.gate.read(Scraper::Anybody, floor, wait, &room.threads).await {
            Read::Taken(taken) => Some(taken.judgement.clone()),
            Read::Gone => Some(instance.gone(Reason::Removed)),
            Read::NotInTime => None,
        };
        rows.push(InstanceRow::new(&instance.found, &instance.owner, judgement.as_ref(), &base_url));
    }
    for gone in room.catalogue.gone() {
        rows.push(InstanceRow::new(&gone.found, &gone.owner, Some(&gone.judgement), &base_url));
    }
    answer::json(&rows)
}

async fn node(room: &Room, asking: &Asking<'_>) -> Answer {
    let began = Instant::now();
    if let Err(sentence) = Parts::of(asking.query, std::iter::empty()) {
        return answer::sentence(StatusCode::BAD_REQUEST, &sentence);
    }
    let (floor, names) = room.of_readings();
    let Some(taken) = room.node.read(asking.scraper, floor, asking.wait, &room.threads).await else {
        return answer::sentence(StatusCode::SERVICE_UNAVAILABLE, "the kernel has not answered in time");
    };
    let answer = expose(room, asking.headers, StatusCode::OK, |writer| {
        let counts = || room.about.counts(room.catalogue.count().0 + 1);
        exposition::write_node(writer, &taken, (names, began), counts);
    });
    room.about.scrapes_cached.add(u64::from(taken.at < began));
    room.about.scrapes.add(1);
    room.about.scrape_ns.add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    answer
}

async fn refresh(room: &Room) -> Answer {
    let (done, refreshed) = oneshot::channel();
    let refreshing = async {
        room.refresh.send(done).await.ok()?;
        refreshed.await.ok()
    };
    match tokio::time::timeout(REFRESH_DEADLINE, refreshing).await {
        Ok(Some(())) => answer::sentence(StatusCode::OK, "refreshed"),
        _ => answer::sentence(StatusCode::SERVICE_UNAVAILABLE, "the refresh has begun and is not done yet"),
    }
}
