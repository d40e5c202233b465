//! What a reading's numbers are called: cAdvisor's names, kinds, help texts and meanings, so that
//! existing dashboards and alerts work as they are, and `sonde_*` for what cAdvisor lacks.
//!
//! Each family of one sample is a row of `numbers`, one of several a function here or in `devices`. What a reading does not have is not
//! written: cAdvisor writes 0 for a limit that is not set, we leave the series out, and
//! queries that guard against 0 do the same with either. Labels that name the instance come from outside, rendered once.

mod devices;
mod numbers;

use std::time::Duration;

use sonde_expo::{Kind, Labels, Number, Writer};

use crate::reading::{MEMORY_PARTS, Reading, Ulimit};
use crate::state::{InstanceState, Judgement, ProblemReason, Resource};

/// Families that an instance's exposition takes for itself begin with one of these: no sensor may claim one.
pub const RESERVED_PREFIXES: [&str; 3] = ["container_", "machine_", "sonde_"];

/// Whether a family is, or may come to be, one of ours.
pub fn is_native_family(name: &str) -> bool {
    RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const COUNTER: Kind = Kind::Counter;
const GAUGE: Kind = Kind::Gauge;

/// Writes all that a reading has, under the instance's labels.
pub fn write_reading(writer: &mut Writer<'_>, base: &Labels, reading: &Reading) {
    if let Some(value) = reading.cpu.and_then(|cpu| numbers::ns(Some(cpu.usage_ns))) {
        let help = "Cumulative cpu time consumed in seconds.";
        let mut family = writer.family("container_cpu_usage_seconds_total", COUNTER, help, "seconds");
        family.sample(base, &[("cpu", "total")], value);
    }
    numbers::write(writer, base, reading);
    write_memory_failures(writer, base, reading);
    write_memory_parts(writer, base, reading);
    write_ulimits(writer, base, reading);
    devices::write_huge_pages(writer, base, &reading.huge_pages);
    devices::write_network(writer, base, reading.network.as_deref().unwrap_or_default());
    if let Some(transport) = &reading.transport {
        devices::write_transport(writer, base, transport);
    }
    devices::write_io(writer, base, reading.io.as_deref().unwrap_or_default());
    devices::write_device_limits(writer, base, &reading.device_limits);
    if let Some(space) = &reading.space {
        devices::write_space(writer, base, space);
    }
    if let Some(space) = &reading.fullest_space {
        devices::write_fullest(writer, base, space);
    }
    write_problems(writer, base, reading);
}

/// So that who misses a series here finds out why here.
fn write_problems(writer: &mut Writer<'_>, base: &Labels, reading: &Reading) {
    if reading.problems.is_empty() {
        return;
    }
    let mut counts = [0u64; ProblemReason::WORDS.len()];
    for problem in &reading.problems {
        counts[problem.reason.word()] += 1;
    }
    let help = "Kernel files of the instance that were not read, or not whole, at this reading.";
    let mut family = writer.family("sonde_instance_read_problems", GAUGE, help, "");
    for (reason, count) in ProblemReason::WORDS.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
        family.sample(base, &[("reason", reason)], Number::Unsigned(count));
    }
}

fn write_memory_parts(writer: &mut Writer<'_>, base: &Labels, reading: &Reading) {
    let parts = || MEMORY_PARTS.into_iter().zip(reading.memory.part_bytes).filter_map(|(part, it)| Some((part, it?)));
    if parts().next().is_none() {
        return;
    }
    let help = "Parts of the instance's memory by the kernel's names in memory.stat; they overlap.";
    let mut family = writer.family("sonde_instance_memory_part_bytes", GAUGE, help, "bytes");
    for (part, bytes) in parts() {
        family.sample(base, &[("part", part)], Number::Unsigned(bytes));
    }
}

fn write_ulimits(writer: &mut Writer<'_>, base: &Labels, reading: &Reading) {
    let Some(limit) = reading.limits.open_files else { return };
    let help = "Soft ulimit values for the container root process. Unlimited if -1, except priority and nice";
    let value = match limit {
        Ulimit::Unlimited => Number::Signed(-1),
        Ulimit::At(limit) => Number::Unsigned(limit),
    };
    let mut family = writer.family("container_ulimits_soft", GAUGE, help, "");
    family.sample(base, &[("ulimit", "max_open_files")], value);
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
