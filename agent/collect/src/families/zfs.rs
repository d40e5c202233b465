//! What ZFS counts of the data set that an instance's root is.
//!
//! Reads and writes are what was asked of the data set, out of the cache or not: not what reached a device.

use super::amounts::int;
use crate::described::{Row, counter};
use crate::reading::Objset;

const KSTAT: &str = "`/proc/spl/kstat/zfs/POOL/objset-*` whose `dataset_name` is the source of its root's mount";
const NONE: &str = "its root is on no ZFS; of a process group; ZFS before 0.8.0";

macro_rules! objset {
    ($name:literal, $unit:literal, $help:literal, $field:ident) => {
        Row { about: counter($name, $unit, $help).by(&["dataset"]).of(KSTAT).unless(NONE), value: |it| int(it.$field) }
    };
}

pub(super) static OBJSET: &[Row<Objset>] = &[
    objset!("sonde_instance_zfs_reads_total", "", "Reads of the data set that the instance's root is on.", reads),
    objset!("sonde_instance_zfs_read_bytes_total", "bytes", "Bytes read of it, out of the cache or not.", read_bytes),
    objset!("sonde_instance_zfs_writes_total", "", "Writes to the data set that the instance's root is on.", writes),
    objset!("sonde_instance_zfs_written_bytes_total", "bytes", "Bytes written to it.", written_bytes),
    objset!("sonde_instance_zfs_unlinks_total", "", "Files of it whose last name was removed.", unlinks),
    objset!("sonde_instance_zfs_unlinked_total", "", "Of these, those whose space was given back.", unlinked),
];
