//! cmon-agent's metrics of a zone, out of a reading.
//!
//! A kstat of illumos' and a cgroup's file rarely count the same to the letter. Where the difference changes what a number
//! means, the row says it; where nothing here means what the name says, there is no series.

use super::caps::{CPUCAP, MEMCAP};
use super::{Meta, Row, meta, nowhere};
use crate::described::{Described, Out, counter, families_of, gauge};
use crate::families::amounts::int;
use crate::reading::{Interface, Reading, Space};

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
