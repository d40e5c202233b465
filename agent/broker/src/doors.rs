//! Whether a ticket opens a door: the broker's own judgement, from what the agent told it and nothing that a runner says.
//!
//! A ticket must be the agent's (its mark), this runner's, of a run whose deadline is to come, for doors that are still there; the
//! door must be one of them; and it must be the run's *next* opening. The last makes each opening good once: a request that was seen
//! cannot be sent again, by this runner or another. What is remembered of a run is two numbers, until its deadline.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sonde_host::wire::{OpenRequest, Opening};
use sonde_host::{DoorsNumber, RunnerNumber, TicketKey, monotonic_now};

use crate::protocol::Doors;

/// How often what is remembered of runs that are over is thrown away, in openings.
const SWEEP_EVERY: usize = 1024;

/// Why a request is not honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the ticket is not the agent's")]
    Forged,
    #[error("the ticket is another runner's")]
    AnothersTicket,
    #[error("the run's deadline is over")]
    Late,
    #[error("the sensor was taken away")]
    Closed,
    #[error("this opening was asked for before, or out of its order")]
    Replayed,
    #[error("the run has had as many openings as it may")]
    TooMany,
    #[error("the grant does not hold it")]
    NotGranted,
}

impl Refusal {
    /// Whether an honest runner can come to ask so.
    pub(crate) fn is_innocent(self) -> bool {
        matches!(self, Self::Late | Self::Closed | Self::TooMany)
    }
}

#[derive(Debug)]
struct Used {
    deadline_ns: u64,
    openings: u32,
    sockets: u64,
}

/// Judges tickets.
#[derive(Debug)]
pub(crate) struct DoorKeeper {
    key: TicketKey,
    doors: HashMap<DoorsNumber, Arc<Doors>>,
    used: HashMap<u64, Used>,
    until_sweep: usize,
}

impl DoorKeeper {
    pub(crate) fn new(key: TicketKey) -> Self {
        Self { key, doors: HashMap::new(), used: HashMap::new(), until_sweep: SWEEP_EVERY }
    }

    pub(crate) fn set(&mut self, number: DoorsNumber, doors: Doors) {
        self.doors.insert(number, Arc::new(doors));
    }

    pub(crate) fn close(&mut self, number: DoorsNumber) {
        self.doors.remove(&number);
    }

    /// Whether a runner's request is honoured. If so it has been, once, and this is how long it may take.
    pub(crate) fn honour(
        &mut self,
        runner: RunnerNumber,
        request: &OpenRequest,
    ) -> Result<(Arc<Doors>, Duration), Refusal> {
        let ticket = &request.ticket;
        if !self.key.wrote(ticket) {
            return Err(Refusal::Forged);
        }
        if ticket.runner != runner {
            return Err(Refusal::AnothersTicket);
        }
        let left = ticket.left().ok_or(Refusal::Late)?;
        let doors = self.doors.get(&ticket.doors).cloned().ok_or(Refusal::Closed)?;
        self.sweep();
        let first = Used { deadline_ns: ticket.deadline_ns, openings: 0, sockets: 0 };
        let used = self.used.entry(ticket.run).or_insert(first);
        if request.number != used.openings {
            return Err(Refusal::Replayed);
        }
        // Counted whatever comes of it: what was refused once is not asked for again under the same number, and an honest runner,
        // whose sensor may ask as often as it likes, goes on counting.
        used.openings += 1;
        if used.openings > doors.openings {
            return Err(Refusal::TooMany);
        }
        if matches!(request.what, Opening::Tcp(_) | Opening::Http(_) | Opening::Unix(_)) {
            if used.sockets >= doors.sockets {
                return Err(Refusal::TooMany);
            }
            used.sockets += 1;
        }
        if !opens(&doors, &request.what) {
            return Err(Refusal::NotGranted);
        }
        let patience = Duration::from_millis(u64::from(request.patience_ms));
        Ok((doors, left.min(patience)))
    }

    /// Forgets runs whose deadline is over: their tickets are refused for that.
    fn sweep(&mut self) {
        self.until_sweep -= 1;
        if self.until_sweep == 0 {
            self.until_sweep = SWEEP_EVERY;
            let now = u64::try_from(monotonic_now().as_nanos()).unwrap_or(u64::MAX);
            self.used.retain(|_, used| used.deadline_ns > now);
        }
    }
}

fn opens(doors: &Doors, what: &Opening) -> bool {
    match what {
        Opening::Tcp(port) => doors.tcp.contains(port),
        Opening::Http(port) => doors.http.contains(port),
        Opening::Unix(path) => doors.unix.contains(path),
        Opening::File(path) => doors.files.iter().any(|pattern| pattern.allows(path)),
        // Whether there is a file for it is found out when it is read.
        Opening::Secret(_) => true,
        Opening::Processes => doors.processes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sonde_host::{Grant, Ticket};
    use sonde_manifest::{FilePattern, Manifest};
    use std::collections::BTreeMap;
    use uuid::Uuid;

    const RUNNER: RunnerNumber = 7;
    const SECOND: Duration = Duration::from_secs(1);

    fn doors() -> Doors {
        let text = "name = \"probe\"\nversion = \"0.1.0\"\ninterval = \"1s\"\n[limits]\nsockets = 2\n";
        let mut grant = Grant::nothing(&Manifest::parse(text).unwrap());
        grant.tcp = vec![6379];
        grant.http = vec![80];
        grant.unix = vec!["/run/x".into()];
        grant.files = vec![FilePattern::Exact("/etc/x".into())];
        Doors::of(Uuid::nil(), &grant, &BTreeMap::new())
    }

    fn keeper() -> (TicketKey, DoorKeeper) {
        let key = TicketKey::random().unwrap();
        let mut keeper = DoorKeeper::new(key.clone());
        keeper.set(1, doors());
        (key, keeper)
    }

    fn request(ticket: &Ticket, number: u32, what: Opening) -> OpenRequest {
        OpenRequest { id: 0, ticket: ticket.clone(), number, what, patience_ms: 500 }
    }

    #[test]
    fn each_opening_is_honoured_once_and_in_order() {
        let (key, mut keeper) = keeper();
        let ticket = key.ticket(1, RUNNER, 1, SECOND);
        let tcp = |number| request(&ticket, number, Opening::Tcp(6379));
        let (_, left) = keeper.honour(RUNNER, &tcp(0)).unwrap();
        assert!(left <= Duration::from_millis(500));
        assert_eq!(keeper.honour(RUNNER, &tcp(0)).unwrap_err(), Refusal::Replayed);
        assert_eq!(keeper.honour(RUNNER, &tcp(5)).unwrap_err(), Refusal::Replayed);
        keeper.honour(RUNNER, &tcp(1)).unwrap();
        assert_eq!(keeper.honour(RUNNER, &tcp(2)).unwrap_err(), Refusal::TooMany, "two sockets are the grant's");
        keeper.honour(RUNNER, &request(&ticket, 3, Opening::File("/etc/x".into()))).unwrap();
    }

    #[test]
    fn what_is_forged_anothers_late_or_closed_opens_nothing() {
        let (key, mut keeper) = keeper();
        let good = key.ticket(1, RUNNER, 1, SECOND);
        let tcp = |ticket: &Ticket| request(ticket, 0, Opening::Tcp(6379));
        let forged = TicketKey::random().unwrap().ticket(1, RUNNER, 1, SECOND);
        assert_eq!(keeper.honour(RUNNER, &tcp(&forged)).unwrap_err(), Refusal::Forged);
        let mut longer = good.clone();
        longer.deadline_ns = u64::MAX;
        assert_eq!(keeper.honour(RUNNER, &tcp(&longer)).unwrap_err(), Refusal::Forged);
        assert_eq!(keeper.honour(RUNNER + 1, &tcp(&good)).unwrap_err(), Refusal::AnothersTicket);
        assert_eq!(keeper.honour(RUNNER, &tcp(&key.ticket(2, RUNNER, 1, Duration::ZERO))).unwrap_err(), Refusal::Late);
        assert_eq!(keeper.honour(RUNNER, &tcp(&key.ticket(3, RUNNER, 2, SECOND))).unwrap_err(), Refusal::Closed);
        keeper.close(1);
        assert_eq!(keeper.honour(RUNNER, &tcp(&good)).unwrap_err(), Refusal::Closed);
    }

    #[test]
    fn only_what_the_grant_holds_by_the_capability_that_it_holds_it_for() {
        let (key, mut keeper) = keeper();
        let mut run = 0;
        let mut ask = |what: Opening| {
            run += 1;
            keeper.honour(RUNNER, &request(&key.ticket(run, RUNNER, 1, SECOND), 0, what)).map(|_| ())
        };
        for granted in
            [Opening::Tcp(6379), Opening::Http(80), Opening::Unix("/run/x".into()), Opening::File("/etc/x".into())]
        {
            assert_eq!(ask(granted.clone()), Ok(()), "{granted:?}");
        }
        for not in [
            Opening::Tcp(80),
            Opening::Http(6379),
            Opening::Tcp(22),
            Opening::Unix("/run/y".into()),
            Opening::File("/etc/../etc/x".into()),
            Opening::File("/etc/shadow".into()),
            Opening::Processes,
        ] {
            assert_eq!(ask(not.clone()), Err(Refusal::NotGranted), "{not:?}");
        }
    }

    #[test]
    fn a_sensor_that_opens_too_much_is_refused_each_time_and_its_runner_stays_honest() {
        let (key, mut keeper) = keeper();
        let ticket = key.ticket(1, RUNNER, 1, Duration::from_secs(60));
        let file = |number| request(&ticket, number, Opening::File("/etc/x".into()));
        let most = doors().openings;
        for number in 0..most {
            keeper.honour(RUNNER, &file(number)).unwrap();
        }
        for number in most..most + 3 {
            let refusal = keeper.honour(RUNNER, &file(number)).unwrap_err();
            assert!(refusal == Refusal::TooMany && refusal.is_innocent(), "{number}: {refusal}");
        }
        assert_eq!(keeper.honour(RUNNER, &file(0)).unwrap_err(), Refusal::Replayed);
    }

    #[test]
    fn runs_that_are_over_are_forgotten() {
        let (key, mut keeper) = keeper();
        for run in 0..3 * SWEEP_EVERY as u64 {
            let ticket = key.ticket(run, RUNNER, 1, Duration::from_micros(1));
            let _ = keeper.honour(RUNNER, &request(&ticket, 0, Opening::Tcp(6379)));
        }
        for run in 0..SWEEP_EVERY as u64 {
            let ticket = key.ticket(1_000_000 + run, RUNNER, 1, SECOND);
            keeper.honour(RUNNER, &request(&ticket, 0, Opening::Tcp(6379))).unwrap();
        }
        assert!(keeper.used.len() <= 2 * SWEEP_EVERY, "{}", keeper.used.len());
    }
}
