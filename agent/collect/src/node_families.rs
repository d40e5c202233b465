//! What a node's numbers are called: node_exporter's names, labels and units, and the two of cAdvisor
//! that dashboards join with (`machine_cpu_cores`, `machine_memory_bytes`).
//!
//! Only names, labels and units are inherited; the help texts are ours. A part of the reading that is
//! empty is not written. A family is a row of a table here or below, and a row of `docs/series.md`.

mod clock;
mod disks;
mod network;
mod storage;
mod system;

use sonde_expo::{Labels, Writer};

use crate::described::{Out, Section, families_of};
use crate::names::Names;
use crate::node::NodeReading;

/// The families of the node, as `docs/series.md` lists them.
pub fn sections() -> Vec<Section> {
    let system = families_of(system::MACHINE).chain(system::OTHERS).chain(families_of(system::PRESSURE)).collect();
    let network = families_of(network::DEVICES).chain(network::OTHERS);
    let network = network.chain(families_of(network::INTERFACES)).chain(families_of(network::TRACKING)).collect();
    let storage = families_of(disks::DISKS).chain(families_of(storage::FILE_SYSTEMS)).chain(storage::ZFS).collect();
    vec![
        Section::new("Of the node: CPU, memory, load and pressure", "", system),
        Section::new(
            "Of the node: its clock",
            "What the kernel knows of its clock's discipline, whoever does that (`adjtimex(2)`, asked and not changed).",
            families_of(clock::CLOCK).collect(),
        ),
        Section::new("Of the node: network", "", network),
        Section::new("Of the node: disks, file systems, ZFS", "", storage),
    ]
}

/// Writes all that a node's reading has, if node_exporter's names are wanted.
pub fn write_node(writer: &mut Writer<'_>, base: &Labels, reading: &NodeReading, names: Names) {
    if !names.cadvisor {
        return;
    }
    let out = &mut Out::new(writer, base, names);
    system::write(out, reading);
    if let Some(clock) = &reading.clock {
        out.rows(clock::CLOCK, clock);
    }
    network::write(out, reading);
    disks::write(out, &reading.disks);
    storage::write_file_systems(out, &reading.file_systems);
    if let Some(zfs) = &reading.zfs {
        storage::write_zfs(out, zfs);
    }
}
