//! Which controllers are enabled is a cgroup's own matter on cgroup2, and changes while it lives.
//!
//! What is not counted is absent and never 0; what begins to be counted appears, and vanishes again with its controller.

use crate::machine::Machine;

const SLICE: &str = "/sys/fs/cgroup/plain.slice";
const NAME: &str = "plain";
const CONFIG: &str = "[[process_group]]\nname = \"plain\"\ncgroup = \"/plain.slice/x.service\"\n";

/// Of each controller a series that only it can tell.
const BY_CONTROLLER: [(&str, &str); 3] =
    [("memory", "container_memory_usage_bytes"), ("pids", "container_threads"), ("cpu", "container_spec_cpu_period")];
/// What every cgroup has.
const ALWAYS: [&str; 4] = [
    "container_cpu_usage_seconds_total",
    "container_processes",
    "container_file_descriptors",
    "container_pressure_memory_waiting_seconds_total",
];
/// What needs a limit or a quota that was never set.
const NEVER: [&str; 6] = [
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_spec_cpu_quota",
    "container_spec_memory_limit_bytes",
    "container_spec_memory_reservation_limit_bytes",
    "container_threads_max",
];

#[test]
fn series_come_and_go_with_their_controllers() {
    let mut machine = Machine::boot(2, 768);
    machine.start_agent(CONFIG);
    machine.write("/sys/fs/cgroup/cgroup.subtree_control", "+cpu +memory +io +pids");
    machine.order(&serde_json::json!({ "do": "mkdir", "path": format!("{SLICE}/x.service") }));
    machine.load("park", &format!("{SLICE}/x.service"), 0);
    expect(&mut machine, &[]);
    for (controller, _) in BY_CONTROLLER {
        machine.write(&format!("{SLICE}/cgroup.subtree_control"), &format!("+{controller}"));
        expect(&mut machine, &[controller]);
        machine.write(&format!("{SLICE}/cgroup.subtree_control"), &format!("-{controller}"));
        expect(&mut machine, &[]);
    }
    machine.write(&format!("{SLICE}/cgroup.subtree_control"), "+memory +pids +cpu");
    expect(&mut machine, &["memory", "pids", "cpu"]);
}

/// A cgroup below that is threaded refuses to name its processes (EOPNOTSUPP): they are its parent's, which names them.
#[test]
fn a_threaded_cgroup_below_costs_nothing() {
    let mut machine = Machine::boot(2, 768);
    machine.start_agent(CONFIG);
    let cgroup = format!("{SLICE}/x.service");
    machine.order(&serde_json::json!({ "do": "mkdir", "path": format!("{cgroup}/threads") }));
    machine.write(&format!("{cgroup}/threads/cgroup.type"), "threaded");
    let leader = machine.load("park", &cgroup, 0);
    machine.load("park", &cgroup, 0);
    machine.eventually("both are in it", |machine| {
        let listed = machine.read(&format!("{cgroup}/cgroup.procs")).unwrap_or_default();
        if listed.lines().count() == 2 { Ok(()) } else { Err(listed) }
    });
    machine.write(&format!("{cgroup}/threads/cgroup.threads"), &leader.to_string());
    assert_eq!(machine.read(&format!("{cgroup}/threads/cgroup.procs")), None, "this kernel names them after all");
    machine.eventually("both are counted", |machine| {
        let exposed = machine.try_scrape(NAME)?;
        match exposed.value("container_processes", &[]) {
            Some(2.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Scrapes until the series of these controllers are there and those of the others are not.
#[track_caller]
fn expect(machine: &mut Machine, enabled: &[&str]) {
    machine.eventually(&format!("series of {enabled:?} and no others"), |machine| {
        let exposed = machine.try_scrape(NAME)?;
        let is_there = |series: &str| exposed.all(series, &[]).next().is_some();
        for (controller, series) in BY_CONTROLLER {
            if is_there(series) != enabled.contains(&controller) {
                return Err(format!("{series}: {:?}", exposed.value(series, &[])));
            }
        }
        let absent = ALWAYS.into_iter().find(|series| !is_there(series));
        let invented = NEVER.into_iter().find(|series| is_there(series));
        if let Some(wrong) = absent.or(invented) {
            return Err(format!("{wrong} is {}", if absent.is_some() { "absent" } else { "there" }));
        }
        Ok(())
    });
}
