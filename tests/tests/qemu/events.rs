//! What the kernel says by itself on cgroup2: a kill in an instance that is removed before anybody scrapes it, a refused fork, a limit
//! that somebody has written.

use std::time::{Duration, Instant};

use crate::machine::Machine;

const MIB: u64 = 1 << 20;
const DOOMED: &str = "/tenants.slice/doomed.service";
const WATCHED: &str = "/tenants.slice/watched.service";
/// What is not seen by an event is read anew a minute later.
const BEFORE_ANEW: Duration = Duration::from_secs(40);

#[test]
fn kills_forks_and_limits_are_told_by_the_kernel() {
    let mut machine = Machine::boot(2, 768);
    let groups = [("doomed", DOOMED), ("watched", WATCHED)];
    let rule = |(name, cgroup): (&str, &str)| {
        format!("[[instance]]\nmatch = {{ runtime = \"systemd\", cgroup = \"{cgroup}\" }}\nname = \"{name}\"\n")
    };
    machine.start_agent(&groups.map(rule).concat());
    let [doomed, watched] = groups.map(|(_, cgroup)| machine.cgroup(cgroup));
    for (file, limit) in [("memory.max", "16777216"), ("memory.swap.max", "0")] {
        machine.write(&format!("{doomed}/{file}"), limit);
    }
    machine.load("park", &doomed, 0);
    machine.load("park", &watched, 0);
    for (name, _) in groups {
        machine.eventually(&format!("{name} is read"), |machine| machine.try_scrape(name).map(drop));
    }

    machine.write(&format!("{watched}/pids.max"), "77");
    let written = Instant::now();
    machine.eventually("the new limit is told", |machine| {
        let told = machine.try_scrape("watched")?.value("container_threads_max", &[]);
        if told == Some(77.0) { Ok(()) } else { Err(format!("it is {told:?}")) }
    });
    assert!(written.elapsed() < BEFORE_ANEW, "nobody saw that it was written");

    // From here on nobody scrapes it.
    machine.load("memory", &doomed, 64 * MIB);
    machine.eventually("the kernel kills", |machine| {
        let events = machine.read(&format!("{doomed}/memory.events")).unwrap_or_default();
        let killed = events.lines().any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0");
        if killed { Ok(()) } else { Err(events) }
    });
    machine.write(&format!("{doomed}/cgroup.kill"), "1");
    machine.eventually("an empty cgroup goes", |machine| {
        machine.try_order(&serde_json::json!({ "do": "rmdir", "path": doomed })).map(drop)
    });
    machine.eventually("it is gone, and why", |machine| {
        let seen = machine.try_observe("doomed", None, &[])?;
        let told = ["state=\"gone\"} 1", "reason=\"removed\"} 1", "reason=\"oom_killed\"} 1"];
        let is_told = seen.status == 503 && told.iter().all(|told| seen.body.contains(told));
        if is_told { Ok(()) } else { Err(format!("{}: {}", seen.status, seen.body)) }
    });
}
