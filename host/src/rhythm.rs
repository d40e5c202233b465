//! When the next scrape of a target will come, learnt from those that came.
//!
//! A scraper is whoever asks for a target again and again; Prometheus does so to the millisecond. Two
//! arrivals tell its period, the median of the last few keeps it when one is late or missing. The number of scrapers is
//! bounded, for anyone may open connections; the one that was quiet longest makes room.

use std::time::{Duration, Instant};

/// Gaps that the period is the median of.
const GAPS: usize = 3;
/// Scrapers remembered for one target.
const SCRAPERS: usize = 16;
/// Two requests closer than this are one scrape: of parts, or a retry.
const SAME_SCRAPE: Duration = Duration::from_millis(200);
/// A longer gap is not a rhythm that anybody waits for.
const LONGEST_PERIOD: Duration = Duration::from_secs(600);
/// A scraper that has missed this many of its periods is gone.
const MISSED_PERIODS: u32 = 4;

#[derive(Debug)]
struct Scraper {
    key: u64,
    last: Instant,
    gaps: [Duration; GAPS],
    known_gaps: usize,
}

impl Scraper {
    fn period(&self) -> Option<Duration> {
        let mut gaps = self.gaps;
        let known = &mut gaps[..self.known_gaps.min(GAPS)];
        known.sort_unstable();
        // Of two, the shorter: the other one may have skipped a scrape.
        known.get(known.len().saturating_sub(1) / 2).copied()
    }

    /// The first predicted arrival after `after`; nothing once it has been quiet for too long at `now`.
    fn next_after(&self, after: Instant, now: Instant) -> Option<Instant> {
        let period = self.period()?;
        if now.duration_since(self.last) > period * MISSED_PERIODS {
            return None;
        }
        let passed = after.saturating_duration_since(self.last).as_nanos() / period.as_nanos().max(1);
        Some(self.last + period * (u32::try_from(passed).ok()? + 1))
    }
}

/// The scrapers of one target.
#[derive(Debug, Default)]
pub(crate) struct Rhythms {
    scrapers: Vec<Scraper>,
}

impl Rhythms {
    /// Notes a scrape.
    pub(crate) fn observe(&mut self, key: u64, now: Instant) {
        if let Some(scraper) = self.scrapers.iter_mut().find(|scraper| scraper.key == key) {
            let gap = now.duration_since(scraper.last);
            if gap < SAME_SCRAPE {
                return;
            }
            scraper.last = now;
            if gap > LONGEST_PERIOD {
                scraper.known_gaps = 0;
            } else {
                scraper.gaps[scraper.known_gaps % GAPS] = gap;
                scraper.known_gaps = if scraper.known_gaps + 1 >= 2 * GAPS { GAPS } else { scraper.known_gaps + 1 };
            }
            return;
        }
        if self.scrapers.len() == SCRAPERS {
            let quietest = (0..SCRAPERS).min_by_key(|index| self.scrapers[*index].last).expect("there are some");
            self.scrapers.swap_remove(quietest);
        }
        self.scrapers.push(Scraper { key, last: now, gaps: [Duration::ZERO; GAPS], known_gaps: 0 });
    }

    /// The earliest scrape predicted after `after`.
    pub(crate) fn next_after(&self, after: Instant, now: Instant) -> Option<Instant> {
        self.scrapers.iter().filter_map(|scraper| scraper.next_after(after, now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn two_arrivals_make_a_period() {
        let start = Instant::now();
        let mut rhythms = Rhythms::default();
        rhythms.observe(1, start);
        assert_eq!(rhythms.next_after(start, start), None);
        rhythms.observe(1, start + 5 * SECOND);
        let now = start + 6 * SECOND;
        assert_eq!(rhythms.next_after(now, now), Some(start + 10 * SECOND));
        assert_eq!(rhythms.next_after(start + 11 * SECOND, now), Some(start + 15 * SECOND));
    }

    #[test]
    fn a_missed_scrape_does_not_change_it() {
        let start = Instant::now();
        let mut rhythms = Rhythms::default();
        for second in [0, 5, 10, 20, 25] {
            rhythms.observe(1, start + second * SECOND);
        }
        let now = start + 26 * SECOND;
        assert_eq!(rhythms.next_after(now, now), Some(start + 30 * SECOND));
    }

    #[test]
    fn the_earliest_of_two_scrapers_counts() {
        let start = Instant::now();
        let mut rhythms = Rhythms::default();
        for second in 0..20 {
            if second % 5 == 0 {
                rhythms.observe(1, start + second * SECOND);
            }
            if second % 7 == 3 {
                rhythms.observe(2, start + second * SECOND);
            }
        }
        let now = start + 19 * SECOND;
        assert_eq!(rhythms.next_after(now, now), Some(start + 20 * SECOND));
        assert_eq!(rhythms.next_after(start + 20 * SECOND, now), Some(start + 24 * SECOND));
    }

    #[test]
    fn who_stops_scraping_is_forgotten() {
        let start = Instant::now();
        let mut rhythms = Rhythms::default();
        rhythms.observe(1, start);
        rhythms.observe(1, start + SECOND);
        let late = start + 10 * SECOND;
        assert_eq!(rhythms.next_after(late, late), None);
    }

    #[test]
    fn a_crowd_is_bounded() {
        let start = Instant::now();
        let mut rhythms = Rhythms::default();
        for key in 0..10_000 {
            rhythms.observe(key, start + Duration::from_millis(key));
        }
        assert_eq!(rhythms.scrapers.len(), SCRAPERS);
    }
}
