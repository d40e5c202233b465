//! What a reading's numbers are called: cAdvisor's names, kinds, help texts and meanings, so that
//! existing dashboards and alerts work as they are, and `sonde_*` for what cAdvisor lacks.
//!
//! A family is a row of one of the tables below, and a row of `docs/series.md`. What a reading does not have is not
//! written: cAdvisor writes 0 for a limit that is not set, we leave the series out, and
//! queries that guard against 0 do the same with either. Labels that name the instance come from outside, rendered once.

pub(crate) mod amounts;
mod cpu;
mod devices;
mod memory;
mod network;
mod tasks;
mod zfs;

use std::time::Duration;

use sonde_expo::{Labels, Number, Writer};

use crate::described::{Described, Out, Section, counter, families_of, gauge};
use crate::names::Names;
use crate::reading::{MEMORY_PARTS, Reading, Ulimit};
use crate::state::{InstanceState, Judgement, ProblemReason, Resource};
use amounts::{int, ns};

/// Families that an instance's exposition takes for itself begin with one of these: no sensor may claim one.
pub const RESERVED_PREFIXES: [&str; 3] = ["container_", "machine_", "sonde_"];

/// Whether a family is, or may come to be, one of ours.
pub fn is_native_family(name: &str) -> bool {
    RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

static CPU_USAGE: Described =
    counter("container_cpu_usage_seconds_total", "seconds", "CPU time that the instance has used.")
        .by(&["cpu"])
        .of("v1: `cpuacct.usage`; else `cpu.stat` `usage_usec`; a process group: `/proc/PID/stat`")
        .unless("no account of CPU");

static MEMORY_FAILURES: Described =
    counter("container_memory_failures_total", "", "Page faults, and of these those that had to wait for a device.")
        .by(&["failure_type", "scope"])
        .of("`memory.stat` `pgfault`, `pgmajfault`; v1: `total_…` as scope `hierarchy`, without it as `container`")
        .unless("no memory controller; scope `container` with v2");

static MEMORY_PARTS_BYTES: Described = gauge(
    "sonde_instance_memory_part_bytes",
    "bytes",
    "Parts of the instance's memory by the kernel's names in memory.stat; they overlap.",
)
.by(&["part"])
.of("`memory.stat`")
.unless("no memory controller; each part that this kernel does not tell apart");

static ULIMITS: Described =
    gauge("container_ulimits_soft", "", "Soft limits of the process that leads the instance; -1 is none.")
        .by(&["ulimit"])
        .of("`/proc/PID/limits` of the leader, `Max open files` alone")
        .unless("no process lives; of a process group");

static STATE: Described = gauge("sonde_instance_state", "", "Whether the instance is in this state; exactly one is 1.")
    .by(&["state"])
    .of("the judgement over two readings");

static SATURATED: Described =
    gauge("sonde_instance_saturated", "", "Whether the instance lacks this resource, as far as the kernel can see.")
        .by(&["resource"])
        .of("the judgement over two readings");

static REASON: Described =
    gauge("sonde_instance_state_reason", "", "Why the instance is in its state, or lacks something.")
        .by(&["reason"])
        .of("the judgement over two readings")
        .unless("each reason that does not hold");

static PROBLEMS: Described = gauge(
    "sonde_instance_read_problems",
    "",
    "Kernel files of the instance that were not read, or not whole, at this reading.",
)
.by(&["reason"])
.of("the reading itself")
.unless("each reason that was not met");

pub(crate) static AGE: Described = gauge(
    "sonde_reading_age_seconds",
    "seconds",
    "How long ago the native values of this exposition were read from the kernel.",
)
.of("the agent's clock");

/// The families of an instance, as `docs/series.md` lists them.
pub fn sections() -> Vec<Section> {
    let cpu = [&CPU_USAGE].into_iter().chain(families_of(cpu::CPU)).collect();
    let memory = families_of(memory::MEMORY).chain([&MEMORY_FAILURES, &MEMORY_PARTS_BYTES]);
    let memory = memory.chain(families_of(devices::HUGE_PAGES)).collect();
    let tasks = families_of(tasks::TASKS).chain([&ULIMITS]).collect();
    let network = families_of(network::INTERFACES).chain([&network::TCP, &network::UDP]);
    let network = network.chain(families_of(network::SOCKETS));
    let network = network.chain([&network::TCP_SOCKETS, &network::UDP_SOCKETS]).collect();
    let devices = families_of(devices::IO).chain([&devices::USAGE]).chain(devices::LIMITS);
    let devices = devices.chain(families_of(devices::SPACE)).chain(families_of(devices::OUR_SPACE));
    let devices = devices.chain(families_of(devices::FULLEST));
    let devices = devices.chain(families_of(zfs::OBJSET)).collect();
    vec![
        Section::new(
            "Of an instance: its state",
            "State, lack and reasons are also the body of the answer where it is stopped or gone; the age is told of the node too.",
            vec![&STATE, &SATURATED, &REASON, &AGE, &PROBLEMS],
        ),
        Section::new("Of an instance: CPU and pressure", "", cpu),
        Section::new("Of an instance: memory", "", memory),
        Section::new("Of an instance: tasks and descriptors", "", tasks),
        Section::new("Of an instance: network", "", network),
        Section::new("Of an instance: devices and file systems", "", devices),
    ]
}

/// Writes all that a reading has, under the instance's labels: cAdvisor's names if they are wanted, ours in any case.
pub fn write_reading(writer: &mut Writer<'_>, base: &Labels, reading: &Reading, names: Names) {
    let out = &mut Out::new(writer, base, names);
    out.labelled(&CPU_USAGE, [("total", ns(reading.cpu.map(|cpu| cpu.usage_ns)))].into_iter());
    for table in [cpu::CPU, memory::MEMORY, tasks::TASKS] {
        out.rows(table, reading);
    }
    write_memory_failures(out, reading);
    let parts = MEMORY_PARTS.into_iter().zip(reading.memory.part_bytes.map(int));
    out.labelled(&MEMORY_PARTS_BYTES, parts);
    let files = reading.limits.open_files.map(|limit| match limit {
        Ulimit::Unlimited => Number::Signed(-1),
        Ulimit::At(limit) => Number::Unsigned(limit),
    });
    out.labelled(&ULIMITS, [("max_open_files", files)].into_iter());
    out.each(devices::HUGE_PAGES, &reading.huge_pages, |it| [&*it.page_size]);
    network::write_interfaces(out, reading.network.as_deref().unwrap_or_default());
    if let Some(transport) = &reading.transport {
        network::write_transport(out, transport);
    }
    devices::write_io(out, reading.io.as_deref().unwrap_or_default());
    devices::write_limits(out, &reading.device_limits);
    if let Some(space) = &reading.space {
        devices::write_space(out, space);
    }
    if let Some(space) = &reading.fullest_space {
        out.rows(devices::FULLEST, space);
    }
    write_problems(out, reading);
    if let Some(objset) = &reading.zfs {
        out.each(zfs::OBJSET, std::slice::from_ref(objset), |it| [&*it.dataset]);
    }
}

/// So that who misses a series here finds out why here.
fn write_problems(out: &mut Out<'_, '_>, reading: &Reading) {
    let mut counts = [0u64; ProblemReason::WORDS.len()];
    for problem in &reading.problems {
        counts[problem.reason.word()] += 1;
    }
    let met = counts.map(|count| (count > 0).then_some(Number::Unsigned(count)));
    out.labelled(&PROBLEMS, ProblemReason::WORDS.into_iter().zip(met));
}

fn write_memory_failures(out: &mut Out<'_, '_>, reading: &Reading) {
    let memory = &reading.memory;
    let rows = [
        ("pgfault", "container", memory.own_pgfault),
        ("pgfault", "hierarchy", memory.pgfault),
        ("pgmajfault", "container", memory.own_pgmajfault),
        ("pgmajfault", "hierarchy", memory.pgmajfault),
    ];
    let Some((mut family, base)) = out.family(&MEMORY_FAILURES) else { return };
    for (kind, scope, value) in rows {
        if let Some(value) = int(value) {
            family.sample(base, &[("failure_type", kind), ("scope", scope)], value);
        }
    }
}

/// Writes the judgement: all five states, all six resources, and the reasons that hold. This alone is
/// also the body of an answer about an instance that is stopped or gone.
pub fn write_judgement(writer: &mut Writer<'_>, base: &Labels, judgement: &Judgement) {
    let out = &mut Out::new(writer, base, Names::default());
    let truth = |holds: bool| int(Some(u64::from(holds)));
    out.labelled(&STATE, InstanceState::ALL.into_iter().map(|state| (state.as_str(), truth(state == judgement.state))));
    let lacks = |resource: Resource| (resource.as_str(), truth(judgement.saturated.contains(&resource)));
    out.labelled(&SATURATED, Resource::ALL.into_iter().map(lacks));
    out.labelled(&REASON, judgement.reasons.iter().map(|reason| (reason.as_str(), truth(true))));
}

/// Writes how old the reading is.
pub fn write_age(writer: &mut Writer<'_>, base: &Labels, age: Duration) {
    Out::new(writer, base, Names::default()).one(&AGE, Some(Number::Float(age.as_secs_f64())));
}
