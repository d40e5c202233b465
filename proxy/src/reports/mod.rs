//! What nodes say of themselves: `POST /v1/tier/report` on the tiers' listener, merged into the inventory.
//!
//! Who reports is known from the certificate, and a node is heard about itself alone. Reports of one session are numbered; where one is missing, or the
//! node was silent for its lease, it is asked for everything again (409). What a node says is bounded in size, in number and in time before it is
//! looked at, one report of a node at once, so the worst that one can do is to waste its own share. Nothing is kept here that another
//! proxy would need: it would answer 409 and hear everything.

mod session;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes};
use sonde_inventory::report::{MOST_BODY_BYTES, Refused, Report, Taken};
use sonde_inventory::sweep::parts;
use sonde_inventory::write::MOST_WRITES;
use sonde_inventory::{Catalogue, Health, Instance, LEASE, Silence, Store, WriteError, merge, sweep};
use tokio::sync::watch;
use uuid::Uuid;

use session::Session;

use crate::sensors::mark;

/// A body that takes longer is not waited for: a full list is a few MiB between machines of one cloud.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How often a report is merged anew because another changed the same records: each time one of them got on.
const MOST_ATTEMPTS: usize = 8;
/// When a node may try again that was refused for the moment.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
/// How often it is looked what time alone changes.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A node that has been silent for so long has no session any more.
const FORGET_SESSION: Duration = Duration::from_secs(600);

/// See the module.
pub struct Reports {
    store: Store,
    catalogue: Arc<Catalogue>,
    settings: Settings,
    sessions: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<Session>>>>,
    figures: Counters,
}

/// What may be said.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whether an agent may be reached without TLS: for tests and trials on one machine.
    pub takes_plain_urls: bool,
}

#[derive(Debug, Default)]
struct Counters {
    taken: AtomicU64,
    asked_again: AtomicU64,
    refused: AtomicU64,
    claimed_twice: AtomicU64,
}

/// How often what happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    pub taken: u64,
    /// Reports that were answered with 409.
    pub asked_again: u64,
    /// Reports that were answered with another error.
    pub refused: u64,
    /// Instances that a second node claimed while the first had them.
    pub claimed_twice: u64,
    /// Those that several nodes claim now.
    pub claimed_twice_now: u64,
}

/// Why a report was not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("reports are sent with POST")]
    Method,
    #[error("one report at a time, and no more than {} a second", session::PER_SECOND)]
    TooMany,
    #[error("the report did not come whole within {BODY_WITHIN:?} and {MOST_BODY_BYTES} bytes")]
    Body,
    #[error("the report is not understood: {0}")]
    Malformed(String),
    #[error(
        "the certificate is node {certificate}'s, and the report is node {report}'s: use the certificate of this node"
    )]
    AnotherNode { certificate: Uuid, report: Uuid },
    #[error("send everything again")]
    Again,
    #[error("{0}")]
    NotNow(String),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::AnotherNode { .. } => StatusCode::FORBIDDEN,
            Self::Again => StatusCode::CONFLICT,
            Self::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Answers a report of the node whose certificate the connection showed.
pub async fn answer<B>(reports: &Reports, node: Uuid, request: Request<B>) -> Response<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match reports.hear(node, request).await {
        Ok(taken) => {
            reports.figures.taken.fetch_add(1, Ordering::Relaxed);
            let body = serde_json::to_vec(&taken).expect("a list of ids and sentences is JSON");
            let mut response = Response::new(body.into());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(refusal) => {
            let again = matches!(refusal, Refusal::Again);
            let counter = if again { &reports.figures.asked_again } else { &reports.figures.refused };
            counter.fetch_add(1, Ordering::Relaxed);
            let mut response = Response::new(format!("{refusal}\n").into());
            *response.status_mut() = refusal.status();
            if matches!(refusal, Refusal::TooMany | Refusal::NotNow(_)) {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            response
        }
    }
}

impl Reports {
    pub fn new(store: Store, catalogue: Arc<Catalogue>, settings: Settings) -> Self {
        Self { store, catalogue, settings, sessions: Mutex::default(), figures: Counters::default() }
    }

    pub fn figures(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            taken: read(&self.figures.taken),
            asked_again: read(&self.figures.asked_again),
            refused: read(&self.figures.refused),
            claimed_twice: read(&self.figures.claimed_twice),
            claimed_twice_now: self.catalogue.claimed_twice().len() as u64,
        }
    }

    /// Does what time alone asks for, until it is stopped: forgets what is long gone, marks nodes that are silent.
    pub async fn keep(&self, mut stop: watch::Receiver<bool>) {
        let mut beat = tokio::time::interval(SWEEP_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut silence = Silence::default();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = beat.tick() => {}
            }
            self.sessions().retain(|_, session| {
                // One that is locked speaks.
                session.try_lock().map_or(true, |session| !session.is_silent_for(FORGET_SESSION, Instant::now()))
            });
            if self.catalogue.is_synced() && self.store.health() == Health::Current {
                silence.look(&self.catalogue, Instant::now());
                self.sweep(&silence).await;
            } else {
                // Who speaks is not heard of here.
                silence = Silence::default();
            }
        }
    }

    async fn sweep(&self, silence: &Silence) {
        let writes = sweep(&self.catalogue, now_ms(), silence, Instant::now());
        let (mut failed, mut why) = (0_u32, None);
        for part in parts(writes) {
            match self.store.write(part).await {
                Ok(()) => {}
                // Another proxy did it, or a report said something new: the next look sees.
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => {
                    failed += 1;
                    why.get_or_insert(error);
                    // What is wrong with some records must not hold up the others; a store that is away holds up all.
                    if self.store.health() != Health::Current {
                        break;
                    }
                }
            }
        }
        if let Some(error) = why {
            tracing::warn!(%error, failed, "what is long gone cannot be forgotten now");
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<tokio::sync::Mutex<Session>>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hear<B>(&self, node: Uuid, request: Request<B>) -> Result<Taken, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        let session = self.sessions().entry(node).or_default().clone();
        let mut session = session.try_lock().map_err(|_| Refusal::TooMany)?;
        if !session.may_speak(Instant::now()) {
            return Err(Refusal::TooMany);
        }
        let body = Limited::new(request.into_body(), MOST_BODY_BYTES).collect();
        let body = tokio::time::timeout(BODY_WITHIN, body).await.map_err(|_| Refusal::Body)?;
        let body = body.map_err(|_| Refusal::Body)?.to_bytes();
        let malformed = |error: &dyn std::fmt::Display| Refusal::Malformed(error.to_string());
        let report: Report = serde_json::from_slice(&body).map_err(|error| malformed(&error))?;
        drop(body);
        if report.node != node {
            return Err(Refusal::AnotherNode { certificate: node, report: report.node });
        }
        report.check().map_err(|error| malformed(&error))?;
        if let Some(about) = &report.full {
            self.check_url(&about.url)?;
        }
        if !self.catalogue.is_synced() {
            return Err(Refusal::NotNow("the inventory is not known here yet; try again".to_owned()));
        }
        if !session.follows(&report, Instant::now()) || (report.full.is_none() && self.catalogue.node(node).is_none()) {
            session.end();
            return Err(Refusal::Again);
        }
        let refused = match self.take(&report).await {
            Ok(refused) => refused,
            Err(error) => {
                // A part of it may be written: everything has to be said again.
                session.end();
                return Err(Refusal::NotNow(error.to_string()));
            }
        };
        session.taken(&report, Instant::now());
        for refused in session.not_said_yet(&refused) {
            tracing::warn!(%node, instance = %refused.id, why = refused.why, "what a node says of an instance was not taken");
        }
        let assignments = Some(mark(&self.catalogue, node));
        Ok(Taken { lease_ms: u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX), refused, assignments })
    }

    /// Where its agent is: TLS shows then that it is the agent of this node.
    fn check_url(&self, url: &str) -> Result<(), Refusal> {
        let malformed = |why: &str| Refusal::Malformed(format!("url {url:?} {why}"));
        let parsed: http::Uri = url.parse().map_err(|_| malformed("is not a URL"))?;
        if parsed.authority().is_none() || parsed.path() != "/" || parsed.query().is_some() {
            return Err(malformed("is not of the form https://HOST:PORT"));
        }
        match parsed.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.settings.takes_plain_urls => Ok(()),
            _ => Err(malformed("is not https")),
        }
    }

    async fn take(&self, report: &Report) -> Result<Vec<Refused>, WriteError> {
        // First: its own claims count only while it speaks.
        self.store.heard(report.node).await?;
        for attempt in 1.. {
            let merged = merge(report.node, report, &self.catalogue, now_ms());
            let mut outcome = Ok(());
            for part in merged.writes.chunks(MOST_WRITES) {
                outcome = self.store.write(part.to_vec()).await;
                if outcome.is_err() {
                    break;
                }
            }
            match outcome {
                // The catalogue has what we lost to.
                Err(WriteError::Conflict { .. }) if attempt < MOST_ATTEMPTS => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    merged.newly_claimed_twice.iter().for_each(|id| self.alarm(*id, report.node));
                    return Ok(merged.refused);
                }
            }
        }
        unreachable!("the loop ends by returning")
    }

    fn alarm(&self, id: Uuid, second: Uuid) {
        self.figures.claimed_twice.fetch_add(1, Ordering::Relaxed);
        let first = self.catalogue.instance(id).map(|instance| instance.node);
        tracing::error!(
            instance = %id, ?first, %second, reason = Instance::CLAIMED_TWICE,
            "two nodes say that an instance lives on them; neither is served until one says otherwise or falls silent"
        );
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
