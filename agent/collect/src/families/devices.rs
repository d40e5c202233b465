//! Families of several samples: a sample a device, a file system, a size of huge pages.

use super::amounts::{int, us};
use crate::described::{Described, Out, Row, counter, gauge};
use crate::reading::{DeviceIo, DeviceLimit, HugePages, Space};

const BYTES: &str = "`io.stat`; v1: `blkio.throttle.io_service_bytes_recursive`";
const OPERATIONS: &str = "`io.stat`; v1: `blkio.throttle.io_serviced_recursive`";
const NO_IO: &str = "no io controller, or it moved nothing yet";
const NO_COST: &str = "cgroup v1; the io.cost controller does not rule the device";

pub(super) static IO: &[Row<DeviceIo>] = &[
    Row {
        about: counter("container_fs_reads_bytes_total", "bytes", "Bytes that it has read from the device.")
            .by(&["device"])
            .of(BYTES)
            .unless(NO_IO),
        value: |d| int(d.read_bytes),
    },
    Row {
        about: counter("container_fs_reads_total", "", "Reads that the device has done for it.")
            .by(&["device"])
            .of(OPERATIONS)
            .unless(NO_IO),
        value: |d| int(d.reads),
    },
    Row {
        about: counter("container_fs_writes_bytes_total", "bytes", "Bytes that it has written to the device.")
            .by(&["device"])
            .of(BYTES)
            .unless(NO_IO),
        value: |d| int(d.written_bytes),
    },
    Row {
        about: counter("container_fs_writes_total", "", "Writes that the device has done for it.")
            .by(&["device"])
            .of(OPERATIONS)
            .unless(NO_IO),
        value: |d| int(d.writes),
    },
    Row {
        about: counter("sonde_instance_disk_discards_total", "", "Discards completed.")
            .by(&["device"])
            .of(OPERATIONS)
            .unless(NO_IO),
        value: |d| int(d.discards),
    },
    Row {
        about: counter(
            "container_fs_io_cost_usage_seconds_total",
            "seconds",
            "Time of the device that it has used, as io.cost reckons it.",
        )
        .by(&["device"])
        .of("`io.stat` `cost.usage`")
        .unless(NO_COST),
        value: |d| d.cost.usage_us.map(us),
    },
    Row {
        about: counter(
            "container_fs_io_cost_wait_seconds_total",
            "seconds",
            "How long it has waited for its share of the device, by io.cost.",
        )
        .by(&["device"])
        .of("`io.stat` `cost.wait`")
        .unless(NO_COST),
        value: |d| d.cost.wait_us.map(us),
    },
    Row {
        about: counter(
            "container_fs_io_cost_indebt_seconds_total",
            "seconds",
            "How long it has been in debt to io.cost for what could not be held back.",
        )
        .by(&["device"])
        .of("`io.stat` `cost.indebt`")
        .unless(NO_COST),
        value: |d| d.cost.debt_us.map(us),
    },
    Row {
        about: counter(
            "container_fs_io_cost_indelay_seconds_total",
            "seconds",
            "How long io.cost has delayed its tasks for such debts.",
        )
        .by(&["device"])
        .of("`io.stat` `cost.indelay`")
        .unless(NO_COST),
        value: |d| d.cost.delay_us.map(us),
    },
];

/// What cAdvisor has a second time, by operation.
pub(super) static USAGE: Described =
    counter("container_blkio_device_usage_total", "", "Bytes moved to and from the device, by operation.")
        .by(&["device", "major", "minor", "operation"])
        .of(BYTES)
        .unless(NO_IO);

static BYTES_LIMIT: Described =
    gauge("sonde_instance_disk_limit_bytes_per_second", "", "Bytes that may be moved to or from a device in a second.")
        .by(&["device", "operation"])
        .of("`io.max` `rbps`, `wbps`; v1: `blkio.throttle.read_bps_device` and its like")
        .unless("none is set");

static OPERATIONS_LIMIT: Described =
    gauge("sonde_instance_disk_limit_operations_per_second", "", "Requests that a device may be given in a second.")
        .by(&["device", "operation"])
        .of("`io.max` `riops`, `wiops`; v1: `blkio.throttle.read_iops_device` and its like")
        .unless("none is set");

pub(super) static LIMITS: [&Described; 2] = [&BYTES_LIMIT, &OPERATIONS_LIMIT];

pub(super) static HUGE_PAGES: &[Row<HugePages>] = &[
    Row {
        about: counter("container_hugetlb_failcnt", "", "How often the limit of huge pages was hit.")
            .by(&["pagesize"])
            .of("`hugetlb.SIZE.events` `max`")
            .unless("cgroup v1; no hugetlb controller"),
        value: |it| int(it.limit_hits),
    },
    Row {
        about: gauge("container_hugetlb_usage_bytes", "bytes", "Huge pages in use.")
            .by(&["pagesize"])
            .of("`hugetlb.SIZE.current`")
            .unless("cgroup v1; no hugetlb controller"),
        value: |it| int(it.usage_bytes),
    },
];

const STATFS: &str = "`statfs` of its root";
const NOT_TOLD: &str = "of a process group; the file system has not told, or is of a kind that is not asked";

/// cAdvisor's names where it means the same by them. Its `container_fs_usage_bytes` is what the container's own files take
/// up, for which it walks the tree; what a file system tells is how full it is, whoever filled it, and is ours.
pub(super) static SPACE: &[Row<Space>] = &[
    Row {
        about: gauge("container_fs_inodes_free", "", "Inodes that are left.")
            .by(&["device"])
            .of(STATFS)
            .unless(NOT_TOLD),
        value: |space| int(space.file_system.inodes_free),
    },
    Row {
        about: gauge("container_fs_inodes_total", "", "Inodes that there are.")
            .by(&["device"])
            .of(STATFS)
            .unless(NOT_TOLD),
        value: |space| int(space.file_system.inodes),
    },
    Row {
        about: gauge("container_fs_limit_bytes", "bytes", "Size of the file system of its root.")
            .by(&["device"])
            .of(STATFS)
            .unless(NOT_TOLD),
        value: |space| int(Some(space.file_system.size_bytes)),
    },
];

const OF_FILE_SYSTEM: &[&str] = &["device", "fstype", "mountpoint"];

pub(super) static OUR_SPACE: &[Row<Space>] = &[
    Row {
        about: gauge(
            "sonde_instance_filesystem_free_bytes",
            "bytes",
            "What is not in use of the file system that the instance's root is on, whoever uses the rest.",
        )
        .by(OF_FILE_SYSTEM)
        .of(STATFS)
        .unless(NOT_TOLD),
        value: |space| int(Some(space.file_system.free_bytes)),
    },
    Row {
        about: gauge("sonde_instance_filesystem_available_bytes", "bytes", "Of that, what is not kept for root.")
            .by(OF_FILE_SYSTEM)
            .of(STATFS)
            .unless(NOT_TOLD),
        value: |space| int(Some(space.file_system.available_bytes)),
    },
    Row {
        about: gauge(
            "sonde_instance_filesystem_readonly",
            "",
            "Whether the instance's root is mounted so that nothing can be written.",
        )
        .by(OF_FILE_SYSTEM)
        .of(STATFS)
        .unless(NOT_TOLD),
        value: |space| int(Some(u64::from(space.file_system.read_only))),
    },
    Row {
        about: gauge(
            "sonde_instance_filesystem_age_seconds",
            "seconds",
            "How long before the reading the file system was asked.",
        )
        .by(OF_FILE_SYSTEM)
        .of("the agent's clock")
        .unless(NOT_TOLD),
        value: |space| Some(sonde_expo::Number::Float(space.age.as_secs_f64())),
    },
];

const MOUNTS: &str = "`statfs` of the mounts in `/proc/PID/mountinfo` of the leader that can be written to";

/// The file system that the instance fills first. It has no labels: its mount point is a tenant's to choose.
pub(super) static FULLEST: &[Row<Space>] = &[
    Row {
        about: gauge(
            "sonde_instance_fullest_filesystem_available_bytes",
            "bytes",
            "What is left of the file system with the least left of those that the instance can write to.",
        )
        .of(MOUNTS)
        .unless(NOT_TOLD),
        value: |space| int(Some(space.file_system.available_bytes)),
    },
    Row {
        about: gauge("sonde_instance_fullest_filesystem_size_bytes", "bytes", "Size of that file system.")
            .of(MOUNTS)
            .unless(NOT_TOLD),
        value: |space| int(Some(space.file_system.size_bytes)),
    },
];

pub(super) fn write_io(out: &mut Out<'_, '_>, devices: &[DeviceIo]) {
    out.each(IO, devices, |device| [&*device.device]);
    let operations = |device: &DeviceIo| {
        [("Read", device.read_bytes), ("Write", device.written_bytes), ("Discard", device.discarded_bytes)]
    };
    let Some((mut family, base)) = out.family(&USAGE) else { return };
    for device in devices {
        let Some((major, minor)) = device.number.split_once(':') else { continue };
        for (operation, bytes) in operations(device) {
            if let Some(bytes) = int(bytes) {
                let extra = [("device", &*device.device), ("major", major), ("minor", minor), ("operation", operation)];
                family.sample(base, &extra, bytes);
            }
        }
    }
}

pub(super) fn write_limits(out: &mut Out<'_, '_>, limits: &[DeviceLimit]) {
    type Pair = fn(&DeviceLimit) -> [(&'static str, Option<u64>); 2];
    let pairs: [Pair; 2] = [
        |limit| [("read", limit.read_bytes), ("write", limit.written_bytes)],
        |limit| [("read", limit.reads), ("write", limit.writes)],
    ];
    for (about, pair) in LIMITS.into_iter().zip(pairs) {
        let Some((mut family, base)) = out.family(about) else { continue };
        for limit in limits {
            for (operation, value) in pair(limit) {
                if let Some(value) = int(value) {
                    family.sample(base, &[("device", limit.device.as_str()), ("operation", operation)], value);
                }
            }
        }
    }
}

pub(super) fn write_space(out: &mut Out<'_, '_>, space: &Space) {
    let it = &space.file_system;
    out.each(SPACE, std::slice::from_ref(space), |_| [&*it.device]);
    out.each(OUR_SPACE, std::slice::from_ref(space), |_| [&*it.device, it.kind, "/"]);
}
