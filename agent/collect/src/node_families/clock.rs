//! node_exporter's names for the kernel's clock (its `timex` collector).

use sonde_expo::Number;

use crate::described::{Row, counter, gauge};
use crate::node::clock::Clock;

const DENIED: &str = "the kernel does not let the agent ask";

macro_rules! clock {
    ($kind:ident, $name:literal, $unit:literal, $help:literal, $source:literal, $value:expr) => {
        Row { about: $kind($name, $unit, $help).of(concat!("`adjtimex` ", $source)).unless(DENIED), value: $value }
    };
}

pub(super) static CLOCK: &[Row<Clock>] = &[
    clock!(
        gauge,
        "node_timex_sync_status",
        "",
        "Whether the kernel holds its clock to be synchronized.",
        "`status`: what makes the kernel answer `TIME_ERROR`",
        |c| Some(Number::Unsigned(u64::from(c.is_synchronized())))
    ),
    clock!(
        gauge,
        "node_timex_offset_seconds",
        "seconds",
        "How far the clock is from its reference, as it was last told.",
        "`offset`",
        |c| float(c.seconds(c.offset))
    ),
    clock!(
        gauge,
        "node_timex_frequency_adjustment_ratio",
        "ratio",
        "The clock's rate as it is adjusted; 1 is none.",
        "`freq`",
        |c| float(1.0 + Clock::ratio(c.frequency))
    ),
    clock!(
        gauge,
        "node_timex_maxerror_seconds",
        "seconds",
        "The most that the clock can be wrong; it rises while nobody synchronizes it.",
        "`maxerror`",
        |c| float(Clock::microseconds(c.max_error))
    ),
    clock!(
        gauge,
        "node_timex_estimated_error_seconds",
        "seconds",
        "How wrong the clock is by the estimate of who synchronizes it.",
        "`esterror`",
        |c| float(Clock::microseconds(c.estimated_error))
    ),
    clock!(gauge, "node_timex_status", "", "The kernel's bits of status (STA_*).", "`status`", |c| {
        Some(Number::Signed(c.status))
    }),
    clock!(gauge, "node_timex_loop_time_constant", "", "Time constant of the phase-locked loop.", "`constant`", |c| {
        Some(Number::Signed(c.time_constant))
    }),
    clock!(gauge, "node_timex_tick_seconds", "seconds", "Time between two ticks of the clock.", "`tick`", |c| {
        float(Clock::microseconds(c.tick))
    }),
    clock!(gauge, "node_timex_pps_frequency_hertz", "hertz", "Frequency of the pulse per second.", "`ppsfreq`", |c| {
        float(Clock::ratio(c.pps_frequency))
    }),
    clock!(gauge, "node_timex_pps_jitter_seconds", "seconds", "Jitter of the pulse per second.", "`jitter`", |c| {
        float(c.seconds(c.pps_jitter))
    }),
    clock!(
        gauge,
        "node_timex_pps_shift_seconds",
        "seconds",
        "Interval over which the pulse is calibrated, as the kernel has it: a power of two.",
        "`shift`",
        |c| Some(Number::Signed(c.pps_shift))
    ),
    clock!(
        gauge,
        "node_timex_pps_stability_hertz",
        "hertz",
        "Wander of the pulse's frequency.",
        "`stabil`",
        |c| float(Clock::ratio(c.pps_stability))
    ),
    clock!(
        counter,
        "node_timex_pps_jitter_total",
        "",
        "Pulses whose jitter was over the limit.",
        "`jitcnt`",
        |c| Some(Number::Signed(c.pps_jitter_exceeded))
    ),
    clock!(counter, "node_timex_pps_calibration_total", "", "Intervals of calibration.", "`calcnt`", |c| {
        Some(Number::Signed(c.pps_calibrations))
    }),
    clock!(counter, "node_timex_pps_error_total", "", "Calibrations that failed.", "`errcnt`", |c| {
        Some(Number::Signed(c.pps_errors))
    }),
    clock!(
        counter,
        "node_timex_pps_stability_exceeded_total",
        "",
        "Calibrations whose wander was over the limit.",
        "`stbcnt`",
        |c| Some(Number::Signed(c.pps_stability_exceeded))
    ),
    clock!(
        gauge,
        "node_timex_tai_offset_seconds",
        "seconds",
        "International Atomic Time less UTC, 0 where nobody told the kernel.",
        "`tai`",
        |c| Some(Number::Signed(c.tai_offset))
    ),
];

fn float(value: f64) -> Option<Number> {
    Some(Number::Float(value))
}
