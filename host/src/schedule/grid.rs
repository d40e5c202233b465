//! Due times on a grid, so that what is due at nearly the same time is started together.
//!
//! To wake this thread, a runner and the broker costs more than a run that computes. Of ten thousand sensors a few are due in each hundredth of a
//! second: started one by one they take twice the CPU of the same runs in small groups. So a slot's times are moved to a grid that its interval
//! is a whole number of steps of: it keeps its interval to the nanosecond, and its neighbours' times are its own. The steps of 15 s, 30 s and 60 s are
//! the same.
//!
//! A step is a small part of the interval, so nothing is noticeably early or late by it, and short intervals have none.

use std::time::{Duration, Instant};

/// The longest step: at twice as much, a group of ten thousand sensors' is large enough to be felt.
const LONGEST_STEP: Duration = Duration::from_millis(32);
/// An interval has at least so many steps, as a power of two.
const LEAST_STEPS_BITS: u32 = 8;
/// A grid finer than the kernel's timers wake a thread gathers nothing.
const SHORTEST_STEP: Duration = Duration::from_millis(1);

/// The grids of all intervals, which have one origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    origin: Instant,
}

impl Grid {
    pub(super) fn new(origin: Instant) -> Self {
        Self { origin }
    }

    /// The first time on the interval's grid that is not before `at`.
    pub(super) fn not_before(self, at: Instant, interval: Duration) -> Instant {
        match steps_bits(interval) {
            Some(bits) => self.time(self.number(at, interval, bits), interval, bits),
            None => at,
        }
    }

    /// The last time on the interval's grid that is not after `at`.
    pub(super) fn not_after(self, at: Instant, interval: Duration) -> Instant {
        let Some(bits) = steps_bits(interval) else { return at };
        let number = self.number(at, interval, bits);
        let next = self.time(number, interval, bits);
        if next > at { self.time(number.saturating_sub(1), interval, bits) } else { next }
    }

    /// Which step it is that begins at `at` or next.
    fn number(self, at: Instant, interval: Duration, bits: u32) -> u128 {
        let elapsed_ns = at.saturating_duration_since(self.origin).as_nanos();
        (elapsed_ns << bits).div_ceil(interval.as_nanos())
    }

    fn time(self, number: u128, interval: Duration, bits: u32) -> Instant {
        let since_ns = (number * interval.as_nanos()) >> bits;
        self.origin + Duration::from_nanos(u64::try_from(since_ns).unwrap_or(u64::MAX))
    }
}

/// How many steps an interval has, as a power of two; none where it is too short to have any.
fn steps_bits(interval: Duration) -> Option<u32> {
    let fewest = interval.as_nanos().div_ceil(LONGEST_STEP.as_nanos()).next_power_of_two().trailing_zeros();
    let bits = fewest.max(LEAST_STEPS_BITS);
    (interval.as_nanos() >> bits >= SHORTEST_STEP.as_nanos()).then_some(bits)
}

/// The length of a step; zero where there is none.
pub(super) fn step(interval: Duration) -> Duration {
    steps_bits(interval).map_or(Duration::ZERO, |bits| interval / (1 << bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_kept_to_the_nanosecond() {
        let origin = Instant::now();
        let grid = Grid::new(origin);
        for interval_ms in [300, 1_000, 2_000, 7_000, 15_000, 86_400_000] {
            let interval = Duration::from_millis(interval_ms) + Duration::from_nanos(1);
            let first = grid.not_before(origin + Duration::from_nanos(12_345_678_901), interval);
            let mut at = first;
            for _ in 0..1_000 {
                at = grid.not_before(at + interval, interval);
                assert_eq!(grid.not_after(at, interval), at);
            }
            assert_eq!(at, first + interval * 1_000);
        }
    }

    #[test]
    fn nothing_is_moved_by_a_whole_step_nor_the_wrong_way() {
        let origin = Instant::now();
        let grid = Grid::new(origin);
        for interval_ms in [1, 100, 255, 256, 1_000, 15_000, 60_000, 86_400_000] {
            let interval = Duration::from_millis(interval_ms);
            let step = step(interval);
            assert!(step <= LONGEST_STEP && step <= interval / 256);
            for number in 0..1_000_u32 {
                let at = origin + Duration::from_nanos(777_777_777) * number;
                let (before, after) = (grid.not_after(at, interval), grid.not_before(at, interval));
                assert!(before <= at && at <= after);
                let most = step + Duration::from_nanos(1);
                assert!(at - before < most && after - at < most, "{interval:?}");
            }
        }
        assert_eq!(step(Duration::from_millis(100)), Duration::ZERO);
        assert_eq!(step(Duration::from_secs(15)), step(Duration::from_secs(60)));
    }
}
