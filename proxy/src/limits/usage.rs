//! What became of an account's requests: counts for its own eyes, and for the operator's in sum.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// Instances of which the last outcome is known, an account: more than it lists is of no use to it.
const MOST_OUTCOMES: usize = 100_000;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What became of a scrape: each is a status, a value of `X-Sonde-Reason` and of the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its exposition.
    Answered,
    /// The instance does not live: 503.
    Ended,
    /// The node cannot be reached: 502.
    NodeUnreachable,
    /// The agent has not answered within the scraper's time: 504.
    AgentSlow,
    /// The node has as many scrapes as it takes: 503.
    NodeBusy,
    /// The agent answered, and not with an exposition: 502.
    AgentRefused,
    /// The account has used what it may: 429.
    OverQuota,
    /// Several nodes say that it is theirs, and none is believed: 503.
    ClaimedTwice,
    /// Too many scrapes of all, and the account has most of them: 503.
    Overload,
}

impl Outcome {
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Ended,
        Self::NodeUnreachable,
        Self::AgentSlow,
        Self::NodeBusy,
        Self::AgentRefused,
        Self::OverQuota,
        Self::ClaimedTwice,
        Self::Overload,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Ended => "ended",
            Self::NodeUnreachable => "node_unreachable",
            Self::AgentSlow => "agent_slow",
            Self::NodeBusy => "node_busy",
            Self::AgentRefused => "agent_refused",
            Self::OverQuota => "over_quota",
            Self::ClaimedTwice => "claimed_twice",
            Self::Overload => "overload",
        }
    }
}

/// Counts of one account since this proxy began, or since it was quiet for long.
#[derive(Debug, Default)]
pub struct Totals {
    pub requests: Counter,
    pub bytes: Counter,
    /// Scrapes that cost the agent nothing, being answered with what another had just got.
    pub shared: Counter,
    outcomes: [Counter; Outcome::ALL.len()],
    last: Mutex<HashMap<Uuid, Outcome>>,
}

impl Totals {
    /// Notes what became of a scrape.
    pub fn scraped(&self, target: Uuid, outcome: Outcome) {
        self.outcomes[outcome as usize].add(1);
        let mut last = self.last();
        if last.len() >= MOST_OUTCOMES {
            last.clear();
        }
        last.insert(target, outcome);
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].get()
    }

    /// What became of the last scrape of it.
    pub fn last_of(&self, target: Uuid) -> Option<Outcome> {
        self.last().get(&target).copied()
    }

    /// Forgets those that are not in the list any more.
    pub fn keep(&self, is_there: impl Fn(Uuid) -> bool) {
        self.last().retain(|id, _| is_there(*id));
    }

    fn last(&self) -> MutexGuard<'_, HashMap<Uuid, Outcome>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
