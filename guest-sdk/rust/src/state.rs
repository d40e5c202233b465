//! A few bytes that last from run to run, for this sensor on this instance. A run that fails leaves them as
//! they were.
//!
//! Manifest: `[capabilities] state = true`.

/// What the last run that succeeded stored; empty at first.
pub fn load() -> Vec<u8> {
    crate::raw::state::load()
}

/// Replaces it. `false` where it is over the limit, 4 KiB by default; then the old bytes stay.
#[must_use]
pub fn store(bytes: &[u8]) -> bool {
    crate::raw::state::store(bytes)
}
