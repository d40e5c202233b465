//! node_exporter's names for CPU, memory, load, tasks, files and pressure.

use std::time::SystemTime;

use sonde_expo::{Kind, Number};

use crate::described::{Described, Out, Row, counter, described, gauge};
use crate::families::amounts::{full, int, some};
use crate::node::{CPU_MODES, NodeReading, seconds_of_ticks};

pub(super) static MACHINE: &[Row<NodeReading>] = &[
    Row {
        about: gauge("machine_cpu_cores", "", "CPUs that are online.").of("`/proc/stat`"),
        value: |r| int(Some(r.stat.cpus.len() as u64).filter(|cores| *cores > 0)),
    },
    Row {
        about: gauge("machine_memory_bytes", "bytes", "Memory that the kernel can use.")
            .of("`/proc/meminfo` `MemTotal`"),
        value: |r| int(r.memory_total_bytes()),
    },
    Row {
        about: gauge("node_boot_time_seconds", "seconds", "When the node booted, in seconds since 1970.")
            .of("`/proc/stat` `btime`"),
        value: |r| int(r.stat.boot_unix_seconds),
    },
    Row {
        about: gauge("node_time_seconds", "seconds", "The node's clock at the reading, in seconds since 1970.")
            .of("the clock"),
        value: |r| {
            let now = r.taken_at_unix.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            Some(Number::Float(now.as_secs_f64()))
        },
    },
    Row { about: load("node_load1", LOAD1), value: |r| Some(Number::Float(r.load?[0])) },
    Row { about: load("node_load5", LOAD5), value: |r| Some(Number::Float(r.load?[1])) },
    Row { about: load("node_load15", LOAD15), value: |r| Some(Number::Float(r.load?[2])) },
    Row {
        about: gauge("node_filefd_allocated", "", "Open files of the whole node.").of("`/proc/sys/fs/file-nr`"),
        value: |r| int(r.files.map(|(open, _)| open)),
    },
    Row {
        about: gauge("node_filefd_maximum", "", "How many files can be open on the node.").of("`/proc/sys/fs/file-nr`"),
        value: |r| int(r.files.map(|(_, most)| most)),
    },
    Row {
        about: counter("node_intr_total", "", "Interrupts served.").of("`/proc/stat` `intr`"),
        value: |r| int(r.stat.interrupts),
    },
    Row {
        about: counter("node_context_switches_total", "", "Context switches.").of("`/proc/stat` `ctxt`"),
        value: |r| int(r.stat.context_switches),
    },
    Row {
        about: counter("node_forks_total", "", "Processes and threads made.").of("`/proc/stat` `processes`"),
        value: |r| int(r.stat.forks),
    },
    Row {
        about: gauge("node_procs_running", "", "Tasks that run or could.").of("`/proc/stat` `procs_running`"),
        value: |r| int(r.stat.running),
    },
    Row {
        about: gauge("node_procs_blocked", "", "Tasks that wait for a device.").of("`/proc/stat` `procs_blocked`"),
        value: |r| int(r.stat.blocked),
    },
];

const LOAD1: &str = "Tasks running or waiting without being interruptible, mean of 1 minute.";
const LOAD5: &str = "Tasks running or waiting without being interruptible, mean of 5 minutes.";
const LOAD15: &str = "Tasks running or waiting without being interruptible, mean of 15 minutes.";

const fn load(name: &'static str, help: &'static str) -> Described {
    gauge(name, "", help).of("`/proc/loadavg`")
}

static CPU: Described = counter("node_cpu_seconds_total", "seconds", "Time that each CPU spent in each mode.")
    .by(&["cpu", "mode"])
    .of("`/proc/stat`");

static MEMORY_BYTES: Described =
    gauge("node_memory_NAME_bytes", "bytes", "NAME of /proc/meminfo.").of("`/proc/meminfo`, each line in kB");
static MEMORY_PAGES: Described =
    gauge("node_memory_NAME", "", "NAME of /proc/meminfo.").of("`/proc/meminfo`, each line that is a number of pages");
static VMSTAT: Described = described(Kind::Unknown, "node_vmstat_NAME", "", "NAME of /proc/vmstat.")
    .of("`/proc/vmstat`: lines of paging, swapping, faults and OOM kills");

pub(super) static OTHERS: [&Described; 4] = [&CPU, &MEMORY_BYTES, &MEMORY_PAGES, &VMSTAT];

const OFF: &str = "PSI is off";

/// For the whole node the kernel's `full` of CPU is always 0 and means nothing.
pub(super) static PRESSURE: &[Row<NodeReading>] = &[
    Row {
        about: counter(
            "node_pressure_cpu_waiting_seconds_total",
            "seconds",
            "Time during which some task waited for a CPU.",
        )
        .of("`/proc/pressure/cpu` `some`")
        .unless(OFF),
        value: |r| some(r.pressure[0]),
    },
    Row {
        about: counter(
            "node_pressure_memory_waiting_seconds_total",
            "seconds",
            "Time during which some task waited for memory.",
        )
        .of("`/proc/pressure/memory` `some`")
        .unless(OFF),
        value: |r| some(r.pressure[1]),
    },
    Row {
        about: counter(
            "node_pressure_memory_stalled_seconds_total",
            "seconds",
            "Time during which all tasks waited for memory.",
        )
        .of("`/proc/pressure/memory` `full`")
        .unless(OFF),
        value: |r| full(r.pressure[1]),
    },
    Row {
        about: counter(
            "node_pressure_io_waiting_seconds_total",
            "seconds",
            "Time during which some task waited for a device.",
        )
        .of("`/proc/pressure/io` `some`")
        .unless(OFF),
        value: |r| some(r.pressure[2]),
    },
    Row {
        about: counter(
            "node_pressure_io_stalled_seconds_total",
            "seconds",
            "Time during which all tasks waited for a device.",
        )
        .of("`/proc/pressure/io` `full`")
        .unless(OFF),
        value: |r| full(r.pressure[2]),
    },
];

pub(super) fn write(out: &mut Out<'_, '_>, reading: &NodeReading) {
    out.rows(MACHINE, reading);
    if let Some((mut family, base)) = out.family(&CPU) {
        for cpu in &reading.stat.cpus {
            for (mode, ticks) in CPU_MODES.into_iter().zip(cpu.ticks) {
                let extra = [("cpu", cpu.cpu.as_str()), ("mode", mode)];
                family.sample(base, &extra, Number::Float(seconds_of_ticks(ticks)));
            }
        }
    }
    for line in &reading.memory {
        let about = if line.is_bytes { &MEMORY_BYTES } else { &MEMORY_PAGES };
        out.named(about, &line.name, |family, base| family.sample(base, &[], Number::Unsigned(line.value)));
    }
    for (name, value) in &reading.vmstat {
        out.named(&VMSTAT, name, |family, base| family.sample(base, &[], Number::Unsigned(*value)));
    }
    out.rows(PRESSURE, reading);
}
