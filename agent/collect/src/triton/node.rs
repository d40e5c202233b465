//! cmon-agent's metrics of a compute node, out of the node's reading.

use sonde_expo::Number;

use super::{Meta, Row, arcstats, meta, nowhere, ntp};
use crate::described::{Described, Out, counter, families_of, gauge};
use crate::families::amounts::int;
use crate::node::zfs::{Pool, Rows};
use crate::node::{CpuTimes, NodeReading, seconds_of_ticks};

static CPU_INFO: Meta = meta!("cpu_info");
static CPU_UTIL: Meta = meta!("cpu_util");
static ZPOOL: Meta = meta!("zpool");
pub(super) static ARC: Meta = meta!("arcstats");

static MODEL: Described = gauge("cpu_info_model", "", "Model of the first CPU, a number of its maker's.")
    .of("`/proc/cpuinfo` `model`")
    .unless("the maker gives none a number (Arm)");

/// Ticks in the modes at these places of [`CPU_MODES`](crate::node::CPU_MODES), in seconds.
fn seconds(cpu: &CpuTimes, modes: &[usize]) -> Option<Number> {
    let ticks = modes.iter().map(|mode| cpu.ticks[*mode]).fold(0, u64::saturating_add);
    Some(Number::Float(seconds_of_ticks(ticks)))
}

static CPUS: &[Row<CpuTimes>] = &[
    Row {
        about: counter("cpu_idle_seconds_total", "seconds", "Time that the CPU had nothing to do.")
            .by(&["cpu_id"])
            .of("`/proc/stat` idle, iowait"),
        value: |cpu| seconds(cpu, &[3, 4]),
    },
    Row {
        about: counter("cpu_kernel_seconds_total", "seconds", "Time in the kernel, interrupts with it.")
            .by(&["cpu_id"])
            .of("`/proc/stat` system, irq, softirq"),
        value: |cpu| seconds(cpu, &[2, 5, 6]),
    },
    Row {
        about: counter("cpu_user_seconds_total", "seconds", "Time in user mode.")
            .by(&["cpu_id"])
            .of("`/proc/stat` user, nice")
            .but("guests' time with it; stolen time is in none of these"),
        value: |cpu| seconds(cpu, &[0, 1]),
    },
    nowhere(
        counter("cpu_dtrace_seconds_total", "seconds", "Time in DTrace's probes.").by(&["cpu_id"]),
        "there is no DTrace",
    ),
];

/// States of a pool by cmon-agent's numbers.
const HEALTH: [&str; 6] = ["ONLINE", "DEGRADED", "FAULTED", "OFFLINE", "REMOVED", "UNAVAIL"];
const UNKNOWN_HEALTH: i64 = -1;
const NO_LIST: &str = "no kstat of ZFS on Linux tells it: `zpool list` does, a program, and the agent runs none";
const NO_KSTAT: &str = "ZFS on Linux has no such kstat";

static POOLS: &[Row<Pool>] = &[
    nowhere(counter("metaslab_group_loads", "", "Metaslabs loaded.").by(&["pool", "vdev_guid"]), NO_KSTAT),
    nowhere(counter("metaslab_group_unloads", "", "Metaslabs unloaded.").by(&["pool", "vdev_guid"]), NO_KSTAT),
    nowhere(gauge("zpool_allocated_bytes", "bytes", "Bytes allocated in the pool.").by(&["pool"]), NO_LIST),
    nowhere(
        gauge("zpool_fragmentation_percent", "percent", "How fragmented the pool's free space is.").by(&["pool"]),
        NO_LIST,
    ),
    Row {
        about: gauge(
            "zpool_health_status",
            "",
            "0 online, 1 degraded, 2 faulted, 3 offline, 4 removed, 5 unavailable, -1 another.",
        )
        .by(&["pool"])
        .of("`/proc/spl/kstat/zfs/POOL/state`")
        .unless("there is no ZFS, or one before 0.8")
        .but("a label's value is escaped, which cmon-agent's were not"),
        value: |pool| {
            let state = pool.state.as_deref()?;
            let health = HEALTH.into_iter().zip(0..).find(|(known, _)| *known == state);
            Some(Number::Signed(health.map_or(UNKNOWN_HEALTH, |(_, number)| number)))
        },
    },
    nowhere(gauge("zpool_size_bytes", "bytes", "Size of the pool.").by(&["pool"]), NO_LIST),
];

/// What the agent counts of itself, for the names under which cmon-agent did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentCounts {
    /// Readings that are kept, each of one target: the last.
    pub kept: u64,
    /// Expositions asked for.
    pub asked: u64,
    /// Of these, those that were of a reading that was kept.
    pub of_kept: u64,
    /// Answers by status.
    pub answers: Vec<(u16, u64)>,
}

const NO_LABELS: &str = "without `datacenter`, `instance`, `server`, `service`, which the scraper knows";

static OF_AGENT: &[Row<AgentCounts>] = &[
    Row {
        about: gauge("cached_items", "", "Readings that the agent keeps.").of("the agent").but(NO_LABELS),
        value: |counts| int(Some(counts.kept)),
    },
    Row {
        about: counter("cache_get_hits_total", "", "Expositions of a reading that was kept.")
            .of("the agent")
            .but(NO_LABELS),
        value: |counts| int(Some(counts.of_kept)),
    },
    Row {
        about: counter("cache_gets_total", "", "Expositions asked for.").of("the agent").but(NO_LABELS),
        value: |counts| int(Some(counts.asked)),
    },
];

static ANSWERS: Described = counter("http_requests_completed", "", "Answers of the agent by status.")
    .by(&["status_code"])
    .of("the agent")
    .but("by status alone: `user_agent` was for its clients to choose, and there without end; and as above");

/// Histograms of cmon-agent's that had no `_bucket` in their names, so that nothing could read them as histograms.
static SELF: [Described; 3] = [
    gauge("collector_time_seconds", "seconds", "Time of each collector.")
        .unless("it was no histogram that could be read: see each collector's `_metrics_timer_seconds`"),
    gauge("collector_time_total_seconds", "seconds", "Time of all collectors.")
        .unless("likewise: see `sonde_agent_scrape_seconds_total`"),
    gauge("http_request_duration_seconds", "seconds", "Time of answers.")
        .unless("likewise: see `sonde_agent_scrape_seconds_total`"),
];

pub(super) fn families() -> impl Iterator<Item = &'static Described> {
    let cpu = CPU_INFO.all().into_iter().chain([&MODEL]).chain(CPU_UTIL.all()).chain(families_of(CPUS));
    cpu.chain(ZPOOL.all()).chain(families_of(POOLS)).chain(families_of(OF_AGENT)).chain([&ANSWERS]).chain(&SELF)
}

pub(super) fn write_agent(out: &mut Out<'_, '_>, counts: &AgentCounts) {
    out.rows(OF_AGENT, counts);
    let codes: Vec<String> = counts.answers.iter().map(|(code, _)| code.to_string()).collect();
    let values = counts.answers.iter().map(|(_, count)| int(Some(*count)));
    out.labelled(&ANSWERS, codes.iter().map(String::as_str).zip(values));
}

pub(super) fn write(out: &mut Out<'_, '_>, reading: &NodeReading, cached: bool) {
    let took = reading.took;
    let model = int(reading.cpu_model);
    CPU_INFO.write(out, model.is_some(), cached, 0);
    out.one(&MODEL, model);
    CPU_UTIL.write(out, !reading.stat.cpus.is_empty(), cached, took.cpu_ns);
    out.each(CPUS, &reading.stat.cpus, |cpu| [&*cpu.cpu]);
    let pools = reading.zfs.as_ref().map(|zfs| zfs.pools.as_slice()).unwrap_or_default();
    ZPOOL.write(out, pools.iter().any(|pool| pool.state.is_some()), cached, took.zfs_ns);
    out.each(POOLS, pools, |pool| [&*pool.name]);
    let nothing = Rows::new();
    let arc = reading.zfs.iter().flat_map(|zfs| &zfs.modules).find(|(file, _)| file == "arcstats");
    let arc = arc.map_or(&nothing, |(_, rows)| rows);
    ARC.write(out, !arc.is_empty(), cached, took.zfs_ns);
    out.rows(arcstats::ARCSTATS, arc);
    ntp::META.write(out, reading.clock.is_some(), cached, took.clock_ns);
    if let Some(clock) = &reading.clock {
        out.rows(ntp::CLOCK, clock);
    }
}
