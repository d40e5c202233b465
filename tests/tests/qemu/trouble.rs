//! The node itself in trouble: out of descriptors, out of memory, all CPUs busy.
//!
//! Whoever takes it all is a tenant in a cgroup of its own, which nobody has given a limit. The agent must answer scrapes all the
//! while, say of the node what the kernel says, lose sight of nobody, and be the one that is still there at the end.

use std::time::Duration;

use sonde_tests::Exposition;

use crate::machine::{Machine, Observation};

/// A tenant's container.
const ID: &str = "b08c811619ab6a28242d275d964c74c9f0ae0aa9159373d8f4441d2832b6906a";
/// A process group, whose values need more descriptors than a container's.
const GROUP: &str = "group";
const GROUP_PID_FILE: &str = "/run/group.pid";
/// Anybody but root: file-max does not bind root.
const TENANT: u32 = 1000;
/// What a scraper is patient for (`KeptConnection`), in a machine that is some ten times slower than a real one.
const PATIENCE: Duration = Duration::from_secs(10);
/// More files than the node has open when it is bounded to what it has and these: enough for the hog's own libraries.
const FILES_LEFT: u64 = 64;
const MIB: u64 = 1 << 20;
/// A limit that is far away, to see whether it is still known.
const MEMORY_LIMIT: u64 = 256 * MIB;
/// Within this the agent looks for instances again, and for the limits of those it knows: 10 s and 5 s, and then some.
const LOOKED_AGAIN: Duration = Duration::from_secs(13);
/// Smaller than the agent is, so that by size alone the kernel would sooner end the agent.
const HOG_BYTES: u64 = 8 * MIB;
/// Tasks that want a CPU, and how many in each cgroup.
const SPINNERS: u32 = 16;
const SPINNERS_EACH: u64 = 4;

/// A machine with an agent, a calm instance of each kind, and a scraper called `prometheus` that has a connection to the agent.
fn calm_node(memory_mib: u32) -> (Machine, String) {
    let mut machine = Machine::boot(2, memory_mib);
    let config = format!("[[process_group]]\nname = \"{GROUP}\"\npid_file = \"{GROUP_PID_FILE}\"\n");
    let cgroup = machine.cgroup(&format!("/docker/{ID}"));
    machine.load("park", &cgroup, 0);
    let leader = machine.load("park", "", 0);
    machine.write(GROUP_PID_FILE, &leader.to_string());
    machine.start_agent(&config);
    for target in ["node", ID, GROUP] {
        machine.eventually("the instance is known", |machine| observe(machine, target, Some("prometheus")).map(|_| ()));
    }
    (machine, cgroup)
}

/// A scrape that is answered with 200, and in time.
fn observe(machine: &mut Machine, target: &str, over: Option<&str>) -> Result<(Observation, Exposition), String> {
    let seen = machine.try_observe(target, over, &[])?;
    if seen.status != 200 {
        return Err(format!("{}: {}", seen.status, seen.body));
    }
    assert!(seen.took < PATIENCE, "a scrape of {target} took {:?}", seen.took);
    let exposed = Exposition::read(&seen.body);
    Ok((seen, exposed))
}

/// Scrapes every target, and sees that all of them are still what they were.
fn all_answer(machine: &mut Machine, over: Option<&str>) {
    for target in ["node", ID, GROUP] {
        let answer = observe(machine, target, over);
        let (_, exposed) = answer.unwrap_or_else(|error| panic!("{target}: {error}; {}", machine.log()));
        let lost = exposed.value("sonde_instance_state", &[("state", "gone")]);
        assert!(target == "node" || lost == Some(0.0), "{target} is called gone");
    }
}

#[test]
fn out_of_descriptors() {
    let (mut machine, cgroup) = calm_node(768);
    machine.write(&format!("{cgroup}/memory.max"), &MEMORY_LIMIT.to_string());
    machine.eventually("the limit is known", |machine| match limit(machine) {
        Some(_) => Ok(()),
        None => Err("absent".to_owned()),
    });
    let open = files(&mut machine).0;
    machine.write("/proc/sys/fs/file-max", &(open + FILES_LEFT).to_string());
    let hog = machine.load_as("descriptors", &cgroup, TENANT, 0);
    machine.eventually("the node has no descriptor left", |machine| match files(machine) {
        (open, most) if open >= most => Ok(()),
        few => Err(format!("{few:?}")),
    });
    let (seen, exposed) = observe(&mut machine, "node", Some("prometheus")).expect("an open connection is answered");
    let counted = |series| exposed.value(series, &[]).unwrap_or_else(|| panic!("no {series} in {}", seen.body));
    assert!(counted("node_filefd_allocated") >= counted("node_filefd_maximum"), "{}", seen.body);
    // Meanwhile the agent looks for instances and for their limits again: it can open nothing, and must not take that for an answer.
    let until = uptime(&mut machine) + LOOKED_AGAIN;
    while uptime(&mut machine) < until {
        all_answer(&mut machine, Some("prometheus"));
    }
    assert!(files(&mut machine).0 >= files(&mut machine).1, "somebody has given the node descriptors back");
    all_answer(&mut machine, Some("prometheus"));
    assert_eq!(limit(&mut machine), Some(MEMORY_LIMIT as f64), "a limit that could not be asked for is not lifted");
    let (_, exposed) = observe(&mut machine, ID, Some("prometheus")).expect("an open connection is answered");
    for series in ["container_cpu_usage_seconds_total", "container_memory_usage_bytes", "container_processes"] {
        assert!(exposed.all(series, &[]).next().is_some(), "{series} is absent");
    }
    machine.signal(hog, "KILL");
    machine.eventually("a new connection is answered", |machine| observe(machine, ID, None).map(|_| ()));
    all_answer(&mut machine, None);
    assert!(!machine.log().contains("an instance is gone"), "{}", machine.log());
}

/// The memory limit as exposed, to who has its connection.
fn limit(machine: &mut Machine) -> Option<f64> {
    let (_, exposed) = observe(machine, ID, Some("prometheus")).ok()?;
    exposed.value("container_spec_memory_limit_bytes", &[])
}

/// How long the machine is up.
fn uptime(machine: &mut Machine) -> Duration {
    let text = machine.read("/proc/uptime").expect("the kernel has a clock");
    let seconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_secs_f64(seconds.expect("uptime is in seconds"))
}

/// How many files are open on the node, and how many may be.
fn files(machine: &mut Machine) -> (u64, u64) {
    let text = machine.read("/proc/sys/fs/file-nr").expect("the kernel counts files");
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[2])
}

#[test]
fn out_of_memory() {
    let (mut machine, cgroup) = calm_node(512);
    machine.write("/proc/sys/vm/oom_dump_tasks", "0");
    let agent = machine.agent();
    let mut started = 0;
    let kills = machine.eventually("the kernel has killed for want of memory", |machine| {
        machine.load("memory", &cgroup, HOG_BYTES);
        started += 1;
        let (_, exposed) = observe(machine, ID, Some("prometheus"))?;
        match exposed.value("container_oom_events_total", &[]) {
            Some(kills) if kills > 0.0 => Ok(kills),
            other => Err(format!("{other:?} after {started} hogs; {}", machine.log())),
        }
    });
    all_answer(&mut machine, Some("prometheus"));
    all_answer(&mut machine, None);
    assert_eq!(machine.ended(agent), None, "the agent was killed, and of the hogs only {kills}");
    let (_, exposed) = observe(&mut machine, "node", None).expect("a new connection is answered");
    let waited = exposed.value("node_pressure_memory_waiting_seconds_total", &[]);
    assert!(waited.is_some_and(|seconds| seconds > 0.0), "the node has waited for memory, and says {waited:?}");
}

#[test]
fn all_cpus_busy() {
    let (mut machine, _) = calm_node(512);
    for tenant in 0..u64::from(SPINNERS) / SPINNERS_EACH {
        let cgroup = machine.cgroup(&format!("/tenant-{tenant}"));
        machine.load("spin", &cgroup, SPINNERS_EACH);
    }
    machine.eventually("the CPUs have more to do than they can", |machine| {
        let (seen, exposed) = observe(machine, "node", Some("prometheus"))?;
        let age = exposed.value("sonde_reading_age_seconds", &[]).ok_or("no age")?;
        match exposed.value("node_procs_running", &[]) {
            Some(running) if running >= f64::from(SPINNERS) && age < seen.took.as_secs_f64() => Ok(()),
            other => Err(format!("{other:?} run, {age} s ago")),
        }
    });
    all_answer(&mut machine, Some("prometheus"));
    all_answer(&mut machine, None);
    // Busy is no reason for an old reading for ever: sooner or later each target has one of its own scrape.
    for target in [ID, GROUP] {
        machine.eventually("a reading of this very scrape", |machine| {
            let (seen, exposed) = observe(machine, target, None)?;
            match exposed.value("sonde_reading_age_seconds", &[]) {
                Some(age) if age < seen.took.as_secs_f64() => Ok(()),
                age => Err(format!("{age:?}")),
            }
        });
    }
}
