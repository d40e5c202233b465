//! A real container of runc's on cgroup2, where its state file tells of one directory and not of one a controller.
//!
//! Its cgroup has a path that means nothing by itself, so that only the state file makes it an instance.

use serde_json::{Value, json};
use sonde_tests::Exposition;

use crate::machine::{BUNDLE, Machine};

const NAME: &str = "web-1";
const CGROUP: &str = "/batch/whatever";
const MEMORY_LIMIT: u64 = 64 << 20;
const QUOTA_US: u64 = 50_000;
const PERIOD_US: u64 = 100_000;
const TASKS: u64 = 10;

/// What the bundle says (the OCI's runtime specification): a process that waits, in namespaces of its own, with limits.
fn config() -> Value {
    let namespaces = ["pid", "mount", "network", "ipc", "uts"].map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.0.2",
        "process": { "terminal": false, "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": ["/bin/busybox", "sleep", "86400"] },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "annotations": { "org.opencontainers.image.ref.name": "registry.test/web:1" },
        "linux": {
            "cgroupsPath": CGROUP,
            "namespaces": namespaces,
            "resources": {
                "memory": { "limit": MEMORY_LIMIT },
                "cpu": { "quota": QUOTA_US, "period": PERIOD_US },
                "pids": { "limit": TASKS },
            },
        },
    })
}

#[test]
fn a_container_of_runcs_is_found_read_and_lost() {
    let mut machine = Machine::boot(2, 768);
    machine.start_agent("");
    machine.write(&format!("{BUNDLE}/config.json"), &config().to_string());
    // The initramfs is the root of the machine's mounts, which cannot be pivoted away from.
    runc(&mut machine, &["run", "--detach", "--no-pivot", "--bundle", BUNDLE, NAME]);
    machine.eventually("the container is found and read", |machine| {
        let exposed = machine.try_scrape(NAME)?;
        let named = [("name", NAME), ("id", CGROUP)];
        for (series, expected) in [
            ("container_spec_memory_limit_bytes", MEMORY_LIMIT),
            ("container_spec_cpu_quota", QUOTA_US),
            ("container_spec_cpu_period", PERIOD_US),
            ("container_threads_max", TASKS),
            ("container_processes", 1),
        ] {
            let value = exposed.value(series, &named);
            if value != Some(expected as f64) {
                return Err(format!("{series} is {value:?}, and should be {expected}"));
            }
        }
        Ok(())
    });
    runc(&mut machine, &["pause", NAME]);
    becomes(&mut machine, "frozen", "freezer");
    runc(&mut machine, &["resume", NAME]);
    runc(&mut machine, &["kill", NAME, "KILL"]);
    becomes(&mut machine, "stopped", "exited");
    runc(&mut machine, &["delete", NAME]);
    becomes(&mut machine, "gone", "removed");
}

/// Runs a command of runc's to its end.
#[track_caller]
fn runc(machine: &mut Machine, arguments: &[&str]) {
    let log = "/runc.log";
    let order = json!({ "do": "start", "program": "/bin/runc", "arguments": arguments, "log": log });
    let pid = machine.order(&order)["pid"].as_u64().expect("what was started has a pid");
    let how = machine.eventually(&format!("the end of runc {arguments:?}"), |machine| {
        machine.ended(pid).ok_or_else(|| "it runs".to_owned())
    });
    assert_eq!(how, "exited with 0", "runc {arguments:?}: {:?}", machine.read(log));
}

#[track_caller]
fn becomes(machine: &mut Machine, state: &str, reason: &str) {
    machine.eventually(&format!("it is {state} for {reason}"), |machine| {
        let seen = machine.try_observe(NAME, None, &[])?;
        let exposed = Exposition::read(if [200, 503].contains(&seen.status) { &seen.body } else { "" });
        let states = exposed.value("sonde_instance_state", &[("state", state)]);
        let reasons = exposed.value("sonde_instance_state_reason", &[("reason", reason)]);
        if (states, reasons) == (Some(1.0), Some(1.0)) {
            Ok(())
        } else {
            Err(format!("{}: {}", seen.status, seen.body))
        }
    });
}
