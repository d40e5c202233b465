//! What cgroup2's files tell of an instance, and pressure of the node, against the kernel's own file, read before the scrape and after it.
//!
//! One instance that was made to use and to lack everything that cgroup2 counts, so that no value agrees by
//! being 0. A counter must lie between its two readings in the first observation already; a level may have moved, and
//! is asked for again until it has kept still.

use std::collections::BTreeMap;
use std::time::Duration;

use sonde_tests::Exposition;

use crate::machine::{Machine, Observation};

/// A docker container, as its cgroup alone tells.
const ID: &str = "191904440c3a567c054e56ee1831204c422553732b255ad562f7034e54543554";
/// The node as a target.
const NODE: &str = "node";
/// What its disk load writes and reads, in blocks of 4 KiB.
const BLOCKS: u64 = 128;
const BLOCK_BYTES: u64 = 4096;
const MIB: u64 = 1 << 20;
/// For floats: values are exposed in seconds and were whole microseconds.
const ROUNDING: f64 = 1e-7;

/// Where in a file a value stands.
#[derive(Clone, Copy, Debug)]
enum At {
    /// The file is the number.
    Alone,
    /// The word of this place in the first line.
    Word(usize),
    /// After this key, a line each.
    Key(&'static str),
    /// `total=` of this line of a pressure file.
    Total(&'static str),
    /// After `KEY=` in the line of the disk.
    Disk(&'static str),
}

/// What of a value is checked beside that it is the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    /// Only grows, and the loads have made it grow.
    Moved,
    /// Only grows, and may be 0.
    Counter,
    /// Comes and goes.
    Level,
}
use At::{Alone, Disk, Key, Total, Word};
use Is::{Counter, Level, Moved};

/// Series, label, file, place, units in one of the series', nature.
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str, At, f64, Is);

const US: f64 = 1e-6;
const DISK: &[(&str, &str)] = &[("device", "/dev/nvme0n1")];
const MINOR: &[(&str, &str)] = &[("failure_type", "pgfault"), ("scope", "hierarchy")];
const MAJOR: &[(&str, &str)] = &[("failure_type", "pgmajfault"), ("scope", "hierarchy")];

const ROWS: [Row; 37] = [
    ("container_cpu_usage_seconds_total", &[("cpu", "total")], "cpu.stat", Key("usage_usec"), US, Moved),
    ("container_cpu_user_seconds_total", &[], "cpu.stat", Key("user_usec"), US, Moved),
    ("container_cpu_system_seconds_total", &[], "cpu.stat", Key("system_usec"), US, Moved),
    ("container_cpu_cfs_periods_total", &[], "cpu.stat", Key("nr_periods"), 1.0, Moved),
    ("container_cpu_cfs_throttled_periods_total", &[], "cpu.stat", Key("nr_throttled"), 1.0, Moved),
    ("container_cpu_cfs_throttled_seconds_total", &[], "cpu.stat", Key("throttled_usec"), US, Moved),
    ("container_memory_usage_bytes", &[], "memory.current", Alone, 1.0, Level),
    ("container_memory_max_usage_bytes", &[], "memory.peak", Alone, 1.0, Moved),
    ("container_memory_swap", &[], "memory.swap.current", Alone, 1.0, Level),
    ("container_memory_rss", &[], "memory.stat", Key("anon"), 1.0, Level),
    ("container_memory_cache", &[], "memory.stat", Key("file"), 1.0, Level),
    ("container_memory_mapped_file", &[], "memory.stat", Key("file_mapped"), 1.0, Level),
    ("container_memory_kernel_usage", &[], "memory.stat", Key("kernel"), 1.0, Level),
    ("container_memory_failures_total", MINOR, "memory.stat", Key("pgfault"), 1.0, Moved),
    ("container_memory_failures_total", MAJOR, "memory.stat", Key("pgmajfault"), 1.0, Counter),
    ("container_memory_failcnt", &[], "memory.events", Key("max"), 1.0, Moved),
    ("container_oom_events_total", &[], "memory.events", Key("oom_kill"), 1.0, Moved),
    ("container_threads", &[], "pids.current", Alone, 1.0, Level),
    ("container_threads_max", &[], "pids.max", Alone, 1.0, Level),
    ("sonde_instance_forks_refused_total", &[], "pids.events", Key("max"), 1.0, Moved),
    ("container_fs_reads_bytes_total", DISK, "io.stat", Disk("rbytes"), 1.0, Moved),
    ("container_fs_writes_bytes_total", DISK, "io.stat", Disk("wbytes"), 1.0, Moved),
    ("container_fs_reads_total", DISK, "io.stat", Disk("rios"), 1.0, Moved),
    ("container_fs_writes_total", DISK, "io.stat", Disk("wios"), 1.0, Moved),
    ("container_pressure_cpu_waiting_seconds_total", &[], "cpu.pressure", Total("some"), US, Moved),
    ("container_pressure_cpu_stalled_seconds_total", &[], "cpu.pressure", Total("full"), US, Moved),
    ("container_pressure_memory_waiting_seconds_total", &[], "memory.pressure", Total("some"), US, Moved),
    ("container_pressure_memory_stalled_seconds_total", &[], "memory.pressure", Total("full"), US, Counter),
    ("container_pressure_io_waiting_seconds_total", &[], "io.pressure", Total("some"), US, Moved),
    ("container_pressure_io_stalled_seconds_total", &[], "io.pressure", Total("full"), US, Counter),
    ("container_spec_cpu_quota", &[], "cpu.max", Word(0), 1.0, Level),
    ("container_spec_cpu_period", &[], "cpu.max", Word(1), 1.0, Level),
    ("container_spec_memory_limit_bytes", &[], "memory.max", Alone, 1.0, Level),
    ("container_spec_memory_reservation_limit_bytes", &[], "memory.low", Alone, 1.0, Level),
    ("node_pressure_cpu_waiting_seconds_total", &[], "/proc/pressure/cpu", Total("some"), US, Moved),
    ("node_pressure_memory_waiting_seconds_total", &[], "/proc/pressure/memory", Total("some"), US, Moved),
    ("node_pressure_io_waiting_seconds_total", &[], "/proc/pressure/io", Total("some"), US, Moved),
];

#[test]
fn every_value_of_an_instance_is_the_kernels() {
    let mut machine = Machine::boot(2, 768);
    machine.start_agent("");
    let cgroup = machine.cgroup(&format!("/docker/{ID}"));
    for (file, limit) in [
        ("cpu.max", "10000 100000"),
        ("memory.max", "33554432"),
        ("memory.low", "1048576"),
        ("memory.swap.max", "0"),
        ("pids.max", "12"),
    ] {
        machine.write(&format!("{cgroup}/{file}"), limit);
    }
    machine.load("park", &cgroup, 0);
    machine.load("disk", &cgroup, BLOCKS);
    machine.eventually("the disk has taken and given all blocks", |machine| {
        let text = machine.read(&format!("{cgroup}/io.stat")).unwrap_or_default();
        match (value(&text, Disk("wbytes")), value(&text, Disk("rbytes"))) {
            (Some(written), Some(read)) if written.min(read) >= (BLOCKS * BLOCK_BYTES) as f64 => Ok(()),
            _ => Err(text),
        }
    });
    machine.load("memory", &cgroup, 64 * MIB);
    machine.load("memory", &cgroup, 4 * MIB);
    machine.load("spin", &cgroup, 2);
    machine.load("forks", &cgroup, 1);
    for (file, at) in
        [("memory.events", Key("oom_kill")), ("pids.events", Key("max")), ("cpu.stat", Key("nr_throttled"))]
    {
        machine.eventually(&format!("the loads show in {file}"), |machine| {
            let text = machine.read(&format!("{cgroup}/{file}")).unwrap_or_default();
            value(&text, at).filter(|value| *value > 0.0).map(|_| ()).ok_or(text)
        });
    }
    check(&mut machine, ID, &cgroup);
    check(&mut machine, NODE, "");
}

/// Compares all rows of the target: of the node those that begin with `node_`, of the instance all others.
fn check(machine: &mut Machine, target: &str, cgroup: &str) {
    let of_node = target == NODE;
    let rows: Vec<&Row> = ROWS.iter().filter(|row| row.0.starts_with("node_") == of_node).collect();
    let path = |row: &Row| if of_node { row.2.to_owned() } else { format!("{cgroup}/{}", row.2) };
    let mut files: Vec<String> = rows.iter().map(|row| path(row)).collect();
    files.dedup();
    machine.eventually(&format!("every value of {target} is the kernel's"), |machine| {
        let seen = machine.try_observe(target, None, &files)?;
        let exposed = fresh(&seen)?;
        let mut levels = Vec::new();
        for row in &rows {
            match compare(row, &path(row), &exposed, &seen) {
                Ok(()) => {}
                // It may have gone up and down again between the two readings.
                Err(wrong) if row.5 == Level => levels.push(wrong),
                Err(wrong) => panic!("{wrong}\n{}", seen.body),
            }
        }
        if levels.is_empty() { Ok(()) } else { Err(levels.join("\n")) }
    });
}

/// The exposition, if what it says was read from the kernel after the first reading of the files.
fn fresh(seen: &Observation) -> Result<Exposition, String> {
    if seen.status != 200 {
        return Err(format!("{}: {}", seen.status, seen.body));
    }
    let exposed = Exposition::read(&seen.body);
    let age = exposed.value("sonde_reading_age_seconds", &[]).ok_or("no age of the reading")?;
    if Duration::from_secs_f64(age) < seen.took { Ok(exposed) } else { Err(format!("the reading is {age} s old")) }
}

/// Whether a value is there, lies between the kernel's two, and has moved where it must have.
fn compare(row: &Row, path: &str, exposed: &Exposition, seen: &Observation) -> Result<(), String> {
    let (series, labels, _, at, unit, is) = *row;
    let kernels = |files: &BTreeMap<String, Option<String>>| {
        files[path].as_deref().and_then(|text| value(text, at)).map(|value| value * unit)
    };
    let (Some(before), Some(after)) = (kernels(&seen.before), kernels(&seen.after)) else {
        return Err(format!("this kernel does not tell {at:?} in {path}: {:?}", seen.after[path]));
    };
    let Some(ours) = exposed.value(series, labels) else {
        return Err(format!("{series} is absent, and the kernel says {after}"));
    };
    if ours < before.min(after) - ROUNDING || ours > before.max(after) + ROUNDING {
        return Err(format!("{series} {labels:?} is {ours}, and {path} said {before} before and {after} after"));
    }
    if is == Moved && ours == 0.0 {
        return Err(format!("{series} {labels:?} is 0, and the loads should have moved it"));
    }
    Ok(())
}

/// The number at a place of a file; none where it is not there.
fn value(text: &str, at: At) -> Option<f64> {
    let word = match at {
        Alone => text.trim(),
        Word(place) => text.split_whitespace().nth(place)?,
        Key(key) => text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?,
        Total(line) => text.lines().find(|l| l.starts_with(line))?.split_once("total=")?.1,
        Disk(key) => text.lines().find_map(|line| line.split_once(&format!(" {key}=")))?.1.split(' ').next()?,
    };
    word.parse().ok()
}
