//! What the kernel knows of how well its clock is kept: `adjtimex(2)`, asked with no bit of `modes` set, which changes nothing
//! and needs no privilege.
//!
//! rustix has no such call and we have no `unsafe`, so it is asked through `clock-steering` (docs/decisions/0006). That one hands
//! on the kernel's struct and not its return value, of which `TIME_ERROR` alone is needed: it is worked out of the same bits
//! of `status` by the kernel's own rule (`is_error_status` in `kernel/time/ntp.c`). `offset` and `jitter` are nanoseconds where
//! `STA_NANO` is set, else microseconds; the errors and `tick` are always microseconds; `freq`, `ppsfreq` and `stabil` are ppm
//! with 16 binary places. Where a seccomp filter forbids the call there is no clock, and it is not asked again: the crate takes
//! errors that it does not know for impossible and panics.

/// Bits of `status` (`linux/timex.h`).
const STA_PPSFREQ: i64 = 0x0002;
const STA_PPSTIME: i64 = 0x0004;
const STA_UNSYNC: i64 = 0x0040;
const STA_PPSSIGNAL: i64 = 0x0100;
const STA_PPSJITTER: i64 = 0x0200;
const STA_PPSWANDER: i64 = 0x0400;
const STA_PPSERROR: i64 = 0x0800;
const STA_CLOCKERR: i64 = 0x1000;
const STA_NANO: i64 = 0x2000;
/// Parts in a whole, of a number of ppm with 16 binary places.
const PPM_16: f64 = 1e6 * 65_536.0;

/// The kernel's `struct timex`, its numbers as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Of what is still to be corrected, by `STA_NANO`.
    pub offset: i64,
    /// Correction of the rate.
    pub frequency: i64,
    /// The most it can be wrong, in microseconds.
    pub max_error: i64,
    /// How wrong it is by estimate, in microseconds.
    pub estimated_error: i64,
    /// `STA_*`.
    pub status: i64,
    /// Of the phase-locked loop.
    pub time_constant: i64,
    /// Of the clock, in microseconds.
    pub precision: i64,
    /// How much the rate can be corrected.
    pub tolerance: i64,
    /// Microseconds between ticks.
    pub tick: i64,
    /// Frequency of the pulse per second.
    pub pps_frequency: i64,
    /// Its jitter, by `STA_NANO`.
    pub pps_jitter: i64,
    /// Power of two of the seconds that it is calibrated over.
    pub pps_shift: i64,
    /// Its wander.
    pub pps_stability: i64,
    /// How often its jitter was over the limit.
    pub pps_jitter_exceeded: i64,
    /// Intervals of calibration.
    pub pps_calibrations: i64,
    /// Of these, those that failed.
    pub pps_errors: i64,
    /// How often its wander was over the limit.
    pub pps_stability_exceeded: i64,
    /// TAI less UTC, in seconds.
    pub tai_offset: i64,
}

impl Clock {
    /// Whether a bit of status is there.
    fn has(&self, bits: i64) -> bool {
        self.status & bits == bits
    }

    /// Whether the kernel takes its clock for a good one: whether `adjtimex` answers anything but `TIME_ERROR`.
    pub fn is_synchronized(&self) -> bool {
        let any = |bits: i64| self.status & bits != 0;
        let is_error = any(STA_UNSYNC | STA_CLOCKERR)
            || (any(STA_PPSFREQ | STA_PPSTIME) && !any(STA_PPSSIGNAL))
            || self.has(STA_PPSTIME | STA_PPSJITTER)
            || (any(STA_PPSFREQ) && any(STA_PPSWANDER | STA_PPSERROR));
        !is_error
    }

    /// Whether a pulse per second is there: without one what is said of it means nothing.
    pub fn has_pulse(&self) -> bool {
        self.has(STA_PPSSIGNAL)
    }

    /// Seconds of `offset` or `jitter`.
    #[allow(clippy::cast_precision_loss, reason = "a float is what is exposed in the end")]
    pub fn seconds(&self, value: i64) -> f64 {
        if self.has(STA_NANO) { value as f64 / 1e9 } else { value as f64 / 1e6 }
    }

    /// Seconds of what is always in microseconds.
    #[allow(clippy::cast_precision_loss, reason = "as above")]
    pub fn microseconds(value: i64) -> f64 {
        value as f64 / 1e6
    }

    /// A number of ppm with 16 binary places, as a part of 1.
    #[allow(clippy::cast_precision_loss, reason = "as above")]
    pub fn ratio(value: i64) -> f64 {
        value as f64 / PPM_16
    }
}

/// The kernel's clock, which can be asked.
#[derive(Debug)]
pub struct Asked(());

impl Asked {
    /// None where it may not be asked.
    pub fn open() -> Option<Self> {
        std::panic::catch_unwind(read).ok()?.map(|_| Self(()))
    }

    /// Asks.
    pub fn read(&self) -> Option<Clock> {
        read()
    }
}

#[cfg(target_os = "linux")]
fn read() -> Option<Clock> {
    let mut timex = clock_steering::unix::EMPTY_TIMEX;
    clock_steering::unix::UnixClock::CLOCK_REALTIME.adjtime(&mut timex).ok()?;
    Some(Clock {
        offset: timex.offset,
        frequency: timex.freq,
        max_error: timex.maxerror,
        estimated_error: timex.esterror,
        status: timex.status.into(),
        time_constant: timex.constant,
        precision: timex.precision,
        tolerance: timex.tolerance,
        tick: timex.tick,
        pps_frequency: timex.ppsfreq,
        pps_jitter: timex.jitter,
        pps_shift: timex.shift.into(),
        pps_stability: timex.stabil,
        pps_jitter_exceeded: timex.jitcnt,
        pps_calibrations: timex.calcnt,
        pps_errors: timex.errcnt,
        pps_stability_exceeded: timex.stbcnt,
        tai_offset: timex.tai.into(),
    })
}

/// Other kernels are not asked.
#[cfg(not(target_os = "linux"))]
fn read() -> Option<Clock> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synchronized_as_the_kernel_has_it() {
        let of = |status| Clock { status, ..Clock::default() }.is_synchronized();
        for good in [0, 0x2001, STA_PPSTIME | STA_PPSSIGNAL, STA_PPSFREQ | STA_PPSSIGNAL | STA_PPSJITTER, STA_PPSWANDER]
        {
            assert!(of(good), "{good:#x}");
        }
        let pulse = STA_PPSSIGNAL;
        for bad in [
            STA_UNSYNC,
            STA_CLOCKERR | STA_NANO,
            STA_PPSFREQ,
            STA_PPSTIME,
            STA_PPSTIME | pulse | STA_PPSJITTER,
            STA_PPSFREQ | pulse | STA_PPSWANDER,
            STA_PPSFREQ | pulse | STA_PPSERROR,
        ] {
            assert!(!of(bad), "{bad:#x}");
        }
    }

    #[test]
    fn units_follow_the_status() {
        let nano = Clock { status: STA_NANO, ..Clock::default() };
        assert!((nano.seconds(-1_500_000) + 0.0015).abs() < 1e-15);
        assert!((Clock::default().seconds(1_500) - 0.0015).abs() < 1e-15);
        assert!((Clock::ratio(65_536) - 1e-6).abs() < 1e-20, "one ppm");
    }

    #[test]
    fn this_kernel_answers_and_is_not_changed() {
        let asked = Asked::open().expect("a Linux without a filter answers");
        let (first, second) = (asked.read().unwrap(), asked.read().unwrap());
        assert_eq!((first.status, first.tick, first.tai_offset), (second.status, second.tick, second.tai_offset));
        assert!((9_000..=11_000).contains(&first.tick), "{first:?}");
        assert!(first.max_error >= 0 && first.tolerance > 0, "{first:?}");
    }
}
