//! What a node's numbers are called: node_exporter's names, labels and units, and the two of cAdvisor
//! that dashboards join with (`machine_cpu_cores`, `machine_memory_bytes`).
//!
//! Only names, labels and units are inherited; the help texts are ours. A part of the reading that is
//! empty is not written.

mod network;
mod storage;

use std::time::SystemTime;

use sonde_expo::{Kind, Labels, Number, Writer};

use crate::node::kernel::Uname;
use crate::node::{CPU_MODES, CpuTimes, Disk, NodeReading, seconds_of_ticks};
use crate::reading::Stall;

const COUNTER: Kind = Kind::Counter;
const GAUGE: Kind = Kind::Gauge;

/// Writes all that a node's reading has.
pub fn write_node(writer: &mut Writer<'_>, base: &Labels, reading: &NodeReading) {
    write_machine(writer, base, reading);
    write_uname(writer, base, &reading.uname);
    write_cpu(writer, base, reading);
    write_system(writer, base, reading);
    write_memory(writer, base, reading);
    write_network(writer, base, reading);
    network::write(writer, base, &reading.transport);
    write_disks(writer, base, &reading.disks);
    storage::write_file_systems(writer, base, &reading.file_systems);
    if let Some(zfs) = &reading.zfs {
        storage::write_zfs(writer, base, zfs);
    }
    for (name, value) in &reading.vmstat {
        let help = format!("{name} of /proc/vmstat.");
        let family = format!("node_vmstat_{name}");
        let mut family = writer.family(&family, Kind::Unknown, &help, "");
        family.sample(base, &[], Number::Unsigned(*value));
    }
    write_pressure(writer, base, reading);
}

fn write_machine(writer: &mut Writer<'_>, base: &Labels, reading: &NodeReading) {
    let mut one = |name: &str, unit: &str, help: &str, value: Option<Number>| {
        if let Some(value) = value {
            writer.family(name, GAUGE, help, unit).sample(base, &[], value);
        }
    };
    let cores = reading.stat.cpus.len() as u64;
    let cores = (cores > 0).then_some(Number::Unsigned(cores));
    one("machine_cpu_cores", "", "CPUs that are online.", cores);
    let memory = reading.memory_total_bytes().map(Number::Unsigned);
    one("machine_memory_bytes", "bytes", "Memory that the kernel can use.", memory);
    let boot = reading.stat.boot_unix_seconds.map(Number::Unsigned);
    one("node_boot_time_seconds", "seconds", "When the node booted, in seconds since 1970.", boot);
    let now = reading.taken_at_unix.duration_since(SystemTime::UNIX_EPOCH);
    let now = now.ok().map(|now| Number::Float(now.as_secs_f64()));
    one("node_time_seconds", "seconds", "The node's clock at the reading, in seconds since 1970.", now);
    let minutes = [("node_load1", "1 minute"), ("node_load5", "5 minutes"), ("node_load15", "15 minutes")];
    for ((name, span), load) in minutes.into_iter().zip(reading.load.into_iter().flatten()) {
        let help = format!("Tasks running or waiting without being interruptible, mean of {span}.");
        one(name, "", &help, Some(Number::Float(load)));
    }
    let files = reading.files;
    one("node_filefd_allocated", "", "Open files of the whole node.", files.map(|(open, _)| Number::Unsigned(open)));
    one(
        "node_filefd_maximum",
        "",
        "How many files can be open on the node.",
        files.map(|(_, most)| Number::Unsigned(most)),
    );
}

fn write_cpu(writer: &mut Writer<'_>, base: &Labels, reading: &NodeReading) {
    if reading.stat.cpus.is_empty() {
        return;
    }
    let help = "Time that each CPU spent in each mode.";
    let mut family = writer.family("node_cpu_seconds_total", COUNTER, help, "seconds");
    for cpu in &reading.stat.cpus {
        for (mode, ticks) in CPU_MODES.into_iter().zip(cpu.ticks) {
            let extra = [("cpu", cpu.cpu.as_str()), ("mode", mode)];
            family.sample(base, &extra, Number::Float(seconds_of_ticks(ticks)));
        }
    }
    write_guests(writer, base, &reading.stat.cpus);
}

/// Time of virtual machines, which the modes of a CPU have among user's and nice's.
fn write_guests(writer: &mut Writer<'_>, base: &Labels, cpus: &[CpuTimes]) {
    if cpus.iter().all(|cpu| cpu.guest_ticks.is_none()) {
        return;
    }
    let help = "Time that each CPU spent in virtual machines; user and nice have it too.";
    let mut family = writer.family("node_cpu_guest_seconds_total", COUNTER, help, "seconds");
    for cpu in cpus {
        for (mode, ticks) in ["user", "nice"].into_iter().zip(cpu.guest_ticks.into_iter().flatten()) {
            let extra = [("cpu", cpu.cpu.as_str()), ("mode", mode)];
            family.sample(base, &extra, Number::Float(seconds_of_ticks(ticks)));
        }
    }
}

fn write_uname(writer: &mut Writer<'_>, base: &Labels, it: &Uname) {
    let labels = [
        ("domainname", it.domain.as_str()),
        ("machine", &it.machine),
        ("nodename", &it.node),
        ("release", &it.release),
        ("sysname", &it.system),
        ("version", &it.version),
    ];
    let mut family = writer.family("node_uname_info", GAUGE, "The kernel that runs, as uname(2) tells it.", "");
    family.sample(base, &labels, Number::Unsigned(1));
}

fn write_system(writer: &mut Writer<'_>, base: &Labels, reading: &NodeReading) {
    let stat = &reading.stat;
    let rows = [
        ("node_intr_total", COUNTER, "Interrupts served.", stat.interrupts),
        ("node_context_switches_total", COUNTER, "Context switches.", stat.context_switches),
        ("node_forks_total", COUNTER, "Processes and threads made.", stat.forks),
        ("node_procs_running", GAUGE, "Tasks that run or could.", stat.running),
        ("node_procs_blocked", GAUGE, "Tasks that wait for a device.", stat.blocked),
    ];
    for (name, kind, help, value) in rows {
        if let Some(value) = value {
            writer.family(name, kind, help, "").sample(base, &[], Number::Unsigned(value));
        }
    }
}

fn write_memory(writer: &mut Writer<'_>, base: &Labels, reading: &NodeReading) {
    for line in &reading.memory {
        let suffix = if line.is_bytes { "_bytes" } else { "" };
        let name = format!("node_memory_{}{suffix}", line.name);
        let help = format!("{} of /proc/meminfo.", line.name);
        let unit = if line.is_bytes { "bytes" } else { "" };
        let mut family = writer.family(&name, GAUGE, &help, unit);
        family.sample(base, &[], Number::Unsigned(line.value));
    }
}

/// The 16 columns of `net/dev`, and the unit of those that have one.
const NETWORK: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

fn write_network(writer: &mut Writer<'_>, base: &Labels, reading: &NodeReading) {
    if reading.network.is_empty() {
        return;
    }
    for (column, statistic) in NETWORK.into_iter().enumerate() {
        let name = format!("node_network_{statistic}_total");
        let help = format!("{} of /proc/net/dev.", statistic.replace('_', " "));
        let unit = if statistic.ends_with("_bytes") { "bytes" } else { "" };
        let mut family = writer.family(&name, COUNTER, &help, unit);
        for (device, values) in &reading.network {
            family.sample(base, &[("device", device)], Number::Unsigned(values[column]));
        }
    }
}

/// Name, kind, unit, help, value.
type DiskRow = (&'static str, Kind, &'static str, &'static str, fn(&Disk) -> Number);
const DISKS: [DiskRow; 11] = [
    ("node_disk_reads_completed_total", COUNTER, "", "Reads completed.", |d| Number::Unsigned(d.fields[0])),
    ("node_disk_reads_merged_total", COUNTER, "", "Reads merged with others.", |d| Number::Unsigned(d.fields[1])),
    ("node_disk_read_bytes_total", COUNTER, "bytes", "Bytes read.", |d| Number::Unsigned(d.read_bytes())),
    ("node_disk_read_time_seconds_total", COUNTER, "seconds", "Time that all reads took together.", |d| {
        milliseconds(d.fields[3])
    }),
    ("node_disk_writes_completed_total", COUNTER, "", "Writes completed.", |d| Number::Unsigned(d.fields[4])),
    ("node_disk_writes_merged_total", COUNTER, "", "Writes merged with others.", |d| Number::Unsigned(d.fields[5])),
    ("node_disk_written_bytes_total", COUNTER, "bytes", "Bytes written.", |d| Number::Unsigned(d.written_bytes())),
    ("node_disk_write_time_seconds_total", COUNTER, "seconds", "Time that all writes took together.", |d| {
        milliseconds(d.fields[7])
    }),
    ("node_disk_io_now", GAUGE, "", "Requests in flight.", |d| Number::Unsigned(d.fields[8])),
    ("node_disk_io_time_seconds_total", COUNTER, "seconds", "Time during which requests were in flight.", |d| {
        milliseconds(d.fields[9])
    }),
    ("node_disk_io_time_weighted_seconds_total", COUNTER, "seconds", "Time in flight of all requests together.", |d| {
        milliseconds(d.fields[10])
    }),
];

fn write_disks(writer: &mut Writer<'_>, base: &Labels, disks: &[Disk]) {
    if disks.is_empty() {
        return;
    }
    for (name, kind, unit, help, value) in DISKS {
        let mut family = writer.family(name, kind, help, unit);
        for disk in disks {
            family.sample(base, &[("device", &disk.device)], value(disk));
        }
    }
    for (at, (name, unit, help)) in LATER.into_iter().enumerate() {
        if disks.iter().all(|disk| disk.later[at].is_none()) {
            continue;
        }
        let mut family = writer.family(name, COUNTER, help, unit);
        for disk in disks {
            if let Some(value) = disk.later[at] {
                let value = if unit == "seconds" { milliseconds(value) } else { Number::Unsigned(value) };
                family.sample(base, &[("device", &disk.device)], value);
            }
        }
    }
}

/// What newer kernels tell besides: name, unit, help.
const LATER: [(&str, &str, &str); 6] = [
    ("node_disk_discards_completed_total", "", "Discards completed."),
    ("node_disk_discards_merged_total", "", "Discards merged with others."),
    ("node_disk_discarded_sectors_total", "", "Sectors of 512 bytes discarded."),
    ("node_disk_discard_time_seconds_total", "seconds", "Time that all discards took together."),
    ("node_disk_flush_requests_total", "", "Flushes completed."),
    ("node_disk_flush_requests_time_seconds_total", "seconds", "Time that all flushes took together."),
];

fn write_pressure(writer: &mut Writer<'_>, base: &Labels, reading: &NodeReading) {
    let mut one = |name: &str, help: &str, total_us: Option<u64>| {
        if let Some(total_us) = total_us {
            let mut family = writer.family(name, COUNTER, help, "seconds");
            family.sample(base, &[], microseconds(total_us));
        }
    };
    let some = |stall: Option<Stall>| stall.map(|stall| stall.some_us);
    let full = |stall: Option<Stall>| stall.and_then(|stall| stall.full_us);
    // For the whole node the kernel's `full` of CPU is always 0 and means nothing.
    let [cpu, memory, io] = reading.pressure;
    one("node_pressure_cpu_waiting_seconds_total", "Time during which some task waited for a CPU.", some(cpu));
    one("node_pressure_memory_waiting_seconds_total", "Time during which some task waited for memory.", some(memory));
    one("node_pressure_memory_stalled_seconds_total", "Time during which all tasks waited for memory.", full(memory));
    one("node_pressure_io_waiting_seconds_total", "Time during which some task waited for a device.", some(io));
    one("node_pressure_io_stalled_seconds_total", "Time during which all tasks waited for a device.", full(io));
}

#[allow(clippy::cast_precision_loss, reason = "a float is what is exposed in the end")]
fn milliseconds(value: u64) -> Number {
    Number::Float(value as f64 / 1e3)
}

#[allow(clippy::cast_precision_loss, reason = "a float is what is exposed in the end")]
fn microseconds(value: u64) -> Number {
    Number::Float(value as f64 / 1e6)
}
