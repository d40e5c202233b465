//! Tickets: what a runner shows the broker to have something opened.
//!
//! The agent writes one for each run that it starts and that may open anything; only agent and broker have the key. It names the
//! run, the runner it was given to, the doors (what the grant opens on which instance; the broker was told) and the run's
//! deadline. So a runner can neither make one, nor use another runner's, nor one whose run is over, nor
//! change what it opens. That each opening is honoured once is the broker's to remember; a ticket is only what cannot be forged.

use std::time::Duration;

use hmac::{Hmac, Mac};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Bytes of the key and of a mark: SHA-256's.
const KEY_BYTES: usize = 32;

/// Which doors the broker was told of, by the number that the agent gave them.
pub type DoorsNumber = u64;
/// A runner, by the number that the broker gave it. Never used twice while the broker lives.
pub type RunnerNumber = u64;

/// The key that agent and broker share for as long as both live.
#[derive(Clone, Serialize, Deserialize)]
pub struct TicketKey([u8; KEY_BYTES]);

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey")
    }
}

/// A run's right to have doors opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub run: u64,
    pub runner: RunnerNumber,
    pub doors: DoorsNumber,
    /// On the clock of [`monotonic_now`], in nanoseconds.
    pub deadline_ns: u64,
    mark: [u8; KEY_BYTES],
}

/// Since the machine started, suspensions left out: the same for all of its processes (clock_gettime(2), `CLOCK_MONOTONIC`).
pub fn monotonic_now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

impl TicketKey {
    /// A new one, out of the kernel's random numbers.
    ///
    /// # Errors
    /// The kernel has none yet.
    pub fn random() -> std::io::Result<Self> {
        let mut key = [0; KEY_BYTES];
        let mut filled = 0;
        while filled < KEY_BYTES {
            filled += rustix::rand::getrandom(&mut key[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(Self(key))
    }

    /// Writes a ticket that is good for `lasts` from now.
    pub fn ticket(&self, run: u64, runner: RunnerNumber, doors: DoorsNumber, lasts: Duration) -> Ticket {
        let deadline_ns = u64::try_from((monotonic_now() + lasts).as_nanos()).unwrap_or(u64::MAX);
        let mark = self.mac(run, runner, doors, deadline_ns).finalize().into_bytes().into();
        Ticket { run, runner, doors, deadline_ns, mark }
    }

    /// Whether this key wrote the ticket, compared in constant time. Says nothing of its deadline.
    pub fn wrote(&self, ticket: &Ticket) -> bool {
        self.mac(ticket.run, ticket.runner, ticket.doors, ticket.deadline_ns).verify_slice(&ticket.mark).is_ok()
    }

    fn mac(&self, run: u64, runner: RunnerNumber, doors: DoorsNumber, deadline_ns: u64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for number in [run, runner, doors, deadline_ns] {
            mac.update(&number.to_le_bytes());
        }
        mac
    }
}

impl Ticket {
    /// What is left until its deadline; `None` once that is past.
    pub fn left(&self) -> Option<Duration> {
        Duration::from_nanos(self.deadline_ns).checked_sub(monotonic_now()).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_ticket_is_nobodys() {
        let key = TicketKey::random().unwrap();
        let ticket = key.ticket(1, 2, 3, Duration::from_secs(5));
        assert!(key.wrote(&ticket) && ticket.left().is_some());
        assert!(!TicketKey::random().unwrap().wrote(&ticket));
        for forged in [
            Ticket { run: 9, ..ticket.clone() },
            Ticket { runner: 9, ..ticket.clone() },
            Ticket { doors: 9, ..ticket.clone() },
            Ticket { deadline_ns: u64::MAX, ..ticket.clone() },
            Ticket { mark: [0; KEY_BYTES], ..ticket },
        ] {
            assert!(!key.wrote(&forged), "{forged:?}");
        }
        assert!(key.ticket(1, 2, 3, Duration::ZERO).left().is_none());
    }
}
