//! What a reading's numbers are called: cAdvisor's names, kinds, help texts and meanings, so that
//! existing dashboards and alerts work as they are, and `sonde_*` for what cAdvisor lacks.
//!
//! Each family is one row of [`NUMBERS`] or one function below. What a reading does not have is not
//! written: cAdvisor writes 0 for a limit that is not set, we leave the series out, and
//! queries that guard against 0 do the same with either. Labels that name the instance come from outside, rendered once.

use std::time::{Duration, SystemTime};

use sonde_expo::{Kind, Labels, Number, Writer};

use crate::reading::{DeviceIo, Interface, Reading, Stall};
use crate::state::{InstanceState, Judgement, Resource};

/// Families that an instance's exposition takes for itself begin with one of these: no sensor may claim one.
pub const RESERVED_PREFIXES: [&str; 3] = ["container_", "machine_", "sonde_"];

/// Whether a family is, or may come to be, one of ours.
pub fn is_native_family(name: &str) -> bool {
    RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
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

const COUNTER: Kind = Kind::Counter;
const GAUGE: Kind = Kind::Gauge;

const NUMBERS: [Row; 36] = [
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
];

/// Nanoseconds in a second, microseconds in a second.
const NS: f64 = 1e9;
const US: f64 = 1e6;

#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds stay below 2^53 for 104 days of one CPU, and lose no more than one in 2^53 after"
)]
fn ns(value: Option<u64>) -> Option<Number> {
    value.map(|value| Number::Float(value as f64 / NS))
}

#[allow(clippy::cast_precision_loss, reason = "as above, with microseconds")]
fn us(value: u64) -> Number {
    Number::Float(value as f64 / US)
}

fn int(value: Option<u64>) -> Option<Number> {
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

/// Writes all that a reading has, under the instance's labels.
pub fn write_reading(writer: &mut Writer<'_>, base: &Labels, reading: &Reading) {
    if let Some(value) = reading.cpu.and_then(|cpu| ns(Some(cpu.usage_ns))) {
        let help = "Cumulative cpu time consumed in seconds.";
        let mut family = writer.family("container_cpu_usage_seconds_total", COUNTER, help, "seconds");
        family.sample(base, &[("cpu", "total")], value);
    }
    for row in &NUMBERS {
        if let Some(value) = (row.value)(reading) {
            let mut family = writer.family(row.name, row.kind, row.help, row.unit);
            family.sample(base, &[], value);
        }
    }
    write_memory_failures(writer, base, reading);
    write_network(writer, base, reading.network.as_deref().unwrap_or_default());
    write_io(writer, base, reading.io.as_deref().unwrap_or_default());
}

fn write_memory_failures(writer: &mut Writer<'_>, base: &Labels, reading: &Reading) {
    let memory = &reading.memory;
    let rows = [
        ("pgfault", "container", memory.own_pgfault),
        ("pgfault", "hierarchy", memory.pgfault),
        ("pgmajfault", "container", memory.own_pgmajfault),
        ("pgmajfault", "hierarchy", memory.pgmajfault),
    ];
    if rows.iter().all(|(.., value)| value.is_none()) {
        return;
    }
    let help = "Cumulative count of memory allocation failures.";
    let mut family = writer.family("container_memory_failures_total", COUNTER, help, "");
    for (kind, scope, value) in rows {
        if let Some(value) = value {
            let extra = [("failure_type", kind), ("scope", scope)];
            family.sample(base, &extra, Number::Unsigned(value));
        }
    }
}

/// Name, unit, help, value.
type NetworkRow = (&'static str, &'static str, &'static str, fn(&Interface) -> u64);
const NETWORK: [NetworkRow; 8] = [
    ("container_network_receive_bytes_total", "bytes", "Cumulative count of bytes received", |i| i.receive_bytes),
    ("container_network_receive_packets_total", "", "Cumulative count of packets received", |i| i.receive_packets),
    ("container_network_receive_errors_total", "", "Cumulative count of errors encountered while receiving", |i| {
        i.receive_errors
    }),
    (
        "container_network_receive_packets_dropped_total",
        "",
        "Cumulative count of packets dropped while receiving",
        |i| i.receive_dropped,
    ),
    ("container_network_transmit_bytes_total", "bytes", "Cumulative count of bytes transmitted", |i| i.transmit_bytes),
    ("container_network_transmit_packets_total", "", "Cumulative count of packets transmitted", |i| i.transmit_packets),
    ("container_network_transmit_errors_total", "", "Cumulative count of errors encountered while transmitting", |i| {
        i.transmit_errors
    }),
    (
        "container_network_transmit_packets_dropped_total",
        "",
        "Cumulative count of packets dropped while transmitting",
        |i| i.transmit_dropped,
    ),
];

fn write_network(writer: &mut Writer<'_>, base: &Labels, interfaces: &[Interface]) {
    if interfaces.is_empty() {
        return;
    }
    for (name, unit, help, value) in NETWORK {
        let mut family = writer.family(name, COUNTER, help, unit);
        for interface in interfaces {
            let extra = [("interface", interface.name.as_str())];
            family.sample(base, &extra, Number::Unsigned(value(interface)));
        }
    }
}

/// Name, unit, help, value.
type IoRow = (&'static str, &'static str, &'static str, fn(&DeviceIo) -> Option<u64>);
const IO: [IoRow; 4] = [
    ("container_fs_reads_bytes_total", "bytes", "Cumulative count of bytes read", |d| d.read_bytes),
    ("container_fs_reads_total", "", "Cumulative count of reads completed", |d| d.reads),
    ("container_fs_writes_bytes_total", "bytes", "Cumulative count of bytes written", |d| d.written_bytes),
    ("container_fs_writes_total", "", "Cumulative count of writes completed", |d| d.writes),
];

fn write_io(writer: &mut Writer<'_>, base: &Labels, devices: &[DeviceIo]) {
    for (name, unit, help, value) in IO {
        if devices.iter().all(|device| value(device).is_none()) {
            continue;
        }
        let mut family = writer.family(name, COUNTER, help, unit);
        for device in devices {
            if let Some(value) = value(device) {
                let extra = [("device", device.device.as_str())];
                family.sample(base, &extra, Number::Unsigned(value));
            }
        }
    }
}

/// Writes the judgement: all five states, all six resources, and the reasons that hold. This alone is
/// also the body of an answer about an instance that is stopped or gone.
pub fn write_judgement(writer: &mut Writer<'_>, base: &Labels, judgement: &Judgement) {
    let help = "Whether the instance is in this state; exactly one is 1.";
    let mut family = writer.family("sonde_instance_state", GAUGE, help, "");
    for state in InstanceState::ALL {
        let value = u64::from(state == judgement.state);
        family.sample(base, &[("state", state.as_str())], Number::Unsigned(value));
    }
    let help = "Whether the instance lacks this resource, as far as the kernel can see.";
    let mut family = writer.family("sonde_instance_saturated", GAUGE, help, "");
    for resource in Resource::ALL {
        let value = u64::from(judgement.saturated.contains(&resource));
        family.sample(base, &[("resource", resource.as_str())], Number::Unsigned(value));
    }
    if judgement.reasons.is_empty() {
        return;
    }
    let help = "Why the instance is in its state, or lacks something.";
    let mut family = writer.family("sonde_instance_state_reason", GAUGE, help, "");
    for reason in &judgement.reasons {
        family.sample(base, &[("reason", reason.as_str())], Number::Unsigned(1));
    }
}

/// Writes how old the reading is.
pub fn write_age(writer: &mut Writer<'_>, base: &Labels, age: Duration) {
    let help = "How long ago the native values of this exposition were read from the kernel.";
    let mut family = writer.family("sonde_reading_age_seconds", GAUGE, help, "seconds");
    family.sample(base, &[], Number::Float(age.as_secs_f64()));
}
