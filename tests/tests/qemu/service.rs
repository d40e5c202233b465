//! The unit that is shipped, under the systemd that it is shipped for: Debian's, as the first process of a machine of its own.
//!
//! Nothing stands in for it: systemd reads `dist/systemd/sonde-agent.service` as it is, with its least privileges, hears that the
//! agent is ready, restarts it when the watchdog hears nothing, and ends it. Under those privileges a service is found and
//! read, and a sensor in its runner, below the unit's own delegated cgroup, asks it over HTTP.

use std::fs;

use serde_json::json;
use sonde_tests::{Exposition, sensor_path};

use crate::machine::Machine;
use crate::systemd::{self, UNIT, systemctl, systemctl_does, until};

/// As short as the agent can keep it here: it is heard four times in that.
const WATCHDOG: &str =
    "[Service]\nWatchdogSec=12s\nStandardOutput=append:/sonde.log\nStandardError=append:/sonde.log\n";
/// A web server of busybox's, as anybody's service, in a network of its own.
const WEB: &str =
    "[Service]\nExecStart=/bin/busybox httpd -f -p 8080 -h /srv\nPrivateNetwork=yes\nMemoryMax=64M\nTasksMax=16\n";
/// Services are instances only where a rule says so.
const RULES: &str = "
[reading]
floor = \"50ms\"
[[instance]]
match = { runtime = \"systemd\", cgroup = \"/system.slice/web.service\" }
name = \"web\"
[[sensor]]
file = \"http.wasm\"
match = \"web\"
[sensor.config]
url = \"http://localhost:8080/\"
";
/// A machine with our unit, and a service beside it.
fn machine() -> Machine {
    let mut archive = systemd::archive(RULES);
    archive.file("/etc/systemd/system/web.service", WEB.as_bytes());
    archive.file("/srv/index.html", b"here\n");
    archive.file("/var/lib/sonde/sensors/http.wasm", &fs::read(sensor_path("http.wasm")).expect("it is built"));
    archive.file(&format!("/etc/systemd/system/{UNIT}.d/test.conf"), WATCHDOG.as_bytes());
    Machine::boot_systemd(2, 1024, archive)
}

/// A property of our unit.
#[track_caller]
fn property(machine: &mut Machine, name: &str) -> String {
    let said = systemctl_does(machine, &["show", "--value", "--property", name, UNIT]);
    said.trim().to_owned()
}

#[track_caller]
fn serves(machine: &mut Machine) -> Exposition {
    until(machine, "the node is scraped", |machine| {
        machine.try_scrape("node").map_err(|e| format!("{e}: {}", machine.log()))
    })
}

#[test]
fn the_unit_runs_under_a_real_systemd() {
    let mut machine = machine();
    systemctl_does(&mut machine, &["start", "web.service"]);
    // It returns when the agent has said that it is ready: Type=notify.
    systemctl_does(&mut machine, &["start", UNIT]);
    assert_eq!(systemctl_does(&mut machine, &["is-active", UNIT]).trim(), "active");
    let status = property(&mut machine, "StatusText");
    assert!(status.starts_with("serving at http://127.0.0.1:9164"), "{status}");
    assert!(serves(&mut machine).value("machine_cpu_cores", &[]) == Some(2.0));

    a_service_is_read_and_probed(&mut machine);

    systemctl_does(&mut machine, &["reload", UNIT]);
    assert_eq!(property(&mut machine, "StatusText"), "reloaded");

    let first = property(&mut machine, "MainPID");
    machine.signal(first.parse().expect("it runs"), "STOP");
    until(&mut machine, "the watchdog's restart", |machine| match property(machine, "NRestarts").as_str() {
        "0" => Err("it was not restarted".to_owned()),
        _ => Ok(()),
    });
    until(&mut machine, "the agent being ready again", |machine| match systemctl(machine, &["is-active", UNIT]) {
        (_, state) if state.trim() == "active" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_ne!(property(&mut machine, "MainPID"), first);
    serves(&mut machine);

    systemctl_does(&mut machine, &["stop", UNIT]);
    assert_eq!(property(&mut machine, "ActiveState"), "inactive");
    assert_eq!(property(&mut machine, "Result"), "success", "{}", machine.log());
}

/// With every privilege that the unit keeps and none besides: limits, figures, state, and a sensor that has been there.
fn a_service_is_read_and_probed(machine: &mut Machine) {
    until(machine, "the service's series", |machine| {
        let exposed = machine.try_scrape("web")?;
        let values = [
            "container_spec_memory_limit_bytes",
            "container_threads_max",
            "container_processes",
            "http_up",
            "sonde_sensor_up",
        ]
        .map(|name| exposed.value(name, &[]));
        // Its own network namespace is read as well, which takes a privilege of its own.
        let is_in_its_network = exposed.value("sonde_instance_sockets", &[]).is_some();
        if values == [Some(67_108_864.0), Some(16.0), Some(1.0), Some(1.0), Some(1.0)] && is_in_its_network {
            return Ok(());
        }
        let sensors = machine.try_order(&json!({ "do": "observe", "url": "http://127.0.0.1:9164/v1/web/sensors" }));
        Err(format!("{values:?}; {sensors:?}; {}", machine.log()))
    });
}
