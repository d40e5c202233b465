//! Families of one sample: a row each, name, kind, unit, help and where the reading has it.

use std::time::{Duration, SystemTime};

use sonde_expo::{Kind, Labels, Number, Writer};

use super::{COUNTER, GAUGE};
use crate::reading::{Reading, Stall};

/// Writes those that the reading has.
pub(super) fn write(writer: &mut Writer<'_>, base: &Labels, reading: &Reading) {
    for row in &NUMBERS {
        if let Some(value) = (row.value)(reading) {
            let mut family = writer.family(row.name, row.kind, row.help, row.unit);
            family.sample(base, &[], value);
        }
    }
}

/// A family of one sample.
struct Row {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    help: &'static str,
    value: fn(&Reading) -> Option<Number>,
}

const fn row(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    help: &'static str,
    value: fn(&Reading) -> Option<Number>,
) -> Row {
    Row { name, kind, unit, help, value }
}

const NUMBERS: [Row; 65] = [
    row("container_cpu_user_seconds_total", COUNTER, "seconds", "Cumulative user cpu time consumed in seconds.", |r| {
        ns(r.cpu?.user_ns)
    }),
    row(
        "container_cpu_system_seconds_total",
        COUNTER,
        "seconds",
        "Cumulative system cpu time consumed in seconds.",
        |r| ns(r.cpu?.system_ns),
    ),
    row("container_cpu_cfs_periods_total", COUNTER, "", "Number of elapsed enforcement period intervals.", |r| {
        int(Some(r.throttling?.periods))
    }),
    row("container_cpu_cfs_throttled_periods_total", COUNTER, "", "Number of throttled period intervals.", |r| {
        int(Some(r.throttling?.throttled_periods))
    }),
    row(
        "container_cpu_cfs_throttled_seconds_total",
        COUNTER,
        "seconds",
        "Total time duration the container has been throttled.",
        |r| ns(Some(r.throttling?.throttled_ns)),
    ),
    row(
        "container_memory_usage_bytes",
        GAUGE,
        "bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |r| int(r.memory.usage_bytes),
    ),
    row("container_memory_max_usage_bytes", GAUGE, "bytes", "Maximum memory usage recorded in bytes", |r| {
        int(r.memory.max_usage_bytes)
    }),
    row("container_memory_working_set_bytes", GAUGE, "bytes", "Current working set in bytes.", |r| {
        int(r.memory.working_set_bytes)
    }),
    row("container_memory_rss", GAUGE, "", "Size of RSS in bytes.", |r| int(r.memory.rss_bytes)),
    row("container_memory_cache", GAUGE, "", "Number of bytes of page cache memory.", |r| int(r.memory.cache_bytes)),
    row("container_memory_mapped_file", GAUGE, "", "Size of memory mapped files in bytes.", |r| {
        int(r.memory.mapped_file_bytes)
    }),
    row("container_memory_swap", GAUGE, "", "Container swap usage in bytes.", |r| int(r.memory.swap_bytes)),
    row("container_memory_kernel_usage", GAUGE, "", "Size of kernel memory allocated in bytes.", |r| {
        int(r.memory.kernel_bytes)
    }),
    row("container_memory_failcnt", COUNTER, "", "Number of memory usage hits limits", |r| int(r.memory.limit_hits)),
    row("container_oom_events_total", COUNTER, "", "Count of out of memory events observed for the container", |r| {
        int(r.memory.oom_kills)
    }),
    row("container_processes", GAUGE, "", "Number of processes running inside the container.", |r| {
        int(r.pids.processes)
    }),
    row("container_threads", GAUGE, "", "Number of threads running inside the container", |r| int(r.pids.tasks)),
    row(
        "container_threads_max",
        GAUGE,
        "",
        "Maximum number of threads allowed inside the container, infinity if value is zero",
        |r| int(r.limits.tasks),
    ),
    row("container_file_descriptors", GAUGE, "", "Number of open file descriptors for the container.", |r| {
        int(r.descriptors.map(|fds| fds.open))
    }),
    row(
        "container_pressure_cpu_waiting_seconds_total",
        COUNTER,
        "seconds",
        "Total time duration tasks in the container have waited due to CPU congestion.",
        |r| some(r.pressure.cpu),
    ),
    row(
        "container_pressure_cpu_stalled_seconds_total",
        COUNTER,
        "seconds",
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        |r| full(r.pressure.cpu),
    ),
    row(
        "container_pressure_memory_waiting_seconds_total",
        COUNTER,
        "seconds",
        "Total time duration tasks in the container have waited due to memory congestion.",
        |r| some(r.pressure.memory),
    ),
    row(
        "container_pressure_memory_stalled_seconds_total",
        COUNTER,
        "seconds",
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        |r| full(r.pressure.memory),
    ),
    row(
        "container_pressure_io_waiting_seconds_total",
        COUNTER,
        "seconds",
        "Total time duration tasks in the container have waited due to IO congestion.",
        |r| some(r.pressure.io),
    ),
    row(
        "container_pressure_io_stalled_seconds_total",
        COUNTER,
        "seconds",
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        |r| full(r.pressure.io),
    ),
    row("container_spec_cpu_quota", GAUGE, "", "CPU quota of the container.", |r| int(r.limits.cpu_quota_us)),
    row("container_spec_cpu_period", GAUGE, "", "CPU period of the container.", |r| int(r.limits.cpu_period_us)),
    row("container_spec_cpu_shares", GAUGE, "", "CPU share of the container.", |r| int(r.limits.cpu_shares)),
    row("container_spec_memory_limit_bytes", GAUGE, "bytes", "Memory limit for the container.", |r| {
        int(r.limits.memory_bytes)
    }),
    row(
        "container_spec_memory_reservation_limit_bytes",
        GAUGE,
        "bytes",
        "Memory reservation limit for the container.",
        |r| int(r.limits.memory_reservation_bytes),
    ),
    row("container_spec_memory_swap_limit_bytes", GAUGE, "bytes", "Memory swap limit for the container.", |r| {
        int(r.limits.memory_swap_bytes)
    }),
    row(
        "container_start_time_seconds",
        GAUGE,
        "seconds",
        "Start time of the container since unix epoch in seconds.",
        |r| r.started_unix_seconds.map(Number::Float),
    ),
    row("container_last_seen", GAUGE, "", "Last time a container was seen by the exporter", |r| {
        Some(Number::Unsigned(unix(r.taken_at_unix)?.as_secs()))
    }),
    row(
        "sonde_instance_forks_refused_total",
        COUNTER,
        "",
        "How often a fork was refused because the instance had as many tasks as it may.",
        |r| int(r.pids.limit_hits),
    ),
    row(
        "sonde_instance_fullest_descriptors",
        GAUGE,
        "",
        "Open descriptors of the process that is nearest to its own limit of them.",
        |r| int(r.descriptors?.fullest.map(|(open, _)| open)),
    ),
    row(
        "sonde_instance_fullest_descriptors_max",
        GAUGE,
        "",
        "Limit of open descriptors of the process that is nearest to its own.",
        |r| int(r.descriptors?.fullest.map(|(_, limit)| limit)),
    ),
    row("container_cpu_cfs_burst_periods_total", COUNTER, "", "Number of periods when burst occurs.", |r| {
        int(r.throttling?.burst_periods)
    }),
    row(
        "container_cpu_cfs_burst_seconds_total",
        COUNTER,
        "seconds",
        "Total time duration the container has been bursted.",
        |r| ns(r.throttling?.burst_ns),
    ),
    row(
        "sonde_instance_cpu_held_seconds_total",
        COUNTER,
        "seconds",
        "How long, all CPUs together, the instance had tasks to run while its own quota or one above it held them.",
        |r| ns(r.held_ns),
    ),
    row(
        "sonde_instance_cpu_burst_limit_seconds",
        GAUGE,
        "seconds",
        "What the instance may save up of its CPU quota.",
        |r| r.limits.cpu_burst_us.map(us),
    ),
    row("sonde_instance_cpu_weight", GAUGE, "", "The instance's weight among its neighbours, 1 to 10000.", |r| {
        int(r.limits.cpu_weight)
    }),
    row(
        "sonde_instance_cpus_allowed",
        GAUGE,
        "",
        "CPUs that the instance's leading process may run on, by its cpuset and its own affinity.",
        |r| int(r.limits.cpus_allowed),
    ),
    row("container_memory_total_active_file_bytes", GAUGE, "bytes", "Current total active file in bytes.", |r| {
        int(r.memory.active_file_bytes)
    }),
    row("container_memory_total_inactive_file_bytes", GAUGE, "bytes", "Current total inactive file in bytes.", |r| {
        int(r.memory.inactive_file_bytes)
    }),
    row(
        "container_memory_file_dirty_bytes",
        GAUGE,
        "bytes",
        "Number of bytes of file cache that has been modified but not yet written back to disk.",
        |r| int(r.memory.file_dirty_bytes),
    ),
    row(
        "container_memory_file_writeback_bytes",
        GAUGE,
        "bytes",
        "Number of bytes of file cache that is currently being written back to disk.",
        |r| int(r.memory.file_writeback_bytes),
    ),
    row(
        "container_memory_pgscan_total",
        COUNTER,
        "",
        "Cumulative number of pages scanned by the page reclaim algorithm.",
        |r| int(r.memory.pages_scanned),
    ),
    row(
        "container_memory_pgsteal_total",
        COUNTER,
        "",
        "Cumulative number of pages reclaimed by the page reclaim algorithm.",
        |r| int(r.memory.pages_stolen),
    ),
    row(
        "container_memory_workingset_refault_file_total",
        COUNTER,
        "",
        "Cumulative number of refaults of previously evicted file pages.",
        |r| int(r.memory.refaults_file),
    ),
    row(
        "container_memory_workingset_refault_anon_total",
        COUNTER,
        "",
        "Cumulative number of refaults of previously evicted anonymous pages.",
        |r| int(r.memory.refaults_anon),
    ),
    row(
        "container_memory_events_high_total",
        COUNTER,
        "",
        "Cumulative count of memory.high throttle events for the container",
        |r| int(r.memory.events.high),
    ),
    row(
        "container_memory_events_max_total",
        COUNTER,
        "",
        "Cumulative count of memory.max limit hit events for the container",
        |r| int(r.memory.events.max),
    ),
    row(
        "sonde_instance_memory_direct_scans_total",
        COUNTER,
        "",
        "Pages that the instance's own tasks looked at for reclaim, and waited meanwhile.",
        |r| int(r.memory.pages_scanned_direct),
    ),
    row(
        "sonde_instance_memory_low_events_total",
        COUNTER,
        "",
        "How often the instance was reclaimed from though below memory.low.",
        |r| int(r.memory.events.low),
    ),
    row(
        "sonde_instance_memory_oom_events_total",
        COUNTER,
        "",
        "How often reclaim failed at the limit: an allocation was refused, or a process had to be killed.",
        |r| int(r.memory.events.oom),
    ),
    row(
        "sonde_instance_oom_group_kills_total",
        COUNTER,
        "",
        "How often the instance was killed as a whole for want of memory.",
        |r| int(r.memory.events.oom_group_kill),
    ),
    row(
        "sonde_instance_memory_under_oom",
        GAUGE,
        "",
        "Whether the instance's tasks wait because there is no memory and none of them may be killed.",
        |r| int(r.memory.under_oom),
    ),
    row("sonde_instance_swap_limit_hits_total", COUNTER, "", "How often the limit of swap was hit.", |r| {
        int(r.memory.events.swap_max)
    }),
    row(
        "sonde_instance_swap_failures_total",
        COUNTER,
        "",
        "How often swapping out failed, at the limit or because no swap was left.",
        |r| int(r.memory.events.swap_fail),
    ),
    row(
        "sonde_instance_memory_high_bytes",
        GAUGE,
        "bytes",
        "Above this the instance is throttled and reclaimed from.",
        |r| int(r.limits.memory_high_bytes),
    ),
    row("sonde_instance_memory_min_bytes", GAUGE, "bytes", "Below this the instance is never reclaimed from.", |r| {
        int(r.limits.memory_min_bytes)
    }),
    row("sonde_instance_swap_limit_bytes", GAUGE, "bytes", "Limit of swap, memory not counted in.", |r| {
        int(r.limits.swap_bytes)
    }),
    row("sonde_instance_threads_peak", GAUGE, "", "The most threads that the instance ever had.", |r| int(r.pids.peak)),
    row(
        "sonde_instance_zombies",
        GAUGE,
        "",
        "Tasks that have ended and that nobody has waited for, or that are just ending; each counts against the limit.",
        |r| int(r.pids.zombies),
    ),
    row(
        "sonde_instance_interfaces_left_out",
        GAUGE,
        "",
        "Network interfaces of the instance above 64, of which no series are given.",
        |r| int(r.interfaces_left_out.filter(|left_out| *left_out > 0)),
    ),
];

/// Nanoseconds in a second, microseconds in a second.
const NS: f64 = 1e9;
const US: f64 = 1e6;

#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds stay below 2^53 for 104 days of one CPU, and lose no more than one in 2^53 after"
)]
pub(super) fn ns(value: Option<u64>) -> Option<Number> {
    value.map(|value| Number::Float(value as f64 / NS))
}

#[allow(clippy::cast_precision_loss, reason = "as above, with microseconds")]
pub(super) fn us(value: u64) -> Number {
    Number::Float(value as f64 / US)
}

pub(super) fn int(value: Option<u64>) -> Option<Number> {
    value.map(Number::Unsigned)
}

fn some(stall: Option<Stall>) -> Option<Number> {
    stall.map(|stall| us(stall.some_us))
}

fn full(stall: Option<Stall>) -> Option<Number> {
    stall?.full_us.map(us)
}

fn unix(time: SystemTime) -> Option<Duration> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok()
}
