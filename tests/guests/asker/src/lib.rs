//! A guest that asks a TCP server one question: what a probe of a server costs at least, for the measurements.

use sonde_sensor::{Batch, Description, Failure, Gauge, Sensor, config, tcp};

static ANSWERED: Gauge = Gauge::new("asker_answer_bytes", "Length of the server's answer.").unit("bytes");

/// More than any answer has.
const ANSWER_BYTES: usize = 64;

/// The guest.
pub struct Asker;

impl Sensor for Asker {
    const DESCRIPTION: Description = Description::Families(&[&ANSWERED]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        let mut server = tcp::connect(config::port("port")?)?;
        server.send(b"how much\n")?;
        let answer = server.receive(ANSWER_BYTES)?;
        out.gauge(&ANSWERED, [], answer.len() as f64);
        Ok(())
    }
}

sonde_sensor::export!(Asker);
