//! node_exporter's names for protocols, sockets, interfaces and connection tracking.

use sonde_expo::{Kind, Labels, Number, Writer};

use super::{COUNTER, GAUGE};
use crate::node::kernel::Softnet;
use crate::node::network::{InterfaceState, Network};

pub(super) fn write(writer: &mut Writer<'_>, base: &Labels, network: &Network) {
    for (protocol, name, value) in &network.protocols {
        let help = format!("{name} of {protocol}, as the kernel counts it for the host's network namespace.");
        let family = format!("node_netstat_{protocol}_{name}");
        let mut family = writer.family(&family, Kind::Unknown, &help, "");
        family.sample(base, &[], Number::Signed(*value));
    }
    write_sockets(writer, base, network);
    write_interfaces(writer, base, &network.interfaces);
    write_softnet(writer, base, &network.softnet);
    if let Some((entries, limit)) = network.tracked {
        let help = "Connections that are tracked.";
        writer.family("node_nf_conntrack_entries", GAUGE, help, "").sample(base, &[], Number::Unsigned(entries));
        let help = "How many connections can be tracked.";
        writer.family("node_nf_conntrack_entries_limit", GAUGE, help, "").sample(base, &[], Number::Unsigned(limit));
    }
}

fn write_sockets(writer: &mut Writer<'_>, base: &Labels, network: &Network) {
    for (protocol, name, value) in &network.sockets {
        let help = format!("{name} of {protocol} in /proc/net/sockstat.");
        let family = format!("node_sockstat_{protocol}_{name}");
        writer.family(&family, GAUGE, &help, "").sample(base, &[], Number::Unsigned(*value));
        if name == "mem" {
            let bytes = value.saturating_mul(rustix::param::page_size() as u64);
            let help = format!("Memory of {protocol} sockets.");
            writer.family(&format!("{family}_bytes"), GAUGE, &help, "bytes").sample(base, &[], Number::Unsigned(bytes));
        }
    }
}

fn write_interfaces(writer: &mut Writer<'_>, base: &Labels, interfaces: &[InterfaceState]) {
    type InterfaceRow = (&'static str, Kind, &'static str, &'static str, fn(&InterfaceState) -> Option<u64>);
    let rows: [InterfaceRow; 3] = [
        ("node_network_up", GAUGE, "", "Whether the interface's operstate is up.", |i| i.up.map(u64::from)),
        ("node_network_mtu_bytes", GAUGE, "bytes", "The largest packet that the interface sends.", |i| i.mtu_bytes),
        (
            "node_network_carrier_changes_total",
            COUNTER,
            "",
            "How often the interface lost or found its carrier.",
            |i| i.carrier_changes,
        ),
    ];
    for (name, kind, unit, help, value) in rows {
        if interfaces.iter().all(|interface| value(interface).is_none()) {
            continue;
        }
        let mut family = writer.family(name, kind, help, unit);
        for interface in interfaces {
            if let Some(value) = value(interface) {
                family.sample(base, &[("device", &interface.name)], Number::Unsigned(value));
            }
        }
    }
}

fn write_softnet(writer: &mut Writer<'_>, base: &Labels, cpus: &[Softnet]) {
    type SoftnetRow = (&'static str, &'static str, fn(&Softnet) -> u64);
    let rows: [SoftnetRow; 3] = [
        ("node_softnet_processed_total", "Packets that the CPU took.", |cpu| cpu.processed),
        ("node_softnet_dropped_total", "Packets dropped because the CPU's backlog was full.", |cpu| cpu.dropped),
        ("node_softnet_times_squeezed_total", "How often the CPU left packets lying as its time was up.", |cpu| {
            cpu.squeezed
        }),
    ];
    for (name, help, value) in rows.into_iter().filter(|_| !cpus.is_empty()) {
        let mut family = writer.family(name, COUNTER, help, "");
        for cpu in cpus {
            family.sample(base, &[("cpu", &cpu.cpu.to_string())], Number::Unsigned(value(cpu)));
        }
    }
}
