//! One sensor on one instance: what its runs have added up to, and the last thing they brought.
//!
//! The schedule writes here after each run; whoever serves the exposition reads. Nothing else is kept for a
//! sensor that is not running.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::broker::Broker;
use crate::check::Collected;
use crate::ctx::LogLine;
use crate::failure::RunFailure;
use crate::grant::Grant;
use crate::run::{RunInput, RunReport};
use crate::schedule::TargetId;
use crate::sensor::Sensor;

/// Sums over all runs of a slot.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    pub runs: u64,
    /// By the index of [`RunFailure::REASONS`].
    pub failures: [u64; RunFailure::REASONS.len()],
    pub fuel: u64,
    pub cpu: Duration,
    /// The most that one run had.
    pub memory_peak_bytes: usize,
    pub series_dropped: u64,
    /// How long runs were held back, in all: waiting for a place.
    pub throttled: Duration,
}

/// What the last successful run brought.
#[derive(Debug)]
pub struct Latest {
    pub collected: Collected,
    /// When the run began: no sample is older than that.
    pub at: Instant,
    pub at_wall: SystemTime,
}

/// The last failure and when it was.
#[derive(Debug, Clone)]
pub struct LastFailure {
    pub failure: RunFailure,
    pub at_wall: SystemTime,
}

#[derive(Debug, Default)]
struct Inner {
    totals: Totals,
    latest: Option<Arc<Latest>>,
    last_failure: Option<LastFailure>,
    last_succeeded: bool,
    state: Arc<[u8]>,
    state_changed: bool,
    logs: Vec<LogLine>,
}

/// A placed sensor.
pub struct Slot {
    /// The sensor's name on this instance.
    pub name: Arc<str>,
    pub sensor: Arc<Sensor>,
    pub grant: Arc<Grant>,
    pub target: TargetId,
    broker: Arc<dyn Broker>,
    /// Series left out of expositions because another sensor has their family: by run, not by scrape.
    clashes: AtomicU64,
    clashes_of_run: AtomicU64,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("name", &self.name).field("target", &self.target).finish_non_exhaustive()
    }
}

impl Slot {
    pub(crate) fn new(placement: crate::schedule::Placement) -> Self {
        Self {
            name: placement.name,
            sensor: placement.sensor,
            grant: placement.grant,
            target: placement.target,
            broker: placement.broker,
            clashes: AtomicU64::new(0),
            clashes_of_run: AtomicU64::new(0),
            inner: Mutex::new(Inner { state: placement.state.into(), ..Inner::default() }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while held")
    }

    /// What the next run is given.
    pub(crate) fn input(&self) -> RunInput {
        RunInput { grant: self.grant.clone(), broker: self.broker.clone(), state: self.inner().state.clone() }
    }

    /// Notes how long a run had to wait for a place.
    pub(crate) fn note_held_back(&self, held_back: Duration) {
        self.inner().totals.throttled += held_back;
    }

    /// Takes in what a run reported.
    pub(crate) fn record(&self, report: RunReport) {
        let mut inner = self.inner();
        let totals = &mut inner.totals;
        totals.runs += 1;
        totals.fuel += report.usage.fuel;
        totals.cpu += report.usage.cpu;
        totals.memory_peak_bytes = totals.memory_peak_bytes.max(report.usage.memory_peak_bytes);
        inner.last_succeeded = report.result.is_ok();
        inner.logs = report.logs;
        match report.result {
            Ok(collected) => {
                inner.totals.series_dropped += collected.series_dropped;
                let took = report.usage.wall;
                let (at, at_wall) = (Instant::now() - took, SystemTime::now() - took);
                inner.latest = Some(Arc::new(Latest { collected, at, at_wall }));
            }
            Err(failure) => {
                inner.totals.failures[failure.index()] += 1;
                inner.last_failure = Some(LastFailure { failure, at_wall: SystemTime::now() });
            }
        }
        if let Some(state) = report.state {
            inner.state = state.into();
            inner.state_changed = true;
        }
    }

    pub fn totals(&self) -> Totals {
        self.inner().totals.clone()
    }

    /// What the last successful run brought, however old.
    pub fn latest(&self) -> Option<Arc<Latest>> {
        self.inner().latest.clone()
    }

    /// What may still be exposed: not older than the grant's `stale_after`.
    pub fn fresh(&self, now: Instant) -> Option<Arc<Latest>> {
        self.latest().filter(|latest| now.saturating_duration_since(latest.at) <= self.grant.stale_after)
    }

    /// Whether the last run succeeded; false before the first.
    pub fn is_up(&self) -> bool {
        self.inner().last_succeeded
    }

    pub fn last_failure(&self) -> Option<LastFailure> {
        self.inner().last_failure.clone()
    }

    /// The log of the last run.
    pub fn logs(&self) -> Vec<LogLine> {
        self.inner().logs.clone()
    }

    /// Notes how many series of the last run an exposition left out because another sensor has their family. Counted once a run.
    pub fn note_clashes(&self, clashes: u64) {
        let runs = self.inner().totals.runs;
        if clashes > 0 && self.clashes_of_run.swap(runs, Ordering::Relaxed) != runs {
            self.clashes.fetch_add(clashes, Ordering::Relaxed);
        }
    }

    /// The sum of what was noted.
    pub fn clashes(&self) -> u64 {
        self.clashes.load(Ordering::Relaxed)
    }

    /// The sensor's state, where it has changed since this was last asked.
    pub fn changed_state(&self) -> Option<Arc<[u8]>> {
        let mut inner = self.inner();
        std::mem::take(&mut inner.state_changed).then(|| inner.state.clone())
    }
}
