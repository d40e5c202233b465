//! A container with all its files, in each layout.

use sonde_collect::{Change, FdBudget, InstanceReader};

use super::{Layout, Tree, file, hex};

pub(crate) const STAT_V1: &str = "cache 1\ntotal_cache 2039808\ntotal_rss 65536\ntotal_swap 4096\ntotal_mapped_file 1613824\n\
    total_pgfault 666\ntotal_pgmajfault 1\npgfault 600\npgmajfault 1\ntotal_inactive_file 253952\n\
    total_active_file 4096\ntotal_dirty 8192\ntotal_shmem 1024\ntotal_workingset_refault_file 33\n";
pub(crate) const STAT_V2: &str = "anon 65536\nfile 2039808\nkernel 12288\nfile_mapped 1613824\ninactive_file 253952\npgfault 666\npgmajfault 1\n\
     active_file 4096\nfile_dirty 8192\nshmem 1024\nworkingset_refault_file 33\npgscan 44\npgscan_direct 40\npgsteal 30\n";
pub(crate) const PRESSURE: &str =
    "some avg10=1.00 avg60=1.00 avg300=1.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n";

pub(crate) fn container() -> String {
    format!("/docker/{}", hex("a"))
}

pub(crate) fn fill_v1(tree: &Tree) {
    let files = [
        ("cpuacct", "cpuacct.usage", "12804409658\n"),
        ("cpuacct", "cpuacct.usage_user", "12790000000\n"),
        ("cpuacct", "cpuacct.usage_sys", "14409658\n"),
        (
            "cpu",
            "cpu.stat",
            "nr_periods 255\nnr_throttled 250\nthrottled_time 12592706252\nnr_bursts 2\nburst_time 3000\n",
        ),
        ("cpu", "cpu.stat.local", "throttled_time 7000\n"),
        ("cpu", "cpu.cfs_burst_us", "20000\n"),
        ("cpu", "cpu.cfs_quota_us", "50000\n"),
        ("cpu", "cpu.cfs_period_us", "100000\n"),
        ("cpu", "cpu.shares", "1024\n"),
        ("memory", "memory.usage_in_bytes", "2580480\n"),
        ("memory", "memory.max_usage_in_bytes", "2932736\n"),
        ("memory", "memory.stat", STAT_V1),
        ("memory", "memory.failcnt", "3\n"),
        ("memory", "memory.kmem.usage_in_bytes", "12288\n"),
        ("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ("memory", "memory.limit_in_bytes", "67108864\n"),
        ("memory", "memory.memsw.limit_in_bytes", "9223372036854771712\n"),
        ("memory", "memory.soft_limit_in_bytes", "9223372036854771712\n"),
        ("memory", "cgroup.procs", ""),
        ("pids", "pids.current", "4\n"),
        ("pids", "pids.max", "max\n"),
        ("pids", "pids.events", "max 0\n"),
        ("pids", "tasks", "11\n12\n13\n"),
        ("blkio", "blkio.throttle.read_bps_device", "8:0 1048576\n"),
        ("blkio", "blkio.throttle.write_iops_device", "8:0 100\n"),
        (
            "blkio",
            "blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 4096\n8:0 Write 8192\n8:0 Discard 512\nTotal 12288\n",
        ),
        ("blkio", "blkio.throttle.io_serviced_recursive", "8:0 Read 1\n8:0 Write 2\n8:0 Discard 3\nTotal 3\n"),
        ("freezer", "freezer.state", "FROZEN\n"),
    ];
    for (mount, name, text) in files {
        tree.write(&file(mount, &container(), name), text);
    }
}

pub(crate) fn fill_v2(tree: &Tree, controllers: bool) {
    let mut files = vec![
        ("cpu.stat", "usage_usec 12808448\nuser_usec 12796623\nsystem_usec 11825\n"),
        ("cpu.pressure", PRESSURE),
        ("memory.pressure", PRESSURE),
        ("io.pressure", PRESSURE),
        ("cgroup.events", "populated 1\nfrozen 1\n"),
        ("cgroup.procs", ""),
    ];
    if controllers {
        files[0].1 = "usage_usec 12808448\nuser_usec 12796623\nsystem_usec 11825\nnr_periods 255\nnr_throttled 250\nthrottled_usec 12592706\nnr_bursts 2\nburst_usec 3\n";
        files.extend([
            ("cpu.stat.local", "throttled_usec 7\n"),
            ("cpu.max", "50000 100000\n"),
            ("cpu.max.burst", "20000\n"),
            ("cpu.weight", "39\n"),
            ("memory.current", "2580480\n"),
            ("memory.peak", "2932736\n"),
            ("memory.stat", STAT_V2),
            ("memory.events", "low 4\nhigh 6\nmax 3\noom 5\noom_kill 2\noom_group_kill 1\n"),
            ("memory.swap.current", "4096\n"),
            ("memory.max", "67108864\n"),
            ("memory.low", "0\n"),
            ("memory.min", "4096\n"),
            ("memory.high", "60000000\n"),
            ("memory.swap.events", "high 0\nmax 8\nfail 9\n"),
            ("pids.peak", "9\n"),
            ("cgroup.threads", "11\n12\n13\n"),
            ("hugetlb.2MB.current", "2097152\n"),
            ("hugetlb.2MB.events", "max 5\n"),
            ("hugetlb.1GB.current", "0"),
            ("io.max", "8:0 rbps=1048576 wbps=max riops=max wiops=100\n"),
            ("memory.swap.max", "max\n"),
            ("pids.current", "4\n"),
            ("pids.max", "max\n"),
            ("pids.events", "max 0\n"),
            ("io.stat", "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=512 dios=3\n7:0 \n"),
        ]);
    }
    for (name, text) in files {
        tree.write(&file("unified", &container(), name), text);
    }
}

pub(crate) fn reader(tree: &Tree, budget: usize) -> InstanceReader {
    let mut discovery = tree.discovery();
    let changes = discovery.scan();
    let [Change::Appeared(found)] = changes.as_slice() else { panic!("{changes:?}") };
    InstanceReader::new(found.clone(), discovery.roots().clone(), &FdBudget::new(budget))
}

pub(crate) fn made(layout: Layout) -> Tree {
    let tree = Tree::new(layout);
    tree.cgroup(&container());
    std::fs::create_dir_all(tree.path("sys/dev/block")).unwrap();
    std::os::unix::fs::symlink("../../devices/x/block/sda", tree.path("sys/dev/block/8:0")).unwrap();
    for size in ["hugepages-2048kB", "hugepages-1048576kB"] {
        std::fs::create_dir_all(tree.path("sys/kernel/mm/hugepages").join(size)).unwrap();
    }
    match layout {
        Layout::V1 => fill_v1(&tree),
        Layout::Hybrid => {
            fill_v1(&tree);
            fill_v2(&tree, false);
        }
        Layout::Unified => fill_v2(&tree, true),
    }
    tree
}
