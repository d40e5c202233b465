//! How much an account may have: requests, bytes and scrapes at once, each account by itself, and all of them together.
//!
//! Requests are governor's (a rate and a burst). Bytes are a bucket that may go below nothing, because how large an answer is shows only when it has been
//! sent; until it is paid off the account waits. Figures are looked up at each request, so that a change counts from the next one on. Where
//! all scrapes together are too many, whoever has more than an even share waits, and nobody else. What is counted here is for this proxy alone.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, RateLimiter};
use sonde_inventory::{Account, AccountName};

use crate::config::Quota;

mod bytes;
mod usage;

use bytes::Bucket;
pub use usage::{Counter, Outcome, Totals};

/// An account of which nothing was heard for so long is forgotten here; its totals begin anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// What one is told to wait where it is others' scrapes that have to end first.
const A_WHILE: Duration = Duration::from_secs(1);

/// Why a request is not answered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub retry_after: Duration,
}

/// Which limit it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Requests,
    Bytes,
    Scrapes,
    /// Not the account's own limit: all are too many together, and it has most.
    Overload,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Bytes => "bytes",
            Self::Scrapes => "scrapes",
            Self::Overload => "overload",
        }
    }
}

/// All accounts that have asked for something lately.
#[derive(Debug)]
pub struct Accounts {
    used: Mutex<HashMap<AccountName, Arc<Use>>>,
    /// Scrapes in flight, of all; and how many may be before shares count.
    scrapes: AtomicU32,
    most: u32,
    /// Accounts with a scrape in flight.
    active: AtomicU32,
}

/// What one account uses.
#[derive(Debug)]
pub struct Use {
    paced: Mutex<Paced>,
    scrapes: AtomicU32,
    pub totals: Totals,
}

#[derive(Debug)]
struct Paced {
    quota: Quota,
    requests: DefaultDirectRateLimiter,
    bytes: Bucket,
    heard: Instant,
}

impl Accounts {
    /// With at most so many scrapes of all accounts at once until shares count.
    pub fn new(most: u32) -> Self {
        Self { used: Mutex::default(), scrapes: AtomicU32::new(0), most, active: AtomicU32::new(0) }
    }

    /// What an account uses.
    pub fn of(&self, account: &Account, defaults: &Quota) -> Arc<Use> {
        let quota = defaults.with(&account.limits);
        let used = {
            let mut all = self.lock();
            match all.get(&account.name) {
                Some(used) => used.clone(),
                None => all.entry(account.name.clone()).or_insert_with(|| Arc::new(Use::new(quota))).clone(),
            }
        };
        used.requota(quota);
        used
    }

    /// How many are known, and scrapes in flight of all.
    pub fn counts(&self) -> (usize, u32) {
        (self.lock().len(), self.scrapes.load(Ordering::Relaxed))
    }

    /// Forgets accounts that have been quiet for long.
    pub fn sweep(&self, now: Instant) {
        self.lock().retain(|_, used| {
            let heard = used.paced().heard;
            Arc::strong_count(used) > 1 || now.saturating_duration_since(heard) < FORGOTTEN_AFTER
        });
    }

    /// A place for a scrape among all.
    ///
    /// # Errors
    /// The account has as many as it may, or more than its share where all are too many.
    pub fn scrape(self: &Arc<Self>, used: &Arc<Use>) -> Result<Scrape, Refusal> {
        let own = used.scrapes.load(Ordering::Relaxed);
        let most = used.paced().quota.concurrent_scrapes;
        let refuse = |reason| Err(Refusal { reason, retry_after: A_WHILE });
        if own >= most {
            return refuse(Reason::Scrapes);
        }
        let share = self.most / self.active.load(Ordering::Relaxed).max(1);
        if self.scrapes.load(Ordering::Relaxed) >= self.most && own >= share.max(1) {
            return refuse(Reason::Overload);
        }
        let one_more = |own: u32| (own < most).then(|| own + 1);
        match used.scrapes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(0) => drop(self.active.fetch_add(1, Ordering::Relaxed)),
            Ok(_) => {}
            Err(_) => return refuse(Reason::Scrapes),
        }
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        Ok(Scrape { accounts: self.clone(), used: used.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountName, Arc<Use>>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A scrape in flight.
#[derive(Debug)]
pub struct Scrape {
    accounts: Arc<Accounts>,
    used: Arc<Use>,
}

impl Drop for Scrape {
    fn drop(&mut self) {
        self.accounts.scrapes.fetch_sub(1, Ordering::Relaxed);
        if self.used.scrapes.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.accounts.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Use {
    fn new(quota: Quota) -> Self {
        let paced = Paced { quota, requests: limiter(quota), bytes: Bucket::new(quota), heard: Instant::now() };
        Self { paced: Mutex::new(paced), scrapes: AtomicU32::new(0), totals: Totals::default() }
    }

    /// Takes new figures; what was used before is not held against them.
    fn requota(&self, quota: Quota) {
        let mut paced = self.paced();
        paced.heard = Instant::now();
        if paced.quota != quota {
            let heard = paced.heard;
            *paced = Paced { quota, requests: limiter(quota), bytes: Bucket::new(quota), heard };
        }
    }

    /// One request, of any kind.
    ///
    /// # Errors
    /// Too many came, or too many bytes went.
    pub fn request(&self) -> Result<(), Refusal> {
        let mut paced = self.paced();
        if let Some(retry_after) = paced.bytes.wait(Instant::now()) {
            return Err(Refusal { reason: Reason::Bytes, retry_after });
        }
        paced.requests.check().map_err(|not_until| {
            let retry_after = not_until.wait_time_from(DefaultClock::default().now());
            Refusal { reason: Reason::Requests, retry_after }
        })
    }

    /// Notes bytes that were sent.
    pub fn sent(&self, bytes: u64) {
        self.totals.bytes.add(bytes);
        self.paced().bytes.take(bytes, Instant::now());
    }

    /// What it may use, and how many scrapes it has in flight.
    pub fn quota(&self) -> (Quota, u32) {
        (self.paced().quota, self.scrapes.load(Ordering::Relaxed))
    }

    fn paced(&self) -> MutexGuard<'_, Paced> {
        self.paced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limiter(quota: Quota) -> DefaultDirectRateLimiter {
    let at_least_one = |figure| NonZeroU32::new(figure).unwrap_or(NonZeroU32::MIN);
    let rate = governor::Quota::per_second(at_least_one(quota.requests_per_second));
    RateLimiter::direct(rate.allow_burst(at_least_one(quota.request_burst)))
}

#[cfg(test)]
#[path = "limits/tests.rs"]
mod tests;
