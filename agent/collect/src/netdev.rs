//! Network interfaces: `/proc/<pid>/net/dev` and `/proc/<pid>/net/igmp`, as seen from inside the process's network namespace.
//!
//! `dev` has two header lines, then for each interface a name, a colon and 16 numbers: eight of what was received,
//! eight of what was sent. All interfaces are given: what looks like a host's virtual one by its
//! name may be the only one that a container has. Of an instance loopback is left out, as cAdvisor does, and what is above
//! [`INTERFACES_MAX`]: who may configure his own network can make thousands, and each is eight series.
//!
//! Whether one is up is in no file of the namespace by that name. But the kernel has each interface listen to all hosts' group from when it comes up
//! until it goes down (`ip_mc_up`, `ip_mc_down` in net/ipv4/igmp.c), and `igmp` lists who listens to what.

use crate::bytes;
use crate::reading::Interface;
use crate::runtime::is_number;

/// Interfaces of one instance at most: a node's worth. Containers have one to three.
pub const INTERFACES_MAX: usize = 64;

/// Of one of these files no more is read than this: some 500 interfaces. The kernel gathers the numbers of each as it prints it,
/// and who makes thousands would hold up whoever reads them all.
pub const READ_MOST_BYTES: usize = 64 * 1024;

/// All hosts' group, 224.0.0.1, as `igmp` prints it on machines of either byte order.
const ALL_HOSTS: [&[u8]; 2] = [b"010000E0", b"E0000001"];

/// Interfaces of these kinds carry no IP and never listen to a group, up or down. They are always called so.
const WITHOUT_IP: [&str; 4] = ["can", "vcan", "vxcan", "slcan"];

/// An instance's interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// The first [`INTERFACES_MAX`] in the kernel's order, without loopback.
    pub first: Vec<Interface>,
    /// How many there are besides, as far as the text goes.
    pub left_out: u64,
    /// Loopback. It is the first line of the file, or near.
    pub loopback: Option<Interface>,
}

/// Parses `dev`. A line that is cut short or has fewer numbers is left out, the others stay.
pub fn parse(text: &[u8]) -> Interfaces {
    let mut found = Interfaces::default();
    for (name, values) in lines(text) {
        if name == "lo" {
            found.loopback = Some(interface(name, &values));
        } else if found.first.len() < INTERFACES_MAX {
            found.first.push(interface(name, &values));
        } else {
            found.left_out += 1;
        }
    }
    found
}

fn interface(name: &str, values: &[u64; 16]) -> Interface {
    Interface {
        name: name.to_owned(),
        receive_bytes: values[0],
        receive_packets: values[1],
        receive_errors: values[2],
        receive_dropped: values[3],
        transmit_bytes: values[8],
        transmit_packets: values[9],
        transmit_errors: values[10],
        transmit_dropped: values[11],
        up: None,
    }
}

/// Which interfaces are up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Up {
    names: Vec<Box<str>>,
    /// Whether the text was all of the file.
    whole: bool,
}

impl Up {
    /// Of an interface by its name; none where it cannot be told.
    pub fn of(&self, name: &str) -> Option<bool> {
        if WITHOUT_IP.iter().any(|kind| name.strip_prefix(kind).is_some_and(is_number)) {
            return None;
        }
        let is_up = self.names.iter().any(|up| **up == *name);
        (is_up || self.whole).then_some(is_up)
    }
}

/// Parses `igmp`: a line of number, name and more for each interface that listens to any group, and then one for each group. What
/// has no head line is no such file, and tells of none that it is down.
pub fn parse_up(text: &[u8], whole: bool) -> Up {
    let mut up = Up::default();
    let mut lines = bytes::lines(text);
    up.whole = whole && lines.next().is_some_and(|head| head.starts_with(b"Idx")) && text.ends_with(b"\n");
    let mut of = None;
    for line in lines {
        let mut fields = bytes::fields(line);
        if line.starts_with(b"\t") {
            if let (Some(group), Some(name)) = (fields.next(), of)
                && ALL_HOSTS.contains(&group)
            {
                up.names.push(Box::from(name));
                of = None;
            }
            continue;
        }
        let named = fields.nth(1).map(|name| name.strip_suffix(b":").unwrap_or(name));
        of = named.and_then(|name| std::str::from_utf8(name).ok());
    }
    up
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
            up: None,
        };
        assert_eq!((found.first, found.left_out), (vec![expected], 0));
        assert_eq!(found.loopback.unwrap().transmit_dropped, 7);
        assert_eq!(parse_all(text.as_bytes()).len(), 2);
        for none in [HEAD.as_bytes(), b"", b"a\nb\nc\n"] {
            assert_eq!(parse(none), Interfaces::default());
        }
    }

    #[test]
    fn an_instance_has_so_many_at_most() {
        let line = |name: &str| format!("{name}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
        let made: String = (0..INTERFACES_MAX + 5).map(|n| line(&format!("dummy{n}"))).collect();
        let found = parse(format!("{HEAD}{}{made}", line("lo")).as_bytes());
        assert_eq!((found.first.len(), found.left_out), (INTERFACES_MAX, 5));
        assert_eq!((found.first[0].name.as_str(), found.first[63].name.as_str()), ("dummy0", "dummy63"));
    }

    /// As Linux 6.18 prints it. `eth1` is down, and a program of its has joined a group.
    const IGMP: &str = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
        1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
        2\teth1      :     1      V3\n\t\t\t\tFB0000E0     1 0:00000000\t\t0\n\
        3\tlong-name-15ch:     2      V3\n\t\t\t\tFB0000E0     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";

    #[test]
    fn up_and_down() {
        let up = parse_up(IGMP.as_bytes(), true);
        for (name, expected) in [
            ("lo", Some(true)),
            ("eth1", Some(false)),
            ("long-name-15ch", Some(true)),
            ("eth0", Some(false)),
            ("vcan0", None),
            ("can12", None),
            ("canteen", Some(false)),
        ] {
            assert_eq!(up.of(name), expected, "{name}");
        }
        // Of a part, only what it has is known; and of what is no such file nothing.
        for cut in 0..IGMP.len() {
            let part = parse_up(&IGMP.as_bytes()[..cut], false);
            assert!(part.names.iter().all(|name| up.names.contains(name)), "{part:?}");
            assert_eq!(part.of("eth1"), None);
        }
        for nonsense in ["", "\n", "\t\t\t010000E0\n", "garbage\nmore\n", "Idx\tDevice"] {
            assert_eq!(parse_up(nonsense.as_bytes(), true).of("lo"), None, "{nonsense:?}");
        }
        assert_eq!(
            parse_up(&IGMP.as_bytes()[..IGMP.find("1\tlo").unwrap()], true).of("lo"),
            Some(false),
            "all are down"
        );
        let big = IGMP.replace("010000E0", "E0000001");
        assert_eq!(parse_up(big.as_bytes(), true), up);
    }
}
