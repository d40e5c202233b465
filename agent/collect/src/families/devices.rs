//! Families of several samples: a sample an interface, a device, a file system, a kind of event.

use sonde_expo::{Kind, Labels, Number, Writer};

use super::numbers::{int, us};
use super::{COUNTER, GAUGE};
use crate::reading::{DeviceIo, DeviceLimit, HugePages, Interface, Space};
use crate::transport::Transport;

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

pub(super) fn write_network(writer: &mut Writer<'_>, base: &Labels, interfaces: &[Interface]) {
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
type IoRow = (&'static str, &'static str, &'static str, fn(&DeviceIo) -> Option<Number>);
const IO: [IoRow; 9] = [
    ("container_fs_reads_bytes_total", "bytes", "Cumulative count of bytes read", |d| int(d.read_bytes)),
    ("container_fs_reads_total", "", "Cumulative count of reads completed", |d| int(d.reads)),
    ("container_fs_writes_bytes_total", "bytes", "Cumulative count of bytes written", |d| int(d.written_bytes)),
    ("container_fs_writes_total", "", "Cumulative count of writes completed", |d| int(d.writes)),
    ("sonde_instance_disk_discards_total", "", "Discards completed.", |d| int(d.discards)),
    ("container_fs_io_cost_usage_seconds_total", "seconds", "Cumulative IOCost usage in seconds", |d| {
        d.cost.usage_us.map(us)
    }),
    ("container_fs_io_cost_wait_seconds_total", "seconds", "Cumulative IOCost wait in seconds", |d| {
        d.cost.wait_us.map(us)
    }),
    ("container_fs_io_cost_indebt_seconds_total", "seconds", "Cumulative IOCost debt in seconds", |d| {
        d.cost.debt_us.map(us)
    }),
    ("container_fs_io_cost_indelay_seconds_total", "seconds", "Cumulative IOCost delay in seconds", |d| {
        d.cost.delay_us.map(us)
    }),
];

pub(super) fn write_io(writer: &mut Writer<'_>, base: &Labels, devices: &[DeviceIo]) {
    for (name, unit, help, value) in IO {
        if devices.iter().all(|device| value(device).is_none()) {
            continue;
        }
        let mut family = writer.family(name, COUNTER, help, unit);
        for device in devices {
            if let Some(value) = value(device) {
                let extra = [("device", device.device.as_str())];
                family.sample(base, &extra, value);
            }
        }
    }
    write_usage(writer, base, devices);
}

/// What cAdvisor has a second time, by operation.
fn write_usage(writer: &mut Writer<'_>, base: &Labels, devices: &[DeviceIo]) {
    let operations = |device: &DeviceIo| {
        [("Read", device.read_bytes), ("Write", device.written_bytes), ("Discard", device.discarded_bytes)]
    };
    if devices.iter().all(|device| operations(device).iter().all(|(_, bytes)| bytes.is_none())) {
        return;
    }
    let mut family = writer.family("container_blkio_device_usage_total", COUNTER, "Blkio Device bytes usage", "");
    for device in devices {
        let Some((major, minor)) = device.number.split_once(':') else { continue };
        for (operation, bytes) in operations(device) {
            if let Some(bytes) = bytes {
                let device = device.device.as_str();
                let extra = [("device", device), ("major", major), ("minor", minor), ("operation", operation)];
                family.sample(base, &extra, Number::Unsigned(bytes));
            }
        }
    }
}

pub(super) fn write_device_limits(writer: &mut Writer<'_>, base: &Labels, limits: &[DeviceLimit]) {
    type Pair = fn(&DeviceLimit) -> [(&'static str, Option<u64>); 2];
    let families: [(&str, &str, Pair); 2] = [
        (
            "sonde_instance_disk_limit_bytes_per_second",
            "Bytes that may be moved to or from a device in a second.",
            |l| [("read", l.read_bytes), ("write", l.written_bytes)],
        ),
        ("sonde_instance_disk_limit_operations_per_second", "Requests that a device may be given in a second.", |l| {
            [("read", l.reads), ("write", l.writes)]
        }),
    ];
    for (name, help, pair) in families {
        if limits.iter().all(|limit| pair(limit).iter().all(|(_, value)| value.is_none())) {
            continue;
        }
        let mut family = writer.family(name, GAUGE, help, "");
        for limit in limits {
            for (operation, value) in pair(limit) {
                if let Some(value) = value {
                    let extra = [("device", limit.device.as_str()), ("operation", operation)];
                    family.sample(base, &extra, Number::Unsigned(value));
                }
            }
        }
    }
}

pub(super) fn write_huge_pages(writer: &mut Writer<'_>, base: &Labels, sizes: &[HugePages]) {
    type HugeRow = (&'static str, Kind, &'static str, &'static str, fn(&HugePages) -> Option<u64>);
    let families: [HugeRow; 2] = [
        ("container_hugetlb_failcnt", COUNTER, "", "Number of hugepage usage hits limits", |it| it.limit_hits),
        ("container_hugetlb_usage_bytes", GAUGE, "bytes", "Current hugepage usage in bytes", |it| it.usage_bytes),
    ];
    for (name, kind, unit, help, value) in families {
        if sizes.iter().all(|size| value(size).is_none()) {
            continue;
        }
        let mut family = writer.family(name, kind, help, unit);
        for size in sizes {
            if let Some(value) = value(size) {
                family.sample(base, &[("pagesize", &size.page_size)], Number::Unsigned(value));
            }
        }
    }
}

pub(super) fn write_transport(writer: &mut Writer<'_>, base: &Labels, transport: &Transport) {
    let help = "advance tcp connections statistic for container";
    labelled(
        writer,
        base,
        ("container_network_advance_tcp_stats_total", GAUGE, help, "tcp_state"),
        transport.tcp.all(),
    );
    let help =
        "UDP over IPv4 by the kernel's names in lower case; inerrors counts the other errors on the way in as well.";
    labelled(writer, base, ("sonde_instance_udp_total", COUNTER, help, "event"), transport.udp.all());
    let sockets = &transport.sockets;
    let help = "Sockets in the instance's network namespace, of every kind.";
    if let Some(all) = sockets.all {
        writer.family("sonde_instance_sockets", GAUGE, help, "").sample(base, &[], Number::Unsigned(all));
    }
    let help = "TCP sockets in the instance's network namespace, those in TIME_WAIT apart.";
    let tcp = [("ipv4", sockets.tcp), ("ipv6", sockets.tcp6)];
    labelled(writer, base, ("sonde_instance_tcp_sockets", GAUGE, help, "family"), tcp.into_iter());
    let help = "UDP sockets in the instance's network namespace.";
    let udp = [("ipv4", sockets.udp), ("ipv6", sockets.udp6)];
    labelled(writer, base, ("sonde_instance_udp_sockets", GAUGE, help, "family"), udp.into_iter());
    if let Some(waiting) = sockets.time_wait {
        let help = "TCP connections in TIME_WAIT in the instance's network namespace.";
        let mut family = writer.family("sonde_instance_tcp_time_wait_sockets", GAUGE, help, "");
        family.sample(base, &[], Number::Unsigned(waiting));
    }
}

/// A family whose samples differ in one label: name, kind, help, label.
fn labelled(
    writer: &mut Writer<'_>,
    base: &Labels,
    (name, kind, help, label): (&str, Kind, &str, &str),
    values: impl Iterator<Item = (&'static str, Option<u64>)>,
) {
    let mut values = values.filter_map(|(value_of, value)| Some((value_of, value?))).peekable();
    if values.peek().is_none() {
        return;
    }
    let mut family = writer.family(name, kind, help, "");
    for (value_of, value) in values {
        family.sample(base, &[(label, value_of)], Number::Unsigned(value));
    }
}

/// cAdvisor's names where it means the same by them. Its `container_fs_usage_bytes` is what the container's own files take
/// up, for which it walks the tree; what a file system tells is how full it is, whoever filled it, and is ours.
pub(super) fn write_space(writer: &mut Writer<'_>, base: &Labels, space: &Space) {
    let it = &space.file_system;
    let rows = [
        ("container_fs_inodes_free", "", "Number of available Inodes", it.inodes_free),
        ("container_fs_inodes_total", "", "Number of Inodes", it.inodes),
        (
            "container_fs_limit_bytes",
            "bytes",
            "Number of bytes that can be consumed by the container on this filesystem.",
            Some(it.size_bytes),
        ),
    ];
    for (name, unit, help, value) in rows {
        if let Some(value) = value {
            let mut family = writer.family(name, GAUGE, help, unit);
            family.sample(base, &[("device", it.device.as_str())], Number::Unsigned(value));
        }
    }
    let extra = [("device", it.device.as_str()), ("fstype", it.kind), ("mountpoint", "/")];
    let rows = [
        (
            "sonde_instance_filesystem_free_bytes",
            "bytes",
            "What is not in use of the file system that the instance's root is on, whoever uses the rest.",
            Number::Unsigned(it.free_bytes),
        ),
        (
            "sonde_instance_filesystem_available_bytes",
            "bytes",
            "Of that, what is not kept for root.",
            Number::Unsigned(it.available_bytes),
        ),
        (
            "sonde_instance_filesystem_readonly",
            "",
            "Whether the instance's root is mounted so that nothing can be written.",
            Number::Unsigned(u64::from(it.read_only)),
        ),
        (
            "sonde_instance_filesystem_age_seconds",
            "seconds",
            "How long before the reading the file system was asked.",
            Number::Float(space.age.as_secs_f64()),
        ),
    ];
    for (name, unit, help, value) in rows {
        writer.family(name, GAUGE, help, unit).sample(base, &extra, value);
    }
}
