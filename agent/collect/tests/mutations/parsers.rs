//! Every parser of a kernel file: a file as the kernel writes it, and the numbers that the parser finds in one.
//!
//! Shared by the mutations in this folder and by the fuzz target in `../../fuzz`.

use std::fmt::Debug;

use sonde_collect::reading::{DeviceIo, DeviceLimit, Interface, Limits, Memory, Ulimit};
use sonde_collect::transport::{Sockets, Transport};
use sonde_collect::{cgroup_v1, cgroup_v2, limits, mounts, netdev, node, pressure, process, space, transport};

/// A parser.
pub struct Parser {
    /// Whose.
    pub name: &'static str,
    /// A file as it is.
    pub sample: &'static str,
    /// What a number in the file is multiplied by, at most one of these.
    pub units: &'static [i128],
    /// What the parser makes of a file: every number, in no order.
    pub numbers: fn(&[u8]) -> Vec<i128>,
}

const ONE: &[i128] = &[1];
const KIB: &[i128] = &[1, 1024];
const NS_OF_US: &[i128] = &[1, 1000];

const fn parser(
    name: &'static str,
    sample: &'static str,
    units: &'static [i128],
    numbers: fn(&[u8]) -> Vec<i128>,
) -> Parser {
    Parser { name, sample, units, numbers }
}

const MEMORY_V1: &str = "cache 1\nrss 2\npgfault 600\ntotal_cache 2039808\ntotal_rss 65536\ntotal_swap 4096\n\
    total_mapped_file 1613824\ntotal_pgfault 666\ntotal_pgmajfault 7\ntotal_inactive_file 253952\ntotal_dirty 8192\n";
const MEMORY_V2: &str = "anon 65536\nfile 2039808\nkernel 12288\nsock 3\nfile_mapped 1613824\ninactive_file 253952\n\
    pgfault 666\npgmajfault 7\nfile_dirty 8192\nworkingset_refault_file 33\npgscan 44\npgscan_direct 40\n";
const STAT: &str =
    "9573 (a b) T 1 9 9 0 -1 4194560 603 0 0 0 11 12 13 14 20 0 3 0 87360 2322432 364 18446744073709551615 1\n";
const NET_DEV: &str = "Inter-|   Receive  |  Transmit\n face |bytes  |bytes\n    lo: 1 2 0 0 0 0 0 0 3 4 0 7 0 0 0 0\n\
    eth0:18446744073709551615 22 33 44 5 6 7 8 99 100 111 122 13 14 15 16\n";
const IGMP: &str = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
const SNMP: &str = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoAlgorithm MaxConn ActiveOpens CurrEstab RetransSegs\n\
    Tcp: 1 -1 5 2 77\nUdp: InDatagrams NoPorts\nUdp: 111 222\nTcpExt: ListenDrops TCPTimeouts\nTcpExt: 333 444\n";
const SOCKSTAT: &str = "sockets: used 28\nTCP: inuse 11 orphan 0 tw 33 alloc 21 mem 180\nUDP: inuse 4 mem 2\n";
const MOUNTS: &str = "22 27 0:21 / /proc rw,relatime - proc proc rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n23 27 8:1 /a /mnt/with\\040blank ro shared:1 - ext4 /dev/sda1 rw\n";
const SYSTEM: &str = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 11 12 13 14 15 16 17 18 19 20\nintr 300 0 1\nctxt 400\nbtime 1700000000\n\
    processes 500\nprocs_running 2\nprocs_blocked 3\n";
const DISKS: &str = "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n   8       1 sda1 1 2 3\n";
const IO_V1: &str = "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 5\n8:0 Discard 512\n7:1 Read 3\nTotal 12800\n";
const IO_V2: &str = "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=512 dios=3 cost.usage=9\n7:0 \n";
const NAMED: &str = "6 1 0x01 91 4368 5266997922 97951858082072\nname                            type data\n\
    hits                            4    8772612\nsigned                          3    -5\ndataset_name                    7    pool/a b\n";
const POOL_IO: &str = "11 3 0x00 1 80 2305 9077\nnread    nwritten reads    writes\n1        22       333      4444\n";
const EVENTS: &str = "low 4\nhigh 6\nmax 3\noom 5\noom_kill 2\noom_group_kill 1\n";
const CPU_V1: &str = "nr_periods 255\nnr_throttled 250\nthrottled_time 12592706252\nnr_bursts 2\nburst_time 3000\n";
const CPU_V2: &str = "usage_usec 128084\nuser_usec 100000\nsystem_usec 28084\nnr_periods 255\nnr_throttled 250\n\
    throttled_usec 125927\nnr_bursts 2\nburst_usec 3\n";
const PRESSURE: &str =
    "some avg10=44.79 avg60=16.06 avg300=3.85 total=12597046\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=12594611\n";
const LIMITS: &str = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";

/// All of them.
pub const PARSERS: &[Parser] = &[
    parser("cgroup_v1::memory_limit", "67108864\n", ONE, |text| one(cgroup_v1::memory_limit(text))),
    parser("cgroup_v1::cpu_quota_us", "50000\n", ONE, |text| one(cgroup_v1::cpu_quota_us(text))),
    parser("cgroup_v1::throttling", CPU_V1, ONE, |text| shown(&cgroup_v1::throttling(text))),
    parser("cgroup_v1::held_ns", "throttled_time 7000\n", ONE, |text| one(cgroup_v1::held_ns(text))),
    parser("cgroup_v1::memory_stat", MEMORY_V1, ONE, |text| memory(text, cgroup_v1::memory_stat)),
    parser("cgroup_v1::oom_control", "oom_kill_disable 0\nunder_oom 1\noom_kill 2\n", ONE, |text| {
        into(text, cgroup_v1::oom_control)
    }),
    parser("cgroup_v1::freezer", "FROZEN\n", ONE, |text| shown(&cgroup_v1::freezer(text))),
    parser("cgroup_v1::blkio bytes", IO_V1, ONE, |text| {
        devices(text, |text, all| cgroup_v1::blkio(text, cgroup_v1::BlkioUnit::Bytes, all))
    }),
    parser("cgroup_v1::blkio operations", IO_V1, ONE, |text| {
        devices(text, |text, all| cgroup_v1::blkio(text, cgroup_v1::BlkioUnit::Operations, all))
    }),
    parser("cgroup_v1::device_limits", "8:0 1048576\n7:1 3\n", ONE, |text| {
        device_limits(text, |text, all| cgroup_v1::device_limits(text, all, |limit| &mut limit.read_bytes))
    }),
    parser("cgroup_v2::limit", "67108864\n", ONE, |text| one(cgroup_v2::limit(text))),
    parser("cgroup_v2::cpu_max", "50000 100000\n", ONE, |text| {
        into(text, |text, it: &mut Limits| cgroup_v2::cpu_max(text, it))
    }),
    parser("cgroup_v2::cpu_stat", CPU_V2, NS_OF_US, |text| shown(&cgroup_v2::cpu_stat(text))),
    parser("cgroup_v2::memory_stat", MEMORY_V2, ONE, |text| memory(text, cgroup_v2::memory_stat)),
    parser("cgroup_v2::memory_events", EVENTS, ONE, memory_events),
    parser("cgroup_v2::swap_events", "high 0\nmax 8\nfail 9\n", ONE, |text| into(text, cgroup_v2::swap_events)),
    parser("cgroup_v2::max_events", "max 12\n", ONE, |text| one(cgroup_v2::max_events(text))),
    parser("cgroup_v2::held_ns", "throttled_usec 7\n", NS_OF_US, |text| one(cgroup_v2::held_ns(text))),
    parser("cgroup_v2::io_max", "8:0 rbps=1048576 wbps=max riops=max wiops=100\n", ONE, |text| {
        device_limits(text, cgroup_v2::io_max)
    }),
    parser("cgroup_v2::freezer", "populated 1\nfrozen 0\n", ONE, |text| shown(&cgroup_v2::freezer(text))),
    parser("cgroup_v2::io_stat", IO_V2, ONE, |text| devices(text, cgroup_v2::io_stat)),
    parser("pressure", PRESSURE, ONE, |text| shown(&pressure::parse(text))),
    parser("netdev", NET_DEV, ONE, |text| {
        let found = netdev::parse(text);
        found.first.into_iter().chain(found.loopback).flat_map(interface).collect()
    }),
    parser("netdev::parse_up", IGMP, ONE, |text| {
        // Of a name that is not there it is told that it is down, or nothing.
        assert_ne!(netdev::parse_up(text, true).of("a name that nobody has"), Some(true));
        assert_eq!(netdev::parse_up(text, false).of("a name that nobody has"), None);
        Vec::new()
    }),
    parser("netdev::parse_all", NET_DEV, ONE, |text| {
        netdev::parse_all(text).into_iter().flat_map(|(_, values)| values).map(i128::from).collect()
    }),
    parser("transport", SNMP, ONE, |text| {
        let mut all = Transport::default();
        transport::Headers::default().parse(text, &mut all);
        all.tcp.all().chain(all.udp.all()).filter_map(|(_, value)| value.map(i128::from)).collect()
    }),
    parser("transport::parse_sockets", SOCKSTAT, ONE, |text| {
        let mut all = Sockets::default();
        transport::parse_sockets(text, &mut all);
        [all.all, all.tcp, all.tcp6, all.udp, all.udp6, all.time_wait].into_iter().flat_map(one).collect()
    }),
    parser("process::parse_stat", STAT, ONE, |text| {
        let Some(it) = process::parse_stat(text) else { return Vec::new() };
        let ticks = [it.user_ticks, it.system_ticks, it.children_user_ticks, it.children_system_ticks];
        let all = [it.pid.into(), it.parent.into(), it.threads, it.start_ticks, it.resident_pages];
        all.into_iter().chain(ticks).map(i128::from).collect()
    }),
    parser("process::cgroup_entries", "9:name=systemd:/a\n5:cpu,cpuacct:/b:c\n3:pids:/../y\n0::/u\n", ONE, |text| {
        for entry in process::cgroup_entries(text) {
            assert!(entry.path.starts_with('/') && !entry.path.starts_with("/.."));
            let _ = entry.controllers().count();
        }
        Vec::new()
    }),
    parser("process::innermost_pid", "Name:\tx\nNSpid:\t9573\t1\n", ONE, |text| one(process::innermost_pid(text))),
    parser("process::open_files_limit", LIMITS, ONE, |text| one(process::open_files_limit(text))),
    parser("process::parse_pids", "7\n8\n0\n4294967295\n", ONE, |text| {
        let mut pids = Vec::new();
        process::parse_pids(text, &mut pids);
        assert!(!pids.contains(&0));
        pids.into_iter().map(i128::from).collect()
    }),
    // A count: what it may be, the parser's own tests say.
    parser("limits::cpus_allowed", "Name:\tx\nCpus_allowed_list:\t0-3,8,10-11\n", ONE, |text| {
        let _ = limits::cpus_allowed(text);
        Vec::new()
    }),
    parser("limits::open_files", LIMITS, ONE, |text| match limits::open_files(text) {
        Some(Ulimit::At(limit)) => vec![i128::from(limit)],
        Some(Ulimit::Unlimited) | None => Vec::new(),
    }),
    parser("mounts", MOUNTS, ONE, |text| {
        let all = mounts::Mounts::parse(text);
        assert!(all.primary().is_some() || all.mode() == mounts::Mode::None || all.v2.is_none());
        Vec::new()
    }),
    parser("space::mount_table::mounts_of", MOUNTS, ONE, |text| {
        space::mount_table::mounts_of(text).map(|mount| i128::from(mount.number)).collect()
    }),
    parser("space::mount_table::mount_number", "pos:\t0\nflags:\t012100000\nmnt_id:\t28\nino:\t2\n", ONE, |text| {
        one(space::mount_table::mount_number(text))
    }),
    parser("node::parse_stat", SYSTEM, ONE, |text| {
        let it = node::parse_stat(text);
        let single = [it.interrupts, it.context_switches, it.forks, it.boot_unix_seconds, it.running, it.blocked];
        // An old kernel counts fewer modes; those are 0 there.
        let ticks = it.cpus.iter().flat_map(|cpu| cpu.ticks).filter(|ticks| *ticks > 0).map(i128::from);
        single.into_iter().flat_map(one).chain(ticks).collect()
    }),
    parser("node::parse_loadavg", "0.42 1.50 16.00 2/345 6789\n", ONE, |text| {
        let load = node::parse_loadavg(text);
        assert!(load.into_iter().flatten().all(|value| value.is_finite() && value >= 0.0));
        Vec::new()
    }),
    parser(
        "node::parse_meminfo",
        "MemTotal:       16000 kB\nActive(anon):   7 kB\nHugePages_Total:       3\n",
        KIB,
        |text| node::parse_meminfo(text).into_iter().map(|line| i128::from(line.value)).collect(),
    ),
    parser("node::parse_diskstats", DISKS, ONE, |text| {
        let all = node::parse_diskstats(text).into_iter();
        all.flat_map(|disk| disk.fields.into_iter().chain(disk.later.into_iter().flatten())).map(i128::from).collect()
    }),
    parser("node::parse_vmstat", "nr_free_pages 5\npgpgin 66\npgfault 77\noom_kill 1\n", ONE, |text| {
        node::parse_vmstat(text).into_iter().map(|(_, value)| i128::from(value)).collect()
    }),
    parser("node::network::protocols", SNMP, ONE, |text| signed(text, node::network::protocols)),
    parser("node::network::protocols6", "Ip6InOctets                     \t55\nUdp6NoPorts 6\n", ONE, |text| {
        signed(text, node::network::protocols6)
    }),
    parser("node::network::sockets", SOCKSTAT, ONE, |text| {
        let mut all = Vec::new();
        node::network::sockets(text, &mut all);
        all.into_iter().map(|(_, _, value)| i128::from(value)).collect()
    }),
    parser("node::zfs::parse_named", NAMED, ONE, |text| {
        node::zfs::parse_named(text)
            .into_iter()
            .flat_map(|named| named.rows)
            .flat_map(|(_, value)| shown(&value))
            .collect()
    }),
    parser("node::zfs::parse_io", POOL_IO, ONE, |text| {
        node::zfs::parse_io(text).into_iter().flatten().flat_map(|(_, value)| shown(&value)).collect()
    }),
    parser("node::zfs::parse_state", "ONLINE\n", ONE, |text| {
        assert!(node::zfs::parse_state(text).is_none_or(|state| state.bytes().all(|byte| byte.is_ascii_uppercase())));
        Vec::new()
    }),
];

fn one(value: Option<u64>) -> Vec<i128> {
    value.into_iter().map(i128::from).collect()
}

/// The numbers in what has no text: as `Debug` writes it. A digit in a word is none.
fn shown(value: &impl Debug) -> Vec<i128> {
    numbers_in(format!("{value:?}").as_bytes())
}

/// Every whole number that stands by itself.
pub fn numbers_in(text: &[u8]) -> Vec<i128> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.".contains(byte);
    let mut found = Vec::new();
    for word in text.split(|byte| !is_word(byte) && *byte != b'-') {
        let digits = word.strip_prefix(b"-").unwrap_or(word);
        if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
            let value = std::str::from_utf8(word).ok().and_then(|word| word.parse::<i128>().ok());
            found.extend(value);
        }
    }
    found
}

fn into<T: Default + Debug>(text: &[u8], parse: impl Fn(&[u8], &mut T)) -> Vec<i128> {
    let mut it = T::default();
    parse(text, &mut it);
    shown(&it)
}

fn memory(text: &[u8], parse: fn(&[u8], &mut Memory) -> Option<u64>) -> Vec<i128> {
    let mut it = Memory::default();
    let inactive = parse(text, &mut it);
    // The inactive page cache is given back, and may be a part as well.
    assert!(it.inactive_file_bytes.is_none() || it.inactive_file_bytes == inactive);
    shown(&it)
}

/// `max` is told as a limit that was hit as well.
fn memory_events(text: &[u8]) -> Vec<i128> {
    let mut it = Memory::default();
    cgroup_v2::memory_events(text, &mut it);
    if it.limit_hits == it.events.max {
        it.limit_hits = None;
    }
    shown(&it)
}

fn devices(text: &[u8], parse: impl Fn(&[u8], &mut Vec<DeviceIo>)) -> Vec<i128> {
    let mut all = Vec::new();
    parse(text, &mut all);
    // The number of a device is a text, of two numbers in the file.
    all.iter().flat_map(|it| numbers_in(format!("{it:?}").as_bytes())).collect()
}

fn device_limits(text: &[u8], parse: impl Fn(&[u8], &mut Vec<DeviceLimit>)) -> Vec<i128> {
    let mut all = Vec::new();
    parse(text, &mut all);
    all.iter().flat_map(|it| numbers_in(format!("{it:?}").as_bytes())).collect()
}

fn interface(it: Interface) -> Vec<i128> {
    shown(&Interface { name: String::new(), ..it })
}

/// Protocol, name, value.
type Row = (String, String, i64);

fn signed(text: &[u8], parse: fn(&[u8], &mut Vec<Row>)) -> Vec<i128> {
    let mut all = Vec::new();
    parse(text, &mut all);
    all.into_iter().map(|(_, _, value)| i128::from(value)).collect()
}

/// Holds a parser to a file: it answers, and every number is one that whole lines of the file say, times at most a unit.
pub fn hold(parser: &Parser, text: &[u8]) {
    let given = (parser.numbers)(text);
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let said = numbers_in(&text[..whole]);
    for number in given {
        let is_said = parser.units.iter().any(|unit| number % unit == 0 && said.contains(&(number / unit)));
        assert!(is_said, "{} has {number} out of {:?}", parser.name, String::from_utf8_lossy(text));
    }
}
