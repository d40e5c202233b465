//! Accounts on this node: how much each may use, what it used, and why it was held back.
//!
//! A share has two sides. The *weight* says how time is divided while several want more than there is; the *cpu* bound holds
//! even where nobody else wants anything, because a node sells what is left of it. The bound is a bucket: an account may save up a few
//! seconds of it and spend them at once. All threads of the schedule charge the same account, so its sensors cannot gain by being many or by being spread.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How much of its cpu bound an account may save up.
const BURST: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);

/// What an account may use of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// Its part of the time, beside others' weights, where there is not enough for all.
    pub weight: u32,
    /// Cores that its runs may use together, on average.
    pub cpu_cores: f64,
    /// Series of all its sensors on all its instances together.
    pub series: u64,
    /// The part of the places of a runner, which is to say of its memory, that its runs may hold at once.
    pub places: f64,
    /// New versions of sensors compiled for it in an hour.
    pub compilations_per_hour: u64,
}

impl Share {
    /// An account that nothing was said about.
    pub const DEFAULT: Self =
        Self { weight: 100, cpu_cores: 0.5, series: 100_000, places: 0.5, compilations_per_hour: 120 };
    /// The operator's own: bounded by the node alone.
    pub const OPERATOR: Self =
        Self { weight: 100, cpu_cores: f64::INFINITY, series: u64::MAX, places: 0.75, compilations_per_hour: u64::MAX };
}

/// Why a run that was due did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// The runner's places were taken, or it was just being started.
    Place,
    /// The account's part of the places was taken, or its instance's.
    Share,
    /// The account had used up its cpu bound.
    Cpu,
}

impl Held {
    pub const ALL: [Self; 3] = [Self::Place, Self::Share, Self::Cpu];

    /// As JSON and documentation spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Place => "place",
            Self::Share => "share",
            Self::Cpu => "cpu",
        }
    }
}

/// What an account has used since the agent started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AccountUsage {
    pub runs: u64,
    pub failures: u64,
    pub cpu: Duration,
    pub compilations: u64,
    /// Of the last result of each of its sensors.
    pub series: u64,
    /// Sums over its runs, by [`Held`].
    pub held: [Duration; Held::ALL.len()],
}

/// One account.
#[derive(Debug)]
pub struct Account {
    pub name: Arc<str>,
    pub number: u64,
    inner: Mutex<Inner>,
    series: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    share: Share,
    usage: AccountUsage,
    cpu: Bucket,
    compilations: Bucket,
}

/// Fills by time up to a bound, is spent into debt.
#[derive(Debug)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(most: f64) -> Self {
        Self { level: most, at: Instant::now() }
    }

    fn fill(&mut self, now: Instant, per_second: f64, most: f64) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * per_second;
        self.level = (self.level + gained).min(most);
        self.at = now;
    }
}

impl Account {
    fn new(name: Arc<str>, number: u64, share: Share) -> Self {
        let cpu = Bucket::full(share.cpu_cores.min(f64::MAX) * BURST.as_secs_f64());
        let compilations = Bucket::full(share.compilations_per_hour as f64);
        let inner = Inner { share, usage: AccountUsage::default(), cpu, compilations };
        Self { name, number, inner: Mutex::new(inner), series: AtomicU64::new(0) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn share(&self) -> Share {
        self.with(|inner| inner.share.clone())
    }

    pub fn usage(&self) -> AccountUsage {
        let series = self.series.load(Ordering::Relaxed);
        self.with(|inner| AccountUsage { series, ..inner.usage })
    }

    /// When its cpu bound lets it run again; `None` where it does now.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        self.with(|inner| {
            let rate = inner.share.cpu_cores;
            if rate.is_infinite() {
                return None;
            }
            inner.cpu.fill(now, rate, rate * BURST.as_secs_f64());
            let missing = -inner.cpu.level;
            (missing > 0.0).then(|| now + Duration::from_secs_f64((missing / rate.max(f64::MIN_POSITIVE)).min(3600.0)))
        })
    }

    /// Charges a run that ended.
    pub(crate) fn charge(&self, cpu: Duration, failed: bool) {
        self.with(|inner| {
            inner.cpu.level -= cpu.as_secs_f64();
            inner.usage.cpu += cpu;
            inner.usage.runs += 1;
            inner.usage.failures += u64::from(failed);
        });
    }

    /// Charges what was done for it and is no run: a compilation.
    pub(crate) fn spend(&self, cpu: Duration) {
        self.with(|inner| {
            inner.cpu.level -= cpu.as_secs_f64();
            inner.usage.cpu += cpu;
        });
    }

    pub(crate) fn note_held(&self, why: Held, how_long: Duration) {
        self.with(|inner| inner.usage.held[why as usize] += how_long);
    }

    /// Takes one compilation out of the hour's; false where there is none left.
    pub(crate) fn may_compile(&self) -> bool {
        self.with(|inner| {
            let most = inner.share.compilations_per_hour as f64;
            inner.compilations.fill(Instant::now(), most / HOUR.as_secs_f64(), most);
            if inner.compilations.level < 1.0 {
                return false;
            }
            inner.compilations.level -= 1.0;
            inner.usage.compilations += 1;
            true
        })
    }

    /// Gives one back that came to nothing by the node's doing.
    pub(crate) fn did_not_compile(&self) {
        self.with(|inner| {
            inner.compilations.level += 1.0;
            inner.usage.compilations = inner.usage.compilations.saturating_sub(1);
        });
    }

    /// Exchanges a sensor's old count of series for as much of a new one as the share allows; returns that.
    pub(crate) fn take_series(&self, old: u64, wanted: u64) -> u64 {
        let most = self.with(|inner| inner.share.series);
        let mut now = self.series.load(Ordering::Relaxed);
        loop {
            let others = now.saturating_sub(old);
            let taken = wanted.min(most.saturating_sub(others));
            match self.series.compare_exchange(now, others + taken, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return taken,
                Err(changed) => now = changed,
            }
        }
    }
}

/// All accounts that have had a sensor on this node.
#[derive(Debug, Default)]
pub struct Accounts {
    known: RwLock<HashMap<Arc<str>, Arc<Account>>>,
}

impl Accounts {
    /// The account of a name, with the share that it has now.
    pub fn account(&self, name: &str, share: &Share) -> Arc<Account> {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            known.with(|inner| {
                if inner.share != *share {
                    inner.share = share.clone();
                }
            });
            return known.clone();
        }
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let number = all.len() as u64;
        let name: Arc<str> = name.into();
        all.entry(name.clone()).or_insert_with(|| Arc::new(Account::new(name, number, share.clone()))).clone()
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<Account>> {
        let mut all: Vec<_> = self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_bound_is_saved_up_spent_and_paid_back() {
        let account = Account::new("a".into(), 0, Share { cpu_cores: 0.5, ..Share::DEFAULT });
        let now = Instant::now();
        assert_eq!(account.held_until(now), None);
        account.charge(Duration::from_secs(3), false);
        let until = account.held_until(now).expect("2.5 s were saved, 3 are spent");
        assert!((0.8..1.2).contains(&(until - now).as_secs_f64()), "{:?}", until - now);
        assert_eq!(account.held_until(now + Duration::from_secs(2)), None);
        let operator = Account::new("o".into(), 0, Share::OPERATOR);
        operator.charge(Duration::from_secs(1_000_000), false);
        assert_eq!(operator.held_until(now), None);
    }

    #[test]
    fn series_of_all_sensors_are_one_budget() {
        let account = Account::new("a".into(), 0, Share { series: 100, ..Share::DEFAULT });
        assert_eq!(account.take_series(0, 60), 60);
        assert_eq!(account.take_series(0, 60), 40, "a second sensor is not a second budget");
        assert_eq!(account.take_series(60, 10), 10);
        assert_eq!(account.take_series(40, 1_000), 90);
        assert_eq!(account.usage().series, 100);
    }

    #[test]
    fn compilations_are_counted_by_the_hour() {
        let account = Account::new("a".into(), 0, Share { compilations_per_hour: 2, ..Share::DEFAULT });
        assert_eq!([account.may_compile(), account.may_compile(), account.may_compile()], [true, true, false]);
        assert_eq!(account.usage().compilations, 2);
    }

    #[test]
    fn a_new_share_holds_at_once() {
        let accounts = Accounts::default();
        let first = accounts.account("a", &Share::DEFAULT);
        let again = accounts.account("a", &Share { series: 1, ..Share::DEFAULT });
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(first.take_series(0, 5), 1);
        assert_eq!(accounts.account("b", &Share::DEFAULT).number, 1);
    }
}
