//! Files changed at random, the same way for the same seed.

/// xorshift64*: no crate is worth what 10 lines do.
pub struct Random(u64);

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// From 0 to `below`, exclusive; 0 of nothing.
    pub fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        (number % below.max(1) as u64) as usize
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// What a number may turn to.
const NUMBERS: [&[u8]; 16] = [
    b"0",
    b"-1",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"-9223372036854775809",
    b"340282366920938463463374607431768211456",
    b"max",
    b"",
    b"1e3",
    b"0x10",
    b"+7",
    b"1.5",
    b"007",
    b"4294967296",
];
/// What may stand anywhere.
const PIECES: [&[u8]; 12] =
    [b"\0", b"\n", b"\n\n", b" ", b"\t", b":", b"=", b"-", b"\xff\xfe", b")", b"unlimited", b"\r\n"];

/// A file after one to four things have gone wrong with it.
pub fn mutated(random: &mut Random, text: &[u8], others: &[&'static str]) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..=random.below(4) {
        change(random, &mut text, others);
    }
    text
}

fn range(random: &mut Random, length: usize) -> std::ops::Range<usize> {
    let (a, b) = (random.below(length + 1), random.below(length + 1));
    a.min(b)..a.max(b)
}

fn change(random: &mut Random, text: &mut Vec<u8>, others: &[&'static str]) {
    match random.below(11) {
        // Cut short, and shrunk.
        0 => text.truncate(random.below(text.len() + 1)),
        1 => drop(text.drain(range(random, text.len()))),
        2 => text.clear(),
        // A number is another.
        3..=5 => put_number(random, text),
        6 => {
            if let Some(byte) = {
                let at = random.below(text.len());
                text.get_mut(at)
            } {
                *byte = random.below(256) as u8;
            }
        }
        7 => {
            let at = random.below(text.len() + 1);
            text.splice(at..at, random.one_of(&PIECES).iter().copied());
        }
        // Lines in another order, twice, or together.
        8 => {
            let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
            if !lines.is_empty() {
                let (a, b) = (random.below(lines.len()), random.below(lines.len()));
                lines.swap(a, b);
                let twice = lines[a];
                lines.push(twice);
            }
            *text = lines.concat();
        }
        9 => {
            let ends: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'\n').collect();
            if !ends.is_empty() {
                text.remove(*random.one_of(&ends));
            }
        }
        // Another file's beginning, or end.
        _ => {
            let other = random.one_of(others).as_bytes();
            let part = range(random, other.len());
            let at = random.below(text.len() + 1);
            text.splice(at..at, other[part].iter().copied());
        }
    }
}

fn put_number(random: &mut Random, text: &mut Vec<u8>) {
    let starts: Vec<usize> = (0..text.len())
        .filter(|at| {
            text[*at].is_ascii_digit() && !at.checked_sub(1).is_some_and(|before| text[before].is_ascii_digit())
        })
        .collect();
    if starts.is_empty() {
        return;
    }
    let start = *random.one_of(&starts);
    let digits = text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.splice(start..start + digits, random.one_of(&NUMBERS).iter().copied());
}
