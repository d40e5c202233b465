//! A reading as a sensor sees it: statistics by module and name, and on Linux the instance's processes.
//!
//! The shapes are those of `sonde:sensor/kstats` and `processes`. Statistic names are a reading's field
//! names and stay as they are; what a reading does not have is not listed.

use std::borrow::Cow;

#[cfg(target_os = "linux")]
pub use crate::processes::{PROCESSES_MAX, Process, processes};
use crate::reading::{DeviceIo, Freezer, Interface, MEMORY_PARTS, Objset, Reading, Space, Stall};
use crate::transport::Transport;

/// The value of a statistic.
#[derive(Clone, Debug, PartialEq)]
pub enum KstatValue {
    /// A counter or a size.
    Unsigned(u64),
    /// A number that can be negative.
    Signed(i64),
    /// A time in seconds.
    Float(f64),
    /// A word.
    Text(String),
}

/// Statistics by name. Ours are a reading's fields; a kernel that has kstats of its own has its own names.
pub type Statistics = Vec<(Cow<'static, str>, KstatValue)>;

/// A named group of statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct Kstat {
    /// `cpu`, `memory`, `pids`, `limits`, `pressure`, `net`, `tcp`, `udp`, `sockets`, `io`, `file_system`, `zfs`, `instance`; of a zone
    /// the kernel's own.
    pub module: &'static str,
    /// An interface's, device's, data set's or resource's name; empty where there is one only.
    pub name: String,
    /// The statistics.
    pub statistics: Statistics,
}

/// The kstats of a module, or of all where `module` is empty.
pub fn kstats(reading: &Reading, module: &str) -> Vec<Kstat> {
    let mut all = vec![instance(reading), cpu(reading), memory(reading), pids(reading), limits(reading)];
    let pressure = reading.pressure;
    for (name, stall) in [("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)] {
        all.extend(stall.map(|stall| pressure_of(name, stall)));
    }
    all.extend(reading.network.iter().flatten().map(interface_of));
    all.extend(reading.io.iter().flatten().map(device_of));
    all.extend(reading.transport.iter().flat_map(transport_of));
    all.extend(reading.space.as_ref().map(file_system));
    all.extend(reading.zfs.as_ref().map(data_set));
    all.retain(|kstat| !kstat.statistics.is_empty() && (module.is_empty() || kstat.module == module));
    all
}

fn interface_of(interface: &Interface) -> Kstat {
    Kstat {
        module: "net",
        name: interface.name.clone(),
        statistics: present([
            ("receive_bytes", Some(interface.receive_bytes)),
            ("receive_packets", Some(interface.receive_packets)),
            ("receive_errors", Some(interface.receive_errors)),
            ("receive_dropped", Some(interface.receive_dropped)),
            ("transmit_bytes", Some(interface.transmit_bytes)),
            ("transmit_packets", Some(interface.transmit_packets)),
            ("transmit_errors", Some(interface.transmit_errors)),
            ("transmit_dropped", Some(interface.transmit_dropped)),
        ]),
    }
}

fn device_of(device: &DeviceIo) -> Kstat {
    Kstat {
        module: "io",
        name: device.device.clone(),
        statistics: present([
            ("read_bytes", device.read_bytes),
            ("written_bytes", device.written_bytes),
            ("reads", device.reads),
            ("writes", device.writes),
            ("discarded_bytes", device.discarded_bytes),
            ("discards", device.discards),
        ]),
    }
}

fn transport_of(transport: &Transport) -> [Kstat; 3] {
    let unsigned = |(name, value): (&'static str, Option<u64>)| Some((name.into(), KstatValue::Unsigned(value?)));
    let sockets = &transport.sockets;
    let sockets = present([
        ("all", sockets.all),
        ("tcp", sockets.tcp),
        ("tcp6", sockets.tcp6),
        ("udp", sockets.udp),
        ("udp6", sockets.udp6),
        ("time_wait", sockets.time_wait),
    ]);
    [
        only("tcp", transport.tcp.all().filter_map(unsigned).collect()),
        only("udp", transport.udp.all().filter_map(unsigned).collect()),
        only("sockets", sockets),
    ]
}

fn present<const N: usize>(statistics: [(&'static str, Option<u64>); N]) -> Statistics {
    statistics.into_iter().filter_map(|(name, value)| Some((name.into(), KstatValue::Unsigned(value?)))).collect()
}

fn only(module: &'static str, statistics: Statistics) -> Kstat {
    Kstat { module, name: String::new(), statistics }
}

fn file_system(space: &Space) -> Kstat {
    let it = &space.file_system;
    let mut statistics = present([
        ("size_bytes", Some(it.size_bytes)),
        ("free_bytes", Some(it.free_bytes)),
        ("available_bytes", Some(it.available_bytes)),
        ("inodes", it.inodes),
        ("inodes_free", it.inodes_free),
    ]);
    statistics.push(("age_seconds".into(), KstatValue::Float(space.age.as_secs_f64())));
    Kstat { module: "file_system", name: "/".to_owned(), statistics }
}

fn data_set(objset: &Objset) -> Kstat {
    Kstat {
        module: "zfs",
        name: objset.dataset.clone(),
        statistics: present([
            ("reads", objset.reads),
            ("read_bytes", objset.read_bytes),
            ("writes", objset.writes),
            ("written_bytes", objset.written_bytes),
            ("unlinks", objset.unlinks),
            ("unlinked", objset.unlinked),
        ]),
    }
}

fn instance(reading: &Reading) -> Kstat {
    let mut statistics = Vec::new();
    if let Some(started) = reading.started_unix_seconds {
        statistics.push(("started_unix_seconds".into(), KstatValue::Float(started)));
    }
    if let Some(freezer) = reading.freezer {
        let word = match freezer {
            Freezer::Thawed => "thawed",
            Freezer::Freezing => "freezing",
            Freezer::Frozen => "frozen",
        };
        statistics.push(("freezer".into(), KstatValue::Text(word.to_owned())));
    }
    only("instance", statistics)
}

fn cpu(reading: &Reading) -> Kstat {
    let (cpu, throttling) = (reading.cpu, reading.throttling);
    only(
        "cpu",
        present([
            ("usage_ns", cpu.map(|cpu| cpu.usage_ns)),
            ("user_ns", cpu.and_then(|cpu| cpu.user_ns)),
            ("system_ns", cpu.and_then(|cpu| cpu.system_ns)),
            ("periods", throttling.map(|throttling| throttling.periods)),
            ("throttled_periods", throttling.map(|throttling| throttling.throttled_periods)),
            ("throttled_ns", throttling.map(|throttling| throttling.throttled_ns)),
            ("burst_periods", throttling.and_then(|throttling| throttling.burst_periods)),
            ("burst_ns", throttling.and_then(|throttling| throttling.burst_ns)),
            ("held_ns", reading.held_ns),
        ]),
    )
}

fn memory(reading: &Reading) -> Kstat {
    let memory = &reading.memory;
    let events = &memory.events;
    let mut statistics = present([
        ("usage_bytes", memory.usage_bytes),
        ("max_usage_bytes", memory.max_usage_bytes),
        ("working_set_bytes", memory.working_set_bytes),
        ("rss_bytes", memory.rss_bytes),
        ("cache_bytes", memory.cache_bytes),
        ("swap_bytes", memory.swap_bytes),
        ("mapped_file_bytes", memory.mapped_file_bytes),
        ("kernel_bytes", memory.kernel_bytes),
        ("limit_hits", memory.limit_hits),
        ("oom_kills", memory.oom_kills),
        ("pgfault", memory.pgfault),
        ("pgmajfault", memory.pgmajfault),
        ("active_file_bytes", memory.active_file_bytes),
        ("inactive_file_bytes", memory.inactive_file_bytes),
        ("file_dirty_bytes", memory.file_dirty_bytes),
        ("file_writeback_bytes", memory.file_writeback_bytes),
        ("pages_scanned", memory.pages_scanned),
        ("pages_scanned_direct", memory.pages_scanned_direct),
        ("pages_stolen", memory.pages_stolen),
        ("refaults_file", memory.refaults_file),
        ("refaults_anon", memory.refaults_anon),
        ("under_oom", memory.under_oom),
        ("low_events", events.low),
        ("high_events", events.high),
        ("max_events", events.max),
        ("oom_events", events.oom),
        ("oom_group_kills", events.oom_group_kill),
        ("swap_limit_hits", events.swap_max),
        ("swap_failures", events.swap_fail),
    ]);
    let parts = MEMORY_PARTS.into_iter().zip(memory.part_bytes);
    statistics.extend(parts.filter_map(|(part, bytes)| Some((part.into(), KstatValue::Unsigned(bytes?)))));
    only("memory", statistics)
}

fn pids(reading: &Reading) -> Kstat {
    only(
        "pids",
        present([
            ("tasks", reading.pids.tasks),
            ("processes", reading.pids.processes),
            ("peak", reading.pids.peak),
            ("zombies", reading.pids.zombies),
            ("limit_hits", reading.pids.limit_hits),
            ("descriptors", reading.descriptors.map(|fds| fds.open)),
        ]),
    )
}

fn limits(reading: &Reading) -> Kstat {
    let limits = &reading.limits;
    only(
        "limits",
        present([
            ("cpu_quota_us", limits.cpu_quota_us),
            ("cpu_period_us", limits.cpu_period_us),
            ("cpu_shares", limits.cpu_shares),
            ("memory_bytes", limits.memory_bytes),
            ("memory_reservation_bytes", limits.memory_reservation_bytes),
            ("memory_swap_bytes", limits.memory_swap_bytes),
            ("tasks", limits.tasks),
            ("cpu_burst_us", limits.cpu_burst_us),
            ("cpu_weight", limits.cpu_weight),
            ("cpus_allowed", limits.cpus_allowed),
            ("memory_high_bytes", limits.memory_high_bytes),
            ("memory_min_bytes", limits.memory_min_bytes),
            ("swap_bytes", limits.swap_bytes),
        ]),
    )
}

fn pressure_of(name: &str, stall: Stall) -> Kstat {
    Kstat {
        module: "pressure",
        name: name.to_owned(),
        statistics: present([("some_us", Some(stall.some_us)), ("full_us", stall.full_us)]),
    }
}
