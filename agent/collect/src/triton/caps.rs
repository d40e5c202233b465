//! cmon-agent's `cpucap` and `memcap`: what a zone may have, and how near it is to that.
//!
//! illumos keeps time by whether a zone is above its cap; Linux by periods of the quota, and only while the cgroup wants to run. Without a
//! quota there is no `cpucap` at all, as there was none of an uncapped zone.

use sonde_expo::Number;

use super::{Row, nowhere};
use crate::described::{counter, gauge};
use crate::families::amounts::{int, us};
use crate::reading::{CpuLately, Reading};

const UNCAPPED: &str = "no quota is set";

pub(super) static CPUCAP: &[Row<Reading>] = &[
    Row {
        about: counter(
            "cpucap_above_base_seconds_total",
            "seconds",
            "Time spent above the quota on what was saved up.",
        )
        .of("`cpu.stat` `nr_bursts`, of so many periods")
        .unless("no quota is set; Linux before 5.14")
        .but("falls when the period is changed"),
        value: |r| periods(r, r.throttling?.burst_periods?),
    },
    Row {
        about: counter("cpucap_above_seconds_total", "seconds", "Time spent at the cap, held back by it.")
            .of("`cpu.stat` `nr_throttled`, of so many periods")
            .unless(UNCAPPED)
            .but(
                "periods in which it was throttled, and only while it wanted to run; falls when the period is changed",
            ),
        value: |r| periods(r, r.throttling?.throttled_periods),
    },
    nowhere(
        gauge("cpucap_baseline_percentage", "percentage", "Usage that is expected, in % of a CPU."),
        "Linux has no baseline beside the cap",
    ),
    Row {
        about: counter("cpucap_below_seconds_total", "seconds", "Time spent below the cap.")
            .of("`cpu.stat` `nr_periods` less `nr_throttled`, of so many periods")
            .unless(UNCAPPED)
            .but("only while it wanted to run; falls when the period is changed"),
        value: |r| {
            let throttling = r.throttling?;
            periods(r, throttling.periods.checked_sub(throttling.throttled_periods)?)
        },
    },
    Row {
        about: gauge("cpucap_burst_limit_seconds", "seconds", "The most that can be used above the quota at a time.")
            .of("`cpu.max.burst`; v1: `cpu.cfs_burst_us`")
            .unless("no quota or no burst is set; Linux before 5.14")
            .but("CPU time that is saved up, not a time of bursting"),
        value: |r| {
            r.throttling?;
            r.limits.cpu_burst_us.map(us)
        },
    },
    Row {
        about: gauge("cpucap_effective_percentage", "percentage", "The cap in force, in % of a CPU.")
            .of("`cpu.max`; v1: `cpu.cfs_quota_us`")
            .unless(UNCAPPED)
            .but("always `cpucap_limit_percentage`"),
        value: cap,
    },
    nowhere(
        gauge("cpucap_max_usage_percentage", "percentage", "The highest usage ever, in % of a CPU."),
        "Linux keeps no such peak: `max_over_time(cpucap_cur_usage_percentage[…])`",
    ),
    nowhere(
        gauge("cpucap_waiting_threads_count", "", "Threads that wait because of the cap."),
        "Linux does not count them",
    ),
    Row {
        about: gauge("cpucap_cur_usage_percentage", "percentage", "Usage of late, in % of a CPU.")
            .of("`cpu.stat`: since the reading before, or one 5 to 10 s old")
            .unless("no quota is set; the first reading"),
        value: |r| {
            r.throttling?;
            Some(percent(r.cpu_lately?))
        },
    },
    Row {
        about: gauge("cpucap_limit_percentage", "percentage", "The cap, in % of a CPU.")
            .of("`cpu.max`; v1: `cpu.cfs_quota_us`")
            .unless(UNCAPPED),
        value: cap,
    },
];

#[allow(clippy::cast_precision_loss, reason = "a float is what is exposed in the end")]
fn percent(lately: CpuLately) -> Number {
    Number::Float(lately.used_ns as f64 / lately.over_ns as f64 * 100.0)
}

#[allow(clippy::cast_precision_loss, reason = "as above")]
fn cap(reading: &Reading) -> Option<Number> {
    let (quota, period) = (reading.limits.cpu_quota_us?, reading.limits.cpu_period_us.filter(|us| *us > 0)?);
    Some(Number::Float(quota as f64 / period as f64 * 100.0))
}

/// Seconds of so many of its CFS periods.
fn periods(reading: &Reading, count: u64) -> Option<Number> {
    Some(us(count.saturating_mul(reading.limits.cpu_period_us?)))
}

const NO_CONTROLLER: &str = "no memory controller";

pub(super) static MEMCAP: &[Row<Reading>] = &[
    Row {
        about: gauge("mem_agg_usage", "", "Memory in use, in bytes.")
            .of("`memory.current` less `inactive_file`; a process group: resident pages")
            .unless(NO_CONTROLLER)
            .but("the working set, which is what the limit is about; illumos' `rss` has no page cache in it"),
        value: |r| int(r.memory.working_set_bytes.or(r.memory.rss_bytes)),
    },
    Row {
        about: counter("mem_anon_alloc_fail", "", "How often reclaim failed at the limit.")
            .of("`memory.events` `oom`")
            .unless("cgroup v1; no memory controller")
            .but("allocations of every kind"),
        value: |r| int(r.memory.events.oom),
    },
    Row {
        about: gauge("mem_limit", "", "Limit of memory, in bytes.")
            .of("`memory.max`; v1: `memory.limit_in_bytes`")
            .unless("no limit is set")
            .but("absent without a limit; cmon-agent crashed"),
        value: |r| int(r.limits.memory_bytes),
    },
    Row {
        about: gauge("mem_swap", "", "Swap in use, in bytes.")
            .of("`memory.swap.current`; v1: `memory.stat` `total_swap`")
            .unless("swap is not accounted")
            .but("what is swapped out; illumos counts what is reserved, memory with it"),
        value: |r| int(r.memory.swap_bytes),
    },
    Row {
        about: gauge("mem_swap_limit", "", "Limit of swap, in bytes.")
            .of("`memory.swap.max`; v1: `memory.memsw.limit_in_bytes` less `memory.limit_in_bytes`")
            .unless("no limit is set")
            .but("of swap alone; absent without a limit, with which cmon-agent crashed"),
        value: |r| {
            let both = r.limits.memory_swap_bytes.zip(r.limits.memory_bytes);
            int(r.limits.swap_bytes.or(both.and_then(|(both, memory)| both.checked_sub(memory))))
        },
    },
];
