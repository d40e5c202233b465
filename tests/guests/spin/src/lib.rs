//! A guest that loops for ever in collect. Fuel or the epoch must stop it, and its neighbours must
//! not notice.

use sonde_sensor::{Batch, Description, Failure, Gauge, Sensor};

static TURNS: Gauge = Gauge::new("guest_spin_turns", "Never returned.");

/// The guest.
pub struct Spin;

impl Sensor for Spin {
    const DESCRIPTION: Description = Description::Families(&[&TURNS]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        let mut turns = 0_u64;
        // black_box: a loop without effect may be compiled away.
        while std::hint::black_box(true) {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
        out.gauge(&TURNS, [], turns as f64);
        Ok(())
    }
}

sonde_sensor::export!(Spin);
