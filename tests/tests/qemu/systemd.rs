//! A machine whose first process becomes Debian's systemd, with the unit that we ship as a package would install it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sonde_tests::{eventually, repository};

use crate::archive::Archive;
use crate::machine::{Machine, find};

pub const UNIT: &str = "sonde-agent.service";
/// For a step of the service manager's, on a machine that computes some twenty times slower than its host.
pub const STEP: Duration = Duration::from_secs(120);
/// The tests' hands, whose children are to outlive none of its orders.
const HANDS: &str = "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/init hands\n";
/// Where units are that come with packages.
const UNITS: &str = "/lib/systemd/system";
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

/// systemd, the tests' hands under it, and our unit, with these lines after those of the configuration that we ship.
pub fn archive(more_config: &str) -> Archive {
    let mut archive = Archive::default();
    let dist = |name: &str| fs::read(repository("dist/systemd").join(name)).expect("the unit is in the repository");
    archive.program(Path::new("/lib/systemd/systemd"), "/lib/systemd/systemd");
    archive.program(&find("systemctl"), "/bin/systemctl");
    for applet in ["sh", "kill"] {
        archive.symlink(&format!("/bin/{applet}"), "busybox");
    }
    for target in TARGETS {
        as_here(&mut archive, &format!("{UNITS}/{target}"));
    }
    archive.symlink("/etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target");
    archive.file("/etc/systemd/system/hands.service", HANDS.as_bytes());
    archive.symlink("/etc/systemd/system/sysinit.target.wants/hands.service", "../hands.service");
    archive.file("/etc/passwd", b"root:x:0:0:root:/:/bin/sh\nmessagebus:x:100:100::/:/bin/false\n");
    archive.file("/etc/group", b"root:x:0:\nmessagebus:x:100:\n");
    archive.file("/etc/hosts", b"127.0.0.1 localhost\n");
    // There as a package has it.
    archive.program(&sonde_tests::binary(), "/usr/bin/sonde");
    archive.file(&format!("{UNITS}/{UNIT}"), &dist(UNIT));
    let config = String::from_utf8(dist("sonde.toml")).expect("a configuration is text");
    archive.file("/etc/sonde/sonde.toml", format!("{config}{more_config}").as_bytes());
    archive
}

/// Adds a file of this machine under the same path.
#[track_caller]
pub fn as_here(archive: &mut Archive, path: &str) {
    let content = fs::read(path).unwrap_or_else(|error| panic!("{path} comes with a package of Debian's: {error}"));
    archive.file(path, &content);
}

/// `systemctl ARGUMENTS`: how it ended and what it said.
#[track_caller]
pub fn systemctl(machine: &mut Machine, arguments: &[&str]) -> (String, String) {
    machine.run("/bin/systemctl", arguments, STEP)
}

#[track_caller]
pub fn systemctl_does(machine: &mut Machine, arguments: &[&str]) -> String {
    let (how, said) = systemctl(machine, arguments);
    assert_eq!(how, "exited with 0", "systemctl {arguments:?}: {said}\n{}", machine.log());
    said
}

/// Asks until it is so, as long as a step may take.
#[track_caller]
pub fn until<T>(machine: &mut Machine, what: &str, mut probe: impl FnMut(&mut Machine) -> Result<T, String>) -> T {
    eventually(what, STEP, || probe(machine))
}
