//! Whether a node is asked at all: not after it could not be reached, until a probe has.
//!
//! Only what cannot be connected opens it; an agent that is slow or refuses is there. Tenants' requests are no probes: they would each wait as long as
//! the deadline is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    is_open: bool,
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
    /// Whether it is open; whoever asks wants the node.
    pub(super) fn is_open(&self) -> bool {
        self.lock().is_open
    }

    /// Somebody asked. True when a prober is to be started.
    pub(super) fn wanted(&self) -> bool {
        let mut state = self.lock();
        state.wanted = Some(Instant::now());
        state.is_open && !std::mem::replace(&mut state.is_probed, true)
    }

    /// The node could not be reached. True when a prober is to be started.
    pub(super) fn open(&self) -> bool {
        let mut state = self.lock();
        state.is_open = true;
        !std::mem::replace(&mut state.is_probed, true)
    }

    /// The node was reached.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_open = false;
        state.is_probed = false;
    }

    /// What comes after so many probes that failed.
    pub(super) fn after(&self, failures: u32, now: Instant) -> Next {
        let mut state = self.lock();
        let is_wanted = state.wanted.is_some_and(|at| now.saturating_duration_since(at) < UNWANTED);
        if !is_wanted {
            state.is_probed = false;
            return Next::Stop;
        }
        Next::Wait(FIRST.saturating_mul(1 << failures.min(8)).min(LONGEST))
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
        assert!(circuit.open() && circuit.is_open());
        assert!(!circuit.open() && !circuit.wanted(), "one is enough");
        let now = Instant::now();
        assert_eq!(circuit.after(0, now), Next::Wait(FIRST));
        assert_eq!(circuit.after(30, now), Next::Wait(LONGEST));
        assert_eq!(circuit.after(1, now + UNWANTED), Next::Stop);
        assert!(circuit.is_open() && circuit.wanted(), "whoever asks begins it again");
        circuit.close();
        assert!(!circuit.is_open() && !circuit.wanted());
    }
}
