//! The node's network beyond `net/dev`: protocols, sockets, interfaces' state and connection tracking.
//!
//! Of `snmp`, `netstat` and `snmp6` the columns that node_exporter has by default are kept. An interface's `speed` and
//! `carrier` are not read: the kernel takes its one lock of all networking for them, which a busy node holds for long.

use crate::bytes;
use crate::mounts::Roots;
use crate::node::kernel::{self, Softnet};
use crate::source::Buffer;
use crate::transport;

/// Interfaces that are looked at in sysfs at most: a node of thousands of containers has as many.
const INTERFACES: usize = 512;

/// State of one interface, from `/sys/class/net/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceState {
    /// Its name.
    pub name: String,
    /// Whether `operstate` is `up`.
    pub up: Option<bool>,
    /// The largest packet that it sends.
    pub mtu_bytes: Option<u64>,
    /// How often it lost or found its carrier.
    pub carrier_changes: Option<u64>,
}

/// The node's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Protocol, name, value: `("Tcp", "RetransSegs", 5)`.
    pub protocols: Vec<(String, String, i64)>,
    /// Protocol, name, value of `sockstat`: `("TCP", "inuse", 5)`.
    pub sockets: Vec<(String, String, u64)>,
    /// Interfaces.
    pub interfaces: Vec<InterfaceState>,
    /// Connections that are tracked, and how many can be; none where nothing tracks any.
    pub tracked: Option<(u64, u64)>,
    /// Packets by CPU.
    pub softnet: Vec<Softnet>,
}

/// Reads it.
pub fn read(roots: &Roots, buffer: &mut Buffer) -> Network {
    let mut text = |name: &str| {
        let path = roots.proc.join(name);
        buffer.read_path(&path).map(<[u8]>::to_vec).unwrap_or_default()
    };
    let mut network = Network::default();
    for name in ["net/snmp", "net/netstat"] {
        protocols(&text(name), &mut network.protocols);
    }
    protocols6(&text("net/snmp6"), &mut network.protocols);
    for name in ["net/sockstat", "net/sockstat6"] {
        sockets(&text(name), &mut network.sockets);
    }
    let entries = bytes::single(&text("sys/net/netfilter/nf_conntrack_count"));
    let limit = bytes::single(&text("sys/net/netfilter/nf_conntrack_max"));
    network.tracked = entries.zip(limit);
    network.softnet = kernel::softnet(&text("net/softnet_stat"));
    network.interfaces = interfaces(roots, buffer);
    network
}

/// `snmp` and `netstat` into `all`.
pub fn protocols(text: &[u8], all: &mut Vec<(String, String, i64)>) {
    all.extend(transport::columns(text).filter_map(|(protocol, name, value)| {
        let (protocol, name) = (std::str::from_utf8(protocol).ok()?, std::str::from_utf8(name).ok()?);
        let value = bytes::signed(value).filter(|_| is_kept(protocol, name))?;
        Some((protocol.to_owned(), name.to_owned(), value))
    }));
}

/// `snmp6` into `all`: lines `Ip6InReceives 5`.
pub fn protocols6(text: &[u8], all: &mut Vec<(String, String, i64)>) {
    all.extend(bytes::lines(text).filter_map(|line| {
        let mut fields = bytes::fields(line);
        let (key, value) = (std::str::from_utf8(fields.next()?).ok()?, bytes::signed(fields.next()?)?);
        let (protocol, name) = key.split_at(key.find('6')? + 1);
        is_kept(protocol, name).then(|| (protocol.to_owned(), name.to_owned(), value))
    }));
}

/// Whether node_exporter has it by default.
fn is_kept(protocol: &str, name: &str) -> bool {
    match protocol {
        "Tcp" => matches!(
            name,
            "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab" | "InErrs"
        ),
        "TcpExt" => {
            name.starts_with("Listen")
                || name.starts_with("Syncookies")
                || matches!(name, "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop")
        }
        "Udp" | "Udp6" => {
            matches!(name, "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors" | "InErrors")
        }
        "IpExt" | "Ip6" => matches!(name, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs" | "InErrors"),
        "Ip" => name == "Forwarding",
        "UdpLite" | "UdpLite6" => name == "InErrors",
        _ => false,
    }
}

/// `sockstat` and `sockstat6` into `all`.
pub fn sockets(text: &[u8], all: &mut Vec<(String, String, u64)>) {
    all.extend(transport::socket_columns(text).filter_map(|(protocol, name, value)| {
        let plain = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric);
        let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        (plain(protocol) && plain(name)).then(|| (text(protocol), text(name), value))
    }));
}

fn interfaces(roots: &Roots, buffer: &mut Buffer) -> Vec<InterfaceState> {
    let directory = roots.sys.join("class/net");
    let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names.truncate(INTERFACES);
    let state = |name: String| {
        let path = directory.join(&name);
        let mut text = |file: &str| buffer.read_path(&path.join(file)).map(<[u8]>::to_vec).unwrap_or_default();
        Some(InterfaceState {
            up: bytes::lines(&text("operstate")).next().map(|state| state == b"up"),
            mtu_bytes: bytes::single(&text("mtu")),
            carrier_changes: bytes::single(&text("carrier_changes")),
            name,
        })
        // A file such as bonding_masters stands among them.
        .filter(|state| state.up.is_some() || state.mtu_bytes.is_some())
    };
    names.into_iter().filter_map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_columns() {
        let mut all = Vec::new();
        protocols(
            b"Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: MaxConn RetransSegs\nTcp: -1 5\nTcpExt: ListenDrops TW\nTcpExt: 6 7\n",
            &mut all,
        );
        protocols6(
            b"Ip6InOctets  \t8\nUdp6InErrors \t9\nIp6InDelivers 1\n6\nno 1\nUdp6InErrors x\nUdp6NoPorts 1",
            &mut all,
        );
        let one = |protocol: &str, name: &str, value| (protocol.to_owned(), name.to_owned(), value);
        let expected = [
            one("Ip", "Forwarding", 1),
            one("Tcp", "RetransSegs", 5),
            one("TcpExt", "ListenDrops", 6),
            one("Ip6", "InOctets", 8),
            one("Udp6", "InErrors", 9),
        ];
        assert_eq!(all, expected);
        let mut sock = Vec::new();
        sockets(b"sockets: used 28\nTCP: inuse 1 mem x\nno colon 1\n", &mut sock);
        let one = |protocol: &str, name: &str, value| (protocol.to_owned(), name.to_owned(), value);
        assert_eq!(sock, [one("sockets", "used", 28), one("TCP", "inuse", 1)]);
    }
}
