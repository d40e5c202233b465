//! Containers of systemd-nspawn under a real systemd, known by what machined writes of them: one that is a unit of Debian's template,
//! and one that somebody started by hand.
//!
//! The agent runs as the unit that we ship, with its least privileges.

use std::path::Path;

use serde_json::{Value, json};

use crate::archive::Archive;
use crate::machine::{AGENT, Machine, find};
use crate::systemd::{self, STEP, UNIT, as_here, systemctl_does, until};

/// Its name has a character that systemd escapes in names of units.
const OF_A_UNIT: &str = "my-box";
const BY_HAND: &str = "other-box";
const OF_A_UNIT_ROOT: &str = "/var/lib/machines/my-box";
const BY_HAND_ROOT: &str = "/srv/other-box";
/// What the template does otherwise: this kernel has no module for a pair of interfaces, and the root has no system to boot.
const SETTINGS: &str = "[Exec]\nBoot=no\nParameters=/bin/sleep 100000\nPrivateUsers=no\nLinkJournal=no\n\
                        [Network]\nVirtualEthernet=no\nPrivate=yes\n";
/// There is no journal that it could say to why it does not start.
const TEMPLATE_SAYS: &str = "[Service]\nStandardOutput=append:/unit.log\nStandardError=append:/unit.log\n";
/// machined, the bus that it is asked by, and the template, as their packages have them.
const FILES: [&str; 11] = [
    "/lib/systemd/system/dbus.service",
    "/lib/systemd/system/dbus.socket",
    "/lib/systemd/system/machine.slice",
    "/lib/systemd/system/machines.target",
    "/lib/systemd/system/systemd-machined.service",
    "/lib/systemd/system/systemd-nspawn@.service",
    "/usr/lib/os-release",
    "/usr/share/dbus-1/system.conf",
    "/usr/share/dbus-1/system.d/org.freedesktop.machine1.conf",
    "/usr/share/dbus-1/system.d/org.freedesktop.systemd1.conf",
    "/usr/share/dbus-1/system-services/org.freedesktop.machine1.service",
];
/// Whose a container is goes by its name, which root has given it.
const RULES: &str = "
[reading]
floor = \"50ms\"
[[owner]]
account = \"acme\"
match = { name = \"my-box\" }
";

fn machine() -> Machine {
    let mut archive = systemd::archive(RULES);
    for file in FILES {
        as_here(&mut archive, file);
    }
    archive.symlink(
        "/etc/systemd/system/dbus-org.freedesktop.machine1.service",
        "/lib/systemd/system/systemd-machined.service",
    );
    archive.symlink("/etc/systemd/system/sockets.target.wants/dbus.socket", "/lib/systemd/system/dbus.socket");
    archive.program(Path::new("/lib/systemd/systemd-machined"), "/lib/systemd/systemd-machined");
    for program in ["dbus-daemon", "systemd-nspawn", "machinectl"] {
        archive.program(&find(program), &format!("/usr/bin/{program}"));
    }
    archive.file(&format!("/etc/systemd/nspawn/{OF_A_UNIT}.nspawn"), SETTINGS.as_bytes());
    archive.file("/etc/systemd/system/systemd-nspawn@.service.d/test.conf", TEMPLATE_SAYS.as_bytes());
    archive.directory("/tmp");
    add_root(&mut archive, OF_A_UNIT_ROOT);
    add_root(&mut archive, BY_HAND_ROOT);
    Machine::boot_systemd(2, 1024, archive)
}

/// A root with nothing but busybox, which systemd takes for one of an operating system.
fn add_root(archive: &mut Archive, root: &str) {
    archive.program(&find("busybox"), &format!("{root}/bin/busybox"));
    archive.symlink(&format!("{root}/bin/sleep"), "busybox");
    archive.file(&format!("{root}/usr/lib/os-release"), b"ID=box\n");
    for folder in ["etc", "proc", "sys", "dev", "run", "tmp", "var"] {
        archive.directory(&format!("{root}/{folder}"));
    }
}

/// What the agent lists under a name, once it is as it should be. machined writes of a machine when it runs already, so that
/// is a look later.
#[track_caller]
fn listed_as(machine: &mut Machine, name: &str, is_so: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
    until(machine, &format!("{name} being listed as it is"), |machine| {
        let answer = machine.try_order(&json!({ "do": "observe", "url": format!("{AGENT}/v1/instances") }))?;
        let body = answer["body"].as_str().unwrap_or_default();
        let all: Vec<Value> = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
        let found = all.into_iter().find(|entry| entry["name"] == name && entry["state"] != "gone");
        if is_so(found.as_ref()) {
            return Ok(found);
        }
        let machined = machine.read(&format!("/run/systemd/machines/{name}"));
        let said = ["/unit.log", "/by-hand.log"].map(|log| machine.read(log));
        Err(format!("{body}; machined: {machined:?}; nspawn: {said:?}; {}", machine.log()))
    })
}

#[test]
fn machines_of_nspawns_are_known_by_name_and_root() {
    let mut machine = machine();
    systemctl_does(&mut machine, &["start", UNIT]);
    let (how, said) = machine.run("/usr/bin/machinectl", &["start", OF_A_UNIT], STEP);
    assert_eq!(how, "exited with 0", "{said} {:?}", machine.read("/unit.log"));
    let (named, root) = (format!("--machine={BY_HAND}"), format!("--directory={BY_HAND_ROOT}"));
    let options = ["--quiet", "--private-network", "--link-journal=no", "--property=MemoryMax=64M"];
    let by_hand = [&options[..], &[&named, &root, "/bin/sleep", "100000"]].concat();
    let program = "/usr/bin/systemd-nspawn";
    machine.order(&json!({ "do": "start", "program": program, "arguments": by_hand, "log": "/by-hand.log" }));
    for (name, root, owner) in [(OF_A_UNIT, OF_A_UNIT_ROOT, "acme"), (BY_HAND, BY_HAND_ROOT, "operator")] {
        let has_root = |entry: Option<&Value>| entry.is_some_and(|entry| entry["image"] == root);
        let told = listed_as(&mut machine, name, has_root).unwrap_or_default();
        assert_eq!((told["runtime"].as_str(), told["runtime_id"].as_str()), (Some("nspawn"), Some(name)), "{told}");
        assert_eq!((told["owner"].as_str(), told["state"].as_str()), (Some(owner), Some("running")), "{told}");
        let exposed = until(&mut machine, "its series", |machine| machine.try_scrape(name));
        assert!(exposed.value("container_processes", &[("name", name), ("image", root)]) >= Some(1.0), "{name}");
    }
    let exposed = machine.try_scrape(BY_HAND).expect("it was there a moment ago");
    assert_eq!(exposed.value("container_spec_memory_limit_bytes", &[]), Some(67_108_864.0));

    let (how, said) = machine.run("/usr/bin/machinectl", &["terminate", OF_A_UNIT], STEP);
    assert_eq!(how, "exited with 0", "{said}");
    listed_as(&mut machine, OF_A_UNIT, |entry| entry.is_none());
    listed_as(&mut machine, BY_HAND, |entry| entry.is_some_and(|entry| entry["state"] == "running"));
}
