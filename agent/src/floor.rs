//! How often something is read: the operator's floor, for each who asks.
//!
//! The floor holds for each scraper, not for the target: if two Prometheus servers shared a reading that is
//! half a second old, every `irate()` of one of them would be bent by it. A scraper is a connection that sends
//! `X-Prometheus-Scrape-Timeout-Seconds`; everybody else counts as one. Whoever opens many connections gains nothing,
//! because a target is read at most [`BURST`] times within a floor whoever asks. An overloaded node has a higher floor
//! ([`overload`](crate::overload)).
//!
//! A scraper whose rhythm is the floor itself comes now a little early and now a little late. Held to the floor to the last microsecond, it
//! would be given its last values again whenever it is early, and its `irate()` would be 0 then and twice too high next. So it may be early by
//! [`SLACK`], and what it is early by it has to wait the next time: on average nobody is read to oftener than the floor allows.

use std::time::{Duration, Instant};

/// Readings of one target within one floor, whoever asks.
const BURST: usize = 4;
/// Scrapers remembered for one target.
const SCRAPERS: usize = 16;

/// So much of the floor one may be early, and no more than this.
const SLACK: u32 = 20;
const MOST_SLACK: Duration = Duration::from_millis(50);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scraper {
    /// A connection of a scraper.
    Connection(u64),
    /// A person, a script, anything without the header.
    Anybody,
}

/// Who has lately had a reading of one target.
#[derive(Debug, Default)]
pub struct Floor {
    /// And from when on each one's floor counts: its last reading, or a little after it where that was early.
    scrapers: Vec<(Scraper, Instant)>,
    /// Starts of the readings within the last floor, oldest first.
    starts: Vec<Instant>,
}

impl Floor {
    /// Whether `scraper` gets a reading of its own at `now`; notes it if so.
    pub fn admits(&mut self, scraper: Scraper, floor: Duration, now: Instant) -> bool {
        let slack = (floor / SLACK).min(MOST_SLACK);
        self.starts.retain(|start| now.duration_since(*start) + slack < floor);
        let recent = self.scrapers.iter().position(|(known, _)| *known == scraper);
        let due = recent.map(|at| self.scrapers[at].1 + floor);
        if due.is_some_and(|due| now + slack < due) {
            return false;
        }
        if self.starts.len() >= BURST {
            return false;
        }
        match recent {
            Some(at) => self.scrapers[at].1 = due.map_or(now, |due| due.max(now)),
            None => {
                if self.scrapers.len() == SCRAPERS {
                    let oldest = (0..SCRAPERS).min_by_key(|at| self.scrapers[*at].1).expect("there are some");
                    self.scrapers.swap_remove(oldest);
                }
                self.scrapers.push((scraper, now));
            }
        }
        self.starts.push(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Duration = Duration::from_secs(1);

    #[test]
    fn two_scrapers_do_not_share_and_one_is_held_to_the_floor() {
        let mut floor = Floor::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert!(floor.admits(Scraper::Connection(1), FLOOR, at(0)));
        assert!(floor.admits(Scraper::Connection(2), FLOOR, at(300)), "another scraper's reading is not mine");
        assert!(!floor.admits(Scraper::Connection(1), FLOOR, at(900)));
        assert!(floor.admits(Scraper::Connection(1), FLOOR, at(1_000)));
    }

    #[test]
    fn a_scraper_in_the_rhythm_of_the_floor_may_be_early_and_gains_nothing() {
        let mut floor = Floor::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut admits = |ms| floor.admits(Scraper::Connection(1), FLOOR, at(ms));
        // Now early, now late, never by more than 20 ms: each of its scrapes has a reading of its own.
        let jitter = [0, 980, 2_015, 2_990, 4_020, 4_981, 6_000];
        assert!(jitter.into_iter().all(&mut admits));
        assert!(!admits(6_900), "that is no jitter");
        // Early each time, it is held to the floor on average.
        let read = (1..=1_000).filter(|n| admits(10_000 + n * 951)).count();
        assert!((600..=951).contains(&read), "{read} readings in 951 s");
    }

    #[test]
    fn anybody_is_one() {
        let mut floor = Floor::default();
        let start = Instant::now();
        assert!(floor.admits(Scraper::Anybody, FLOOR, start));
        assert!(!floor.admits(Scraper::Anybody, FLOOR, start + Duration::from_millis(10)));
    }

    #[test]
    fn a_crowd_of_connections_gains_nothing() {
        let mut floor = Floor::default();
        let start = Instant::now();
        let admits = |n: &u64| floor.admits(Scraper::Connection(*n), FLOOR, start + Duration::from_micros(*n));
        assert_eq!((0..10_000).filter(admits).count(), BURST);
        assert!(floor.scrapers.len() <= SCRAPERS);
    }
}
