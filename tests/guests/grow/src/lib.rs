//! A guest that asks for memory until it is refused, and goes on asking. The aggregate limiter must
//! refuse it at its class's bound; the refused allocation then ends the run.

use sonde_sensor::{Batch, Description, Failure, Gauge, Sensor};

static HELD: Gauge = Gauge::new("guest_grow_held_bytes", "Never returned.").unit("bytes");

/// Half of a small sensor's memory in eight steps.
const STEP_BYTES: usize = 1024 * 1024;

/// The guest.
pub struct Grow;

impl Sensor for Grow {
    const DESCRIPTION: Description = Description::Families(&[&HELD]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        let mut held: Vec<Vec<u8>> = Vec::new();
        while std::hint::black_box(true) {
            let mut block = Vec::with_capacity(STEP_BYTES);
            // One byte a block: each must really be had, and the fuel must last until they are refused.
            block.resize(1, 1);
            held.push(std::hint::black_box(block));
        }
        out.gauge(&HELD, [], (held.len() * STEP_BYTES) as f64);
        Ok(())
    }
}

sonde_sensor::export!(Grow);
