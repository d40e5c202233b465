//! How a sensor stands after its failures: good, backed off, quarantined.
//!
//! Only breaking a limit or a rule counts: a server that is down is not its probe's fault, and a probe must be back with it. Each such
//! failure in a row doubles the time to the next run; after a number of them the sensor does not run at all until somebody releases
//! it or a new version comes. One success clears everything.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::failure::RunFailure;

/// When failures in a row have which consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandingRules {
    /// Failures in a row after which a sensor is quarantined.
    pub quarantine_after: u32,
    /// The longest that a sensor waits for its next run.
    pub longest_back_off: Duration,
}

impl Default for StandingRules {
    /// At an interval of 15 s, ten failures in a row are some two hours of trying.
    fn default() -> Self {
        Self { quarantine_after: 10, longest_back_off: Duration::from_secs(3600) }
    }
}

/// A sensor that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// A sentence.
    pub why: Arc<str>,
    pub since: SystemTime,
    /// Its code is not run anywhere on this node, whoever's it is.
    pub of_digest: bool,
}

/// How a sensor stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Failures by its own fault since the last success.
    pub misbehaved: u32,
    /// It does not run before.
    pub not_before: Option<Instant>,
    pub quarantine: Option<Quarantine>,
}

impl Standing {
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// One more failure of its own. Whether it is quarantined by that.
    pub(crate) fn misbehaved(&mut self, failure: &RunFailure, rules: &StandingRules, interval: Duration) -> bool {
        self.misbehaved += 1;
        if self.misbehaved >= rules.quarantine_after && self.quarantine.is_none() {
            let count = self.misbehaved;
            self.quarantine(&format!("it failed {count} times in a row; the last time it {failure}"), false);
            return true;
        }
        let doubled = interval.saturating_mul(1 << (self.misbehaved - 1).min(30));
        self.not_before = Some(Instant::now() + doubled.min(rules.longest_back_off));
        false
    }

    pub(crate) fn quarantine(&mut self, why: &str, of_digest: bool) {
        self.quarantine = Some(Quarantine { why: why.into(), since: SystemTime::now(), of_digest });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_and_the_last_ends_it() {
        let rules = StandingRules { quarantine_after: 5, longest_back_off: Duration::from_secs(60) };
        let mut standing = Standing::default();
        for seconds in [15, 30, 60, 60] {
            assert!(!standing.misbehaved(&RunFailure::Stack, &rules, Duration::from_secs(15)));
            let wait = standing.not_before.unwrap() - Instant::now();
            assert!((seconds - 1..=seconds).contains(&wait.as_secs()), "{wait:?} for {seconds}");
        }
        assert!(standing.misbehaved(&RunFailure::Stack, &rules, Duration::from_secs(15)));
        let why = standing.quarantine.clone().unwrap().why;
        assert_eq!(&*why, "it failed 5 times in a row; the last time it recursed too deeply for its stack");
        standing.succeeded();
        assert_eq!(standing, Standing::default());
    }
}
