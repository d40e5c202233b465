//! One node's session: which report comes next, and how often it may speak.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use sonde_inventory::LEASE;
use sonde_inventory::report::{Refused, Report};
use uuid::Uuid;

/// Reports of one node in a second, over time: births and deaths are told at once, and a node that has more of them than this tells several
/// together.
pub(super) const PER_SECOND: u32 = 20;
/// Reports at once after a pause.
const BURST: f64 = 40.0;
/// Refused instances whose refusal was logged; past it some may be logged again.
const MOST_SAID: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Session {
    /// The agent's session and the number of its last report; none means that everything has to be said.
    last: Option<(Uuid, u64)>,
    heard: Option<Instant>,
    /// Reports that it may send now, and as of when.
    allowance: Option<(f64, Instant)>,
    said: HashSet<Uuid>,
}

impl Session {
    /// Whether it may send a report now; if so, it has.
    pub(super) fn may_speak(&mut self, now: Instant) -> bool {
        let (left, at) = self.allowance.unwrap_or((BURST, now));
        let left = (left + now.duration_since(at).as_secs_f64() * f64::from(PER_SECOND)).min(BURST);
        let may = left >= 1.0;
        self.allowance = Some((if may { left - 1.0 } else { left }, now));
        may
    }

    /// Whether nothing is missing before this report. After a lease's silence something may be: its claims have ended meanwhile.
    pub(super) fn follows(&self, report: &Report, now: Instant) -> bool {
        let is_full = report.full.is_some();
        // Another life of the agent begins with everything.
        let Some((_, sequence)) = self.last.filter(|(session, _)| *session == report.session) else {
            return is_full;
        };
        let is_fresh = self.heard.is_some_and(|heard| now.duration_since(heard) < LEASE);
        if is_full { report.sequence > sequence } else { is_fresh && Some(report.sequence) == sequence.checked_add(1) }
    }

    pub(super) fn taken(&mut self, report: &Report, now: Instant) {
        self.last = Some((report.session, report.sequence));
        self.heard = Some(now);
    }

    pub(super) fn end(&mut self) {
        self.last = None;
    }

    pub(super) fn is_silent_for(&self, duration: Duration, now: Instant) -> bool {
        let spoke = self.allowance.map(|(_, at)| at);
        spoke.is_none_or(|spoke| now.duration_since(spoke) > duration)
    }

    /// The refusals that are to be logged.
    pub(super) fn not_said_yet<'a>(&mut self, refused: &'a [Refused]) -> Vec<&'a Refused> {
        if self.said.len() > MOST_SAID {
            self.said.clear();
        }
        refused.iter().filter(|refused| self.said.insert(refused.id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use sonde_inventory::report::About;

    use super::*;

    fn report(session: u128, sequence: u64, is_full: bool) -> Report {
        let full = is_full.then(|| About { hostname: String::new(), url: String::new() });
        let session = Uuid::from_u128(session);
        Report { node: Uuid::nil(), session, sequence, full, instances: vec![], ended: vec![], sensors: None }
    }

    #[test]
    fn nothing_may_be_missing() {
        let now = Instant::now();
        let mut session = Session::default();
        assert!(!session.follows(&report(1, 1, false), now), "nothing was said before");
        assert!(session.follows(&report(1, 5, true), now));
        session.taken(&report(1, 5, true), now);
        assert!(session.follows(&report(1, 6, false), now));
        for other in [report(1, 5, false), report(1, 7, false), report(2, 6, false), report(1, 5, true)] {
            assert!(!session.follows(&other, now), "{other:?}");
        }
        assert!(session.follows(&report(2, 1, true), now), "the agent was started again");
        assert!(session.follows(&report(1, 9, true), now));
        assert!(!session.follows(&report(1, 6, false), now + LEASE), "its lease has ended meanwhile");
        session.end();
        assert!(!session.follows(&report(1, 6, false), now) && session.follows(&report(1, 6, true), now));
        session.taken(&report(1, u64::MAX, true), now);
        assert!(!session.follows(&report(1, 0, false), now));
    }

    #[test]
    fn a_node_speaks_no_oftener_than_it_may() {
        let now = Instant::now();
        let mut session = Session::default();
        let spoke = (0..1000).filter(|_| session.may_speak(now)).count();
        assert_eq!(spoke, 40);
        let later = now + Duration::from_secs(1);
        assert_eq!((0..1000).filter(|_| session.may_speak(later)).count(), PER_SECOND as usize);
    }
}
