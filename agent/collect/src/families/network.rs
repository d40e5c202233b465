//! Families of an instance's network namespace: interfaces, TCP, UDP, sockets.

use super::amounts::int;
use crate::described::{Described, Out, Row, counter, gauge};
use crate::reading::Interface;
use crate::transport::{Sockets, Transport};

const DEV: &str = "`/proc/PID/net/dev` of the leader";
const HOSTS: &str = "in the host's network namespace; no process lives";

macro_rules! interface {
    ($name:literal, $unit:literal, $help:literal, $field:ident) => {
        Row {
            about: counter($name, $unit, $help).by(&["interface"]).of(DEV).unless(HOSTS),
            value: |it| int(Some(it.$field)),
        }
    };
}

pub(super) static INTERFACES: &[Row<Interface>] = &[
    interface!("container_network_receive_bytes_total", "bytes", "Bytes in.", receive_bytes),
    interface!("container_network_receive_packets_total", "", "Packets in.", receive_packets),
    interface!("container_network_receive_errors_total", "", "Packets that came in broken.", receive_errors),
    interface!(
        "container_network_receive_packets_dropped_total",
        "",
        "Packets that came in and were dropped.",
        receive_dropped
    ),
    interface!("container_network_transmit_bytes_total", "bytes", "Bytes out.", transmit_bytes),
    interface!("container_network_transmit_packets_total", "", "Packets out.", transmit_packets),
    interface!(
        "container_network_transmit_errors_total",
        "",
        "Packets that could not be sent for an error.",
        transmit_errors
    ),
    interface!(
        "container_network_transmit_packets_dropped_total",
        "",
        "Packets dropped on their way out.",
        transmit_dropped
    ),
];

pub(super) static TCP: Described = gauge(
    "container_network_advance_tcp_stats_total",
    "",
    "What TCP has counted in its network namespace, by the kernel's names in lower case.",
)
.by(&["tcp_state"])
.of("`/proc/PID/net/snmp` `Tcp`, `/proc/PID/net/netstat` `TcpExt` of the leader; a value for each that the kernel has")
.unless(HOSTS);

pub(super) static UDP: Described = counter(
    "sonde_instance_udp_total",
    "",
    "UDP over IPv4 by the kernel's names in lower case; inerrors counts the other errors on the way in as well.",
)
.by(&["event"])
.of("`/proc/PID/net/snmp` `Udp` of the leader")
.unless(HOSTS);

const SOCKSTAT: &str = "`/proc/PID/net/sockstat`, `sockstat6` of the leader";

pub(super) static SOCKETS: &[Row<Sockets>] = &[
    Row {
        about: gauge("sonde_instance_sockets", "", "Sockets in the instance's network namespace, of every kind.")
            .of(SOCKSTAT)
            .unless(HOSTS),
        value: |it| int(it.all),
    },
    Row {
        about: gauge(
            "sonde_instance_tcp_time_wait_sockets",
            "",
            "TCP connections in TIME_WAIT in the instance's network namespace.",
        )
        .of(SOCKSTAT)
        .unless(HOSTS),
        value: |it| int(it.time_wait),
    },
];

pub(super) static TCP_SOCKETS: Described = gauge(
    "sonde_instance_tcp_sockets",
    "",
    "TCP sockets in the instance's network namespace, those in TIME_WAIT apart.",
)
.by(&["family"])
.of(SOCKSTAT)
.unless(HOSTS);

pub(super) static UDP_SOCKETS: Described =
    gauge("sonde_instance_udp_sockets", "", "UDP sockets in the instance's network namespace.")
        .by(&["family"])
        .of(SOCKSTAT)
        .unless(HOSTS);

pub(super) fn write_interfaces(out: &mut Out<'_, '_>, interfaces: &[Interface]) {
    out.each(INTERFACES, interfaces, |interface| [&*interface.name]);
}

pub(super) fn write_transport(out: &mut Out<'_, '_>, transport: &Transport) {
    let of_event = |(event, value): (&'static str, Option<u64>)| (event, int(value));
    out.labelled(&TCP, transport.tcp.all().map(of_event));
    out.labelled(&UDP, transport.udp.all().map(of_event));
    let sockets = &transport.sockets;
    out.rows(SOCKETS, sockets);
    let families = |v4, v6| [("ipv4", int(v4)), ("ipv6", int(v6))].into_iter();
    out.labelled(&TCP_SOCKETS, families(sockets.tcp, sockets.tcp6));
    out.labelled(&UDP_SOCKETS, families(sockets.udp, sockets.udp6));
}
