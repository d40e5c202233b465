//! What the kernel says by itself on cgroup2: a kill in an instance that is removed before anybody scrapes it, a refused fork, a limit
//! that somebody has written; and lives that nobody could look at.

use std::time::{Duration, Instant};

use sonde_tests::Exposition;

use crate::machine::{AGENT, Machine};

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

/// Lives of one service, one right after the other, and how long they may take in a machine that is emulated.
const LIVES: u64 = 20;
const LIVED: Duration = Duration::from_secs(30);

/// Births, deaths and lives that nobody read, as the agent has counted them.
fn counted(machine: &mut Machine) -> [u64; 3] {
    let order = serde_json::json!({ "do": "observe", "url": format!("{AGENT}/metrics"), "files": [] });
    let answer = machine.order(&order);
    let exposition = Exposition::read(answer["body"].as_str().expect("a body"));
    ["births", "deaths", "lives_unread"].map(|name| {
        let name = format!("sonde_agent_instance_{name}_total");
        exposition.value(&name, &[]).unwrap_or_else(|| panic!("there is no {name}")) as u64
    })
}

#[test]
fn each_of_many_brief_lives_is_one_birth_and_one_death() {
    let mut machine = Machine::boot(2, 768);
    let cgroup = "/tenants.slice/brief.service";
    machine.start_agent(&format!(
        "[[instance]]\nmatch = {{ runtime = \"systemd\", cgroup = \"{cgroup}\" }}\nname = \"brief\"\n"
    ));
    let folder = machine.cgroup(cgroup);
    machine.eventually("it is there", |machine| match counted(machine) {
        [1, 0, 0] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    machine.order(&serde_json::json!({ "do": "rmdir", "path": folder }));
    machine.eventually("it is gone", |machine| match counted(machine) {
        [1, 1, 0] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let line =
        format!("n={LIVES}; while [ $n -gt 0 ]; do mkdir {folder} && rmdir {folder} || exit 1; n=$((n-1)); done");
    let (how, said) = machine.run("/bin/busybox", &["sh", "-c", &line], LIVED);
    assert_eq!((how.as_str(), said.as_str()), ("exited with 0", ""));
    let all = machine.eventually("all are told", |machine| match counted(machine) {
        all if all[1] > LIVES => Ok(all),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(all[..2], [LIVES + 1, LIVES + 1], "each once");
    assert!(all[2] > 0, "none was over before it was read");
    let seen = machine.try_observe("brief", None, &[]).expect("it is asked");
    assert_eq!(seen.status, 503, "{}", seen.body);
}
