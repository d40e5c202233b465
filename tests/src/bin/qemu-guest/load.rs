//! Loads: `load KIND CGROUP USER NUMBER`. Each enters its cgroup, becomes its user, lacks something, and stays.
//!
//! None of them could be run on the test's own machine: they take what they are given the number of, and some take
//! it from the whole node.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Resource, Rlimit, setrlimit};

/// The machine's only disk.
const DISK: &str = "/dev/nvme0n1";
/// What O_DIRECT wants: buffer, offset and length in multiples of the device's blocks.
const BLOCK: usize = 4096;
/// At each step this much more memory is touched.
const STEP: usize = 1 << 20;
/// For who is refused a descriptor or a fork, before it asks again.
const AGAIN: Duration = Duration::from_millis(20);
/// The most descriptors of a process for those that are to empty the node of them.
const DESCRIPTORS: u64 = 1 << 20;

/// Runs a load; returns only for those that end by themselves.
pub fn run(arguments: &[String]) {
    let [kind, cgroup, user, number] = arguments else { panic!("load KIND CGROUP USER NUMBER, not {arguments:?}") };
    let count: usize = number.parse().expect("the number of a load is one");
    let user: u32 = user.parse().expect("the user of a load is a number");
    if user != 0 {
        return as_user(kind, cgroup, user, number);
    }
    enter(cgroup);
    match kind.as_str() {
        "park" => park(),
        "spin" => spin(count),
        "memory" => memory(count),
        "disk" => disk(count),
        "forks" => forks(count),
        "descriptors" => descriptors(count as u64),
        other => panic!("no such load: {other}"),
    }
}

/// Goes into the cgroup as root, then runs itself as somebody else, who is there already.
fn as_user(kind: &str, cgroup: &str, user: u32, number: &str) {
    enter(cgroup);
    // Only root may raise it, and only who is not root can empty a node of its files (file-max binds others only).
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) });
    let mut same = Command::new("/init");
    let error = same.args(["load", kind, "", "0", number]).uid(user).gid(user).exec();
    panic!("cannot go on as user {user}: {error}");
}

fn enter(cgroup: &str) {
    if !cgroup.is_empty() {
        fs::write(format!("{cgroup}/cgroup.procs"), "0").unwrap_or_else(|error| panic!("{cgroup}: {error}"));
    }
}

fn park() -> ! {
    loop {
        thread::park();
    }
}

/// Computes on so many threads.
fn spin(threads: usize) {
    for _ in 1..threads {
        thread::spawn(|| -> () {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    loop {
        std::hint::spin_loop();
    }
}

/// Touches so many bytes and keeps them.
fn memory(bytes: usize) {
    let mut kept = Vec::new();
    while kept.len() * STEP < bytes {
        kept.push(vec![1u8; STEP]);
    }
    park();
}

/// Writes so many blocks past the page cache, and reads them.
fn disk(blocks: usize) {
    let direct = OFlags::DIRECT.bits().cast_signed();
    let mut device =
        OpenOptions::new().read(true).write(true).custom_flags(direct).open(DISK).expect("there is a disk");
    let mut space = vec![7u8; 2 * BLOCK];
    let aligned = space.as_ptr().align_offset(BLOCK);
    let block = &mut space[aligned..aligned + BLOCK];
    for _ in 0..blocks {
        device.write_all(block).expect("the disk takes a block");
    }
    device.sync_all().expect("the disk keeps it");
    device.seek(SeekFrom::Start(0)).expect("the disk has a beginning");
    for _ in 0..blocks {
        device.read_exact(block).expect("the disk gives a block back");
    }
    park();
}

/// Makes processes until it has been refused so often.
fn forks(refusals: usize) {
    let mut refused = 0;
    while refused < refusals {
        let child = Command::new("/init").args(["load", "park", "", "0", "0"]).stdin(Stdio::null()).spawn();
        if child.is_err() {
            refused += 1;
        }
    }
    park();
}

/// Opens files for ever: up to its own limit of so many, or with 0 up to what the node has.
fn descriptors(limit: u64) {
    if limit > 0 {
        let limit = Some(limit);
        setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).expect("a limit can be lowered");
    }
    let mut kept = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => kept.push(file),
            // What others close is taken at once.
            Err(_) => thread::sleep(AGAIN),
        }
    }
}
