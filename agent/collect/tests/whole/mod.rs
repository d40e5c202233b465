//! Readings in which everything is there, made by hand, and what is written of them.

#![allow(dead_code, reason = "each test file that includes this uses a part of it")]

use std::time::Duration;

use sonde_collect::node::zfs::{self, Value, Zfs};
use sonde_collect::reading::{
    Cpu, CpuLately, Descriptors, DeviceIo, DeviceLimit, HugePages, Interface, IoCost, Limits, MEMORY_PARTS, Memory,
    MemoryEvents, Objset, Pids, Pressure, Stall, Throttling, Ulimit,
};
use sonde_collect::space::{FileSystem, Space};
use sonde_collect::state::{ProblemReason, ReadProblem};
use sonde_collect::transport::{self, Headers, Transport};
use sonde_collect::{InstanceState, Judgement, Reading, Reason, Resource};
use sonde_expo::Writer;

pub(crate) fn full() -> Reading {
    let stall = Some(Stall { some_us: 1_500_000, full_us: Some(500_000) });
    let mut reading = Reading::empty();
    reading.taken_at_unix = std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    reading.cpu = Some(Cpu { usage_ns: 12_804_409_658, user_ns: Some(12_640_000_000), system_ns: Some(10_000_000) });
    reading.throttling = Some(Throttling {
        periods: 252,
        throttled_periods: 251,
        throttled_ns: 12_443_002_454,
        burst_periods: Some(2),
        burst_ns: Some(500_000_000),
    });
    reading.held_ns = Some(2_500_000_000);
    reading.memory = Memory {
        usage_bytes: Some(2_580_480),
        max_usage_bytes: Some(2_932_736),
        working_set_bytes: Some(2_326_528),
        rss_bytes: Some(65_536),
        cache_bytes: Some(2_039_808),
        swap_bytes: Some(0),
        mapped_file_bytes: Some(1_613_824),
        kernel_bytes: Some(1),
        limit_hits: Some(3),
        oom_kills: Some(2),
        pgfault: Some(666),
        pgmajfault: Some(1),
        own_pgfault: Some(600),
        own_pgmajfault: Some(1),
        active_file_bytes: Some(4096),
        inactive_file_bytes: Some(253_952),
        file_dirty_bytes: Some(8192),
        file_writeback_bytes: Some(0),
        part_bytes: MEMORY_PARTS.map(|part| (part == "shmem").then_some(1024)),
        pages_scanned: Some(44),
        pages_scanned_direct: Some(40),
        pages_stolen: Some(30),
        refaults_file: Some(33),
        refaults_anon: Some(3),
        events: MemoryEvents {
            low: Some(1),
            high: Some(6),
            max: Some(3),
            oom: Some(5),
            oom_group_kill: Some(1),
            swap_max: Some(8),
            swap_fail: Some(9),
        },
        under_oom: Some(0),
    };
    reading.pids = Pids {
        tasks: Some(4),
        processes: Some(2),
        peak: Some(9),
        limit_hits: Some(1),
        live_threads: Some(3),
        zombies: Some(1),
    };
    reading.descriptors = Some(Descriptors { open: 12, fullest: Some((9, 1024)) });
    reading.limits = Limits {
        cpu_quota_us: Some(50_000),
        cpu_period_us: Some(100_000),
        cpu_shares: Some(1024),
        memory_bytes: Some(67_108_864),
        memory_reservation_bytes: Some(1024),
        memory_swap_bytes: Some(134_217_728),
        tasks: Some(32),
        cpu_burst_us: Some(20_000),
        cpu_weight: Some(39),
        cpus_allowed: Some(2),
        memory_high_bytes: Some(60_000_000),
        memory_min_bytes: Some(4096),
        swap_bytes: Some(67_108_864),
        open_files: Some(Ulimit::Unlimited),
    };
    reading.transport = Some(transport());
    reading.space = Some(space());
    reading.device_limits = vec![DeviceLimit {
        device: "/dev/sda".into(),
        writes: Some(100),
        read_bytes: Some(5),
        ..DeviceLimit::default()
    }];
    reading.huge_pages = vec![HugePages { page_size: "2MB".into(), usage_bytes: Some(7), limit_hits: Some(5) }];
    reading.pressure = Pressure { cpu: stall, memory: stall, io: stall };
    reading.io = Some(vec![DeviceIo {
        device: "/dev/sda".into(),
        read_bytes: Some(4096),
        written_bytes: Some(8192),
        reads: Some(1),
        writes: Some(2),
        number: "8:0".into(),
        discarded_bytes: Some(512),
        discards: Some(3),
        cost: IoCost { usage_us: Some(1), wait_us: Some(1_500_000), debt_us: Some(3), delay_us: Some(4) },
    }]);
    reading.network = Some(vec![Interface { name: "eth0".into(), receive_bytes: 5, ..Interface::default() }]);
    reading.interfaces_left_out = Some(3);
    reading.fullest_space = Some(space());
    let too_long = ReadProblem { file: "net/dev", reason: ProblemReason::TooLong };
    reading.problems = vec![too_long, ReadProblem { file: "net/igmp", ..too_long }];
    reading.cpu_lately = Some(CpuLately { used_ns: 300_000_000, over_ns: 1_000_000_000 });
    reading.zfs = Some(Objset {
        dataset: "tank/a b".into(),
        reads: Some(2),
        read_bytes: Some(28),
        writes: Some(4),
        written_bytes: Some(12302),
        unlinks: Some(3),
        unlinked: Some(1),
    });
    reading.started_unix_seconds = Some(1_795_354_139.5);
    reading
}

pub(crate) fn transport() -> Transport {
    let mut it = Transport::default();
    Headers::default().parse(b"Tcp: RetransSegs CurrEstab\nTcp: 5 2\nUdp: InErrors NoPorts\nUdp: 3 4\n", &mut it);
    Headers::default().parse(b"TcpExt: ListenOverflows\nTcpExt: 7\n", &mut it);
    transport::parse_sockets(b"sockets: used 28\nTCP: inuse 1 tw 3\nUDP: inuse 2\nTCP6: inuse 4\n", &mut it.sockets);
    it
}

pub(crate) fn zfs() -> Zfs {
    let row = |name: &str, value| vec![(name.to_owned(), Value::Unsigned(value))];
    let pool = zfs::Pool {
        name: "tank".into(),
        state: Some("DEGRADED".into()),
        io: row("nread", 7),
        datasets: vec![("tank/a b".into(), row("nunlinks", 8))],
    };
    let modules =
        vec![("arcstats".into(), row("hits", 9)), ("fm".into(), row("erpt-dropped", 1)), ("new".into(), row("x", 1))];
    Zfs { modules, pools: vec![pool] }
}

pub(crate) fn space() -> Space {
    let file_system = FileSystem {
        kind: "ext4",
        device: "/dev/sda".into(),
        size_bytes: 1_000,
        block_bytes: 4096,
        dataset: None,
        free_bytes: 300,
        available_bytes: 200,
        inodes: Some(10),
        inodes_free: Some(4),
        read_only: false,
    };
    Space { file_system, age: Duration::from_millis(1500) }
}

pub(crate) fn judgement() -> Judgement {
    Judgement { state: InstanceState::Saturated, saturated: vec![Resource::Cpu], reasons: vec![Reason::CpuThrottled] }
}

pub(crate) fn written(write: impl FnOnce(&mut Writer<'_>)) -> String {
    let mut out = Vec::new();
    let mut writer = Writer::new(sonde_expo::negotiate::negotiate(None), &mut out);
    write(&mut writer);
    writer.finish();
    String::from_utf8(out).unwrap()
}
