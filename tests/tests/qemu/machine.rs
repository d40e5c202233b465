//! A virtual machine with a kernel of its own: booted, given orders, ended with its test.
//!
//! Debian's cloud kernel from the target folder and an initramfs made here, without KVM, which test machines
//! may not have or may not have working: so a boot takes seconds and everything in it is some ten times slower. Its console
//! is the log that a failed test shows. Where qemu or the kernel is missing the test fails and says what to install.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sonde_tests::{Exposition, Process, binary, eventually};
use tempfile::TempDir;

use crate::archive::Archive;

/// Where the agent listens, in a machine where nothing else does.
pub const AGENT: &str = "http://127.0.0.1:9164";
/// The bundle of a container in it: a root with nothing but busybox, and room for its `config.json`.
pub const BUNDLE: &str = "/bundle";
/// From the start of qemu to the first process: seconds on an idle machine.
const BOOT: Duration = Duration::from_secs(90);
/// For an order: a scrape of a machine that lacks everything is the slowest.
const ORDER: Duration = Duration::from_secs(60);
/// Until something shows that a second is enough for on a real machine.
pub const SHOWS: Duration = Duration::from_secs(40);
/// The disk's size: what the loads write fits many times.
const DISK_BYTES: u64 = 16 << 20;
/// Errors of the kernel's only; both hierarchies' controllers in cgroup2; pressure, which Debian leaves off; a
/// panic ends the machine.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=4 rdinit=/init cgroup_no_v1=all psi=1 panic=-1";
/// systemd's own options, and after the dashes what the first process is told.
const SYSTEMD: &str = "systemd.log_target=console systemd.log_level=notice systemd.show_status=no -- systemd";
/// As a floor of readings, so that every scrape of a test has a reading of its own.
const CONFIG: &str = "[node]\nid = \"guest\"\n[reading]\nfloor = \"50ms\"\n";

/// A machine, ended when dropped.
pub struct Machine {
    // Dropped in this order: the folder outlives the process that writes to it.
    orders: UnixStream,
    answers: BufReader<UnixStream>,
    _qemu: Process,
    _dir: TempDir,
    agent: Option<u64>,
    runs: u32,
}

/// One scrape between two readings of the kernel's files.
#[derive(Debug)]
pub struct Observation {
    pub status: u16,
    pub body: String,
    pub took: Duration,
    pub before: BTreeMap<String, Option<String>>,
    pub after: BTreeMap<String, Option<String>>,
}

impl Machine {
    /// Boots one with so many CPUs and so much memory, and nothing but the tests' hands.
    pub fn boot(cpus: u32, memory_mib: u32) -> Self {
        Self::boot_with(cpus, memory_mib, Archive::default())
    }

    /// The same, with what is in the archive.
    pub fn boot_with(cpus: u32, memory_mib: u32, archive: Archive) -> Self {
        Self::start(cpus, memory_mib, initramfs(archive), COMMAND_LINE)
    }

    /// Boots one whose first process becomes the systemd in the archive, which has to start `/init hands`.
    pub fn boot_systemd(cpus: u32, memory_mib: u32, mut archive: Archive) -> Self {
        add_hands(&mut archive);
        Self::start(cpus, memory_mib, archive.finish(), &format!("{COMMAND_LINE} {SYSTEMD}"))
    }

    fn start(cpus: u32, memory_mib: u32, initramfs: Vec<u8>, command_line: &str) -> Self {
        let qemu = find("qemu-system-x86_64");
        let kernel = kernel();
        let dir = TempDir::new().expect("a temporary folder can be made");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("initramfs"), initramfs).expect("a temporary folder has room for an initramfs");
        let disk = fs::File::create(at("disk")).and_then(|disk| disk.set_len(DISK_BYTES));
        disk.expect("a temporary folder has room for a disk");
        // setpriv(1): if the test is killed, the machine is too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(qemu);
        command.args(["-accel", "tcg", "-cpu", "max", "-nodefaults", "-display", "none", "-no-reboot"]);
        command.args(["-smp", &cpus.to_string(), "-m", &format!("{memory_mib}M")]);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(at("initramfs")).args(["-append", command_line]);
        command.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        let orders = format!("socket,id=orders,path={},server=on,wait=off", at("orders").display());
        command.args(["-chardev", &orders, "-serial", "chardev:orders"]);
        let drive = format!("file={},if=none,id=disk,format=raw,cache=unsafe", at("disk").display());
        command.args(["-drive", &drive, "-device", "nvme,drive=disk,serial=1"]);
        let mut qemu = Process::start("the virtual machine", &mut command, &at("console.log"));
        let orders = eventually("qemu's socket for orders", BOOT, || {
            assert!(qemu.ended().is_none(), "qemu has ended: {}", qemu.log());
            UnixStream::connect(at("orders"))
        });
        orders.set_read_timeout(Some(BOOT)).expect("a socket takes a time limit");
        let answers = BufReader::new(orders.try_clone().expect("a socket can be duplicated"));
        let mut machine = Self { orders, answers, _qemu: qemu, _dir: dir, agent: None, runs: 0 };
        assert_eq!(machine.answer()["ready"], true, "the first thing that it says is that it is ready");
        machine.orders.set_read_timeout(Some(ORDER)).expect("a socket takes a time limit");
        machine
    }

    /// Starts the agent in a cgroup of its own, as a service manager would, and waits until it is ready.
    pub fn start_agent(&mut self, more_config: &str) {
        self.write("/sonde.toml", &format!("{CONFIG}{more_config}"));
        let cgroup = self.cgroup("/system.slice/sonde.service");
        // The shell is in the cgroup before it becomes the agent.
        let agent = "exec /bin/sonde agent --config /sonde.toml --log info";
        let line = format!("echo 0 > {cgroup}/cgroup.procs && {agent}");
        let start =
            json!({ "do": "start", "program": "/bin/busybox", "arguments": ["sh", "-c", line], "log": "/sonde.log" });
        self.agent = self.order(&start)["pid"].as_u64();
        let url = format!("{AGENT}/readyz");
        self.eventually("the agent is ready", |machine| {
            match machine.try_order(&json!({ "do": "observe", "url": url })) {
                Ok(answer) if answer["status"] == 200 => Ok(()),
                other => Err(format!("{other:?}; {}", machine.log())),
            }
        });
    }

    /// What the agent has logged.
    pub fn log(&mut self) -> String {
        self.read("/sonde.log").unwrap_or_default()
    }

    /// The process that was started as the agent.
    pub fn agent(&self) -> u64 {
        self.agent.expect("the agent was started")
    }

    /// Carries out an order; panics where that fails.
    #[track_caller]
    pub fn order(&mut self, order: &Value) -> Value {
        self.try_order(order).unwrap_or_else(|error| panic!("{order}: {error}"))
    }

    /// Carries out an order, or says why it could not be.
    #[track_caller]
    pub fn try_order(&mut self, order: &Value) -> Result<Value, String> {
        self.orders.write_all(format!("{order}\n").as_bytes()).expect("the machine takes orders");
        let answer = self.answer();
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }

    #[track_caller]
    fn answer(&mut self) -> Value {
        let mut line = String::new();
        if let Err(error) = self.answers.read_line(&mut line) {
            panic!("the machine does not answer in time: {error}");
        }
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the machine answers {line:?}: {error}"))
    }

    /// Makes a cgroup with all controllers that this kernel has, below parents that have them too. `path` as in the hierarchy.
    pub fn cgroup(&mut self, path: &str) -> String {
        let full = format!("/sys/fs/cgroup{path}");
        self.order(&json!({ "do": "mkdir", "path": full }));
        let mut above = String::from("/sys/fs/cgroup");
        for part in path.trim_matches('/').split('/') {
            self.write(&format!("{above}/cgroup.subtree_control"), "+cpu +memory +io +pids");
            above = format!("{above}/{part}");
        }
        full
    }

    #[track_caller]
    pub fn write(&mut self, path: &str, text: &str) {
        self.order(&json!({ "do": "write", "path": path, "text": text }));
    }

    /// A file's text; none where it cannot be read.
    #[track_caller]
    pub fn read(&mut self, path: &str) -> Option<String> {
        let answer = self.order(&json!({ "do": "read", "files": [path] }));
        answer["files"][path].as_str().map(str::to_owned)
    }

    /// Starts a load (`tests/src/bin/qemu-guest/load.rs`) in a cgroup, and gives back its pid.
    #[track_caller]
    pub fn load(&mut self, kind: &str, cgroup: &str, number: u64) -> u64 {
        self.load_as(kind, cgroup, 0, number)
    }

    /// The same, as another user.
    #[track_caller]
    pub fn load_as(&mut self, kind: &str, cgroup: &str, user: u32, number: u64) -> u64 {
        let arguments = [kind.to_owned(), cgroup.to_owned(), user.to_string(), number.to_string()];
        self.order(&json!({ "do": "start", "arguments": arguments }))["pid"].as_u64().expect("a load has a pid")
    }

    #[track_caller]
    pub fn signal(&mut self, pid: u64, signal: &str) {
        self.order(&json!({ "do": "signal", "pid": pid, "signal": signal }));
    }

    /// Runs a program to its end, at most so long: how it ended, and what it said.
    #[track_caller]
    pub fn run(&mut self, program: &str, arguments: &[&str], within: Duration) -> (String, String) {
        self.runs += 1;
        let log = format!("/run/{}.log", self.runs);
        let order = json!({ "do": "start", "program": program, "arguments": arguments, "log": log });
        let pid = self.order(&order)["pid"].as_u64().expect("what was started has a pid");
        let how = eventually(&format!("the end of {program} {arguments:?}"), within, || {
            self.ended(pid).ok_or_else(|| "it runs".to_owned())
        });
        (how, self.read(&log).unwrap_or_default())
    }

    /// How a process has ended; none while it runs.
    #[track_caller]
    pub fn ended(&mut self, pid: u64) -> Option<String> {
        self.order(&json!({ "do": "ended" }))["ended"][pid.to_string()].as_str().map(str::to_owned)
    }

    /// Scrapes a target between two readings of `files`, over a new connection, or over the kept one of a name.
    #[track_caller]
    pub fn try_observe(&mut self, target: &str, over: Option<&str>, files: &[String]) -> Result<Observation, String> {
        let url = format!("{AGENT}/v1/{target}/metrics");
        let answer = self.try_order(&json!({ "do": "observe", "url": url, "over": over, "files": files }))?;
        let texts = |key: &str| serde_json::from_value(answer[key].clone()).expect("files are texts by path");
        Ok(Observation {
            status: answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status"),
            body: answer["body"].as_str().expect("a body").to_owned(),
            took: Duration::from_secs_f64(answer["took_seconds"].as_f64().expect("a duration")),
            before: texts("before"),
            after: texts("after"),
        })
    }

    /// The exposition of a target that lives.
    pub fn try_scrape(&mut self, target: &str) -> Result<Exposition, String> {
        let seen = self.try_observe(target, None, &[])?;
        if seen.status == 200 {
            Ok(Exposition::read(&seen.body))
        } else {
            Err(format!("{}: {}", seen.status, seen.body))
        }
    }

    /// Asks until it is so.
    #[track_caller]
    pub fn eventually<T>(&mut self, what: &str, mut probe: impl FnMut(&mut Self) -> Result<T, String>) -> T {
        eventually(what, SHOWS, || probe(self))
    }
}

/// Everything that the machine has: the tests' hands as its first process, the agent, and what sets up loopback and a port.
fn initramfs(mut archive: Archive) -> Vec<u8> {
    add_hands(&mut archive);
    archive.program(&find("busybox"), &format!("{BUNDLE}/rootfs/bin/busybox"));
    archive.directory(&format!("{BUNDLE}/rootfs/proc"));
    archive.program(&find("runc"), "/bin/runc");
    archive.program(&binary(), "/bin/sonde");
    archive.finish()
}

/// The tests' hands, and what they do by busybox.
fn add_hands(archive: &mut Archive) {
    archive.console();
    archive.program(Path::new(env!("CARGO_BIN_EXE_qemu-guest")), "/init");
    archive.program(&find("busybox"), "/bin/busybox");
}

pub fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // An ordinary user's PATH lacks where runc is.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.map(|folder| folder.join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "there is no {program}: `cargo xtask test` installs it (Debian's qemu-system-x86, busybox-static and runc)"
        )
    })
}

/// The kernel that `cargo xtask test` has unpacked.
fn kernel() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    let folder = target.join("vm-kernel");
    let files = fs::read_dir(folder.join("boot")).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = files.filter(|path| path.to_string_lossy().contains("/vmlinuz-")).max();
    newest.unwrap_or_else(|| {
        panic!(
            "there is no kernel in {0}: `cargo xtask test` fetches it, or by hand: `apt-get download` the package that \
             linux-image-cloud-amd64 depends on, and `dpkg-deb -x` it to {0}",
            folder.display()
        )
    })
}
