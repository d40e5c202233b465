//! Any Host, request target and server name, a line each: what is taken is one of our names, and all agree.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let (host, target) = (lines.next().unwrap_or_default(), lines.next().unwrap_or("/"));
    sonde_proxy::fuzzing::host(host.as_bytes(), target, lines.next());
});
