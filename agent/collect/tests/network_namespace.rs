//! The files of a network namespace over a machine made of files: whole, cut, too long, vanished, and the host's own.

mod tree;

use sonde_collect::reading::Ulimit;
use sonde_collect::state::{ProblemReason, judge};
use sonde_collect::{Reading, Reason, Resource};
use tree::filled::{container, made, reader};
use tree::{Layout, Tree, V1, file};

const LEADER: &str = "42 (sh) S 1 42 42 0 -1 4194560 603 0 0 0 11 12 13 14 20 0 1 0 87360 2322432 364 1\n";
const NET: [(&str, &str); 5] = [
    ("dev", "a\nb\n eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"),
    ("snmp", "Tcp: ActiveOpens MaxConn CurrEstab\nTcp: 18446744073709551615 -1 2\nUdp: NoPorts\nUdp: 4\n"),
    ("netstat", "TcpExt: ListenOverflows TCPTimeouts\nTcpExt: 5 6\n"),
    ("sockstat", "sockets: used 28\nTCP: inuse 1 orphan 0 tw 3 alloc 21 mem 180\n"),
    ("sockstat6", "TCP6: inuse 7\n"),
];

/// Gives the container a process with a network namespace of its own.
fn lead(tree: &Tree) {
    let cgroup = container();
    let lines: String = V1.iter().enumerate().map(|(at, name)| format!("{at}:{name}:{cgroup}\n")).collect();
    tree.write("proc/42/cgroup", &format!("{lines}0::{cgroup}\n"));
    tree.write("proc/42/stat", LEADER);
    tree.write("proc/42/status", "Name:\tsh\nNSpid:\t42\t1\nCpus_allowed_list:\t0-2,5\n");
    tree.write("proc/42/limits", "Max open files            1024                 4096                 files\n");
    tree.write("proc/42/ns/net", "");
    tree.write("proc/self/ns/net", "");
    for (name, text) in NET {
        tree.write(&format!("proc/42/net/{name}"), text);
    }
    for mount in ["memory", "unified"] {
        tree.write(&file(mount, &cgroup, "cgroup.procs"), "42\n");
    }
}

#[test]
fn a_network_namespace_of_its_own() {
    let tree = made(Layout::Hybrid);
    lead(&tree);
    for budget in [100, 0] {
        let mut reader = reader(&tree, budget);
        let reading = reader.read().unwrap();
        let transport = reading.transport.unwrap();
        assert_eq!((transport.tcp.activeopens, transport.tcp.currestab), (Some(u64::MAX), Some(2)));
        assert_eq!((transport.tcp.listenoverflows, transport.tcp.tcptimeouts), (Some(5), Some(6)));
        assert_eq!((transport.tcp.listendrops, transport.udp.noports), (None, Some(4)));
        let sockets = transport.sockets;
        assert_eq!((sockets.all, sockets.tcp, sockets.tcp6, sockets.time_wait), (Some(28), Some(1), Some(7), Some(3)));
        assert_eq!(reading.network.unwrap()[0].name, "eth0");
        assert_eq!((reading.limits.cpus_allowed, reading.limits.open_files), (Some(4), Some(Ulimit::At(1024))));
        // Each file that is cut, empty or nonsense costs its own values and no other's.
        for nonsense in ["", "\n", "garbage\n", "TcpExt: ListenOverflows\nTcpExt: 5", "\u{0}: \u{0}\n\u{0}: 1\n"] {
            tree.write("proc/42/net/netstat", nonsense);
            let transport = reader.read().unwrap().transport.unwrap();
            assert_eq!((transport.tcp.listenoverflows, transport.tcp.currestab), (None, Some(2)), "{nonsense:?}");
        }
        tree.write("proc/42/net/netstat", NET[2].1);
    }
    // Opened anew each time, what vanishes is missed; kept open it is what it was.
    let mut reader = reader(&tree, 0);
    reader.read().unwrap();
    std::fs::remove_dir_all(tree.path("proc/42/net")).unwrap();
    let reading = reader.read().unwrap();
    assert_eq!((&reading.transport, &reading.network), (&None, &None));
    assert!(reading.problems.is_empty() && reading.memory.usage_bytes.is_some());
}

const UP: &str = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
    1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
const ETH0_UP: &str = "2\teth0      :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";

#[test]
fn an_interface_that_goes_down() {
    let tree = made(Layout::Hybrid);
    lead(&tree);
    let up = |reading: &Reading| reading.network.as_ref().unwrap()[0].up;
    assert_eq!(up(&reader(&tree, 0).read().unwrap()), None, "this kernel does not tell");
    for budget in [100, 0] {
        tree.write("proc/42/net/igmp", &format!("{UP}{ETH0_UP}"));
        let mut reader = reader(&tree, budget);
        assert_eq!(up(&reader.read().unwrap()), Some(true));
        tree.write("proc/42/net/igmp", UP);
        let reading = reader.read().unwrap();
        assert_eq!(up(&reading), Some(false));
        let judgement = judge(None, &reading);
        // The fixture's cgroup is frozen as well.
        assert_eq!(
            (judgement.saturated, judgement.reasons),
            (vec![Resource::Network], vec![Reason::Freezer, Reason::NetworkDown])
        );
        for nonsense in ["", "garbage\n", "\u{0}\n\t\t\n"] {
            tree.write("proc/42/net/igmp", nonsense);
            assert_eq!(up(&reader.read().unwrap()), None, "{nonsense:?}");
        }
    }
}

/// Whoever configures his own network makes as many as he likes.
#[test]
fn thousands_of_interfaces_are_read_in_part_and_that_is_said() {
    let tree = made(Layout::Hybrid);
    lead(&tree);
    let line = |n: usize| format!("dummy{n}: {n} 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
    let many = |count: usize| format!("a\nb\n{}", (0..count).map(line).collect::<String>());
    let mut reader = reader(&tree, 100);
    for (count, left_out, problems) in [(64, Some(0), 0), (300, Some(236), 0), (40_000, None, 1)] {
        tree.write("proc/42/net/dev", &many(count));
        let reading = reader.read().unwrap();
        let network = reading.network.unwrap();
        assert_eq!(network.len(), 64);
        assert!(network.iter().enumerate().all(|(n, it)| it.receive_bytes == n as u64), "what was read is exact");
        assert_eq!((reading.interfaces_left_out, reading.problems.len()), (left_out, problems), "of {count}");
        assert!(reading.problems.iter().all(|it| (it.file, it.reason) == ("net/dev", ProblemReason::TooLong)));
        assert!(reading.transport.is_some() && reading.memory.usage_bytes.is_some(), "and it costs nothing else");
    }
}

#[test]
fn nothing_of_the_hosts_network_namespace() {
    let tree = made(Layout::Unified);
    lead(&tree);
    assert!(reader(&tree, 100).read().unwrap().transport.is_some());
    std::fs::remove_file(tree.path("proc/42/ns/net")).unwrap();
    std::fs::hard_link(tree.path("proc/self/ns/net"), tree.path("proc/42/ns/net")).unwrap();
    let reading = reader(&tree, 100).read().unwrap();
    assert!(reading.leader.is_some());
    assert_eq!((reading.transport, reading.network), (None, None));
}
