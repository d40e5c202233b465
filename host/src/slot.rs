//! One sensor on one instance: what its runs have added up to, and the last thing they brought.
//!
//! The schedule writes here after each run; whoever serves the exposition reads. Nothing else is kept for a
//! sensor that is not running: its result, its state, the hashes of its series, and how it stands.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::accounts::{Account, Held};
use crate::broker::{BrokerError, Kstat};
use crate::check::{Churn, Collected};
use crate::failure::RunFailure;
use crate::grant::Grant;
use crate::outcome::{LogLine, RunReport};
use crate::pace::Lately;
use crate::schedule::TargetId;
use crate::sensor::Sensor;
use crate::standing::{Standing, StandingRules};
use crate::ticket::DoorsNumber;
use crate::wire::{self, Outcome};

/// Sums over all runs of a slot.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    pub runs: u64,
    /// By the index of [`RunFailure::REASONS`].
    pub failures: [u64; RunFailure::REASONS.len()],
    pub fuel: u64,
    pub cpu: Duration,
    /// The most that one run had.
    pub memory_peak_bytes: u64,
    pub series_dropped: u64,
    /// How long runs were held back, by [`Held`].
    pub held: [Duration; Held::ALL.len()],
    /// And because they had failed before.
    pub backed_off: Duration,
}

impl Totals {
    /// How long runs were held back, in all.
    pub fn throttled(&self) -> Duration {
        self.held.iter().sum::<Duration>() + self.backed_off
    }
}

/// What the last successful run brought.
#[derive(Debug)]
pub struct Latest {
    pub collected: Collected,
    /// When the run began: no sample is older than that.
    pub at: Instant,
    pub at_wall: SystemTime,
    /// How long it took.
    pub took: Duration,
}

/// The last failure and when it was.
#[derive(Debug, Clone)]
pub struct LastFailure {
    pub failure: RunFailure,
    pub at_wall: SystemTime,
}

/// The instance's kernel statistics, from the agent's own readings.
pub trait Kernel: Send + Sync {
    /// Those of one module, or all where it is empty.
    fn kstats(&self, module: String) -> KstatsFuture<'_>;
}

/// What a reading resolves to.
pub type KstatsFuture<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Vec<Kstat>, BrokerError>> + Send + 'a>>;

#[derive(Debug, Default)]
struct Inner {
    totals: Totals,
    latest: Option<Arc<Latest>>,
    last_failure: Option<LastFailure>,
    last_succeeded: bool,
    state: Arc<[u8]>,
    state_changed: bool,
    logs: Vec<LogLine>,
    churn: Churn,
    /// Of the account's series, as many as the last result has.
    series_taken: u64,
    standing: Standing,
    lately: Lately,
}

/// A placed sensor.
pub struct Slot {
    /// The sensor's name on this instance.
    pub name: Arc<str>,
    pub sensor: Arc<Sensor>,
    pub grant: Arc<Grant>,
    pub target: TargetId,
    pub account: Arc<Account>,
    pub(crate) doors: Option<DoorsNumber>,
    pub(crate) kernel: Arc<dyn Kernel>,
    /// The grant as every run is given it.
    pub(crate) encoded_grant: Vec<u8>,
    rules: StandingRules,
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
    pub(crate) fn new(placement: crate::schedule::Placement, rules: StandingRules) -> Self {
        Self {
            name: placement.name,
            sensor: placement.sensor,
            encoded_grant: wire::encode(&*placement.grant),
            grant: placement.grant,
            target: placement.target,
            account: placement.account,
            doors: placement.doors,
            kernel: placement.kernel,
            rules,
            clashes: AtomicU64::new(0),
            clashes_of_run: AtomicU64::new(0),
            inner: Mutex::new(Inner { state: placement.state.into(), ..Inner::default() }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the next run is given to begin with.
    pub(crate) fn state(&self) -> Arc<[u8]> {
        self.inner().state.clone()
    }

    /// Notes how long a run had to wait, and why.
    pub(crate) fn note_held(&self, why: Held, how_long: Duration) {
        self.inner().totals.held[why as usize] += how_long;
        self.account.note_held(why, how_long);
    }

    /// Notes how much later than its rhythm a run began because the ones before had failed.
    pub(crate) fn note_backed_off(&self, how_long: Duration) {
        self.inner().totals.backed_off += how_long;
    }

    /// Takes in what a run came to.
    pub(crate) fn take(&self, outcome: Outcome) {
        // Judging takes its time and nobody else judges for this slot: who reads must not wait for it.
        let mut churn = std::mem::take(&mut self.inner().churn);
        let began = thread_cpu();
        let report = self.sensor.judge(outcome, &self.grant, Some(&mut churn));
        self.account.spend(thread_cpu().saturating_sub(began));
        let mut inner = self.inner();
        inner.churn = churn;
        self.record(&mut inner, report);
    }

    /// Takes in a failure that no runner reported.
    pub(crate) fn fail(&self, failure: RunFailure) {
        self.record(&mut self.inner(), RunReport::failed(failure.tamed()));
    }

    fn record(&self, inner: &mut Inner, report: RunReport) {
        let totals = &mut inner.totals;
        totals.runs += 1;
        totals.fuel += report.usage.fuel;
        totals.cpu += report.usage.cpu;
        totals.memory_peak_bytes = totals.memory_peak_bytes.max(report.usage.memory_peak_bytes);
        self.account.charge(report.usage.cpu, report.result.is_err());
        inner.last_succeeded = report.result.is_ok();
        inner.lately.ran(&report.usage, report.result.as_ref().err());
        inner.logs = report.logs;
        match report.result {
            Ok(mut collected) => {
                inner.series_taken = self.account.take_series(inner.series_taken, collected.series);
                collected.keep_at_most(inner.series_taken);
                // Families go as a whole: what is left of the last one is for others.
                inner.series_taken = self.account.take_series(inner.series_taken, collected.series);
                totals.series_dropped += collected.series_dropped;
                let took = report.usage.wall;
                let (at, at_wall) = (Instant::now() - took, SystemTime::now() - took);
                inner.latest = Some(Arc::new(Latest { collected, at, at_wall, took }));
                inner.standing.succeeded();
            }
            Err(failure) => {
                inner.totals.failures[failure.index()] += 1;
                if failure.is_misbehaviour() && inner.standing.misbehaved(&failure, &self.rules, self.grant.interval) {
                    let (sensor, digest) = (&*self.name, &self.sensor.digest);
                    tracing::warn!(sensor, %digest, %failure, "a sensor failed again and again and is quarantined");
                }
                inner.last_failure = Some(LastFailure { failure, at_wall: SystemTime::now() });
            }
        }
        if let Some(state) = report.state {
            inner.state = state.into();
            inner.state_changed = true;
        }
    }

    /// Whether its runs should not be among those of sensors that cost little.
    pub(crate) fn is_heavy(&self) -> bool {
        self.inner().lately.is_heavy()
    }

    /// How it stands: whether failures hold it back.
    pub fn standing(&self) -> Standing {
        self.inner().standing.clone()
    }

    /// Does not run again until it is released.
    pub(crate) fn quarantine_digest(&self, why: &str) {
        self.inner().standing.quarantine(why, true);
    }

    /// Forgets what is held against it.
    pub(crate) fn release(&self) {
        self.inner().standing = Standing::default();
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

/// CPU time of this thread (clock_gettime(2)).
fn thread_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

impl Drop for Slot {
    fn drop(&mut self) {
        let taken = self.inner().series_taken;
        self.account.take_series(taken, 0);
    }
}
