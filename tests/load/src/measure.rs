//! How late and how long runs were.
//!
//! Slots are looked at more often than they run, and each new result is one observation: the gap since the one before, less the interval,
//! is its lateness.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use sonde_host::{RunFailure, Slot};

use crate::processes::Usage;

/// How a figure is spread, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Spread {
    pub count: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let last = values.len().saturating_sub(1);
            values.get((last as f64 * part).round() as usize).copied().unwrap_or(0.0) * 1e3
        };
        Self { count: values.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

/// What came of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub seconds: f64,
    pub honest: usize,
    pub hostile: usize,
    /// Runs of honest sensors that succeeded while it was measured.
    pub honest_runs: u64,
    pub honest_failures: u64,
    /// The last failure of an honest sensor, if there was any.
    pub honest_fault: Option<String>,
    pub hostile_runs: u64,
    pub hostile_failures: Vec<(String, u64)>,
    pub hostile_cpu_seconds: f64,
    pub quarantined: usize,
    pub lateness: Spread,
    pub duration: Spread,
    /// Used while it was measured, and held at its end.
    pub used: Usage,
    pub runners_ended: u64,
}

/// Looks at the honest.
#[derive(Default)]
pub(crate) struct Looks {
    last: HashMap<usize, Instant>,
    lateness: Vec<f64>,
    duration: Vec<f64>,
}

impl Looks {
    pub(crate) fn look(&mut self, slots: &[(Arc<Slot>, Duration)]) {
        for (place, (slot, interval)) in slots.iter().enumerate() {
            let Some(latest) = slot.latest() else { continue };
            match self.last.insert(place, latest.at) {
                Some(before) if before != latest.at => {
                    let gap = latest.at.saturating_duration_since(before);
                    self.lateness.push(gap.saturating_sub(*interval).as_secs_f64());
                    self.duration.push(latest.took.as_secs_f64());
                }
                _ => {}
            }
        }
    }

    pub(crate) fn spreads(self) -> (Spread, Spread) {
        (Spread::of(self.lateness), Spread::of(self.duration))
    }
}

/// Sums over slots, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) runs: u64,
    pub(crate) failures: [u64; RunFailure::REASONS.len()],
    pub(crate) cpu: Duration,
}

impl Totals {
    pub(crate) fn of<'a>(slots: impl Iterator<Item = &'a Arc<Slot>>) -> Self {
        let mut sum = Self::default();
        for totals in slots.map(|slot| slot.totals()) {
            sum.runs += totals.runs;
            sum.cpu += totals.cpu;
            for (sum, count) in sum.failures.iter_mut().zip(totals.failures) {
                *sum += count;
            }
        }
        sum
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }
}
