//! Row 45: what a guest can measure.

use super::files::*;
use crate::guest::{Expected, Fact, Guest};

pub(super) fn guests() -> Vec<Guest> {
    vec![
        Guest::file(G45_CLOCK_GRANULARITY, "no clock is finer than a millisecond", Expected::Succeeds)
            .limits("host_calls = 100_000\nfuel = 200_000_000")
            .facts(&[Fact::Found { least: 1, most: 1_000 }]),
    ]
}
