//! node_exporter's names for file systems and ZFS.

use sonde_expo::{Kind, Labels, Number, Writer};

use super::GAUGE;
use crate::node::zfs::{Pool, Rows, Value, Zfs};
use crate::reading::{FileSystem, Space};

/// Name, unit, help, value.
type FileSystemRow = (&'static str, &'static str, &'static str, fn(&FileSystem) -> Option<u64>);
const FILE_SYSTEMS: [FileSystemRow; 6] = [
    ("node_filesystem_size_bytes", "bytes", "Size of the file system.", |f| Some(f.size_bytes)),
    ("node_filesystem_free_bytes", "bytes", "What is not in use of it.", |f| Some(f.free_bytes)),
    ("node_filesystem_avail_bytes", "bytes", "Of that, what is not kept for root.", |f| Some(f.available_bytes)),
    ("node_filesystem_files", "", "Inodes that it can have.", |f| f.inodes),
    ("node_filesystem_files_free", "", "Inodes that are not in use.", |f| f.inodes_free),
    ("node_filesystem_readonly", "", "Whether nothing can be written to it.", |f| Some(u64::from(f.read_only))),
];

pub(super) fn write_file_systems(writer: &mut Writer<'_>, base: &Labels, all: &[(String, Space)]) {
    for (name, unit, help, value) in FILE_SYSTEMS {
        if all.iter().all(|(_, space)| value(&space.file_system).is_none()) {
            continue;
        }
        let mut family = writer.family(name, GAUGE, help, unit);
        for (point, space) in all {
            let it = &space.file_system;
            if let Some(value) = value(it) {
                let extra = [("device", it.device.as_str()), ("fstype", it.kind), ("mountpoint", point.as_str())];
                family.sample(base, &extra, Number::Unsigned(value));
            }
        }
    }
}

/// Files of `/proc/spl/kstat/zfs` and what node_exporter calls them. Of another file nothing is written.
const MODULES: [(&str, &str); 11] = [
    ("abdstats", "abd"),
    ("arcstats", "arc"),
    ("dbufstats", "dbuf"),
    ("dmu_tx", "dmu_tx"),
    ("dnodestats", "dnode"),
    ("fm", "fm"),
    ("vdev_cache_stats", "vdev_cache"),
    ("vdev_mirror_stats", "vdev_mirror"),
    ("xuio_stats", "xuio"),
    ("zfetchstats", "zfetch"),
    ("zil", "zil"),
];

/// The states of a pool, as node_exporter has them.
const STATES: [&str; 7] = ["online", "degraded", "faulted", "offline", "removed", "unavail", "suspended"];

pub(super) fn write_zfs(writer: &mut Writer<'_>, base: &Labels, zfs: &Zfs) {
    for (file, rows) in &zfs.modules {
        let Some((_, module)) = MODULES.into_iter().find(|(known, _)| known == file) else { continue };
        for (row, value) in rows {
            let Some(row_name) = name_of(row) else { continue };
            let help = format!("{row} of /proc/spl/kstat/zfs/{file}.");
            let family = format!("node_zfs_{module}_{row_name}");
            let mut family = writer.family(&family, Kind::Unknown, &help, "");
            family.sample(base, &[], number(*value));
        }
    }
    write_states(writer, base, &zfs.pools);
    let pools: Vec<_> = zfs.pools.iter().map(|pool| (vec![("zpool", pool.name.as_str())], &pool.io)).collect();
    write_columns(writer, base, "node_zfs_zpool", &pools);
    let datasets: Vec<_> = zfs.pools.iter().flat_map(datasets_of).collect();
    write_columns(writer, base, "node_zfs_zpool_dataset", &datasets);
}

/// Labels and rows.
type Labelled<'z> = (Vec<(&'static str, &'z str)>, &'z Rows);

fn datasets_of(pool: &Pool) -> impl Iterator<Item = Labelled<'_>> {
    pool.datasets.iter().map(|(name, rows)| (vec![("zpool", pool.name.as_str()), ("dataset", name.as_str())], rows))
}

fn write_states(writer: &mut Writer<'_>, base: &Labels, pools: &[Pool]) {
    if pools.iter().all(|pool| pool.state.is_none()) {
        return;
    }
    let mut family = writer.family("node_zfs_zpool_state", GAUGE, "Whether the pool is in this state.", "");
    for pool in pools {
        let Some(now) = &pool.state else { continue };
        for state in STATES {
            let value = u64::from(now.eq_ignore_ascii_case(state));
            family.sample(base, &[("zpool", &pool.name), ("state", state)], Number::Unsigned(value));
        }
    }
}

/// One family a column, with a sample of each that has it.
fn write_columns(writer: &mut Writer<'_>, base: &Labels, prefix: &str, all: &[Labelled<'_>]) {
    let mut columns: Vec<&str> = all.iter().flat_map(|(_, rows)| rows.iter().map(|(name, _)| name.as_str())).collect();
    columns.sort_unstable();
    columns.dedup();
    for column in columns {
        let Some(name) = name_of(column) else { continue };
        let help = format!("{column} of the kstat.");
        let family = format!("{prefix}_{name}");
        let mut family = writer.family(&family, Kind::Unknown, &help, "");
        for (labels, rows) in all {
            if let Some((_, value)) = rows.iter().find(|(name, _)| name == column) {
                family.sample(base, labels, number(*value));
            }
        }
    }
}

/// A row's name as part of a metric's; none where it cannot be one.
fn name_of(row: &str) -> Option<String> {
    let name = row.replace('-', "_");
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(name)
}

fn number(value: Value) -> Number {
    match value {
        Value::Unsigned(value) => Number::Unsigned(value),
        Value::Signed(value) => Number::Signed(value),
    }
}
