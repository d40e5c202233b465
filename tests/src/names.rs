//! Names that say whose they are: no two tests give the same, and what a killed test left behind is known by them.

use std::sync::atomic::{AtomicU32, Ordering};

/// Every name this crate gives starts so; the sweep touches no other.
const PREFIX: &str = "st-";

/// A name that no other test has, and that tells whose it is: `st-<pid of the test>-<n>-<what>`.
pub fn unique_name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{PREFIX}{}-{}-{what}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What every id from [`ContainerBuilder::with_long_id`] ends in, so that the sweep knows it for ours.
const LONG_ID_MARK: &str = "50de50de50de50de50de50de50de50de50de50de50de50de";

/// 64 hexadecimal digits, as docker's and containerd's ids are; the first 12 are no other test's.
pub(crate) fn long_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let [_, _, n @ ..] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    format!("{:08x}{:02x}{:02x}0000{LONG_ID_MARK}", std::process::id(), n[0], n[1])
}

/// The process id of the test that a name was made by; none where no test of ours made it.
pub(crate) fn maker(name: &str) -> Option<u32> {
    match name.strip_suffix(LONG_ID_MARK) {
        Some(rest) => u32::from_str_radix(rest.get(..8)?, 16).ok(),
        None => name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok(),
    }
}
