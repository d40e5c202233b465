//! States and reasons on cgroup2: each brought about by a load, and read from an exposition.
//!
//! The same table as on the test's own machine, which has cgroup v1's controllers, and what is cgroup2's alone: `memory.high`, `io.max`,
//! `cgroup.freeze`.

use sonde_tests::Exposition;

use crate::machine::Machine;

const MIB: u64 = 1 << 20;
/// The disk's number, as `io.max` wants it: NVMe takes the first of the dynamic ones.
const DISK_NUMBER: &str = "/sys/block/nvme0n1/dev";

/// What a load should show: state, what is lacking, reason.
type Shown = (&'static str, Option<&'static str>, Option<&'static str>);

/// Name, what is written to which file of the cgroup, load, its number, what it shows.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str, u64, Shown);

const CASES: [Case; 8] = [
    ("calm", &[], "park", 0, ("running", None, None)),
    ("throttled", &[("cpu.max", "1000 100000")], "spin", 1, ("saturated", Some("cpu"), Some("cpu_throttled"))),
    ("bombed", &[("pids.max", "6")], "forks", 100_000, ("saturated", Some("pids"), Some("pids_limit"))),
    ("open", &[], "descriptors", 64, ("saturated", Some("fds"), Some("fds_limit"))),
    (
        "killed",
        &[("memory.max", "16777216"), ("memory.swap.max", "0")],
        "memory",
        64 * MIB,
        ("saturated", Some("memory"), Some("oom_killed")),
    ),
    // Nearer to the limit than 95 %, and not over it.
    (
        "full",
        &[("memory.max", "67108864"), ("memory.swap.max", "0")],
        "memory",
        62 * MIB,
        ("saturated", Some("memory"), Some("memory_limit")),
    ),
    (
        "high",
        &[("memory.high", "8388608"), ("memory.swap.max", "0")],
        "memory",
        64 * MIB,
        ("saturated", Some("memory"), Some("memory_pressure")),
    ),
    ("slow", &[("io.max", "DISK wbps=65536")], "disk", 2_000, ("saturated", Some("disk"), Some("io_pressure"))),
];

#[test]
fn every_state_has_its_reason() {
    let mut machine = Machine::boot(2, 768);
    let name = |group: &str| format!("/tenants.slice/{group}.service");
    let groups = CASES.iter().map(|case| case.0);
    let config: String =
        groups.map(|group| format!("[[process_group]]\nname = \"{group}\"\ncgroup = \"{}\"\n", name(group))).collect();
    machine.start_agent(&config);
    let disk = machine.read(DISK_NUMBER).expect("the machine has a disk");
    for (group, limits, load, number, shown) in CASES {
        let cgroup = machine.cgroup(&name(group));
        for (file, limit) in limits {
            machine.write(&format!("{cgroup}/{file}"), &limit.replace("DISK", disk.trim()));
        }
        // It stays when the load is killed: what is left is an instance.
        machine.load("park", &cgroup, 0);
        // A change shows only after a reading without it.
        wait_for(&mut machine, group, ("running", None, None));
        if load != "park" {
            machine.load(load, &cgroup, number);
        }
        wait_for(&mut machine, group, shown);
        if group != "calm" {
            machine.write(&format!("{cgroup}/cgroup.kill"), "1");
            wait_for(&mut machine, group, ("stopped", None, Some("exited")));
        }
    }
    halts(&mut machine, &name("calm"));
}

/// Frozen, stopped, dead, removed, one after the other, in an instance that is called calm.
fn halts(machine: &mut Machine, name: &str) {
    let cgroup = machine.cgroup(name);
    let freeze = format!("{cgroup}/cgroup.freeze");
    machine.write(&freeze, "1");
    wait_for(machine, "calm", ("frozen", None, Some("freezer")));
    machine.write(&freeze, "0");
    wait_for(machine, "calm", ("running", None, None));
    let leader = machine.read(&format!("{cgroup}/cgroup.procs")).and_then(|text| text.trim().parse().ok());
    let leader = leader.expect("one process is in it");
    machine.signal(leader, "STOP");
    wait_for(machine, "calm", ("stopped", None, Some("sigstop")));
    machine.signal(leader, "CONT");
    wait_for(machine, "calm", ("running", None, None));
    machine.signal(leader, "KILL");
    wait_for(machine, "calm", ("stopped", None, Some("exited")));
    machine.eventually("an empty cgroup goes", |machine| {
        machine.try_order(&serde_json::json!({ "do": "rmdir", "path": cgroup })).map(|_| ())
    });
    wait_for(machine, "calm", ("gone", None, Some("removed")));
}

/// Scrapes until the instance is as it should be.
#[track_caller]
fn wait_for(machine: &mut Machine, instance: &str, shown: Shown) {
    machine.eventually(&format!("{instance} is {shown:?}"), |machine| {
        let seen = machine.try_observe(instance, None, &[])?;
        if ![200, 503].contains(&seen.status) {
            return Err(format!("{}: {}", seen.status, seen.body));
        }
        let exposed = Exposition::read(&seen.body);
        if shows(&exposed, shown) { Ok(()) } else { Err(said(&exposed)) }
    });
}

fn shows(exposed: &Exposition, (state, lacks, reason): Shown) -> bool {
    let is = |series: &str, label: &str, value: &str| exposed.value(series, &[(label, value)]) == Some(1.0);
    is("sonde_instance_state", "state", state)
        && lacks.is_none_or(|resource| is("sonde_instance_saturated", "resource", resource))
        && reason.is_none_or(|reason| is("sonde_instance_state_reason", "reason", reason))
}

/// What it says of itself, in short.
fn said(exposed: &Exposition) -> String {
    let mine = exposed.samples.iter().filter(|sample| sample.value == 1.0);
    let labels = ["state", "resource", "reason"];
    let words = mine.filter_map(|s| labels.iter().find_map(|label| s.labels.get(*label)));
    words.cloned().collect::<Vec<_>>().join(", ")
}
