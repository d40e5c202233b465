//! How many handshakes there may be: at once, and of one source in a time.
//!
//! A handshake costs a signature or two before anything is known of who asks, so that is where a flood is cheapest for those who make it. A source is an IPv4
//! address or an IPv6 network of 64 bits, since whoever has one address of that has them all. It has a bucket (GCRA: one number a source), and a
//! share of those at once. What is refused is refused before a byte is read. The table of sources is bounded: those that have been quiet long enough
//! are forgotten, and when that makes no room, a further source has only the bound of all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Sources that are remembered: 40 bytes each.
const MOST_SOURCES: usize = 1 << 16;
/// The table is not searched for quiet ones oftener.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// One source has at most this part of those at once, so that one that never finishes them keeps nobody out.
const SOURCES_PART: usize = 4;

/// What is allowed; numbers of 1 at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HandshakeLimits {
    /// A second, of one source, when the burst is used up.
    pub per_second: u32,
    /// At a time, of one source: a scraper opens a connection for each of its targets when it starts.
    pub burst: u32,
    /// At once, of all sources.
    pub in_flight: usize,
}

impl Default for HandshakeLimits {
    /// About a quarter of a core for the busiest source, and a scraper of some thousand targets at once.
    fn default() -> Self {
        Self { per_second: 500, burst: 4_000, in_flight: 4_096 }
    }
}

/// How handshakes went, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handshakes {
    pub done: u64,
    /// Not TLS, no common version, no possession of the key, or gone.
    pub failed: u64,
    /// Not finished in time.
    pub late: u64,
    /// Refused: their source had too many, or there were too many at once.
    pub refused: u64,
    pub in_flight: usize,
}

/// See the module.
pub(super) struct Limits {
    limits: Mutex<HandshakeLimits>,
    table: Mutex<Table>,
    /// Times are counted from here.
    start: Instant,
}

struct Table {
    sources: HashMap<Source, Standing>,
    in_flight: usize,
    swept: Duration,
}

/// An IPv4 address, or the upper half of an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    V6(u64),
}

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((Ipv6Addr::to_bits(address) >> 64) as u64),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    /// When the bucket will be full again.
    full_at: Duration,
    in_flight: usize,
}

/// A handshake that was let in; its end gives the place back.
pub(super) struct Place {
    limits: Arc<Limits>,
    /// None for a source for which there was no room in the table.
    source: Option<Source>,
}

impl Limits {
    pub fn new(limits: HandshakeLimits) -> Arc<Self> {
        let table = Table { sources: HashMap::new(), in_flight: 0, swept: Duration::ZERO };
        Arc::new(Self { limits: Mutex::new(limits), table: Mutex::new(table), start: Instant::now() })
    }

    pub fn change(&self, limits: HandshakeLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// A place for a handshake with this address, if it may have one.
    pub fn admit(self: &Arc<Self>, address: SocketAddr) -> Option<Place> {
        self.admit_at(address.ip(), self.start.elapsed())
    }

    fn admit_at(self: &Arc<Self>, address: IpAddr, now: Duration) -> Option<Place> {
        let limits = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.table();
        if table.in_flight >= limits.in_flight.max(1) {
            return None;
        }
        let source = Source::of(address);
        if !table.make_room(source, now) {
            table.in_flight += 1;
            return Some(Place { limits: self.clone(), source: None });
        }
        let standing = table.sources.entry(source).or_default();
        let each = Duration::from_secs(1) / limits.per_second.max(1);
        let full_at = standing.full_at.max(now) + each;
        let share = (limits.in_flight / SOURCES_PART).max(1);
        if full_at > now + each * limits.burst.max(1) || standing.in_flight >= share {
            return None;
        }
        *standing = Standing { full_at, in_flight: standing.in_flight + 1 };
        table.in_flight += 1;
        Some(Place { limits: self.clone(), source: Some(source) })
    }

    pub fn in_flight(&self) -> usize {
        self.table().in_flight
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether there is room for this source.
    fn make_room(&mut self, source: Source, now: Duration) -> bool {
        if self.sources.len() < MOST_SOURCES || self.sources.contains_key(&source) {
            return true;
        }
        if now >= self.swept + SWEEP_EVERY {
            self.swept = now;
            // A full bucket is what one that is not known has.
            self.sources.retain(|_, standing| standing.in_flight > 0 || standing.full_at > now);
        }
        self.sources.len() < MOST_SOURCES
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.limits.table();
        table.in_flight -= 1;
        if let Some(standing) = self.source.and_then(|source| table.sources.get_mut(&source)) {
            standing.in_flight -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HandshakeLimits = HandshakeLimits { per_second: 10, burst: 5, in_flight: 40 };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let limits = Limits::new(LIMITS);
        let let_in = |at: u64| {
            (0..20).filter(|_| limits.admit_at(address("192.0.2.1"), Duration::from_millis(at)).is_some()).count()
        };
        assert_eq!(let_in(0), 5);
        assert_eq!((let_in(50), let_in(100), let_in(150)), (0, 1, 0));
        assert_eq!(let_in(10_000), 5);
    }

    #[test]
    fn a_network_of_64_bits_is_one_source_and_an_address_mapped_to_ipv6_is_that_address() {
        let limits = Limits::new(LIMITS);
        let let_in = |text: &str| limits.admit_at(address(text), Duration::ZERO).is_some();
        assert!((1..=5).all(|host| let_in(&format!("2001:db8::{host}"))));
        assert!(!let_in("2001:db8::6") && !let_in("2001:db8:0:0:ffff::") && let_in("2001:db8:0:1::1"));
        assert!((1..=5).all(|_| let_in("192.0.2.1")));
        assert!(!let_in("::ffff:192.0.2.1") && let_in("192.0.2.2"));
    }

    #[test]
    fn one_that_never_finishes_keeps_nobody_out() {
        let limits = Limits::new(HandshakeLimits { burst: 1_000, ..LIMITS });
        let held: Vec<_> = (0..100).filter_map(|_| limits.admit_at(address("192.0.2.1"), Duration::ZERO)).collect();
        assert_eq!((held.len(), limits.in_flight()), (10, 10));
        let others = |last: u8| limits.admit_at(IpAddr::from([198, 51, 100, last]), Duration::ZERO);
        let more: Vec<_> = (0..100).filter_map(others).collect();
        assert_eq!((more.len(), limits.in_flight()), (30, 40));
        drop(held);
        assert!(others(200).is_some());
        drop(more);
        assert_eq!(limits.in_flight(), 0);
    }

    #[test]
    fn the_table_is_bounded_and_quiet_sources_leave_it() {
        let limits = Limits::new(HandshakeLimits { per_second: 1, burst: 2, in_flight: 4 });
        let network = |number: usize| IpAddr::from(Ipv6Addr::from_bits((number as u128) << 64));
        for number in 0..MOST_SOURCES + 100 {
            assert!(limits.admit_at(network(number), Duration::ZERO).is_some());
        }
        assert_eq!(limits.table().sources.len(), MOST_SOURCES);
        assert!(limits.admit_at(network(MOST_SOURCES + 7), Duration::from_secs(5)).is_some());
        assert_eq!(limits.table().sources.len(), 1);
    }
}
