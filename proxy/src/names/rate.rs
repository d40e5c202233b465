//! How many replies over UDP go to one prefix: sources there are written by whoever sends, and a reply is larger than its question.
//!
//! A bucket a prefix (/24, /56: what one network has), in a table of fixed size, because sources can be made up without end. Places are found by a
//! hash with a key of this process, and taken over only from buckets that are full, so nobody can push another's bucket out; two prefixes may have to
//! share. Past the rate every second question gets an empty answer that is marked as cut, as BIND does: a true client comes again over TCP, and a victim gets no
//! more bytes than were sent in its name.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Instant;

use super::prefix::masked;

/// 24 bytes each: 400 KB.
const PLACES: usize = 1 << 14;
const BITS_V4: u32 = 24;
const BITS_V6: u32 = 56;
/// How many seconds' worth may come at once.
const BURST_SECONDS: f64 = 2.0;

/// What becomes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Answer,
    /// Empty, and marked as cut.
    Cut,
    Drop,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ReplyRate {
    per_second: f64,
    hash: RandomState,
    buckets: Box<[Bucket]>,
    start: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    owner: u64,
    tokens: f32,
    /// Alternates past the rate.
    slips: bool,
    /// Seconds since the start.
    at: f64,
}

impl ReplyRate {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        let full = Bucket { owner: 0, tokens: (per_second * BURST_SECONDS) as f32, slips: false, at: 0.0 };
        Self { per_second, hash: RandomState::new(), buckets: vec![full; PLACES].into(), start: now }
    }

    pub(super) fn judge(&mut self, source: IpAddr, now: Instant) -> Verdict {
        let source = source.to_canonical();
        let bits = if source.is_ipv4() { BITS_V4 } else { BITS_V6 };
        let owner = self.hash.hash_one((source.is_ipv4(), masked(source, bits)));
        let at = now.saturating_duration_since(self.start).as_secs_f64();
        let full = self.per_second * BURST_SECONDS;
        // The lower bits choose the place; the rest would have to be alike too for one prefix to be taken for another.
        let bucket = &mut self.buckets[owner as usize % PLACES];
        let tokens = (f64::from(bucket.tokens) + (at - bucket.at) * self.per_second).min(full);
        if bucket.owner != owner && tokens >= full {
            bucket.owner = owner;
        }
        bucket.at = at;
        if tokens >= 1.0 {
            bucket.tokens = (tokens - 1.0) as f32;
            return Verdict::Answer;
        }
        bucket.tokens = tokens as f32;
        bucket.slips = !bucket.slips;
        if bucket.slips { Verdict::Cut } else { Verdict::Drop }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn count(rate: &mut ReplyRate, source: &str, questions: u32, now: Instant) -> (u32, u32) {
        let source = source.parse().unwrap();
        let verdicts: Vec<Verdict> = (0..questions).map(|_| rate.judge(source, now)).collect();
        let of = |which| verdicts.iter().filter(|verdict| **verdict == which).count() as u32;
        (of(Verdict::Answer), of(Verdict::Cut))
    }

    #[test]
    fn a_prefix_gets_its_rate_and_half_of_the_rest_is_cut() {
        let start = Instant::now();
        let mut rate = ReplyRate::new(10, start);
        assert_eq!(count(&mut rate, "192.0.2.1", 100, start), (20, 40));
        // The same prefix, a moment later; another's is its own.
        assert_eq!(count(&mut rate, "192.0.2.200", 10, start), (0, 5));
        assert_eq!(count(&mut rate, "198.51.100.1", 10, start), (10, 0));
        assert_eq!(count(&mut rate, "::ffff:192.0.2.3", 10, start), (0, 5));
        assert_eq!(count(&mut rate, "192.0.2.1", 100, start + Duration::from_secs(1)).0, 10);
        assert_eq!(count(&mut rate, "2001:db8::1", 100, start).0, 20);
        assert_eq!(count(&mut rate, "2001:db8:0:ff::1", 100, start).0, 0);
    }

    #[test]
    fn made_up_sources_cost_no_memory_and_do_not_give_a_busy_prefix_its_rate_again() {
        let start = Instant::now();
        let mut rate = ReplyRate::new(10, start);
        count(&mut rate, "192.0.2.1", 100, start);
        for n in 0..200_000_u32 {
            rate.judge(IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + (n << 8))), start);
        }
        assert_eq!(rate.buckets.len(), PLACES);
        assert_eq!(count(&mut rate, "192.0.2.1", 100, start).0, 0);
    }
}
