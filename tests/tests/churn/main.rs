//! Births and deaths are all told, and leave nothing behind: descriptors, tasks, network namespaces, memory.
//!
//! In a binary of its own, because Sonde watches every container of the machine: those of other tests
//! would be in the count.

mod batches;
mod random;
mod storm;

use std::time::Duration;

use sonde_tests::{Footprint, Sonde, eventually};

/// Pools that shrink when idle (tokio's blocking threads: 10 s) get time to do so.
const SETTLED: Duration = Duration::from_secs(60);

/// What it holds once that does not change any more.
fn steady_footprint(sonde: &Sonde) -> Footprint {
    let mut before = sonde.footprint();
    eventually("a steady footprint", SETTLED, || {
        let now = sonde.footprint();
        let steady = now == before;
        let last = std::mem::replace(&mut before, now);
        if steady { Ok(()) } else { Err(format!("{last:?}")) }
    });
    before
}
