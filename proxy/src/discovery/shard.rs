//! Which of N scrapers an instance falls to: `shard=i/n`, with i from 0.
//!
//! Jump consistent hash (Lamping and Veach, 2014) over the id alone. Every proxy says the same, an instance's shard does not hang on which others there
//! are, and from n to n+1 shards one in n+1 moves, all of them to the new one. The numbers are part of the contract: a change of them would move targets between
//! the servers that scrape them.

use uuid::Uuid;

use super::query::Refusal;

/// More scrapers than anyone has for one account, and few enough that the loop below is short.
pub(super) const MOST: u32 = 1024;

/// One part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    index: u32,
    of: u32,
}

impl Shard {
    pub(crate) fn new(index: u32, of: u32) -> Option<Self> {
        ((1..=MOST).contains(&of) && index < of).then_some(Self { index, of })
    }

    /// `i/n`, decimal digits alone.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let number = |digits: &str| -> Option<u32> {
            let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_plain.then(|| digits.parse().ok()).flatten()
        };
        let parts = text.split_once('/').and_then(|(index, of)| Some((number(index)?, number(of)?)));
        parts.and_then(|(index, of)| Self::new(index, of)).ok_or(Refusal::Shard)
    }

    pub(crate) fn has(self, id: Uuid) -> bool {
        jump(mixed(id), self.of) == self.index
    }
}

/// Both halves of the id in one number, every bit of it hanging on every bit of them (the finaliser of splitmix64): ids
/// made by a clock or a counter differ in few bits.
fn mixed(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    let mut key = high.rotate_left(32) ^ low;
    key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

/// The paper's function, in whole numbers so that no machine rounds otherwise: `(b + 1) · 2³¹ ÷ ((key >> 33) + 1)`.
fn jump(mut key: u64, shards: u32) -> u32 {
    let (mut chosen, mut next) = (0_u64, 0_u64);
    while next < u64::from(shards) {
        chosen = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((chosen + 1) << 31) / ((key >> 33) + 1);
    }
    u32::try_from(chosen).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids as unlike as a hash makes them, and as like as a counter does.
    fn ids() -> Vec<Uuid> {
        let space = Uuid::from_u128(1);
        let derived = (0_u32..4000).map(|n| Uuid::new_v5(&space, &n.to_be_bytes()));
        derived.chain((0..4000).map(Uuid::from_u128)).collect()
    }

    fn shard_of(id: Uuid, of: u32) -> u32 {
        let having: Vec<u32> = (0..of).filter(|index| Shard { index: *index, of }.has(id)).collect();
        assert_eq!(having.len(), 1, "{id} is in shards {having:?} of {of}");
        having[0]
    }

    #[test]
    fn each_instance_is_in_one_shard_and_shards_are_alike_in_size() {
        for of in [1, 2, 3, 7, 16] {
            let mut sizes = vec![0_u32; of as usize];
            ids().into_iter().for_each(|id| sizes[shard_of(id, of) as usize] += 1);
            let even = ids().len() as u32 / of;
            assert!(sizes.iter().all(|size| size.abs_diff(even) < even / 5), "{of}: {sizes:?}");
        }
    }

    #[test]
    fn one_shard_more_moves_only_what_the_new_one_gets() {
        for of in [1, 2, 5, 9] {
            let moved: Vec<u32> = ids()
                .into_iter()
                .filter(|id| shard_of(*id, of) != shard_of(*id, of + 1))
                .map(|id| shard_of(id, of + 1))
                .collect();
            assert!(moved.iter().all(|to| *to == of), "an instance moved between old shards");
            let fair = ids().len() / (of as usize + 1);
            assert!(moved.len() < fair * 6 / 5, "{of}: {} moved, {fair} had to", moved.len());
        }
    }

    #[test]
    fn the_numbers_are_those_of_every_version() {
        let of_nine: Vec<u32> = (0..12).map(|n| shard_of(Uuid::from_u128(n * 0x1_0000_0001), 9)).collect();
        assert_eq!(of_nine, GOLDEN);
    }

    /// As an implementation in another language, in floating point as in the paper, has them too.
    const GOLDEN: [u32; 12] = [0, 7, 6, 2, 2, 5, 3, 4, 1, 6, 0, 6];

    #[test]
    fn what_is_no_shard_is_refused() {
        for text in ["", "1", "/", "1/", "/2", "2/2", "-1/2", "+0/2", "0/0", "0/1025", "0/2/3", "0 /2", "0/99999999999"]
        {
            assert!(Shard::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Shard::parse("2/3").unwrap(), Shard { index: 2, of: 3 });
    }
}
