//! The first process of the virtual machine that the qemu tests boot: their hands inside.
//!
//! What is to be done and what must become of it is decided on the host; here is only what cannot be done from
//! there: mounting, starting, writing and reading files, scraping over loopback. Orders and answers are lines of JSON
//! on the second serial port, so that a test reads like any other. The same program is what the tests load the machine with
//! (`load KIND …`), because a load must be in its cgroup before its first byte is charged.

mod hands;
mod load;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, mount};

/// Where a load is told that it is one.
const LOAD: &str = "load";
/// The serial port of orders; the first is the kernel's console.
const ORDERS: &str = "/dev/ttyS1";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == LOAD) {
        load::run(&arguments[1..]);
        return;
    }
    assert_eq!(
        std::process::id(),
        1,
        "this is the first process of a test's virtual machine, and does nothing elsewhere"
    );
    set_up();
    hands::serve(Path::new(ORDERS));
}

/// The file systems, loopback, and a serial port that hands bytes on as they are.
fn set_up() {
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        ("cgroup2", "/sys/fs/cgroup"),
    ] {
        fs::create_dir_all(at).unwrap_or_else(|error| panic!("{at} cannot be made: {error}"));
        mount(kind, at, kind, MountFlags::empty(), None)
            .unwrap_or_else(|error| panic!("{at} cannot be mounted: {error}"));
    }
    busybox(&["ip", "link", "set", "lo", "up"]);
    busybox(&["stty", "-F", ORDERS, "raw", "-echo"]);
}

fn busybox(arguments: &[&str]) {
    let ended = Command::new("/bin/busybox").args(arguments).stdin(Stdio::null()).status();
    assert!(ended.as_ref().is_ok_and(std::process::ExitStatus::success), "busybox {arguments:?}: {ended:?}");
}
