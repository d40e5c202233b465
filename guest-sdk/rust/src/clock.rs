//! Time, no finer than a millisecond. Always allowed.
//!
//! `std::time::Instant` does not work in a sensor: the target has no clock of its own.

use std::time::Duration;

use crate::raw;

/// Since 1970.
pub fn now() -> Duration {
    Duration::from_millis(raw::clock::now())
}

/// Since the run began.
pub fn elapsed() -> Duration {
    Duration::from_millis(raw::clock::elapsed())
}
