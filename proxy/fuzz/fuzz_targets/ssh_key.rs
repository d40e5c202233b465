//! Any text as an SSH public key and as a fingerprint: what is taken is written and read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_proxy::identity::{Fingerprint, SshPublicKey};

fuzz_target!(|text: &str| {
    let _ = Fingerprint::parse(text);
    if let Ok(key) = SshPublicKey::parse(text) {
        let again = SshPublicKey::parse(&key.line()).expect("what was written is read");
        assert_eq!(key.key(), again.key());
    }
});
