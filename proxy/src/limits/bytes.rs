//! A bucket of bytes that may go below nothing: what was sent is paid off before more is.

use std::time::{Duration, Instant};

use crate::config::Quota;

/// So many seconds' worth can go at once: all of an account's targets may be scraped in one second of a 15 s interval, and its average is what counts.
const BURST_SECONDS: f64 = 15.0;

#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    /// In bytes; below nothing is debt.
    level: f64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(quota: Quota) -> Self {
        let per_second = quota.bytes_per_second as f64;
        Self { per_second, level: per_second * BURST_SECONDS, filled: Instant::now() }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + passed * self.per_second).min(self.per_second * BURST_SECONDS);
        self.filled = self.filled.max(now);
    }

    pub(super) fn take(&mut self, bytes: u64, now: Instant) {
        self.fill(now);
        self.level -= bytes as f64;
    }

    /// How long until there is something again, if there is nothing.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.fill(now);
        (self.level < 0.0).then(|| Duration::from_secs_f64(-self.level / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debt_is_paid_off_before_more_is_sent() {
        let mut bucket = Bucket::new(Quota { bytes_per_second: 100, ..Quota::default() });
        let start = bucket.filled;
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        bucket.take(1_500, start);
        assert_eq!(bucket.wait(start), None, "a burst is let through");
        bucket.take(1_000, start);
        assert_eq!(bucket.wait(start), Some(Duration::from_secs(10)));
        assert_eq!(bucket.wait(at(9)), Some(Duration::from_secs(1)));
        assert_eq!(bucket.wait(at(11)), None);
        bucket.take(0, at(3_600));
        assert_eq!(bucket.level, 1_500.0, "no more than a burst is saved");
    }
}
