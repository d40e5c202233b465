//! Whether a node is asked at all: not after it could not be reached, until a probe has.
//!
//! Two things open it, and they are told apart to the tenant: a node that takes no connection is away, and an agent that takes one and then does not
//! speak (it stands still, or its link is slow) is slow. An agent that answers late, or refuses, is there, and opens nothing. Tenants' requests are no
//! probes: they would each wait as long as the deadline is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Fault;

/// Until the first probe: most of what is away has been started again by then.
const FIRST: Duration = Duration::from_millis(250);
/// Between probes of what stays away.
const LONGEST: Duration = Duration::from_secs(5);
/// A node for which nobody has asked in so long is probed no more; the next who asks begins it again.
const UNWANTED: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub(super) struct Circuit {
    inner: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why it is open, if it is.
    verdict: Option<Fault>,
    is_probed: bool,
    wanted: Option<Instant>,
}

/// What a prober does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Wait(Duration),
    Stop,
}

impl Circuit {
    /// What is known of a node that is not to be asked.
    pub(super) fn verdict(&self) -> Option<Fault> {
        self.lock().verdict
    }

    /// Somebody asked. True when a prober is to be started.
    pub(super) fn wanted(&self) -> bool {
        let mut state = self.lock();
        state.wanted = Some(Instant::now());
        state.verdict.is_some() && !std::mem::replace(&mut state.is_probed, true)
    }

    /// The node could not be reached, or does not speak. What was said of it before, and whether a prober is to be started.
    pub(super) fn open(&self, verdict: Fault) -> (Option<Fault>, bool) {
        let mut state = self.lock();
        let before = state.verdict.replace(verdict);
        (before, !std::mem::replace(&mut state.is_probed, true))
    }

    /// The node was reached.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.verdict = None;
        state.is_probed = false;
    }

    /// What comes after so many probes that failed, the last of which took so long.
    pub(super) fn after(&self, failures: u32, took: Duration, now: Instant) -> Next {
        let mut state = self.lock();
        let is_wanted = state.wanted.is_some_and(|at| now.saturating_duration_since(at) < UNWANTED);
        if !is_wanted {
            state.is_probed = false;
            return Next::Stop;
        }
        let pause = FIRST.saturating_mul(1 << failures.min(8)).min(LONGEST);
        Next::Wait(pause.saturating_sub(took).max(FIRST))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_prober_while_somebody_wants_the_node() {
        let circuit = Circuit::default();
        assert!(!circuit.wanted(), "there is nothing to probe");
        assert_eq!(circuit.open(Fault::Slow), (None, true));
        assert_eq!(circuit.open(Fault::Unreachable), (Some(Fault::Slow), false), "one is enough");
        assert!(!circuit.wanted());
        let (now, none) = (Instant::now(), Duration::ZERO);
        assert_eq!(circuit.after(0, none, now), Next::Wait(FIRST));
        assert_eq!(circuit.after(30, none, now), Next::Wait(LONGEST));
        assert_eq!(circuit.after(30, LONGEST / 5, now), Next::Wait(LONGEST / 5 * 4));
        assert_eq!(circuit.after(30, LONGEST * 2, now), Next::Wait(FIRST), "the probe was the pause");
        assert_eq!(circuit.after(1, none, now + UNWANTED), Next::Stop);
        assert_eq!(circuit.verdict(), Some(Fault::Unreachable));
        assert!(circuit.wanted(), "whoever asks begins it again");
        circuit.close();
        assert!(circuit.verdict().is_none() && !circuit.wanted());
    }
}
