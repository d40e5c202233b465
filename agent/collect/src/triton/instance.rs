//! cmon-agent's metrics of a zone, out of a reading.
//!
//! A kstat of illumos' and a cgroup's file rarely count the same to the letter. Where the difference changes what a number
//! means, the row says it; where nothing here means what the name says, there is no series.

use sonde_expo::Number;

use super::{Meta, Row, meta, nowhere};
use crate::described::{Described, Out, counter, families_of, gauge};
use crate::families::amounts::{int, us};
use crate::reading::{CpuLately, Interface, Reading};
use crate::space::Space;

/// A collector, its rows, and how long its part of the reading took.
struct Collector {
    meta: Meta,
    rows: &'static [Row<Reading>],
    took_ns: fn(&Reading) -> u64,
}

static COLLECTORS: [Collector; 6] = [
    Collector { meta: meta!("cpucap"), rows: CPUCAP, took_ns: |r| r.took.cpu_ns },
    Collector { meta: meta!("memcap"), rows: MEMCAP, took_ns: |r| r.took.memory_ns },
    Collector { meta: meta!("tcp"), rows: TCP, took_ns: |r| r.took.transport_ns },
    // The file system is asked apart, and no scrape spends time on it.
    Collector { meta: meta!("zfs"), rows: ZFS, took_ns: |_| 0 },
    Collector { meta: meta!("zone_misc"), rows: ZONE_MISC, took_ns: |r| r.took.cpu_ns },
    Collector { meta: meta!("zone_vfs"), rows: ZONE_VFS, took_ns: |r| r.took.devices_ns },
];

static LINK: Meta = meta!("link");

const UNCAPPED: &str = "no quota is set";

static CPUCAP: &[Row<Reading>] = &[
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

static MEMCAP: &[Row<Reading>] = &[
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

const HOSTS: &str = "in the host's network namespace; no process lives";

macro_rules! tcp {
    ($kind:ident, $name:literal, $help:literal, $source:literal, $field:ident, $differs:literal) => {
        Row {
            about: $kind($name, "", $help).of($source).unless(HOSTS).but($differs),
            value: |r| int(r.transport?.tcp.$field),
        }
    };
}

static TCP: &[Row<Reading>] = &[
    tcp!(
        counter,
        "tcp_failed_connection_attempt_count",
        "Connections that failed before they stood.",
        "`net/snmp` `AttemptFails`",
        attemptfails,
        ""
    ),
    tcp!(
        counter,
        "tcp_retransmitted_segment_count",
        "Segments sent again.",
        "`net/snmp` `RetransSegs`",
        retranssegs,
        ""
    ),
    nowhere(counter("tcp_duplicate_ack_count", "", "Duplicate acknowledgements."), "Linux does not count them"),
    tcp!(
        counter,
        "tcp_listen_drop_count",
        "Connections that an accept queue had no room for.",
        "`net/netstat` `ListenOverflows`",
        listenoverflows,
        ""
    ),
    tcp!(
        counter,
        "tcp_listen_drop_Qzero_count",
        "SYNs dropped because the queue of half-open connections was full.",
        "`net/netstat` `TCPReqQFullDrop`",
        tcpreqqfulldrop,
        "not those that were answered with a cookie"
    ),
    nowhere(
        counter("tcp_half_open_drop_count", "", "Half-open connections pushed out of their queue."),
        "Linux pushes none out",
    ),
    tcp!(
        counter,
        "tcp_retransmit_timeout_drop_count",
        "Connections that timed out.",
        "`net/netstat` `TCPAbortOnTimeout`",
        tcpabortontimeout,
        "keepalive's and other timers' among them"
    ),
    tcp!(
        counter,
        "tcp_active_open_count",
        "Connections opened from here.",
        "`net/snmp` `ActiveOpens`",
        activeopens,
        ""
    ),
    tcp!(counter, "tcp_passive_open_count", "Connections accepted.", "`net/snmp` `PassiveOpens`", passiveopens, ""),
    tcp!(
        gauge,
        "tcp_current_established_connections_total",
        "Connections that stand now.",
        "`net/snmp` `CurrEstab`",
        currestab,
        ""
    ),
];

const NO_LIST: &str = "neither a kstat nor `statfs` tells it: `zfs list` does, a program, and the agent runs none";
const NO_ZFS: &str = "its root is on no ZFS; of a process group";

static ZFS: &[Row<Reading>] = &[
    Row {
        about: gauge("zfs_available", "", "Bytes that the data set can still take up.")
            .of("`statfs` of its root")
            .unless(NO_ZFS)
            .but("whole records"),
        value: |r| int(Some(of_zfs(r)?.file_system.available_bytes)),
    },
    nowhere(gauge("zfs_used", "", "Bytes used by the data set and all below it."), NO_LIST),
    nowhere(gauge("zfs_logicalused", "", "The same before compression."), NO_LIST),
    Row {
        about: gauge("zfs_recordsize", "", "The data set's recordsize, in bytes.")
            .of("`statfs` of its root")
            .unless(NO_ZFS),
        value: |r| int(Some(of_zfs(r)?.file_system.block_bytes)),
    },
    nowhere(gauge("zfs_quota", "", "Quota of the data set, in bytes."), NO_LIST),
    nowhere(gauge("zfs_compressratio", "", "How far all of it is compressed."), NO_LIST),
    nowhere(gauge("zfs_refcompressratio", "", "How far what it refers to is compressed."), NO_LIST),
    Row {
        about: gauge("zfs_referenced", "", "Bytes that the data set refers to.")
            .of("`statfs` of its root")
            .unless(NO_ZFS)
            .but("whole records"),
        value: |r| {
            let it = &of_zfs(r)?.file_system;
            int(it.size_bytes.checked_sub(it.free_bytes))
        },
    },
    nowhere(gauge("zfs_logicalreferenced", "", "The same before compression."), NO_LIST),
    nowhere(gauge("zfs_usedbydataset", "", "Bytes used by the data set itself."), NO_LIST),
    nowhere(gauge("zfs_usedbysnapshots", "", "Bytes used by its snapshots."), NO_LIST),
];

fn of_zfs(reading: &Reading) -> Option<&Space> {
    reading.space.as_ref().filter(|space| space.file_system.kind == "zfs")
}

static ZONE_MISC: &[Row<Reading>] = &[
    Row {
        about: counter("cpu_user_usage", "", "CPU time in user mode, in nanoseconds.")
            .of("`cpu.stat` `user_usec`; v1 alone: `cpuacct.usage_user`"),
        value: |r| int(r.cpu?.user_ns),
    },
    Row {
        about: counter("cpu_sys_usage", "", "CPU time in the kernel, in nanoseconds.")
            .of("`cpu.stat` `system_usec`; v1 alone: `cpuacct.usage_sys`"),
        value: |r| int(r.cpu?.system_ns),
    },
    Row {
        about: counter("cpu_wait_time", "", "Time in which some task waited for a CPU, in nanoseconds.")
            .of("`cpu.pressure` `some`")
            .unless("no cgroup2 tree; PSI is off")
            .but("time in which at least one waited; illumos adds up the waits of all threads"),
        value: |r| int(r.pressure.cpu?.some_us.checked_mul(1_000)),
    },
    nowhere(gauge("load_average", "", "Load over 1 minute."), "Linux has no load average of a cgroup"),
];

macro_rules! vfs {
    ($name:literal, $help:literal, $source:literal, $of_dataset:ident, $of_device:ident) => {
        Row {
            about: counter($name, "", $help).of($source).unless("no io controller, or it moved nothing yet").but(
                "what reached block devices, unless its root is on ZFS; illumos counts what the caches answered too",
            ),
            value: |r| match &r.zfs {
                Some(objset) => int(objset.$of_dataset),
                None => int(r.io.as_ref()?.iter().filter_map(|device| device.$of_device).reduce(u64::saturating_add)),
            },
        }
    };
}

const NO_QUEUE: &str = "Linux keeps no queue of a cgroup's requests: see `io.pressure`";

static ZONE_VFS: &[Row<Reading>] = &[
    vfs!(
        "vfs_bytes_read_count",
        "Bytes read.",
        "`objset-*` `nread` of its root's data set, else `io.stat` of all devices",
        read_bytes,
        read_bytes
    ),
    vfs!(
        "vfs_bytes_written_count",
        "Bytes written.",
        "`objset-*` `nwritten` of its root's data set, else `io.stat` of all devices",
        written_bytes,
        written_bytes
    ),
    vfs!(
        "vfs_read_operation_count",
        "Reads.",
        "`objset-*` `reads` of its root's data set, else `io.stat` of all devices",
        reads,
        reads
    ),
    vfs!(
        "vfs_write_operation_count",
        "Writes.",
        "`objset-*` `writes` of its root's data set, else `io.stat` of all devices",
        writes,
        writes
    ),
    nowhere(counter("vfs_wait_time_count", "", "Time of requests before they were served, in nanoseconds."), NO_QUEUE),
    nowhere(counter("vfs_wait_length_time_count", "", "Requests that waited, times how long."), NO_QUEUE),
    nowhere(counter("vfs_run_time_count", "", "Time of requests while they were served, in nanoseconds."), NO_QUEUE),
    nowhere(
        counter("vfs_run_length_time_count", "", "Requests that were served, times how long.")
            .but("cmon-agent gave `vfs_wait_length_time_count` under this name"),
        NO_QUEUE,
    ),
    nowhere(gauge("vfs_elements_wait_state", "", "Requests that wait."), NO_QUEUE),
    nowhere(gauge("vfs_elements_run_state", "", "Requests that are served."), NO_QUEUE),
];

macro_rules! link {
    ($name:literal, $help:literal, $column:literal, $field:ident) => {
        Row {
            about: counter($name, "", $help)
                .by(&["interface"])
                .of(concat!("`/proc/PID/net/dev` of the leader, ", $column))
                .unless(HOSTS)
                .but("`interface` is the name inside the instance; no `nic_tag`, no `network_uuid`"),
            value: |it| int(Some(it.$field)),
        }
    };
}

static INTERFACES: &[Row<Interface>] = &[
    link!("net_agg_packets_in", "Packets received.", "packets in", receive_packets),
    link!("net_agg_bytes_out", "Bytes sent.", "bytes out", transmit_bytes),
    link!("net_agg_packets_out", "Packets sent.", "packets out", transmit_packets),
    link!("net_agg_bytes_in", "Bytes received.", "bytes in", receive_bytes),
];

pub(super) fn families() -> impl Iterator<Item = &'static Described> {
    let collectors = COLLECTORS.iter().flat_map(|it| it.meta.all().into_iter().chain(families_of(it.rows)));
    collectors.chain(LINK.all()).chain(families_of(INTERFACES))
}

pub(super) fn write(out: &mut Out<'_, '_>, reading: &Reading, cached: bool) {
    for collector in &COLLECTORS {
        let available = collector.rows.iter().any(|row| (row.value)(reading).is_some());
        collector.meta.write(out, available, cached, (collector.took_ns)(reading));
        out.rows(collector.rows, reading);
    }
    let interfaces = reading.network.as_deref().unwrap_or_default();
    LINK.write(out, !interfaces.is_empty(), cached, reading.took.interfaces_ns);
    out.each(INTERFACES, interfaces, |interface| [&*interface.name]);
}
