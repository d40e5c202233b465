//! A guest that traps in collect: a panic aborts, which is `unreachable`.

use sonde_sensor::{Batch, Description, Failure, Gauge, Sensor};

static NEVER: Gauge = Gauge::new("guest_trap_never", "Never returned.");

/// The guest.
pub struct Trap;

impl Sensor for Trap {
    const DESCRIPTION: Description = Description::Families(&[&NEVER]);

    fn collect(_: &mut Batch) -> Result<(), Failure> {
        std::process::abort()
    }
}

sonde_sensor::export!(Trap);
