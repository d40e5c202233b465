//! New series by the hour: a sensor may change what it returns, but not be a fountain of names.
//!
//! A series that was in the last accepted result is an old one; any other costs one of the hour's, and where there are none left it is
//! left out and counted. What came and went and comes again is new each time. The first result is free: it is bounded by the series
//! of a run alone.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// The series of a sensor's last result, and how many new ones it may still bring.
#[derive(Debug)]
pub struct Churn {
    /// Of this process and this sensor alone: which hashes collide is nobody's to know.
    hasher: RandomState,
    known: Option<HashSet<u64>>,
    left: f64,
    at: Instant,
}

impl Default for Churn {
    fn default() -> Self {
        Self { hasher: RandomState::new(), known: None, left: f64::INFINITY, at: Instant::now() }
    }
}

impl Churn {
    /// A result begins to be gone through.
    pub(super) fn begin(&mut self, per_hour: u64, now: Instant) {
        let most = per_hour as f64;
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * most / HOUR.as_secs_f64();
        self.left = (self.left + gained).min(most);
        self.at = now;
    }

    /// The hash of a series: of its family's name and its label values.
    pub(super) fn hash(&self, family: &str, labels: &[String]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        family.hash(&mut hasher);
        labels.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether a series may be in the result.
    pub(super) fn admits(&mut self, series: u64) -> bool {
        let Some(known) = &self.known else { return true };
        if known.contains(&series) {
            return true;
        }
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }

    /// The result was accepted with these.
    pub(super) fn end(&mut self, accepted: HashSet<u64>) {
        self.known = Some(accepted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_free_and_the_old_stay() {
        let mut churn = Churn::default();
        let now = Instant::now();
        churn.begin(3, now);
        assert!((0..10).all(|series| churn.admits(series)));
        churn.end((0..10).collect());
        churn.begin(3, now);
        assert!((0..10).all(|series| churn.admits(series)));
        assert_eq!((10..20).filter(|series| churn.admits(*series)).count(), 3);
        churn.end((0..13).collect());
        churn.begin(3, now + HOUR / 3);
        assert_eq!((20..30).filter(|series| churn.admits(*series)).count(), 1, "a third of an hour brings one");
    }
}
