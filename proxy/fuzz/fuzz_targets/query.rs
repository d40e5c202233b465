//! Any query of discovery's: read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| sonde_proxy::fuzzing::query(text));
