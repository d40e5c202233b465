//! Against the kernel: a real container of runc, found by its state file, read, and compared with its
//! cgroup files; brought into each state that can be had without harming the machine.
//!
//! Needs root, runc and a static busybox; says so and passes where one is missing.

mod container;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_collect::mounts::Controller;
use sonde_collect::reading::{MEMORY_PARTS, Ulimit};
use sonde_collect::space::SpacePool;
use sonde_collect::state::judge;
use sonde_collect::{
    Change, Discovery, DiscoveryConfig, Events, FdBudget, Gone, InstanceReader, InstanceState, NodeId, Reason,
    Resource, Roots, Runtime, Watcher, kstats,
};

use container::{Container, found, read_until};

#[test]
fn a_reading_agrees_with_the_kernels_files() {
    let Some(container) = Container::start("burn", "while :; do :; done") else { return };
    let watched = found(&container);
    let found = &watched.found;
    assert_eq!(found.name.runtime, Runtime::Runc);
    assert_eq!(found.cgroup_path, format!("/{}", container.name));
    assert_eq!((found.metadata.label("owner"), &found.metadata.pod), (Some("bank"), &None));
    let leader = found.leader(&watched.roots).unwrap();
    assert!(leader.is_alive() && !leader.shares_host_network(&watched.roots));
    assert!(!leader.shares_host_mounts(&watched.roots));
    assert_eq!(found.init.unwrap().0, leader.pid);

    let mut reader = watched.reader();
    // Until runc's own threads have made way for the shell.
    let first = read_until(&mut reader, |reading| reading.pids.tasks == Some(1));
    if watched.is_v1() {
        let before = watched.number(Controller::Cpuacct, "cpuacct.usage");
        let reading = reader.read().unwrap();
        let after = watched.number(Controller::Cpuacct, "cpuacct.usage");
        let usage = reading.cpu.unwrap().usage_ns;
        assert!(before <= usage && usage <= after, "{before} <= {usage} <= {after}");
        assert_eq!(
            reading.memory.max_usage_bytes,
            Some(watched.number(Controller::Memory, "memory.max_usage_in_bytes"))
        );
    }
    assert_eq!(first.limits.memory_bytes, Some(64 << 20));
    assert_eq!((first.limits.cpu_quota_us, first.limits.cpu_period_us), (Some(10_000), Some(100_000)));
    assert_eq!(first.limits.tasks, Some(16));
    assert_eq!((first.pids.processes, first.live_processes), (Some(1), Some(1)));
    // Its own namespace, where there is loopback alone.
    assert_eq!(first.network, Some(Vec::new()));
    let descriptors = first.descriptors.unwrap();
    assert_eq!(descriptors.fullest, Some((descriptors.open, 64)));
    assert!(first.memory.usage_bytes.unwrap() >= first.memory.working_set_bytes.unwrap());
    assert!(first.problems.is_empty(), "{:?}", first.problems);
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((unix - first.started_unix_seconds.unwrap()).abs() < 60.0);

    // A tenth of a CPU to burn, and more wanted: throttled, which only two readings show.
    assert_eq!(judge(None, &first).state, InstanceState::Running);
    let later =
        read_until(&mut reader, |reading| reading.throttling.unwrap().periods >= first.throttling.unwrap().periods + 4);
    // What holds it is its own quota, which both files tell of.
    if let (Some(before), Some(now)) = (first.held_ns, later.held_ns) {
        assert!(now > before, "{now} after {before}");
    }
    let judgement = judge(Some(&first), &later);
    assert_eq!((judgement.state, judgement.saturated), (InstanceState::Saturated, vec![Resource::Cpu]));
    assert_eq!(judgement.reasons, [Reason::CpuThrottled]);

    let processes = kstats::processes(&watched.roots, found);
    assert_eq!(processes.len(), 1);
    assert_eq!((processes[0].pid, processes[0].name.as_str()), (leader.pid, "sh"));
    let names: Vec<_> = kstats::kstats(&later, "").iter().map(|kstat| kstat.module).collect();
    assert!(names.contains(&"cpu") && names.contains(&"memory") && names.contains(&"limits"));
    assert_eq!(kstats::kstats(&later, "cpu").len(), 1);
}

/// What the kernel's file says of a name, parsed apart from what is tested: `Tcp`, `RetransSegs`.
fn protocol(text: &str, prefix: &str, name: &str) -> Option<u64> {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|line| line.strip_prefix(prefix)?.strip_prefix(": "))
        .map(|line| line.split(' ').collect())
        .collect();
    let at = lines[0].iter().position(|column| *column == name)?;
    Some(lines[1][at].parse().unwrap())
}

/// Of the network namespace of a process.
fn sockets_used(process: &Path) -> Option<u64> {
    let sockstat = std::fs::read_to_string(process.join("net/sockstat")).ok()?;
    sockstat.lines().find_map(|line| line.strip_prefix("sockets: used ")?.parse().ok())
}

#[test]
fn the_network_namespace_agrees_with_the_kernels_files() {
    // Connections that nobody answers, datagrams that nobody takes, and a listener that stays.
    let script = "i=0; while [ $i -lt 3 ]; do nc 127.0.0.1 9; i=$((i+1)); done; \
        nslookup x 127.0.0.1; nc -l -p 7777 < /dev/zero > /dev/null & exec sleep 1000";
    let Some(container) = Container::start("net", script) else { return };
    let watched = found(&container);
    let mut reader = watched.reader();
    let reading = read_until(&mut reader, |reading| {
        let transport = reading.transport.unwrap_or_default();
        let Some(leader) = reading.leader else { return false };
        // What the script is done with is closed when the kernel comes to it.
        transport.tcp.activeopens == Some(3)
            && transport.sockets.tcp.unwrap_or(0) + transport.sockets.tcp6.unwrap_or(0) == 1
            && transport.sockets.all == sockets_used(&watched.roots.proc.join(leader.pid.to_string()))
    });
    let transport = reading.transport.unwrap();
    let process = watched.roots.proc.join(reading.leader.unwrap().pid.to_string());
    let file = |name: &str| std::fs::read_to_string(process.join("net").join(name)).unwrap();
    let (snmp, netstat) = (file("snmp"), file("netstat"));
    let mut compared = 0;
    for (header, prefix) in [(&snmp, "Tcp"), (&netstat, "TcpExt"), (&snmp, "Udp")] {
        let names = header.lines().find_map(|line| line.strip_prefix(prefix)?.strip_prefix(": ")).unwrap();
        for name in names.split(' ') {
            let lower = name.to_lowercase();
            let mut all: Box<dyn Iterator<Item = (&str, Option<u64>)>> = match prefix {
                "Udp" => Box::new(transport.udp.all()),
                _ => Box::new(transport.tcp.all()),
            };
            if let Some((_, ours)) = all.find(|(ours, _)| *ours == lower) {
                assert_eq!(ours, protocol(header, prefix, name), "{prefix} {name}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 40, "only {compared} columns have a counterpart");
    // The kernel saw what the script did.
    assert_eq!((transport.tcp.attemptfails, transport.tcp.outrsts), (Some(3), Some(3)));
    assert!(
        transport.udp.noports.unwrap() >= 1 && transport.udp.noports == transport.udp.outdatagrams,
        "{transport:?}"
    );
    assert_eq!(transport.sockets.all, sockets_used(&process));
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    // In this test's own namespace, which is the node's here, there is more.
    let own = std::fs::read_to_string("/proc/self/net/snmp").unwrap();
    assert_ne!(protocol(&own, "Tcp", "OutSegs"), transport.tcp.outsegs);
}

#[test]
fn caps_zombies_and_space_agree_with_the_kernels() {
    // The shell gives way to one that waits for nobody; its children end when it has.
    let child = "(while [ $(cat /proc/1/comm) = sh ]; do :; done)";
    let Some(container) = Container::start("more", &format!("{child} & {child} & exec sleep 1000")) else { return };
    let watched = found(&container);
    let pool = SpacePool::default();
    let mut reader = watched.reader().with_space(&pool, watched.roots.clone());
    let reading = read_until(&mut reader, |reading| {
        let left = (reading.pids.tasks, reading.live_processes) == (Some(3), Some(1));
        left && reading.pids.zombies == Some(2) && reading.space.is_some()
    });
    let space = reading.space.unwrap();
    let said = rustix::fs::statvfs(container.directory.path()).unwrap();
    assert_eq!(space.file_system.size_bytes, said.f_blocks * said.f_frsize);
    assert_eq!(space.file_system.inodes, Some(said.f_files));
    // runc mounts the root for reading only.
    assert!(space.file_system.read_only);
    assert!(space.age < Duration::from_secs(20));

    let status = std::fs::read_to_string(format!("/proc/{}/status", reading.leader.unwrap().pid)).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:")).unwrap().trim().replace(',', "");
    let cpus: u32 = mask.chars().filter_map(|digit| digit.to_digit(16)).map(u32::count_ones).sum();
    assert_eq!(reading.limits.cpus_allowed, Some(u64::from(cpus)));
    assert_eq!(reading.limits.open_files, Some(Ulimit::At(64)));
    if watched.is_v1() {
        // The kernel gathers these now and then, so they can differ from one moment to the next though nothing goes on.
        let file = watched.file(Controller::Memory, "memory.stat");
        let mut stat = std::fs::read_to_string(&file).unwrap();
        let reading = read_until(&mut reader, |_| {
            let before = std::mem::replace(&mut stat, std::fs::read_to_string(&file).unwrap());
            before == stat
        });
        let value = |key: &str| stat.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        let memory = &reading.memory;
        assert_eq!(memory.inactive_file_bytes, value("total_inactive_file "));
        assert_eq!(memory.active_file_bytes, value("total_active_file "));
        assert_eq!(memory.refaults_file, value("total_workingset_refault_file "));
        for (part, bytes) in MEMORY_PARTS.into_iter().zip(memory.part_bytes) {
            let key = if part == "anon_thp" { "rss_huge" } else { part };
            assert_eq!(bytes, value(&format!("total_{key} ")), "{part}");
        }
        let kernel = watched.number(Controller::Memory, "memory.kmem.usage_in_bytes");
        assert!(memory.kernel_bytes.unwrap().abs_diff(kernel) < 1 << 20, "{:?} and {kernel}", memory.kernel_bytes);
        assert_eq!(memory.under_oom, Some(0));
        let stat = std::fs::read_to_string(watched.file(Controller::Cpu, "cpu.stat")).unwrap();
        let value = |key: &str| stat.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        let throttling = reading.throttling.unwrap();
        assert_eq!((throttling.burst_periods, throttling.burst_ns), (value("nr_bursts "), value("burst_time ")));
        assert_eq!(reading.held_ns.is_some(), watched.file(Controller::Cpu, "cpu.stat.local").exists());
    }
    // The root goes with its leader: none is told of one that is dead.
    assert!(container.runc(&["kill", &container.name, "KILL"]));
    let dead = read_until(&mut reader, |reading| reading.live_processes == Some(0));
    assert_eq!((dead.space, dead.transport), (None, None));
}

/// Waits until it is so, without a reading.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not so in 20 s");
        std::thread::yield_now();
    }
}

#[test]
fn the_kernel_tells_of_kills_without_a_reading_and_refused_forks_are_told() {
    let hungry = "while :; do dd if=/dev/zero of=/dev/null bs=128M count=1; sleep 0.1; done";
    let Some(container) = Container::start("events", &format!("sleep 3; {hungry}")) else { return };
    let watched = found(&container);
    let events = Events::start(Arc::default()).unwrap();
    let totals = events.totals();
    let reader = watched.reader().with_events(&events, None);
    let noticed = reader.noticed().unwrap();
    eventually("a kill", || totals.oom_kills() > 0);
    assert!(noticed.was_killed_within(Duration::from_secs(20)) && noticed.counts().oom_kills > Some(0));
    let kernels = std::fs::read_to_string(
        watched.file(Controller::Memory, if watched.is_v1() { "memory.oom_control" } else { "memory.events" }),
    );
    let kernels = kernels.unwrap().lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok());
    assert!(Some(totals.oom_kills()) <= kernels, "{totals:?} and {kernels:?}");
    assert!(totals.memory_limit_hits() > 0);
    let before = totals.oom_kills();
    drop(container);
    assert!(totals.oom_kills() >= before, "what is gone stays counted");
    drop(reader);

    // Another, in which the kernel kills nobody: who forks is there until he may not.
    let Some(container) = Container::start("forks", "while :; do sleep 0.1; done") else { return };
    let watched = found(&container);
    let mut reader = watched.reader().with_events(&events, None);
    assert_eq!(totals.forks_refused(), 0);
    std::fs::write(watched.file(Controller::Pids, "pids.max"), "1").unwrap();
    // cgroup2's kernel says so by itself (`tests/tests/qemu/events.rs`); v1's does not here, and a reading finds it.
    eventually("a refused fork", || {
        assert!(!watched.is_v1() || reader.read().is_ok());
        totals.forks_refused() > 0
    });
    drop((container, reader));
}

#[test]
fn a_limit_that_is_written_is_seen_at_the_next_reading_or_soon() {
    let Some(container) = Container::start("limits", "exec sleep 1000") else { return };
    let watched = found(&container);
    let events = Events::start(Arc::default()).unwrap();
    let mut reader = watched.reader().with_events(&events, None);
    let first = reader.read().unwrap().limits;
    assert_eq!((first.tasks, first.memory_bytes, first.cpu_quota_us), (Some(16), Some(64 << 20), Some(10_000)));
    assert_eq!((first.open_files, first.cpus_allowed.is_some()), (Some(Ulimit::At(64)), true));
    // Far sooner than what is read only in case that a write was not seen.
    let begin = Instant::now();
    let memory = if watched.is_v1() { "memory.limit_in_bytes" } else { "memory.max" };
    for (controller, file, text) in [(Controller::Pids, "pids.max", "17"), (Controller::Memory, memory, "67174400")] {
        std::fs::write(watched.file(controller, file), text).unwrap();
    }
    let now = read_until(&mut reader, |reading| reading.limits.tasks == Some(17)).limits;
    read_until(&mut reader, |reading| reading.limits.memory_bytes == Some(67_174_400));
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(
        (now.open_files, now.cpus_allowed, now.cpu_quota_us),
        (first.open_files, first.cpus_allowed, first.cpu_quota_us)
    );
}

#[test]
fn states_of_a_container() {
    let script = "i=0; while [ $i -lt 15 ]; do sleep 1000 & i=$((i+1)); done; wait";
    let Some(container) = Container::start("states", script) else { return };
    let watched = found(&container);
    let mut reader = watched.reader();
    let full = read_until(&mut reader, |reading| reading.pids.tasks == Some(16));
    let judgement = judge(None, &full);
    assert_eq!((judgement.state, judgement.saturated), (InstanceState::Saturated, vec![Resource::Pids]));
    assert_eq!(judgement.reasons, [Reason::PidsLimit]);

    assert!(container.runc(&["pause", &container.name]));
    let frozen = judge(None, &reader.read().unwrap());
    assert_eq!((frozen.state, frozen.reasons[0]), (InstanceState::Frozen, Reason::Freezer));
    assert!(container.runc(&["resume", &container.name]));

    assert!(container.runc(&["kill", &container.name, "STOP"]));
    let stopped = read_until(&mut reader, |reading| reading.leader.is_some_and(|leader| leader.state == b'T'));
    let stopped = judge(None, &stopped);
    assert_eq!((stopped.state, stopped.reasons[0]), (InstanceState::Stopped, Reason::Sigstop));

    // Main process dead, cgroup alive.
    assert!(container.runc(&["kill", &container.name, "KILL"]));
    let exited = read_until(&mut reader, |reading| reading.live_processes == Some(0));
    assert_eq!((exited.leader, exited.network.clone()), (None, None));
    let exited = judge(Some(&full), &exited);
    assert_eq!((exited.state, exited.reasons), (InstanceState::Stopped, vec![Reason::Exited]));

    drop(container);
    assert_eq!(reader.read().err(), Some(Gone));
}

#[test]
fn an_oom_kill_is_seen() {
    let script = "read x < /dev/null; while :; do dd if=/dev/zero of=/dev/null bs=200M count=1; done";
    let Some(container) = Container::start("oom", script) else { return };
    let watched = found(&container);
    let mut reader = watched.reader();
    let first = reader.read().unwrap();
    let killed = read_until(&mut reader, |reading| reading.memory.oom_kills > first.memory.oom_kills);
    let judgement = judge(Some(&first), &killed);
    assert_eq!(judgement.state, InstanceState::Saturated);
    assert!(judgement.saturated.contains(&Resource::Memory));
    assert!(judgement.reasons.contains(&Reason::OomKilled), "{:?}", judgement.reasons);
}

#[test]
fn births_and_deaths_are_noticed_at_once_and_nothing_is_left() {
    let roots = Arc::new(Roots::of_this_machine().unwrap());
    let mut discovery = Discovery::new(roots.clone(), DiscoveryConfig::new(NodeId::new("test").unwrap()));
    let mut watcher = Watcher::new().unwrap();
    watcher.scan(&mut discovery);
    let Some(container) = Container::start("watch", "sleep 1000") else { return };
    let started = Instant::now();
    let mut seen = None;
    while seen.is_none() {
        assert!(started.elapsed() < Duration::from_secs(5), "the birth was not noticed");
        watcher.wait(Duration::from_secs(1)).unwrap();
        let changes = watcher.scan(&mut discovery);
        seen = changes.into_iter().find_map(|change| match change {
            Change::Appeared(found) if found.name.runtime_id == container.name => Some(found),
            _ => None,
        });
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?} after runc had returned", started.elapsed());
    let found = seen.unwrap();
    let mut reader = InstanceReader::new(found.clone(), roots, &FdBudget::new(100));
    assert!(reader.read().unwrap().network.is_some());
    let uuid = found.name.uuid;
    drop(container);
    let died = Instant::now();
    loop {
        assert!(died.elapsed() < Duration::from_secs(5), "the death was not noticed");
        watcher.wait(Duration::from_secs(1)).unwrap();
        let changes = watcher.scan(&mut discovery);
        if changes.iter().any(|change| matches!(change, Change::Gone(gone, _) if *gone == uuid)) {
            break;
        }
    }
    assert!(died.elapsed() < Duration::from_secs(1), "{:?} after runc had returned", died.elapsed());
    assert_eq!(reader.read().err(), Some(Gone));
}
