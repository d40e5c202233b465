//! node_exporter's names for protocols, sockets, interfaces and connection tracking.

use sonde_expo::{Kind, Number};

use crate::described::{Described, Out, Row, counter, described, gauge};
use crate::families::amounts::int;
use crate::node::NodeReading;
use crate::node::network::{InterfaceState, Network};

/// An interface and its 16 columns of `net/dev`.
type Columns = (String, [u64; 16]);

macro_rules! column {
    ($at:literal, $name:literal, $unit:literal, $words:literal) => {
        Row {
            about: counter($name, $unit, concat!($words, " of /proc/net/dev.")).by(&["device"]).of("`/proc/net/dev`"),
            value: |(_, columns): &Columns| int(Some(columns[$at])),
        }
    };
}

pub(super) static DEVICES: &[Row<Columns>] = &[
    column!(0, "node_network_receive_bytes_total", "bytes", "receive bytes"),
    column!(1, "node_network_receive_packets_total", "", "receive packets"),
    column!(2, "node_network_receive_errs_total", "", "receive errs"),
    column!(3, "node_network_receive_drop_total", "", "receive drop"),
    column!(4, "node_network_receive_fifo_total", "", "receive fifo"),
    column!(5, "node_network_receive_frame_total", "", "receive frame"),
    column!(6, "node_network_receive_compressed_total", "", "receive compressed"),
    column!(7, "node_network_receive_multicast_total", "", "receive multicast"),
    column!(8, "node_network_transmit_bytes_total", "bytes", "transmit bytes"),
    column!(9, "node_network_transmit_packets_total", "", "transmit packets"),
    column!(10, "node_network_transmit_errs_total", "", "transmit errs"),
    column!(11, "node_network_transmit_drop_total", "", "transmit drop"),
    column!(12, "node_network_transmit_fifo_total", "", "transmit fifo"),
    column!(13, "node_network_transmit_colls_total", "", "transmit colls"),
    column!(14, "node_network_transmit_carrier_total", "", "transmit carrier"),
    column!(15, "node_network_transmit_compressed_total", "", "transmit compressed"),
];

static PROTOCOLS: Described = described(
    Kind::Unknown,
    "node_netstat_NAME",
    "",
    "NAME, as the kernel counts it for the host's network namespace.",
)
.of("`/proc/net/snmp`, `netstat`, `snmp6`: those that node_exporter has by default, `NAME` being `Tcp_RetransSegs` and the like");
static SOCKETS: Described =
    gauge("node_sockstat_NAME", "", "NAME in /proc/net/sockstat.").of("`/proc/net/sockstat`, `sockstat6`");
static SOCKETS_BYTES: Described = gauge("node_sockstat_NAME_bytes", "bytes", "Memory of sockets: NAME, in bytes.")
    .of("`/proc/net/sockstat` `mem`, which is in pages");

pub(super) static OTHERS: [&Described; 3] = [&PROTOCOLS, &SOCKETS, &SOCKETS_BYTES];

pub(super) static INTERFACES: &[Row<InterfaceState>] = &[
    Row {
        about: gauge("node_network_up", "", "Whether the interface's operstate is up.")
            .by(&["device"])
            .of("`/sys/class/net/*/operstate`"),
        value: |i| int(i.up.map(u64::from)),
    },
    Row {
        about: gauge("node_network_mtu_bytes", "bytes", "The largest packet that the interface sends.")
            .by(&["device"])
            .of("`/sys/class/net/*/mtu`"),
        value: |i| int(i.mtu_bytes),
    },
    Row {
        about: counter("node_network_carrier_changes_total", "", "How often the interface lost or found its carrier.")
            .by(&["device"])
            .of("`/sys/class/net/*/carrier_changes`"),
        value: |i| int(i.carrier_changes),
    },
];

const TRACKED: &str = "connections are not tracked";

pub(super) static TRACKING: &[Row<Network>] = &[
    Row {
        about: gauge("node_nf_conntrack_entries", "", "Connections that are tracked.")
            .of("`/proc/sys/net/netfilter/nf_conntrack_count`")
            .unless(TRACKED),
        value: |n| int(n.tracked.map(|(entries, _)| entries)),
    },
    Row {
        about: gauge("node_nf_conntrack_entries_limit", "", "How many connections can be tracked.")
            .of("`/proc/sys/net/netfilter/nf_conntrack_max`")
            .unless(TRACKED),
        value: |n| int(n.tracked.map(|(_, limit)| limit)),
    },
];

pub(super) fn write(out: &mut Out<'_, '_>, reading: &NodeReading) {
    out.each(DEVICES, &reading.network, |(device, _)| [&**device]);
    let network = &reading.transport;
    for (protocol, name, value) in &network.protocols {
        let word = format!("{protocol}_{name}");
        out.named(&PROTOCOLS, &word, |family, base| family.sample(base, &[], Number::Signed(*value)));
    }
    for (protocol, name, value) in &network.sockets {
        let word = format!("{protocol}_{name}");
        out.named(&SOCKETS, &word, |family, base| family.sample(base, &[], Number::Unsigned(*value)));
        if name == "mem" {
            let bytes = value.saturating_mul(rustix::param::page_size() as u64);
            out.named(&SOCKETS_BYTES, &word, |family, base| family.sample(base, &[], Number::Unsigned(bytes)));
        }
    }
    out.each(INTERFACES, &network.interfaces, |interface| [&*interface.name]);
    out.rows(TRACKING, network);
}
