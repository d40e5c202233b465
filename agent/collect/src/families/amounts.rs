//! Numbers of the kernel's as they are exposed: seconds of what it counts in nanoseconds, microseconds and milliseconds.

use sonde_expo::Number;

use crate::reading::Stall;

/// Nanoseconds in a second, microseconds in a second, milliseconds in a second.
const NS: f64 = 1e9;
const US: f64 = 1e6;
#[cfg(target_os = "linux")]
const MS: f64 = 1e3;

#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds stay below 2^53 for 104 days of one CPU, and lose no more than one in 2^53 after"
)]
pub(crate) fn ns(value: Option<u64>) -> Option<Number> {
    value.map(|value| Number::Float(value as f64 / NS))
}

#[allow(clippy::cast_precision_loss, reason = "as above, with microseconds")]
pub(crate) fn us(value: u64) -> Number {
    Number::Float(value as f64 / US)
}

#[allow(clippy::cast_precision_loss, reason = "as above, with milliseconds")]
#[cfg(target_os = "linux")]
pub(crate) fn ms(value: u64) -> Number {
    Number::Float(value as f64 / MS)
}

pub(crate) fn int(value: Option<u64>) -> Option<Number> {
    value.map(Number::Unsigned)
}

pub(crate) fn some(stall: Option<Stall>) -> Option<Number> {
    stall.map(|stall| us(stall.some_us))
}

pub(crate) fn full(stall: Option<Stall>) -> Option<Number> {
    stall?.full_us.map(us)
}
