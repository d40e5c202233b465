//! The check before compiling, over any bytes: it answers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = sonde_host::precheck(bytes);
});
