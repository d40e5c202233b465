//! A guest that only computes: no capability, five gauges and a counter with a label. What the host itself costs is
//! measured with it.

use sonde_sensor::{Batch, Counter, Description, Failure, Gauge, Sensor};

static BEATS: Counter<1> = Counter::new("pulse_beats_total", "Made-up beats.").labels(["chamber"]);
static RATE: Gauge<1> = Gauge::new("pulse_rate", "A made-up rate.").labels(["chamber"]);

/// The guest.
pub struct Pulse;

impl Sensor for Pulse {
    const DESCRIPTION: Description = Description::Families(&[&BEATS, &RATE]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        for (chamber, rate) in [("left", 60.0), ("right", 61.0), ("upper", 62.0)] {
            out.counter(&BEATS, [chamber], rate * 60.0);
            out.gauge(&RATE, [chamber], rate);
        }
        Ok(())
    }
}

sonde_sensor::export!(Pulse);
