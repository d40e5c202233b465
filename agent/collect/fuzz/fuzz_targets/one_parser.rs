//! The parser that the first byte picks, and its own file with the other bytes over a part of it: deeper into one than
//! `kernel_files` gets.
#![no_main]

#[path = "../../tests/mutations/parsers.rs"]
mod parsers;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [parser, at, shorter, piece @ ..] = bytes else { return };
    let parser = &parsers::PARSERS[usize::from(*parser) % parsers::PARSERS.len()];
    let mut text = parser.sample.as_bytes().to_vec();
    let at = usize::from(*at).min(text.len());
    let end = (at + usize::from(*shorter)).min(text.len());
    text.splice(at..end, piece.iter().copied());
    parsers::hold(parser, &text);
});
