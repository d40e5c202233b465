//! Which sensors run beside which: the light apart from the heavy.
//!
//! A runner polls its runs one after another, so a run that computes until it is preempted makes those beside it wait, each time for an epoch at
//! most; and a run that fails costs the thread its trap and its teardown. Most probes do neither. So a sensor that took more than a run usually
//! takes, or broke a limit, runs in another process next time, one with less of a claim on the CPU, together with those that are like it. A few light
//! runs in a row bring it back. It is a matter of company alone: its limits, its share and its standing are what they were.

use std::time::Duration;

use crate::failure::RunFailure;
use crate::outcome::Usage;

/// CPU of a run from which on it is heavy: two epochs, so it was made to wait at least once, and made others wait. A probe of a server takes a tenth.
const HEAVY_CPU: Duration = Duration::from_millis(1);

/// Light runs in a row after which a sensor is light again: a run now and then is not to move it to and fro, for each runner has to load its code.
const CALM_RUNS: u8 = 3;

/// How a sensor has run lately. Light until it has shown otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lately {
    /// Light runs that are missing until it is light.
    to_go: u8,
}

impl Lately {
    /// One more run.
    pub(crate) fn ran(&mut self, usage: &Usage, failure: Option<&RunFailure>) {
        if usage.cpu >= HEAVY_CPU || failure.is_some_and(RunFailure::is_misbehaviour) {
            self.to_go = CALM_RUNS;
        } else {
            self.to_go = self.to_go.saturating_sub(1);
        }
    }

    pub(crate) fn is_heavy(self) -> bool {
        self.to_go > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::SensorReason;

    fn took(cpu: Duration) -> Usage {
        Usage { cpu, ..Usage::default() }
    }

    #[test]
    fn one_heavy_run_moves_a_sensor_and_three_light_ones_bring_it_back() {
        let mut lately = Lately::default();
        assert!(!lately.is_heavy());
        lately.ran(&took(HEAVY_CPU), None);
        for _ in 1..CALM_RUNS {
            lately.ran(&took(HEAVY_CPU / 2), None);
            assert!(lately.is_heavy());
        }
        lately.ran(&took(HEAVY_CPU / 2), None);
        assert!(!lately.is_heavy());
    }

    #[test]
    fn a_limit_that_was_broken_counts_and_a_server_that_is_down_does_not() {
        let mut lately = Lately::default();
        let down = RunFailure::Sensor { reason: SensorReason::Unreachable, message: "the server is down".into() };
        lately.ran(&took(Duration::ZERO), Some(&down));
        assert!(!lately.is_heavy());
        lately.ran(&took(Duration::ZERO), Some(&RunFailure::Stack));
        assert!(lately.is_heavy());
    }
}
