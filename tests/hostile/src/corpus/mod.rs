//! The table: every guest, by the sections of the list of attacks (`corpus/README.md` has all rows, and why some have no guest).
//!
//! An outcome is a class and not a sentence: sentences may be put better without a guest having got further.

mod artifact;
mod compile;
mod cpu;
mod files;
mod host;
mod memory;
mod network;
mod output;

use crate::guest::{Expected, Guest};

/// All of them, in the order of their rows.
pub fn corpus() -> Vec<Guest> {
    let sections =
        [cpu::guests(), memory::guests(), artifact::guests(), compile::guests(), output::guests(), network::guests()];
    sections.into_iter().flatten().chain(host::guests()).collect()
}

/// The neighbour: honest, and expected to be well whatever came before.
pub fn honest() -> Guest {
    Guest::file(files::G00_HONEST, "does nothing", Expected::Succeeds)
}

const fn fails(reasons: &'static [&'static str]) -> Expected {
    Expected::Fails(reasons)
}

/// Refused by the check before compiling.
const fn refused(says: &'static str) -> Expected {
    Expected::Refused { stage: "precheck", says }
}

const fn not_compiled(says: &'static str) -> Expected {
    Expected::Refused { stage: "compile", says }
}

const fn not_linked(says: &'static str) -> Expected {
    Expected::Refused { stage: "world", says }
}

/// It is asked what it is before it is ever run, and ends there.
const fn not_described(says: &'static str) -> Expected {
    Expected::Refused { stage: "describe", says }
}

const FUEL: Expected = fails(&["fuel"]);
const CPU: Expected = fails(&["cpu"]);
const DEADLINE: Expected = fails(&["deadline"]);
const TRAP: Expected = fails(&["trap"]);
