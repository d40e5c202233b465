//! Any bytes through every parser of a kernel file: each answers, and tells no number that they do not say.
#![no_main]

#[allow(dead_code, reason = "the samples are the other target's")]
#[path = "../../tests/mutations/parsers.rs"]
mod parsers;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| parsers::PARSERS.iter().for_each(|parser| parsers::hold(parser, text)));
