//! Readings over a machine made of files, in each layout, and what becomes of them when the files
//! vanish, stay empty or hold nonsense.

mod tree;

use std::sync::Arc;

use sonde_collect::reading::{
    Cpu, DeviceIo, DeviceLimit, Freezer, HugePages, MEMORY_PARTS, MemoryEvents, Stall, Throttling,
};
use sonde_collect::{Change, FdBudget, Gone, InstanceReader, Reading};
use tree::filled::{STAT_V1, container, fill_v1, made, reader};
use tree::{Layout, Tree, V1, file};

#[test]
fn every_layout_gives_the_same_picture() {
    for layout in [Layout::V1, Layout::Hybrid, Layout::Unified] {
        // With files kept open, and with none.
        for budget in [100, 0] {
            let tree = made(layout);
            let reading = reader(&tree, budget).read().unwrap();
            check(layout, &reading);
        }
    }
}

fn check(layout: Layout, reading: &Reading) {
    let v1 = layout != Layout::Unified;
    let usage = |v1_ns, v2_ns| if v1 { v1_ns } else { v2_ns };
    let split = if layout == Layout::V1 { (12_790_000_000, 14_409_658) } else { (12_796_623_000, 11_825_000) };
    let cpu = Cpu { usage_ns: usage(12_804_409_658, 12_808_448_000), user_ns: Some(split.0), system_ns: Some(split.1) };
    assert_eq!(reading.cpu, Some(cpu), "{layout:?}");
    let throttled_ns = usage(12_592_706_252, 12_592_706_000);
    assert_eq!(
        reading.throttling,
        Some(Throttling {
            periods: 255,
            throttled_periods: 250,
            throttled_ns,
            burst_periods: Some(2),
            burst_ns: Some(3000)
        })
    );
    let memory = &reading.memory;
    assert_eq!(memory.usage_bytes, Some(2_580_480));
    assert_eq!(memory.max_usage_bytes, Some(2_932_736));
    assert_eq!(memory.working_set_bytes, Some(2_580_480 - 253_952));
    assert_eq!((memory.rss_bytes, memory.cache_bytes), (Some(65_536), Some(2_039_808)));
    assert_eq!((memory.swap_bytes, memory.mapped_file_bytes), (Some(4_096), Some(1_613_824)));
    assert_eq!((memory.limit_hits, memory.oom_kills), (Some(3), Some(2)));
    assert_eq!((memory.pgfault, memory.pgmajfault), (Some(666), Some(1)));
    assert_eq!(memory.own_pgfault, v1.then_some(600));
    assert_eq!(memory.kernel_bytes, Some(12_288));
    assert_eq!((memory.active_file_bytes, memory.inactive_file_bytes), (Some(4_096), Some(253_952)));
    assert_eq!((memory.file_dirty_bytes, memory.file_writeback_bytes), (Some(8_192), None));
    assert_eq!((memory.refaults_file, memory.refaults_anon), (Some(33), None));
    let shmem = MEMORY_PARTS.iter().position(|part| *part == "shmem").unwrap();
    assert_eq!(memory.part_bytes.iter().flatten().count(), 1);
    assert_eq!(memory.part_bytes[shmem], Some(1_024));
    check_what_one_generation_has(v1, reading);
    let limits = &reading.limits;
    assert_eq!((limits.cpu_quota_us, limits.cpu_period_us), (Some(50_000), Some(100_000)));
    assert_eq!(limits.cpu_shares, Some(usage(1024, 998)));
    assert_eq!((limits.memory_bytes, limits.memory_swap_bytes), (Some(67_108_864), None));
    assert_eq!((limits.memory_reservation_bytes, limits.tasks), (None, None));
    assert_eq!((limits.cpu_burst_us, limits.cpu_weight), (Some(20_000), (!v1).then_some(39)));
    assert_eq!((reading.held_ns, reading.pids.zombies), (Some(7_000), Some(1)));
    assert_eq!((reading.pids.tasks, reading.pids.limit_hits), (Some(4), Some(0)));
    assert_eq!((reading.pids.processes, reading.live_processes), (Some(0), Some(0)));
    let stall = (layout != Layout::V1).then_some(Stall { some_us: 1_500_000, full_us: Some(500_000) });
    assert_eq!((reading.pressure.cpu, reading.pressure.memory, reading.pressure.io), (stall, stall, stall));
    let device = DeviceIo {
        device: "/dev/sda".into(),
        read_bytes: Some(4096),
        written_bytes: Some(8192),
        reads: Some(1),
        writes: Some(2),
        number: "8:0".into(),
        discarded_bytes: Some(512),
        discards: Some(3),
        ..DeviceIo::default()
    };
    let limit = DeviceLimit {
        device: "/dev/sda".into(),
        read_bytes: Some(1_048_576),
        writes: Some(100),
        ..DeviceLimit::default()
    };
    assert_eq!(reading.device_limits, [limit]);
    assert_eq!((&reading.transport, &reading.space), (&None, &None));
    assert_eq!(reading.io, Some(vec![device]));
    assert_eq!(reading.freezer, Some(Freezer::Frozen));
    assert_eq!((reading.leader, &reading.network), (None, &None));
    assert!(reading.problems.is_empty());
}

/// v1 has no `memory.high` and counts no reclaim; v2 alone tells whether a task may wait for memory.
fn check_what_one_generation_has(v1: bool, reading: &Reading) {
    let memory = &reading.memory;
    let v2 = |value: u64| (!v1).then_some(value);
    assert_eq!((memory.pages_scanned, memory.pages_scanned_direct, memory.pages_stolen), (v2(44), v2(40), v2(30)));
    let events = MemoryEvents {
        low: v2(4),
        high: v2(6),
        max: v2(3),
        oom: v2(5),
        oom_group_kill: v2(1),
        swap_max: v2(8),
        swap_fail: v2(9),
    };
    assert_eq!(memory.events, events);
    assert_eq!(memory.under_oom, v1.then_some(0));
    let limits = &reading.limits;
    assert_eq!((limits.memory_high_bytes, limits.memory_min_bytes), (v2(60_000_000), v2(4_096)));
    assert_eq!((limits.swap_bytes, limits.cpus_allowed, limits.open_files), (None, None, None));
    assert_eq!(reading.pids.peak, v2(9));
    // The page size that was cut off is left out, and costs the other nothing.
    let pages = HugePages { page_size: "2MB".into(), usage_bytes: Some(2_097_152), limit_hits: Some(5) };
    assert_eq!(reading.huge_pages, if v1 { Vec::new() } else { vec![pages] });
}

#[test]
fn what_is_not_there_is_absent() {
    let tree = Tree::new(Layout::Hybrid);
    tree.cgroup(&container());
    let reading = reader(&tree, 100).read().unwrap();
    assert_eq!(reading.cpu, None);
    assert_eq!(reading.memory, sonde_collect::reading::Memory::default());
    assert_eq!(reading.limits, sonde_collect::reading::Limits::default());
    assert_eq!((reading.io.clone(), reading.network.clone(), reading.freezer), (None, None, None));
    assert_eq!((reading.held_ns, reading.pids.zombies, reading.pids.peak), (None, None, None));
    assert_eq!((&reading.transport, &reading.space), (&None, &None));
    assert!(reading.device_limits.is_empty() && reading.huge_pages.is_empty());
    assert_eq!(reading.live_processes, None);
}

#[test]
fn nonsense_between_two_readings_costs_only_its_own_value() {
    let tree = made(Layout::Hybrid);
    let mut reader = reader(&tree, 100);
    reader.read().unwrap();
    for nonsense in ["", "\n", "garbage", "garbage\n", "-1\n", "18446744073709551616\n", "\u{0}\u{0}\n", "1 2 3"] {
        for name in ["memory.usage_in_bytes", "memory.stat"] {
            tree.write(&file("memory", &container(), name), nonsense);
        }
        tree.write(&file("unified", &container(), "cpu.pressure"), nonsense);
        let reading = reader.read().unwrap();
        assert_eq!(reading.memory.usage_bytes, None, "{nonsense:?}");
        assert_eq!((reading.memory.working_set_bytes, reading.memory.rss_bytes), (None, None));
        assert_eq!(reading.pressure.cpu, None);
        assert_eq!(reading.memory.max_usage_bytes, Some(2_932_736));
        assert!(reading.cpu.is_some() && reading.pressure.memory.is_some());
    }
    // The largest number is a number like any other.
    tree.write(&file("memory", &container(), "memory.usage_in_bytes"), "18446744073709551615\n");
    tree.write(&file("memory", &container(), "memory.stat"), STAT_V1);
    let memory = reader.read().unwrap().memory;
    assert_eq!(memory.working_set_bytes, Some(u64::MAX - 253_952));
    // More inactive than used: nothing is negative.
    tree.write(&file("memory", &container(), "memory.usage_in_bytes"), "1\n");
    assert_eq!(reader.read().unwrap().memory.working_set_bytes, Some(0));
}

#[test]
fn the_next_container_of_the_same_name_is_another() {
    let tree = made(Layout::Hybrid);
    for budget in [100, 0] {
        let mut reader = reader(&tree, budget);
        assert!(reader.read().is_ok());
        tree.retire_cgroup(&container());
        tree.cgroup(&container());
        fill_v1(&tree);
        assert_eq!(reader.read().err(), Some(Gone));
        for at in 0..=V1.len() {
            std::fs::remove_dir_all(tree.path(&format!("retired-{at}"))).unwrap();
        }
        tree.remove_cgroup(&container());
        assert_eq!(reader.read().err(), Some(Gone));
        tree.cgroup(&container());
        fill_v1(&tree);
    }
}

/// v1's lists must be opened each time; the cgroup2 tree's are taken for them only while they are about the same threads.
#[test]
fn a_hybrid_layouts_other_lists_are_taken_while_they_list_as_many_as_count() {
    let tree = made(Layout::Hybrid);
    let list = |mount, name, text| tree.write(&file(mount, &container(), name), text);
    list("memory", "cgroup.procs", "11\n");
    list("unified", "cgroup.procs", "11\n12\n");
    list("unified", "cgroup.threads", "11\n12\n13\n");
    let mut reader = reader(&tree, 100);
    let mut counts = || {
        let pids = reader.read().unwrap().pids;
        (pids.processes, pids.live_threads, pids.zombies)
    };
    // Four tasks count: one has ended, or is not in the other tree.
    assert_eq!(counts(), (Some(1), Some(3), Some(1)));
    list("pids", "pids.current", "3\n");
    assert_eq!(counts(), (Some(2), Some(3), Some(0)));
    // Left in another cgroup of that tree.
    list("unified", "cgroup.threads", "");
    list("pids", "tasks", "11\n12\n");
    assert_eq!(counts(), (Some(1), Some(2), Some(1)));
    list("pids", "pids.current", "garbage\n");
    assert_eq!(counts(), (Some(1), Some(2), None));
}

#[test]
fn files_are_closed_with_their_reader() {
    let tree = made(Layout::Hybrid);
    let mut discovery = tree.discovery();
    let changes = discovery.scan();
    let [Change::Appeared(found)] = changes.as_slice() else { panic!("{changes:?}") };
    let budget = FdBudget::new(1000);
    let readers: Vec<_> =
        (0..10).map(|_| InstanceReader::new(Arc::clone(found), discovery.roots().clone(), &budget)).collect();
    assert!(budget.left() < 900);
    drop(readers);
    assert_eq!(budget.left(), 1000);
}

/// A child that is not left behind when a test fails.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Fails where the test has ended it already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_group_never_counts_backwards() {
    let child = std::process::Command::new("sh")
        .args(["-c", "i=0; while :; do i=$((i+1)); (j=0; while [ $j -lt 20000 ]; do j=$((j+1)); done); done"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let tree = Tree::new(Layout::Hybrid);
    let mut roots = (*tree.roots()).clone();
    roots.proc = "/proc".into();
    tree.write("app.pid", &format!("{}\n", child.0.id()));
    let node = sonde_collect::NodeId::new("node").unwrap();
    let mut config = sonde_collect::DiscoveryConfig::new(node);
    let source = sonde_collect::GroupSource::PidFile(tree.path("app.pid"));
    config.process_groups = vec![sonde_collect::ProcessGroup { name: "app".into(), source }];
    let mut discovery = sonde_collect::Discovery::new(Arc::new(roots), config);
    let changes = discovery.scan();
    let [Change::Appeared(found)] = changes.as_slice() else { panic!("{changes:?}") };
    let mut reader = InstanceReader::new(found.clone(), discovery.roots().clone(), &FdBudget::new(10));
    let (mut last, mut most_rss_bytes) = (0, 0);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    // Until it has used 300 ms of CPU in some dozens of children.
    while last < 300_000_000 {
        assert!(std::time::Instant::now() < deadline, "only {last} ns");
        let reading = reader.read().unwrap();
        let usage_ns = reading.cpu.unwrap().usage_ns;
        assert!(usage_ns >= last, "{usage_ns} after {last}");
        last = usage_ns;
        most_rss_bytes = reading.memory.rss_bytes.unwrap().max(most_rss_bytes);
        assert!(reading.pids.processes.unwrap() >= 1);
        assert_eq!(reading.leader.unwrap().pid, child.0.id());
    }
    // Right after an exec a process has no resident page yet, so only the most counts.
    assert!(most_rss_bytes > 0);
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    assert_eq!(reader.read().err(), Some(Gone));
}
