//! The unit that is shipped, under the systemd that it is shipped for: Debian's, as the first process of a machine of its own.
//!
//! Nothing stands in for it: systemd reads `dist/systemd/sonde-agent.service` as it is, with its least privileges, hears that the
//! agent is ready, restarts it when the watchdog hears nothing, and ends it. Under those privileges a service is found and
//! read, and a sensor in its runner, below the unit's own delegated cgroup, asks it over HTTP.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use sonde_tests::{Exposition, eventually, repository, sensor_path};

use crate::archive::Archive;
use crate::machine::{Machine, find};

const UNIT: &str = "sonde-agent.service";
/// For a step of the service manager's, on a machine that computes some twenty times slower than its host.
const STEP: Duration = Duration::from_secs(120);
/// As short as the agent can keep it here: it is heard four times in that.
const WATCHDOG: &str =
    "[Service]\nWatchdogSec=12s\nStandardOutput=append:/sonde.log\nStandardError=append:/sonde.log\n";
/// A web server of busybox's, as anybody's service, in a network of its own.
const WEB: &str =
    "[Service]\nExecStart=/bin/busybox httpd -f -p 8080 -h /srv\nPrivateNetwork=yes\nMemoryMax=64M\nTasksMax=16\n";
/// The tests' hands, whose children are to outlive none of its orders.
const HANDS: &str = "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/init hands\n";
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
/// What the unit needs of the units that come with systemd.
const TARGETS: [&str; 12] = [
    "basic.target",
    "local-fs.target",
    "local-fs-pre.target",
    "multi-user.target",
    "network.target",
    "paths.target",
    "shutdown.target",
    "slices.target",
    "sockets.target",
    "swap.target",
    "sysinit.target",
    "timers.target",
];

/// A machine whose first process becomes systemd, with our unit as a package would install it.
fn machine() -> Machine {
    let mut archive = Archive::default();
    let dist = |name: &str| fs::read(repository("dist/systemd").join(name)).expect("the unit is in the repository");
    archive.program(Path::new("/lib/systemd/systemd"), "/lib/systemd/systemd");
    archive.program(&find("systemctl"), "/bin/systemctl");
    for applet in ["sh", "kill"] {
        archive.symlink(&format!("/bin/{applet}"), "busybox");
    }
    let units = Path::new("/lib/systemd/system");
    for target in TARGETS {
        let content = fs::read(units.join(target)).expect("targets come with systemd");
        archive.file(&format!("/lib/systemd/system/{target}"), &content);
    }
    archive.symlink("/etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target");
    archive.file("/etc/systemd/system/hands.service", HANDS.as_bytes());
    archive.symlink("/etc/systemd/system/sysinit.target.wants/hands.service", "../hands.service");
    archive.file("/etc/systemd/system/web.service", WEB.as_bytes());
    archive.file("/srv/index.html", b"here\n");
    archive.file("/etc/passwd", b"root:x:0:0:root:/:/bin/sh\n");
    archive.file("/etc/group", b"root:x:0:\n");
    archive.file("/etc/hosts", b"127.0.0.1 localhost\n");
    // There as a package has it.
    archive.program(&sonde_tests::binary(), "/usr/bin/sonde");
    archive.file(&format!("/lib/systemd/system/{UNIT}"), &dist(UNIT));
    let config = String::from_utf8(dist("sonde.toml")).expect("a configuration is text");
    archive.file("/etc/sonde/sonde.toml", format!("{config}{RULES}").as_bytes());
    archive.file("/var/lib/sonde/sensors/http.wasm", &fs::read(sensor_path("http.wasm")).expect("it is built"));
    archive.file(&format!("/etc/systemd/system/{UNIT}.d/test.conf"), WATCHDOG.as_bytes());
    Machine::boot_systemd(2, 1024, archive)
}

/// `systemctl ARGUMENTS`: how it ended and what it said.
fn systemctl(machine: &mut Machine, arguments: &[&str]) -> (String, String) {
    machine.run("/bin/systemctl", arguments, STEP)
}

#[track_caller]
fn systemctl_does(machine: &mut Machine, arguments: &[&str]) -> String {
    let (how, said) = systemctl(machine, arguments);
    assert_eq!(how, "exited with 0", "systemctl {arguments:?}: {said}\n{}", machine.log());
    said
}

/// A property of our unit.
#[track_caller]
fn property(machine: &mut Machine, name: &str) -> String {
    let said = systemctl_does(machine, &["show", "--value", "--property", name, UNIT]);
    said.trim().to_owned()
}

/// Asks until it is so, as long as a step may take.
#[track_caller]
fn until<T>(machine: &mut Machine, what: &str, mut probe: impl FnMut(&mut Machine) -> Result<T, String>) -> T {
    eventually(what, STEP, || probe(machine))
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
