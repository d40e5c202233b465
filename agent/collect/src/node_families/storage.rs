//! node_exporter's names for file systems and ZFS.

use sonde_expo::{Kind, Number};

use crate::described::{Described, Out, Row, described, gauge};
use crate::families::amounts::int;
use crate::node::zfs::{Pool, Rows, Value, Zfs};
use crate::reading::{FileSystem, Space};

/// A mount point and what its file system said.
type Mounted = (String, Space);

macro_rules! file_system {
    ($name:literal, $unit:literal, $help:literal, $unless:literal, $value:expr) => {
        Row {
            about: gauge($name, $unit, $help)
                .by(&["device", "fstype", "mountpoint"])
                .of("`statfs` of each that the first process has mounted")
                .unless($unless),
            value: |(_, space): &Mounted| {
                let value: fn(&FileSystem) -> Option<u64> = $value;
                int(value(&space.file_system))
            },
        }
    };
}

pub(super) static FILE_SYSTEMS: &[Row<Mounted>] = &[
    file_system!("node_filesystem_size_bytes", "bytes", "Size of the file system.", "", |f| Some(f.size_bytes)),
    file_system!("node_filesystem_free_bytes", "bytes", "What is not in use of it.", "", |f| Some(f.free_bytes)),
    file_system!("node_filesystem_avail_bytes", "bytes", "Of that, what is not kept for root.", "", |f| {
        Some(f.available_bytes)
    }),
    file_system!("node_filesystem_files", "", "Inodes that it can have.", "it makes them as it goes", |f| f.inodes),
    file_system!("node_filesystem_files_free", "", "Inodes that are not in use.", "it makes them as it goes", |f| f
        .inodes_free),
    file_system!("node_filesystem_readonly", "", "Whether nothing can be written to it.", "", |f| {
        Some(u64::from(f.read_only))
    }),
];

pub(super) fn write_file_systems(out: &mut Out<'_, '_>, all: &[Mounted]) {
    out.each(FILE_SYSTEMS, all, |(point, space)| [&*space.file_system.device, space.file_system.kind, point]);
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

const NO_ZFS: &str = "there is no ZFS";

static STATISTICS: Described = described(Kind::Unknown, "node_zfs_NAME", "", "NAME of /proc/spl/kstat/zfs.")
    .of("`/proc/spl/kstat/zfs/*`: `abd`, `arc`, `dbuf`, `dmu_tx`, `dnode`, `fm`, `vdev_cache`, `vdev_mirror`, `xuio`, `zfetch`, `zil` and each row of theirs")
    .unless(NO_ZFS);
static POOL_STATE: Described = gauge("node_zfs_zpool_state", "", "Whether the pool is in this state.")
    .by(&["zpool", "state"])
    .of("`/proc/spl/kstat/zfs/POOL/state`")
    .unless("there is no ZFS, or one before 0.8");
static POOL: Described = described(Kind::Unknown, "node_zfs_zpool_NAME", "", "NAME of the kstat.")
    .by(&["zpool"])
    .of("`/proc/spl/kstat/zfs/POOL/io`")
    .unless("there is no ZFS, or one from 2.1 on");
static DATASET: Described = described(Kind::Unknown, "node_zfs_zpool_dataset_NAME", "", "NAME of the kstat.")
    .by(&["zpool", "dataset"])
    .of("`/proc/spl/kstat/zfs/POOL/objset-*`")
    .unless("there is no ZFS, or one before 0.8");

pub(super) static ZFS: [&Described; 4] = [&STATISTICS, &POOL_STATE, &POOL, &DATASET];

pub(super) fn write_zfs(out: &mut Out<'_, '_>, zfs: &Zfs) {
    for (file, rows) in &zfs.modules {
        let Some((_, module)) = MODULES.into_iter().find(|(known, _)| known == file) else { continue };
        for (row, value) in rows {
            let Some(row_name) = name_of(row) else { continue };
            let word = format!("{module}_{row_name}");
            out.named(&STATISTICS, &word, |family, base| family.sample(base, &[], value.into_number()));
        }
    }
    write_states(out, &zfs.pools);
    let pools: Vec<_> = zfs.pools.iter().map(|pool| (vec![("zpool", pool.name.as_str())], &pool.io)).collect();
    write_columns(out, &POOL, &pools);
    let datasets: Vec<_> = zfs.pools.iter().flat_map(datasets_of).collect();
    write_columns(out, &DATASET, &datasets);
}

/// Labels and rows.
type Labelled<'z> = (Vec<(&'static str, &'z str)>, &'z Rows);

fn datasets_of(pool: &Pool) -> impl Iterator<Item = Labelled<'_>> {
    pool.datasets.iter().map(|(name, rows)| (vec![("zpool", pool.name.as_str()), ("dataset", name.as_str())], rows))
}

fn write_states(out: &mut Out<'_, '_>, pools: &[Pool]) {
    let Some((mut family, base)) = out.family(&POOL_STATE) else { return };
    for pool in pools {
        let Some(now) = &pool.state else { continue };
        for state in STATES {
            let value = u64::from(now.eq_ignore_ascii_case(state));
            family.sample(base, &[("zpool", &pool.name), ("state", state)], Number::Unsigned(value));
        }
    }
}

/// One family a column, with a sample of each that has it.
fn write_columns(out: &mut Out<'_, '_>, about: &'static Described, all: &[Labelled<'_>]) {
    let mut columns: Vec<&str> = all.iter().flat_map(|(_, rows)| rows.iter().map(|(name, _)| name.as_str())).collect();
    columns.sort_unstable();
    columns.dedup();
    for column in columns {
        let Some(name) = name_of(column) else { continue };
        out.named(about, &name, |family, base| {
            for (labels, rows) in all {
                if let Some((_, value)) = rows.iter().find(|(name, _)| name == column) {
                    family.sample(base, labels, value.into_number());
                }
            }
        });
    }
}

/// A row's name as part of a metric's; none where it cannot be one.
fn name_of(row: &str) -> Option<String> {
    let name = row.replace('-', "_");
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(name)
}

impl Value {
    /// As a sample has it.
    pub(crate) fn into_number(self) -> Number {
        match self {
            Self::Unsigned(value) => Number::Unsigned(value),
            Self::Signed(value) => Number::Signed(value),
        }
    }
}
