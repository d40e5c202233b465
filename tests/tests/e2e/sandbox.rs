//! The sandbox's processes: what of them can end, and what is seen of that from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sonde_tests::{Container, Exposition, Footprint, Sonde, eventually, unique_name};

const SOON: Duration = Duration::from_secs(30);
/// What the kernel ends with a process's parent, it ends at once; a busy machine may take a moment.
const AT_ONCE: Duration = Duration::from_secs(2);
/// A runner's start, and the honest sensor's interval.
const BACK: Duration = Duration::from_secs(1 + 2);
const NOBODY: u32 = 65_534;
const LAYERS: usize = 13;

const HONEST: [(&str, &str); 1] = [("sensor", "honest")];

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("pids fit, and are not 0");
    kill_process(pid, Signal::KILL).expect("it runs");
}

/// Neither there nor waiting for its end to be heard of (proc_pid_stat(5)).
fn is_gone(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "))
}

#[track_caller]
fn assert_gone(pids: &[u32]) {
    eventually("all its processes gone", AT_ONCE, || {
        let left: Vec<u32> = pids.iter().copied().filter(|pid| !is_gone(*pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are there")) }
    });
}

/// A container with sensors on it, the honest one running.
fn up(what: &str, others: &[&str], config: &str) -> (Container, Sonde) {
    let container = Container::named(what).run();
    let mut sonde = Sonde::configure().sensor("honest.wasm", container.id(), "");
    for other in others {
        sonde = sonde.sensor(other, container.id(), "");
    }
    let sonde = sonde.config(config).up();
    sonde.wait_for_instance(container.id());
    sonde.wait_for_value(container.id(), "sonde_sensor_up", &HONEST, SOON, |up| up == 1.0);
    (container, sonde)
}

fn about(sonde: &Sonde) -> Exposition {
    Exposition::read(&sonde.get("/metrics").text())
}

#[test]
fn killed_runners_are_replaced_and_nothing_else_blinks() {
    let (container, sonde) = up("runnerless", &[], "");
    let before = sonde.scrape(container.id());
    let native = before.samples.iter().filter(|sample| !sample.labels.contains_key("sensor"));
    let native: Vec<String> = native.map(|sample| sample.name.clone()).collect();
    let runs = before.value("honest_runs_total", &[]).expect("it runs");
    // Each thread of the schedule has one.
    let runners = sonde.workers("runner");
    runners.iter().for_each(|runner| kill(*runner));
    eventually("the honest sensor back", BACK, || {
        let now = sonde.scrape(container.id());
        let missing: Vec<_> = native.iter().filter(|name| now.all(name, &[]).next().is_none()).collect();
        assert!(missing.is_empty(), "{missing:?} are not there");
        let age = now.value("sonde_sensor_age_seconds", &HONEST);
        // One run may have been taken along; the one after it is the new runner's.
        let is_back = now.value("honest_runs_total", &[]) > Some(runs + 1.0) && age < Some(1.5);
        if is_back { Ok(()) } else { Err(sonde.get(&format!("/v1/{}/sensors", container.id())).text()) }
    });
    let about = about(&sonde);
    let (killed, now) = (runners.len() as f64, sonde.workers("runner").len() as f64);
    assert_eq!(about.value("sonde_sandbox_runners_ended_total", &[]), Some(killed));
    assert_eq!(about.value("sonde_sandbox_runners_started_total", &[]), Some(killed + now));
    let said = sonde.cli(&["explain", container.id(), "honest"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("honest (running): It runs; its samples are"), "{said:?}");
}

#[test]
fn quarantined_sensor_says_so_and_is_released() {
    let (container, sonde) = up("quarantine", &["trap.wasm"], "[sandbox]\nquarantine_after = 2\n");
    let trap = [("sensor", "trap")];
    let quarantined = |what: &str| {
        sonde.wait_for_value(container.id(), "sonde_sensor_quarantined", &trap, SOON, |is| is == 1.0);
        let entry = sonde.sensor_entry(container.id(), "trap").expect("it is listed");
        assert_eq!(entry["state"], "quarantined", "{what}: {entry}");
        entry["runs"].as_f64().expect("runs are counted")
    };
    let runs = quarantined("after two failures");
    assert_eq!(runs, 2.0);
    assert_eq!(sonde.scrape(container.id()).value("sonde_sensor_quarantined", &HONEST), Some(0.0));
    let said = sonde.cli(&["explain", container.id(), "trap"]);
    for part in ["trap (quarantined): It is quarantined: it failed 2 times in a row", "sonde sensor release"] {
        assert!(said.stdout.contains(part), "{said:?}");
    }
    let released = sonde.cli(&["sensor", "release", container.id(), "trap"]);
    assert_eq!(released.code, Some(0), "{released:?}");
    sonde.wait_for_value(container.id(), "sonde_sensor_runs_total", &trap, SOON, |now| now > runs);
    assert_eq!(quarantined("again"), 2.0 * runs);
    let nobody = sonde.cli(&["sensor", "release", container.id(), "nobody"]);
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stderr.contains("no sensor \"nobody\" runs on"), "{nobody:?}");
}

#[test]
fn killed_broker_ends_the_agent_with_a_sentence() {
    let (_container, mut sonde) = up("brokerless", &[], "");
    let started: Vec<u32> = Footprint::tree(sonde.pid()).into_iter().filter(|pid| *pid != sonde.pid()).collect();
    let [broker] = sonde.workers("broker")[..] else { panic!("there is one broker") };
    assert!(started.len() >= 2, "a broker and a runner: {started:?}");
    kill(broker);
    assert_eq!(sonde.ended(), Some(1), "{}", sonde.log());
    assert!(sonde.log().contains("the broker has ended by itself"), "{}", sonde.log());
    assert_gone(&started);
}

#[test]
fn killed_agent_leaves_nothing_behind() {
    let (_container, mut sonde) = up("agentless", &[], "");
    let started = Footprint::tree(sonde.pid());
    let cgroups: Vec<PathBuf> = sonde.workers("runner").into_iter().flat_map(cgroups_of).collect();
    assert!(!cgroups.is_empty(), "a runner has a cgroup of its own");
    sonde.kill();
    assert_gone(&started);
    let _next = Sonde::configure().up();
    eventually("its cgroups removed", AT_ONCE, || {
        let left: Vec<_> = cgroups.iter().filter(|path| path.exists()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// The directories that bound a runner: those of its cgroups that were made for it (cgroups(7)).
fn cgroups_of(pid: u32) -> Vec<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let mounted = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let hierarchies: Vec<PathBuf> = mounted.chain([PathBuf::from("/sys/fs/cgroup")]).collect();
    let own = text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).filter(|path| path.contains("sonde-"));
    let found = own.flat_map(|path| {
        hierarchies
            .iter()
            .map(|root| root.join(path.trim_start_matches('/')))
            .filter(|path| path.is_dir())
            .collect::<Vec<_>>()
    });
    found.collect()
}

#[test]
fn every_layer_is_in_force_for_root() {
    let (_container, sonde) = up("walled", &[], "");
    let about = about(&sonde);
    let layers: Vec<_> = about.all("sonde_sandbox_layer", &[]).collect();
    assert_eq!(layers.len(), LAYERS, "{layers:?}");
    let missing: Vec<_> =
        layers.iter().filter(|layer| layer.value != 1.0).map(|layer| &layer.labels["layer"]).collect();
    assert!(missing.is_empty(), "{missing:?} are not in force");
}

#[test]
fn usage_has_each_account() {
    let container = Container::named("used").run();
    let other = Container::named("used-by-acme").run();
    let rule = format!(
        "[[owner]]\naccount = \"acme\"\nmatch = {{ name = \"{}\" }}\n[[account]]\nname = \"acme\"\nweight = 300\n",
        other.id()
    );
    let sonde = Sonde::configure()
        .sensor("honest.wasm", container.id(), "")
        .sensor("honest.wasm", other.id(), "name = \"theirs\"")
        .sensor("trap.wasm", other.id(), "")
        .config(&rule)
        .up();
    let row = |account: &str| {
        let usage = sonde.get("/v1/usage").json();
        let rows = usage.as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["account"] == account).ok_or_else(|| usage.to_string())
    };
    let (operator, acme) = eventually("runs of both accounts", SOON, || {
        let (operator, acme) = (row("operator")?, row("acme")?);
        let all = operator["runs"].as_f64() >= Some(2.0) && acme["runs"].as_f64() >= Some(3.0);
        if all && acme["failures"].as_f64() >= Some(1.0) {
            Ok((operator, acme))
        } else {
            Err(format!("{operator} {acme}"))
        }
    });
    assert_eq!((&acme["weight"], &operator["failures"]), (&300.into(), &0.into()), "{acme} {operator}");
    for (row, compiled) in [(&operator, 2.0), (&acme, 0.0)] {
        assert!(row["cpu_seconds"].as_f64() > Some(0.0) && row["series"].as_f64() >= Some(1.0), "{row}");
        // Files of the folder are the operator's.
        assert_eq!(row["compilations"].as_f64(), Some(compiled), "{row}");
    }
    assert!(acme["cpu_cores"].is_number() && operator["cpu_cores"].is_null(), "{acme} {operator}");
}

/// Whether a user who is nobody can run a program.
fn is_for_all(program: &Path) -> bool {
    let tried = std::process::Command::new("setpriv")
        .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()])
        .arg(program)
        .arg("--version")
        .output();
    tried.is_ok_and(|output| output.status.success())
}

#[test]
fn without_privileges_it_runs_sensors_and_says_what_is_missing() {
    if !is_for_all(&sonde_tests::binary()) {
        eprintln!("skipped: this machine does not let another user run the binary");
        return;
    }
    // Somebody's own process, found by its pid: the one thing that who is not root can always be asked for.
    let name = unique_name("own");
    let folder = tempfile::TempDir::new().expect("a temporary folder can be made");
    let pid_file = folder.path().join("pid");
    fs::write(&pid_file, std::process::id().to_string()).expect("the temporary folder is writable");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open).expect("it is ours");
    let sonde = Sonde::configure()
        .user(NOBODY)
        .process_group(&name, &format!("pid_file = \"{}\"", pid_file.display()))
        .sensor("honest.wasm", &name, "")
        .up();
    sonde.wait_for_instance(&name);
    sonde.wait_for_value(&name, "sonde_sensor_up", &HONEST, SOON, |up| up == 1.0);
    let about = about(&sonde);
    let layers: Vec<_> = about.all("sonde_sandbox_layer", &[]).collect();
    assert_eq!(layers.len(), LAYERS, "{layers:?}");
    let in_force = |layer: &str| about.value("sonde_sandbox_layer", &[("layer", layer)]);
    assert_eq!(in_force("user"), Some(0.0), "nobody cannot become another user: {layers:?}");
    for layer in ["seccomp", "no_new_privileges", "rlimits", "descriptors"] {
        assert_eq!(in_force(layer), Some(1.0), "{layer} wants no privilege: {layers:?}");
    }
}
