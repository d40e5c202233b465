//! node_exporter's names for block devices.

use crate::described::{Out, Row, counter, gauge};
use crate::families::amounts::{int, ms};
use crate::node::Disk;

macro_rules! disk {
    ($kind:ident, $name:literal, $unit:literal, $help:literal, $unless:literal, $value:expr) => {
        Row { about: $kind($name, $unit, $help).by(&["device"]).of("`/proc/diskstats`").unless($unless), value: $value }
    };
}

pub(super) static DISKS: &[Row<Disk>] = &[
    disk!(counter, "node_disk_reads_completed_total", "", "Reads completed.", "", |d| int(Some(d.fields[0]))),
    disk!(counter, "node_disk_reads_merged_total", "", "Reads merged with others.", "", |d| int(Some(d.fields[1]))),
    disk!(counter, "node_disk_read_bytes_total", "bytes", "Bytes read.", "", |d| int(Some(d.read_bytes()))),
    disk!(counter, "node_disk_read_time_seconds_total", "seconds", "Time that all reads took together.", "", |d| {
        Some(ms(d.fields[3]))
    }),
    disk!(counter, "node_disk_writes_completed_total", "", "Writes completed.", "", |d| int(Some(d.fields[4]))),
    disk!(counter, "node_disk_writes_merged_total", "", "Writes merged with others.", "", |d| int(Some(d.fields[5]))),
    disk!(counter, "node_disk_written_bytes_total", "bytes", "Bytes written.", "", |d| int(Some(d.written_bytes()))),
    disk!(counter, "node_disk_write_time_seconds_total", "seconds", "Time that all writes took together.", "", |d| {
        Some(ms(d.fields[7]))
    }),
    disk!(gauge, "node_disk_io_now", "", "Requests in flight.", "", |d| int(Some(d.fields[8]))),
    disk!(
        counter,
        "node_disk_io_time_seconds_total",
        "seconds",
        "Time during which requests were in flight.",
        "",
        |d| { Some(ms(d.fields[9])) }
    ),
    disk!(
        counter,
        "node_disk_io_time_weighted_seconds_total",
        "seconds",
        "Time in flight of all requests together.",
        "",
        |d| Some(ms(d.fields[10]))
    ),
    disk!(counter, "node_disk_discards_completed_total", "", "Discards completed.", "Linux before 4.18", |d| int(
        d.later[0]
    )),
    disk!(
        counter,
        "node_disk_discards_merged_total",
        "",
        "Discards merged with others.",
        "Linux before 4.18",
        |d| int(d.later[1])
    ),
    disk!(
        counter,
        "node_disk_discarded_sectors_total",
        "",
        "Sectors of 512 bytes discarded.",
        "Linux before 4.18",
        |d| int(d.later[2])
    ),
    disk!(
        counter,
        "node_disk_discard_time_seconds_total",
        "seconds",
        "Time that all discards took together.",
        "Linux before 4.18",
        |d| d.later[3].map(ms)
    ),
    disk!(counter, "node_disk_flush_requests_total", "", "Flushes completed.", "Linux before 5.5", |d| int(d.later[4])),
    disk!(
        counter,
        "node_disk_flush_requests_time_seconds_total",
        "seconds",
        "Time that all flushes took together.",
        "Linux before 5.5",
        |d| d.later[5].map(ms)
    ),
];

pub(super) fn write(out: &mut Out<'_, '_>, disks: &[Disk]) {
    out.each(DISKS, disks, |disk| [&*disk.device]);
}
