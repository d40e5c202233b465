//! Whether this node is too busy to be read as often as the operator allows, and how much seldomer it is read then.
//!
//! The readings themselves are the measure: how much of the reading threads' time they take, and how long they keep who asked for them
//! waiting. On a node whose CPUs are taken, or on which more is asked than it can give, both rise, and the floor is doubled every few seconds
//! until they fall, to sixteen times the operator's at most; a scraper that comes sooner gets the last reading with its age, as
//! always. No single instance can do this: what counts is the waiting for a thread, and of a slow reading only the first milliseconds, one that is
//! stuck not at all; and an instance is read four times a floor at most, one reading at once. Nor can one owner: of his readings one is under way at a
//! time, their waiting for each other is his alone, and of the time that they take no more counts than leaves the node calm. He has a
//! judge of his own, which raises the floor of his instances.

use std::time::{Duration, Instant};

use crate::config::HIGHEST_FLOOR;

/// Readings are judged by what they did within this time. Shorter than a scrape interval, long enough that a burst is not taken for a load.
const WINDOW: Duration = Duration::from_secs(5);
/// The floor is at most so many times the operator's.
const MOST: u32 = 16;
/// Over this part of the reading threads' time the node is overloaded.
const BUSY: f64 = 0.5;
/// Below this it is calm: half the floor may double the readings, which then stay well under [`BUSY`].
const CALM: f64 = 0.125;
/// From asking to a thread that reads. A reading takes a tenth of a millisecond; a hundred that were asked for at once, ten. And
/// as much of a reading's own time counts: what is longer is its instance's matter.
const SLOW: Duration = Duration::from_millis(20);
/// Fewer readings in a window say nothing about how quick they are.
const TELLING: u32 = 8;

/// Of a window, how much of one owner's readings counts for the node: below [`CALM`] of two threads.
const OF_ONE_OWNER: Duration = Duration::from_secs(1);

/// The judge of one crew of reading threads, or of one owner's readings.
#[derive(Debug)]
pub(crate) struct Overload {
    began: Instant,
    seen: Seen,
    factor: u32,
}

/// What happened within a window.
#[derive(Debug, Default)]
struct Seen {
    busy: Duration,
    readings: u32,
    slow: u32,
    /// Readings that found no place in the queue.
    dropped: u32,
}

/// The node has become overloaded, or is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Raised,
    Calm,
}

impl Overload {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, seen: Seen::default(), factor: 1 }
    }

    /// What counts of a reading's time. One that took longer was held up by what it read, and that is its instance's matter.
    pub(crate) fn counted(begun: Instant, now: Instant) -> Duration {
        now.saturating_duration_since(begun).min(SLOW)
    }

    /// What counts of one owner's readings in a window of the node.
    pub(crate) fn of_one_owner() -> Duration {
        OF_ONE_OWNER
    }

    /// A reading that was not stuck has ended: how long it waited for a thread, and what of its time counts.
    pub(crate) fn landed(&mut self, waited: Duration, counted: Duration) {
        self.seen.busy += counted;
        self.seen.readings += 1;
        self.seen.slow += u32::from(waited >= SLOW);
    }

    /// There was no place for a reading.
    pub(crate) fn dropped(&mut self) {
        self.seen.dropped += 1;
    }

    /// Judges the windows that are over, for so many threads. Says when that begins or ends an overload, and whether a window begins.
    pub(crate) fn look(&mut self, threads: usize, now: Instant) -> (Option<Turn>, bool) {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed < WINDOW {
            return (None, false);
        }
        let before = self.factor;
        let seen = std::mem::take(&mut self.seen);
        self.began = now;
        let share = seen.busy.as_secs_f64() / (elapsed.as_secs_f64() * threads as f64);
        let telling = seen.readings >= TELLING;
        if share >= BUSY || seen.dropped > 0 || (telling && seen.slow * 4 > seen.readings * 3) {
            self.factor = (self.factor * 2).min(MOST);
        } else if share < CALM && !(telling && seen.slow * 2 > seen.readings) {
            // Whoever was not asked for that long was calm all the while.
            let windows = elapsed.as_secs() / WINDOW.as_secs();
            self.factor = self.factor.checked_shr(u32::try_from(windows).unwrap_or(u32::MAX)).unwrap_or(0).max(1);
        }
        let turn = match (before, self.factor) {
            (1, 2..) => Some(Turn::Raised),
            (2.., 1) => Some(Turn::Calm),
            _ => None,
        };
        (turn, true)
    }

    /// The floor in force where the operator has set `floor`.
    pub(crate) fn floor(&self, floor: Duration) -> Duration {
        (floor * self.factor).min(HIGHEST_FLOOR.max(floor))
    }

    pub(crate) fn is_overloaded(&self) -> bool {
        self.factor > 1
    }

    /// As if the window had begun earlier.
    #[cfg(test)]
    pub(crate) fn end_window(&mut self) {
        self.began -= WINDOW;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREADS: usize = 2;
    const FLOOR: Duration = Duration::from_secs(1);
    const QUICK: Duration = Duration::from_micros(100);

    struct Node {
        now: Instant,
        overload: Overload,
    }

    impl Node {
        fn new() -> Self {
            let now = Instant::now();
            Self { now, overload: Overload::new(now) }
        }

        /// A window with readings that each waited and took so long; then the floor in force.
        fn window(&mut self, readings: u32, waited: Duration, took: Duration) -> (Option<Turn>, Duration) {
            for _ in 0..readings {
                self.overload.landed(waited, Overload::counted(self.now, self.now + took));
            }
            self.now += WINDOW;
            (self.overload.look(THREADS, self.now).0, self.overload.floor(FLOOR))
        }
    }

    #[test]
    fn a_node_that_is_read_at_ease_keeps_the_operators_floor() {
        let mut node = Node::new();
        for _ in 0..20 {
            // A thousand targets, each once a second, asked for in bursts of a hundred.
            assert_eq!(node.window(5_000, Duration::from_millis(5), QUICK), (None, FLOOR));
        }
    }

    #[test]
    fn too_much_work_raises_the_floor_to_the_bound_and_calm_brings_it_back() {
        let mut node = Node::new();
        let half = WINDOW * THREADS as u32 / 1_000 / 2;
        assert_eq!(node.window(1_000, Duration::ZERO, half), (Some(Turn::Raised), FLOOR * 2));
        let floors: Vec<u64> = (0..4).map(|_| node.window(1_000, Duration::ZERO, half).1.as_secs()).collect();
        assert_eq!(floors, [4, 8, 16, 16]);
        assert!(node.overload.is_overloaded());
        // Between calm and busy nothing changes, so that it does not swing.
        assert_eq!(node.window(1_000, Duration::ZERO, half / 2), (None, FLOOR * 16));
        let floors: Vec<u64> = (0..3).map(|_| node.window(1_000, Duration::ZERO, QUICK).1.as_secs()).collect();
        assert_eq!(floors, [8, 4, 2]);
        assert_eq!(node.window(1_000, Duration::ZERO, QUICK), (Some(Turn::Calm), FLOOR));
    }

    #[test]
    fn cpus_that_are_taken_raise_it_though_readings_are_few() {
        let mut node = Node::new();
        assert_eq!(node.window(TELLING, SLOW, QUICK), (Some(Turn::Raised), FLOOR * 2));
        assert_eq!(node.window(TELLING - 1, SLOW, QUICK).1, FLOOR, "too few to tell by");
    }

    #[test]
    fn slow_instances_among_quick_ones_raise_nothing() {
        let mut node = Node::new();
        for _ in 0..20 {
            // Three instances whose files are slow, a reading a second each, and one that is well.
            for _ in 0..15 {
                let counted = Overload::counted(node.now, node.now + Duration::from_millis(350));
                node.overload.landed(Duration::ZERO, counted);
            }
            assert_eq!(node.window(5, Duration::ZERO, QUICK), (None, FLOOR));
            // And where there is no other.
            assert_eq!(node.window(5 * TELLING, Duration::ZERO, SLOW * 2), (None, FLOOR));
        }
    }

    #[test]
    fn a_full_queue_raises_it_and_silence_ends_it() {
        let mut node = Node::new();
        for _ in 0..4 {
            node.overload.dropped();
            node.window(0, Duration::ZERO, QUICK);
        }
        assert_eq!(node.overload.floor(FLOOR), FLOOR * 16);
        assert_eq!(node.overload.floor(Duration::from_secs(20)), HIGHEST_FLOOR);
        node.now += WINDOW * 3;
        assert_eq!(node.window(0, Duration::ZERO, QUICK), (Some(Turn::Calm), FLOOR));
    }

    #[test]
    fn what_counts_of_one_owner_leaves_the_node_calm() {
        assert!(OF_ONE_OWNER.as_secs_f64() < CALM * WINDOW.as_secs_f64() * THREADS as f64);
        let mut node = Node::new();
        node.overload.dropped();
        node.window(0, Duration::ZERO, QUICK);
        assert!(node.overload.is_overloaded());
        node.overload.landed(Duration::ZERO, OF_ONE_OWNER);
        assert_eq!(node.window(0, Duration::ZERO, QUICK), (Some(Turn::Calm), FLOOR));
    }

    #[test]
    fn a_day_without_a_question_is_calm() {
        let mut node = Node::new();
        node.overload.dropped();
        node.window(0, Duration::ZERO, QUICK);
        node.now += Duration::from_secs(86_400);
        assert_eq!(node.window(0, Duration::ZERO, QUICK), (Some(Turn::Calm), FLOOR));
    }
}
