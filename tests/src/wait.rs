//! Waiting for something to become true, with a deadline.
//!
//! The tests never sleep for a guessed time: they ask again until they get what they expect, so a fast
//! machine is fast and a slow one is not flaky.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks: short against the second in which Sonde must notice things, long enough to
/// leave the machine's two cores to what is being tested.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls `probe` until it returns `Ok`, and panics with its last `Err` when `within` has passed.
#[track_caller]
pub fn eventually<T, E: Display>(what: &str, within: Duration, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(last) if started.elapsed() >= within => {
                panic!("{what} did not happen within {within:?}: {last}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
