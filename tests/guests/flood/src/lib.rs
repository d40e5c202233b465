//! A guest that returns ten thousand series with huge label values and logs far more than it may. What
//! passes must stay within the limits on series, label bytes, log bytes and bytes across the boundary.

use sonde_sensor::{Batch, Description, Failure, Gauge, Sensor, log};

static DROPS: Gauge<2> = Gauge::new("guest_flood_drops", "Too many.").labels(["number", "text"]);

const SERIES: u32 = 10_000;
/// Sixteen times what a label value may have.
const VALUE_BYTES: usize = 4096;
/// One such line is over the whole allowance of a run.
const LINE_BYTES: usize = 16 * 1024;
const LINES: u32 = 200;
/// Only every so many series have the huge value, so that they fit into a small sensor's memory.
const HUGE_EVERY: u32 = 10;

/// The guest.
pub struct Flood;

impl Sensor for Flood {
    const DESCRIPTION: Description = Description::Families(&[&DROPS]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        let line = "all work and no play ".repeat(LINE_BYTES / 21);
        for _ in 0..LINES {
            log::error(&line);
        }
        let huge = "x".repeat(VALUE_BYTES);
        for number in 0..SERIES {
            let text = if number % HUGE_EVERY == 0 { huge.as_str() } else { "small" };
            out.gauge(&DROPS, [&number.to_string(), text], f64::from(number));
        }
        Ok(())
    }
}

sonde_sensor::export!(Flood);
