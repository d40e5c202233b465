//! A guest that does as it should: a counter of its own runs from state, a gauge from the clock. The good
//! neighbour of the others.

use sonde_sensor::{Batch, Counter, Description, Failure, Gauge, Reason, Sensor, clock, state};

static RUNS: Counter = Counter::new("honest_runs_total", "Runs that succeeded, this one included.");
static NOW: Gauge = Gauge::new("honest_time_seconds", "The node's clock in the run.").unit("seconds");

/// The guest.
pub struct Honest;

impl Sensor for Honest {
    const DESCRIPTION: Description = Description::Families(&[&RUNS, &NOW]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        let before = <[u8; 8]>::try_from(state::load().as_slice()).map_or(0, u64::from_le_bytes);
        let runs = before + 1;
        if !state::store(&runs.to_le_bytes()) {
            return Err(Failure::new(Reason::Denied, "eight bytes of state are refused"));
        }
        out.counter(&RUNS, [], runs as f64);
        out.gauge(&NOW, [], clock::now().as_secs_f64());
        Ok(())
    }
}

sonde_sensor::export!(Honest);
