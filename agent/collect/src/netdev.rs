//! Network interfaces: `/proc/<pid>/net/dev`, as seen from inside the process's network namespace.
//!
//! Two header lines, then for each interface a name, a colon and 16 numbers: eight of what was received,
//! eight of what was sent. All interfaces are given: what looks like a host's virtual one by its
//! name may be the only one that a container has. Of an instance loopback is left out, as cAdvisor does, and what is above
//! [`INTERFACES_MAX`]: who may configure his own network can make thousands, and each is eight series.

use crate::bytes;
use crate::reading::Interface;

/// Interfaces of one instance at most: a node's worth. Containers have one to three.
pub const INTERFACES_MAX: usize = 64;

/// An instance's interfaces, the first [`INTERFACES_MAX`] in the kernel's order, and how many there are besides. A line that is cut
/// short or has fewer numbers is left out, the others stay.
pub fn parse(text: &[u8]) -> (Vec<Interface>, u64) {
    let mut lines = lines(text).filter(|(name, _)| *name != "lo");
    let first = lines
        .by_ref()
        .take(INTERFACES_MAX)
        .map(|(name, values)| Interface {
            name: name.to_owned(),
            receive_bytes: values[0],
            receive_packets: values[1],
            receive_errors: values[2],
            receive_dropped: values[3],
            transmit_bytes: values[8],
            transmit_packets: values[9],
            transmit_errors: values[10],
            transmit_dropped: values[11],
        })
        .collect();
    (first, lines.count() as u64)
}

/// Packets that loopback dropped on the way out. It is the first line of the file, or near.
pub fn loopback_transmit_dropped(text: &[u8]) -> Option<u64> {
    lines(text).find(|(name, _)| *name == "lo").map(|(_, values)| values[11])
}

/// All interfaces and all numbers, in the file's order.
pub fn parse_all(text: &[u8]) -> Vec<(String, [u64; 16])> {
    lines(text).map(|(name, values)| (name.to_owned(), values)).collect()
}

fn lines(text: &[u8]) -> impl Iterator<Item = (&str, [u64; 16])> {
    bytes::lines(text).skip(2).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(line[..colon].trim_ascii()).ok()?;
        let mut values = [0u64; 16];
        let mut fields = bytes::fields(&line[colon + 1..]);
        for value in &mut values {
            *value = bytes::number(fields.next()?)?;
        }
        Some((name, values))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

    #[test]
    fn table() {
        let text = format!(
            "{HEAD}    lo:  9 9 9 9 9 9 9 9 9 9 9 7 9 9 9 9\n  eth0:18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\nveth1: 1 2 3\n x: 1 2 3 4 5 6 7 8 9 a 11 12 13 14 15 16\n cut: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"
        );
        let found = parse(text.as_bytes());
        let expected = Interface {
            name: "eth0".into(),
            receive_bytes: u64::MAX,
            receive_packets: 2,
            receive_errors: 3,
            receive_dropped: 4,
            transmit_bytes: 9,
            transmit_packets: 10,
            transmit_errors: 11,
            transmit_dropped: 12,
        };
        assert_eq!(found, (vec![expected], 0));
        assert_eq!(parse_all(text.as_bytes()).len(), 2);
        assert_eq!(loopback_transmit_dropped(text.as_bytes()), Some(7));
        assert_eq!(loopback_transmit_dropped(HEAD.as_bytes()), None);
        for none in [HEAD.as_bytes(), b"", b"a\nb\nc\n"] {
            assert_eq!(parse(none), (Vec::new(), 0));
        }
    }

    #[test]
    fn an_instance_has_so_many_at_most() {
        let line = |name: &str| format!("{name}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
        let made: String = (0..INTERFACES_MAX + 5).map(|n| line(&format!("dummy{n}"))).collect();
        let (found, left_out) = parse(format!("{HEAD}{}{made}", line("lo")).as_bytes());
        assert_eq!((found.len(), left_out), (INTERFACES_MAX, 5));
        assert_eq!((found[0].name.as_str(), found[63].name.as_str()), ("dummy0", "dummy63"));
    }
}
