//! cmon-agent's `ntp`: of the kernel's part all, of the daemon's none.
//!
//! cmon-agent ran `ntpq`, which asks an ntpd, and aborted at a line that it did not know. A Linux node is as often kept by chrony,
//! timesyncd or nobody; what the kernel knows of its clock is there whoever keeps it.

use sonde_expo::{Kind, Number};

use super::{Meta, Row, meta};
use crate::described::{Described, counter, described, gauge};
use crate::node::clock::Clock;

pub(super) static META: Meta = meta!("ntp");

const DENIED: &str = "the kernel does not let the agent ask";
const NO_PULSE: &str = "there is no pulse per second";
const DAEMON: &str = "only an ntpd knows it";

/// Bits of the kernel's status: a second is inserted, deleted.
const STA_INS: i64 = 0x0010;
const STA_DEL: i64 = 0x0020;
/// Parts per million in a whole.
const PPM: f64 = 1e6;

fn float(value: f64) -> Option<Number> {
    Some(Number::Float(value))
}

fn ppm(value: i64) -> f64 {
    Clock::ratio(value) * PPM
}

/// What means something only where there is a pulse per second.
fn pulse(clock: &Clock, value: Number) -> Option<Number> {
    clock.has_pulse().then_some(value)
}

/// NTP's leap indicator, out of the kernel's status.
fn leap(clock: &Clock) -> u64 {
    match clock.status {
        _ if !clock.is_synchronized() => 3,
        status if status & STA_INS != 0 => 1,
        status if status & STA_DEL != 0 => 2,
        _ => 0,
    }
}

pub(super) static CLOCK: &[Row<Clock>] = &[
    Row {
        about: counter("ntp_calibration_cycles_total", "", "Intervals over which the pulse per second was calibrated.")
            .of("`adjtimex` `calcnt`")
            .unless(NO_PULSE),
        value: |c| pulse(c, Number::Signed(c.pps_calibrations)),
    },
    Row {
        about: counter("ntp_jitter_exceeded_seconds_total", "", "Pulses whose jitter was over the limit.")
            .of("`adjtimex` `jitcnt`")
            .unless(NO_PULSE)
            .but("a count, whatever the name says"),
        value: |c| pulse(c, Number::Signed(c.pps_jitter_exceeded)),
    },
    Row {
        about: counter("ntp_stability_exceeded_seconds_total", "", "Calibrations whose wander was over the limit.")
            .of("`adjtimex` `stbcnt`")
            .unless(NO_PULSE)
            .but("a count, whatever the name says"),
        value: |c| pulse(c, Number::Signed(c.pps_stability_exceeded)),
    },
    Row {
        about: gauge(
            "ntp_calibration_interval_seconds",
            "seconds",
            "Interval over which the pulse per second is calibrated.",
        )
        .of("`adjtimex` `shift`")
        .unless(NO_PULSE),
        value: |c| pulse(c, Number::Unsigned(1_u64.checked_shl(u32::try_from(c.pps_shift).ok()?)?)),
    },
    Row {
        about: gauge("ntp_estimated_error_seconds", "seconds", "How wrong the clock is by estimate.")
            .of("`adjtimex` `esterror`")
            .unless(DENIED)
            .but("in seconds; cmon-agent was 1,000 times too small with an ntpq from 4.2.8 on"),
        value: |c| float(Clock::microseconds(c.estimated_error)),
    },
    Row {
        about: gauge("ntp_frequency_tolerance_ppm", "ppm", "How much the rate can be corrected.")
            .of("`adjtimex` `tolerance`")
            .unless(DENIED),
        value: |c| float(ppm(c.tolerance)),
    },
    Row {
        about: gauge("ntp_maximum_error_seconds", "seconds", "The most that the clock can be wrong.")
            .of("`adjtimex` `maxerror`")
            .unless(DENIED)
            .but("in seconds; cmon-agent was 1,000 times too small with an ntpq from 4.2.8 on"),
        value: |c| float(Clock::microseconds(c.max_error)),
    },
    Row {
        about: gauge("ntp_frequency_offset_ppm", "ppm", "Correction of the rate.")
            .of("`adjtimex` `freq`")
            .unless(DENIED),
        value: |c| float(ppm(c.frequency)),
    },
    Row {
        about: gauge("ntp_pll_offset_seconds", "seconds", "What is still to be corrected.")
            .of("`adjtimex` `offset`")
            .unless(DENIED)
            .but("in seconds; cmon-agent was 1,000 times too small with an ntpq from 4.2.8 on"),
        value: |c| float(c.seconds(c.offset)),
    },
    Row {
        about: gauge("ntp_pll_time_const", "", "Time constant of the phase-locked loop.")
            .of("`adjtimex` `constant`")
            .unless(DENIED),
        value: |c| Some(Number::Signed(c.time_constant)),
    },
    Row {
        about: gauge("ntp_pps_frequency_ppm", "ppm", "Frequency of the pulse per second.")
            .of("`adjtimex` `ppsfreq`")
            .unless(NO_PULSE),
        value: |c| pulse(c, Number::Float(ppm(c.pps_frequency))),
    },
    Row {
        about: gauge("ntp_pps_jitter_ppm", "ppm", "Jitter of the pulse per second, in millionths of a second.")
            .of("`adjtimex` `jitter`")
            .unless(NO_PULSE),
        value: |c| pulse(c, Number::Float(c.seconds(c.pps_jitter) * 1e6)),
    },
    Row {
        about: gauge("ntp_pps_stability_ppm", "ppm", "Wander of the pulse per second.")
            .of("`adjtimex` `stabil`")
            .unless(NO_PULSE),
        value: |c| pulse(c, Number::Float(ppm(c.pps_stability))),
    },
    Row {
        about: gauge("ntp_precision", "", "Precision of the clock, in seconds.")
            .of("`adjtimex` `precision`")
            .unless(DENIED)
            .but("in seconds; cmon-agent was 1,000 times too small with an ntpq from 4.2.8 on"),
        value: |c| float(Clock::microseconds(c.precision)),
    },
    Row {
        about: gauge("ntp_leap_indicator_status", "", "0 none, 1 a second more, 2 a second less, 3 not synchronized.")
            .of("`adjtimex` `status`")
            .unless(DENIED)
            .but("the kernel's, not the ntpd's"),
        value: |c| Some(Number::Unsigned(leap(c))),
    },
];

/// What only the daemon can be asked for.
const fn of_daemon(kind: Kind, name: &'static str, unit: &'static str) -> Described {
    described(kind, name, unit, "Of the NTP daemon.").unless(DAEMON)
}

pub(super) static NOWHERE: &[Described] = &[
    of_daemon(Kind::Gauge, "ntp_peer_delay_seconds", "seconds").by(&["remote"]),
    of_daemon(Kind::Gauge, "ntp_peer_jitter_ppm", "ppm").by(&["remote"]),
    of_daemon(Kind::Gauge, "ntp_peer_offset_seconds", "seconds").by(&["remote"]),
    of_daemon(Kind::Gauge, "ntp_peer_poll_interval_seconds", "seconds").by(&["remote"]),
    of_daemon(Kind::Gauge, "ntp_peer_last8_polls_failure_count", "").by(&["remote"]),
    of_daemon(Kind::Gauge, "ntp_peer_refid_number", "").by(&["remote"]),
    of_daemon(Kind::Gauge, "ntp_peer_connection_type", "").by(&["remote"]),
    of_daemon(Kind::Gauge, "ntp_peer_stratum_number", "").by(&["remote"]),
    of_daemon(Kind::Gauge, "ntp_peer_state", "").by(&["remote"]),
    of_daemon(Kind::Gauge, "ntp_peer_last_query_seconds", "seconds").by(&["remote"]),
    of_daemon(Kind::Gauge, "ntp_syspeer_delay_seconds", "seconds"),
    of_daemon(Kind::Gauge, "ntp_syspeer_dispersion_seconds", "seconds"),
    of_daemon(Kind::Gauge, "ntp_syspeer_headway_seconds", "seconds"),
    of_daemon(Kind::Gauge, "ntp_syspeer_hmode_number", ""),
    of_daemon(Kind::Gauge, "ntp_syspeer_hpoll_interval_log2s", ""),
    of_daemon(Kind::Gauge, "ntp_syspeer_jitter_ppm", "ppm"),
    of_daemon(Kind::Gauge, "ntp_syspeer_leap_indicator_status", ""),
    of_daemon(Kind::Gauge, "ntp_syspeer_offset_seconds", "seconds"),
    of_daemon(Kind::Gauge, "ntp_syspeer_pmode_number", ""),
    of_daemon(Kind::Gauge, "ntp_syspeer_ppoll_interval_log2s", ""),
    of_daemon(Kind::Gauge, "ntp_syspeer_precision_log2s", ""),
    of_daemon(Kind::Gauge, "ntp_syspeer_rec_seconds", "seconds"),
    of_daemon(Kind::Gauge, "ntp_syspeer_reftime_seconds", "seconds"),
    of_daemon(Kind::Gauge, "ntp_syspeer_root_delay_seconds", "seconds"),
    of_daemon(Kind::Gauge, "ntp_syspeer_root_dispersion_seconds", "seconds"),
    of_daemon(Kind::Gauge, "ntp_syspeer_stratum_number", ""),
    of_daemon(Kind::Counter, "ntp_syspeer_unreach_total", ""),
    of_daemon(Kind::Gauge, "ntp_syspeer_xleave_seconds", "seconds"),
    of_daemon(Kind::Counter, "ntp_dropped_packets_total", ""),
    of_daemon(Kind::Counter, "ntp_ignored_packets_total", ""),
    of_daemon(Kind::Counter, "ntp_input_wakeups_total", ""),
    of_daemon(Kind::Counter, "ntp_low_water_refill_count", ""),
    of_daemon(Kind::Counter, "ntp_packet_send_failures_total", ""),
    of_daemon(Kind::Counter, "ntp_packet_sent_total", ""),
    of_daemon(Kind::Counter, "ntp_packet_received_total", ""),
    of_daemon(Kind::Counter, "ntp_time_since_reset_seconds", "seconds"),
    of_daemon(Kind::Counter, "ntp_useful_input_wakeups_total", ""),
    of_daemon(Kind::Gauge, "ntp_free_receive_buffers_count", ""),
    of_daemon(Kind::Gauge, "ntp_receive_buffers_count", ""),
    of_daemon(Kind::Gauge, "ntp_used_receive_buffers_count", ""),
    of_daemon(Kind::Gauge, "ntp_mru_monitor_enabled_boolean", ""),
    of_daemon(Kind::Gauge, "ntp_mru_monitor_address_count", ""),
    of_daemon(Kind::Gauge, "ntp_mru_monitor_max_address_count", ""),
    of_daemon(Kind::Gauge, "ntp_mru_monitor_max_address_limit", ""),
    of_daemon(Kind::Gauge, "ntp_mru_monitor_min_address_limit", ""),
    of_daemon(Kind::Gauge, "ntp_mru_monitor_max_age_limit", ""),
    of_daemon(Kind::Gauge, "ntp_mru_monitor_memory_bytes", "bytes"),
    of_daemon(Kind::Gauge, "ntp_mru_monitor_max_memory_bytes", "bytes"),
    of_daemon(Kind::Gauge, "ntp_broadcast_delay_seconds", "seconds"),
    of_daemon(Kind::Gauge, "ntp_clock_jitter_ppm", "ppm"),
    of_daemon(Kind::Gauge, "ntp_clock_frequency_wander_ppm", "ppm"),
    of_daemon(Kind::Gauge, "ntp_precision_log2s", ""),
    of_daemon(Kind::Gauge, "ntp_stratum_number", ""),
    of_daemon(Kind::Gauge, "ntp_sys_jitter_ppm", "ppm"),
    of_daemon(Kind::Gauge, "ntp_syspeer_mode_number", ""),
    of_daemon(Kind::Gauge, "ntp_reftime_seconds", "seconds"),
    of_daemon(Kind::Gauge, "ntp_root_delay_seconds", "seconds"),
    of_daemon(Kind::Gauge, "ntp_root_dispersion_seconds", "seconds"),
    of_daemon(Kind::Counter, "ntp_authentication_failures_total", ""),
    of_daemon(Kind::Counter, "ntp_bad_length_or_format_total", ""),
    of_daemon(Kind::Counter, "ntp_same_version_total", ""),
    of_daemon(Kind::Counter, "ntp_declined_total", ""),
    of_daemon(Kind::Counter, "ntp_kod_responses_total", ""),
    of_daemon(Kind::Counter, "ntp_old_version_total", ""),
    of_daemon(Kind::Counter, "ntp_packets_processed_total", ""),
    of_daemon(Kind::Counter, "ntp_packets_rate_limited_total", ""),
    of_daemon(Kind::Counter, "ntp_access_denied_packets_total", ""),
    of_daemon(Kind::Counter, "ntp_sysstats_reset_seconds", "seconds"),
    of_daemon(Kind::Counter, "ntp_uptime_seconds", "seconds"),
];
