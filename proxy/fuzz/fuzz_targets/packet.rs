//! Any bytes as a packet of DNS: a reply that is one, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sonde_proxy::fuzzing::packet(bytes));
