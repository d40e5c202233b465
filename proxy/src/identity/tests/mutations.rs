//! Certificates with bytes changed, cut, doubled and moved: read or not, never accepted, and never a panic.

use super::forge::{ALGORITHMS, Algorithm, CLIENT_AUTH, Key, Says, TRITON_CMON};
use super::*;
use crate::identity::SshPublicKey;

/// Of each certificate.
const MUTATIONS: usize = 3000;

/// SplitMix64: the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    /// One to three changes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(3) {
            let at = self.roll(bytes.len());
            match self.roll(7) {
                0 => bytes[at] ^= 1 << self.roll(8),
                1 => bytes[at] = self.roll(256) as u8,
                2 => bytes.truncate(at.max(1)),
                3 => bytes.insert(at, self.roll(256) as u8),
                4 => drop(bytes.remove(at)),
                5 => {
                    let part = bytes[at..(at + self.roll(40)).min(bytes.len())].to_vec();
                    let to = self.roll(bytes.len());
                    bytes.splice(to..to, part);
                }
                _ => bytes[at] = [0x00, 0x30, 0x80, 0x84, 0xff, 0x7f][self.roll(6)],
            }
            if bytes.is_empty() {
                bytes.push(0x30);
            }
        }
    }
}

#[test]
fn a_certificate_that_was_changed_is_nobodys() {
    let mut dice = Dice(7);
    let mut read = 0;
    for algorithm in ALGORITHMS {
        let (key, fresh) = (Key::new(algorithm), Key::new(Algorithm::P256));
        let catalogue = catalogue([with_keys("ada", &[key.ssh_key()])]);
        let old = Says::new("ada", "ada").signed(&key.public(), &key);
        let new = Says { uris: vec!["urn:x".into()], ..Says::new("ada", &key.ssh().md5()) };
        let new = new.for_usages(&[CLIENT_AUTH, TRITON_CMON]).signed(&fresh.public(), &key);
        for original in [old, new] {
            assert_eq!(who(&peer(std::slice::from_ref(&original)), &catalogue), Ok("ada".into()));
            for _ in 0..MUTATIONS {
                let mut bytes = original.to_vec();
                dice.mutate(&mut bytes);
                if bytes == *original {
                    continue;
                }
                let connection = peer(&[bytes.clone().into()]);
                read += usize::from(matches!(connection.presented(), Presented::Tenant(_)));
                let answer = who(&connection, &catalogue);
                assert!(answer.is_err(), "{algorithm:?} was taken for {answer:?}: {bytes:02x?}");
            }
        }
    }
    assert!(read > 5_000, "only {read} were certificates still: the changes are too coarse to try the signatures");
}

#[test]
fn a_key_that_was_changed_is_another_or_none() {
    let mut dice = Dice(11);
    for algorithm in ALGORITHMS {
        let key = Key::new(algorithm).ssh();
        for _ in 0..MUTATIONS {
            let mut bytes = key.line().into_bytes();
            dice.mutate(&mut bytes);
            let Ok(line) = String::from_utf8(bytes) else { continue };
            if let Ok(read) = SshPublicKey::parse(&line) {
                // Spaces around it, and what follows it, are not the key.
                assert!(read.line() == key.line() || read.key() != key.key(), "{line}");
            }
        }
    }
}
