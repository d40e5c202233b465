//! The first process of the virtual machine that the qemu tests boot: their hands inside.
//!
//! What is to be done and what must become of it is decided on the host; here is only what cannot be done from
//! there: mounting, starting, writing and reading files, scraping over loopback. Orders and answers are lines of JSON
//! on the second serial port, so that a test reads like any other. The same program is what the tests load the machine with
//! (`load KIND …`), because a load must be in its cgroup before its first byte is charged.

mod hands;
mod load;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, mount, mount_bind, mount_move};

/// Where a load is told that it is one.
const LOAD: &str = "load";
/// Where it is told to be the tests' hands only, under another first process.
const HANDS: &str = "hands";
/// Where it is told to make way for systemd.
const SYSTEMD: &str = "systemd";
/// Where the root is bound to, for a moment.
const BOUND: &str = "/bound";
/// The serial port of orders; the first is the kernel's console.
const ORDERS: &str = "/dev/ttyS1";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == LOAD) {
        load::run(&arguments[1..]);
        return;
    }
    if arguments.first().is_some_and(|first| first == HANDS) {
        prepare_port();
        hands::serve(Path::new(ORDERS));
        return;
    }
    assert_eq!(
        std::process::id(),
        1,
        "this is the first process of a test's virtual machine, and does nothing elsewhere"
    );
    if arguments.first().is_some_and(|first| first == SYSTEMD) {
        become_systemd();
    }
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
    prepare_port();
}

/// Has the serial port hand bytes on as they are.
fn prepare_port() {
    busybox(&["stty", "-F", ORDERS, "raw", "-echo"]);
}

/// Goes on as systemd, which mounts all by itself. The initramfs is the root of the machine's mounts, which nothing can be pivoted
/// away from, so it is first bound over itself: then a jail or a container finds a root as on any machine.
fn become_systemd() -> ! {
    fs::create_dir_all(BOUND).unwrap_or_else(|error| panic!("{BOUND} cannot be made: {error}"));
    let bound = mount_bind("/", BOUND)
        .and_then(|()| rustix::process::chdir(BOUND))
        .and_then(|()| mount_move(BOUND, "/"))
        .and_then(|()| rustix::process::chroot("."));
    bound.unwrap_or_else(|error| panic!("the root cannot be bound over itself: {error}"));
    let error = Command::new("/lib/systemd/systemd").exec();
    panic!("there is no systemd: {error}");
}

fn busybox(arguments: &[&str]) {
    let ended = Command::new("/bin/busybox").args(arguments).stdin(Stdio::null()).status();
    assert!(ended.as_ref().is_ok_and(std::process::ExitStatus::success), "busybox {arguments:?}: {ended:?}");
}
