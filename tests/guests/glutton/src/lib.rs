//! A guest whose manifest asks openly for more than a small policy allows: the large class, and a port
//! of no configuration. The grant must leave the port out and the class must be refused; where the class is allowed, the run
//! must be denied the port in words.

use sonde_sensor::{Batch, Description, Failure, Gauge, Sensor, tcp};

static REACHED: Gauge = Gauge::new("guest_glutton_reached", "Whether the port was reached.");

/// SSH: a port that no probe needs.
const PORT: u16 = 22;

/// The guest.
pub struct Glutton;

impl Sensor for Glutton {
    const DESCRIPTION: Description = Description::Families(&[&REACHED]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        tcp::connect(PORT)?;
        out.gauge(&REACHED, [], 1.0);
        Ok(())
    }
}

sonde_sensor::export!(Glutton);
