//! What has happened to an instance, as the kernel counts it, and to all of them together.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::reading::Reading;

/// The kernel's counters of one instance; none where it has no such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
    /// How often the limit of memory was hit.
    pub memory_limit_hits: Option<u64>,
    /// Forks refused for the limit of tasks.
    pub forks_refused: Option<u64>,
}

impl Counts {
    /// As a reading has them.
    pub(crate) fn of(reading: &Reading) -> Self {
        Self {
            oom_kills: reading.memory.oom_kills,
            memory_limit_hits: reading.memory.limit_hits,
            forks_refused: reading.pids.limit_hits,
        }
    }
}

/// The same of all instances of the node since the agent's start, those that are gone among them.
#[derive(Debug, Default)]
pub struct Totals {
    oom_kills: AtomicU64,
    memory_limit_hits: AtomicU64,
    forks_refused: AtomicU64,
}

impl Totals {
    /// Processes killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        self.oom_kills.load(Ordering::Relaxed)
    }

    /// How often a limit of memory was hit.
    pub fn memory_limit_hits(&self) -> u64 {
        self.memory_limit_hits.load(Ordering::Relaxed)
    }

    /// Forks refused for a limit of tasks.
    pub fn forks_refused(&self) -> u64 {
        self.forks_refused.load(Ordering::Relaxed)
    }
}

/// What was noticed of one life of an instance, by events and by readings.
#[derive(Debug)]
pub struct Noticed {
    seen: Mutex<Seen>,
    totals: Arc<Totals>,
    limits_changed: AtomicBool,
}

#[derive(Debug)]
struct Seen {
    /// None until they were read once: what was counted before that is no news.
    counts: Option<Counts>,
    killed_at: Option<Instant>,
}

impl Noticed {
    /// What is counted beyond `counts` is news; where there are none, beyond what is seen first.
    pub(super) fn new(totals: Arc<Totals>, counts: Option<Counts>) -> Self {
        let seen = Mutex::new(Seen { counts, killed_at: None });
        Self { seen, totals, limits_changed: AtomicBool::new(false) }
    }

    /// Takes counts that were just read, by whomever; what is more than before is counted once.
    pub(crate) fn saw(&self, now: Counts) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = seen.counts else {
            seen.counts = Some(now);
            return;
        };
        let more = |now: Option<u64>, before: Option<u64>| now.unwrap_or(0).saturating_sub(before.unwrap_or(0));
        let killed = more(now.oom_kills, before.oom_kills);
        if killed > 0 {
            seen.killed_at = Some(Instant::now());
        }
        self.totals.oom_kills.fetch_add(killed, Ordering::Relaxed);
        let hits = more(now.memory_limit_hits, before.memory_limit_hits);
        self.totals.memory_limit_hits.fetch_add(hits, Ordering::Relaxed);
        self.totals.forks_refused.fetch_add(more(now.forks_refused, before.forks_refused), Ordering::Relaxed);
        // One of two who read at once may bring the older figures.
        seen.counts = Some(Counts {
            oom_kills: before.oom_kills.max(now.oom_kills),
            memory_limit_hits: before.memory_limit_hits.max(now.memory_limit_hits),
            forks_refused: before.forks_refused.max(now.forks_refused),
        });
    }

    /// What was last seen.
    pub fn counts(&self) -> Counts {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).counts.unwrap_or_default()
    }

    /// Whether the kernel killed a process of it for want of memory within that time.
    pub fn was_killed_within(&self, time: Duration) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.killed_at.is_some_and(|at| at.elapsed() <= time)
    }

    pub(super) fn note_limits(&self) {
        self.limits_changed.store(true, Ordering::Release);
    }

    /// Whether a limit may be another than when this was last asked.
    pub(crate) fn take_limits_changed(&self) -> bool {
        self.limits_changed.swap(false, Ordering::AcqRel)
    }
}
