//! The node's files: to the letter, broken, and those of this machine.

use super::*;

#[test]
fn stat_table() {
    let stat = parse_stat(
        b"cpu  9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu12 1 2\nintr 77 1 2 3\nctxt 5\nbtime 1700000000\nprocesses 6\nprocs_running 2\nprocs_blocked 0\nsoftirq 1 2\ncpux 1\n",
    );
    assert_eq!(stat.cpus.len(), 2);
    assert_eq!(stat.cpus[0].ticks, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((stat.cpus[1].cpu.as_str(), stat.cpus[1].ticks[2]), ("12", 0));
    assert_eq!(stat.interrupts, Some(77));
    assert_eq!(stat.boot_unix_seconds, Some(1_700_000_000));
    assert_eq!((stat.running, stat.blocked), (Some(2), Some(0)));
    assert_eq!(parse_stat(b""), SystemStat::default());
    assert_eq!(parse_stat(b"btime 17000"), SystemStat::default());
}

#[test]
fn others() {
    assert_eq!(parse_loadavg(b"0.50 1.25 2.00 1/99 7\n"), Some([0.5, 1.25, 2.0]));
    assert_eq!(parse_loadavg(b"0.50 x 2.00\n"), None);
    assert_eq!(parse_loadavg(b"nan 1 2\n"), None);
    assert_eq!(parse_loadavg(b""), None);
    let memory = parse_meminfo(
        b"MemTotal:  2 kB\nActive(anon):  1 kB\nHugePages_Total:  3\nBad{}: 1 kB\nHuge: 18446744073709551615 kB\nx\nCut: 1",
    );
    let line = |name: &str, value, is_bytes| MemoryLine { name: name.into(), value, is_bytes };
    assert_eq!(
        memory,
        [line("MemTotal", 2048, true), line("Active_anon", 1024, true), line("HugePages_Total", 3, false)]
    );
    let disks = parse_diskstats(b" 8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13\n 8 1 sda1 1 2 3\n\n");
    assert_eq!(disks.len(), 1);
    assert_eq!((disks[0].read_bytes(), disks[0].written_bytes()), (1536, 3584));
    assert_eq!(disks[0].later, [Some(12), Some(13), None, None, None, None]);
    let disks = parse_diskstats(
        b" 8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n 8 1 sdb 1 2 3 4 5 6 7 8 9 10 11 12 x 14 15 16 17\n",
    );
    assert_eq!(disks[0].later, [Some(12), Some(13), Some(14), Some(15), None, None]);
    assert_eq!(disks[1].later, [Some(12), None, Some(14), Some(15), Some(16), Some(17)]);
    let vmstat =
        parse_vmstat(b"nr_free_pages 1\npgpgin 2\npswpout 3\npgmajfault 4\noom_kill 5\npgscan 6\npgfault x\npgpgout 7");
    let vmstat: Vec<_> = vmstat.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    assert_eq!(vmstat, [("pgpgin", 2), ("pswpout", 3), ("pgmajfault", 4), ("oom_kill", 5)]);
    assert_eq!(parse_file_nr(b"100\t0\t900\n"), Some((100, 900)));
    assert_eq!(parse_file_nr(b"100\n"), None);
    let cpus = b"processor\t: 0\nmodel name\t: A 7\nmodel\t\t: 85\n\nprocessor\t: 1\nmodel\t\t: 86\n";
    assert_eq!(parse_cpu_model(cpus), Some(85));
    for none in [&b"processor : 0\nmodel name : x\n\nmodel : 3\n"[..], b"model : x\n", b"model\n", b""] {
        assert_eq!(parse_cpu_model(none), None);
    }
}

#[test]
fn this_node() {
    let roots = Arc::new(Roots::of_this_machine().unwrap());
    let reading = NodeFiles::open(roots.clone()).read();
    assert!(!reading.stat.cpus.is_empty());
    assert!(reading.memory_total_bytes().unwrap() > 0);
    assert!(reading.load.is_some());
    assert!(reading.network.iter().any(|(name, _)| name == "lo"));
    assert!(reading.transport.protocols.iter().any(|(protocol, name, _)| protocol == "Tcp" && name == "RetransSegs"));
    assert!(reading.transport.interfaces.iter().any(|interface| interface.name == "lo"));
    assert!(reading.vmstat.iter().any(|(name, value)| name == "pgfault" && *value > 0));
    assert!(reading.file_systems.is_empty());
    // What was asked at one reading is told at a later one.
    let space = NodeSpace::new(crate::space::SpacePool::default());
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    let told = loop {
        let mut reading = NodeFiles::open(roots.clone()).read();
        reading.look_at_space(&roots, &space);
        if let Some((_, space)) = reading.file_systems.into_iter().find(|(point, _)| point == "/") {
            break space.file_system;
        }
        assert!(Instant::now() < deadline, "the root was never told of");
        std::thread::yield_now();
    };
    let said = rustix::fs::statvfs("/").unwrap();
    assert_eq!(told.size_bytes, said.f_blocks * said.f_frsize);
}
