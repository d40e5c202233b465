//! What a reading costs: `reading_cost CGROUP_PATH [TIMES]` reads an instance's cgroup again and again, beside bare
//! `pread` on the same files kept open, and prints medians and their ratio. Then it scans the machine.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use sonde_collect::mounts::Controller;
use sonde_collect::{
    Discovery, DiscoveryConfig, FdBudget, GroupSource, InstanceReader, NodeId, ProcessGroup, Roots, source,
};

/// What a reading reads of a hybrid machine each time; what is not there is left out.
const FILES: [(Option<Controller>, &str); 25] = [
    (Some(Controller::Cpuacct), "cpuacct.usage"),
    (None, "cpu.stat"),
    (Some(Controller::Cpu), "cpu.stat"),
    (Some(Controller::Cpu), "cpu.stat.local"),
    (Some(Controller::Memory), "memory.usage_in_bytes"),
    (Some(Controller::Memory), "memory.max_usage_in_bytes"),
    (Some(Controller::Memory), "memory.stat"),
    (Some(Controller::Memory), "memory.failcnt"),
    (Some(Controller::Memory), "memory.oom_control"),
    (Some(Controller::Memory), "memory.kmem.usage_in_bytes"),
    (Some(Controller::Pids), "tasks"),
    (Some(Controller::Memory), "cgroup.procs"),
    (Some(Controller::Pids), "pids.current"),
    (Some(Controller::Pids), "pids.events"),
    (Some(Controller::Blkio), "blkio.throttle.io_service_bytes_recursive"),
    (Some(Controller::Blkio), "blkio.throttle.io_serviced_recursive"),
    (Some(Controller::Freezer), "freezer.state"),
    (None, "cgroup.events"),
    (None, "cpu.pressure"),
    (None, "memory.pressure"),
    (None, "io.pressure"),
    (None, "memory.current"),
    (None, "memory.stat"),
    (None, "pids.current"),
    (None, "io.stat"),
];

/// And of its leader, where that has a network namespace of its own.
const LEADERS: [&str; 6] = ["stat", "net/dev", "net/snmp", "net/netstat", "net/sockstat", "net/sockstat6"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: reading_cost CGROUP_PATH [TIMES]")?;
    let times: usize = arguments.next().map_or(Ok(2000), |times| times.parse())?;
    let roots = Arc::new(Roots::of_this_machine()?);
    let mut config = DiscoveryConfig::new(NodeId::new("cost")?);
    let source = GroupSource::Cgroup(path);
    config.process_groups = vec![ProcessGroup { name: "cost".into(), source }];
    let mut discovery = Discovery::new(roots.clone(), config);
    discovery.scan();
    let found = discovery.instances().find(|found| found.name.runtime_id == "cost").ok_or("no such cgroup")?.clone();
    let mut reader = InstanceReader::new(found.clone(), roots.clone(), &FdBudget::new(100));
    let reading = reader.read()?;

    let mut bare: Vec<OwnedFd> = FILES
        .iter()
        .filter_map(|(place, name)| {
            let directory = match place {
                Some(controller) => found.cgroups.v1(*controller),
                None => found.cgroups.v2.as_deref(),
            };
            source::open(&directory?.join(name)).ok()
        })
        .collect();
    if let Some(leader) = reading.leader {
        let process = roots.proc.join(leader.pid.to_string());
        bare.extend(LEADERS.iter().filter_map(|name| source::open(&process.join(name)).ok()));
    }
    let mut buffer = vec![0; 16 * 1024];
    let mut reads = || {
        for fd in &bare {
            // What cannot be read costs its time all the same.
            let _ = rustix::io::pread(fd, &mut buffer[..], 0);
        }
    };
    // In turns, so that both see the same machine.
    let (mut bare_ns, mut reading_ns) = (Vec::with_capacity(times), Vec::with_capacity(times));
    for _ in 0..times {
        let began = Instant::now();
        reads();
        bare_ns.push(began.elapsed().as_nanos());
        let began = Instant::now();
        reader.read()?;
        reading_ns.push(began.elapsed().as_nanos());
    }
    let (bare_ns, reading_ns) = (median(bare_ns), median(reading_ns));
    println!("{} files, {times} times, medians", bare.len());
    println!("bare pread  {:>8.1} µs", bare_ns as f64 / 1e3);
    println!("a reading   {:>8.1} µs  {:.2} times", reading_ns as f64 / 1e3, reading_ns as f64 / bare_ns as f64);

    let began = Instant::now();
    discovery.scan();
    println!("a scan of {} instances {:.1} ms", discovery.instances().count(), began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values[values.len() / 2]
}
