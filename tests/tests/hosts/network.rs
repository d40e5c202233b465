//! Hosts that are network namespaces of the test's own, on a bridge that is in one too: nothing of the machine's network is touched.
//!
//! A host that is cut off is taken off the bridge: its link stays up and its packets go nowhere, so nobody gets a reset or an error, as
//! behind a switch that died. Neighbours are known for good, so that no ARP tells either. All ends with the processes that hold the namespaces.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sonde_tests::{Process, eventually, run_to_end};
use tempfile::TempDir;

/// Before the last number of a host's address; a private one, in namespaces that lead nowhere.
const PREFIX: &str = "10.231.7.";
/// A number that no host has.
const NOBODY: u8 = 254;
/// What a host's first process does: be there.
const HOLD: &str = "ip link set lo up && echo held && exec sleep 1000000";
/// Two system calls and a program.
const HELD: Duration = Duration::from_secs(20);

/// The bridge.
pub struct Network {
    bridge: Process,
    dir: TempDir,
    /// The last numbers of the addresses of all that will ever be on it.
    all: Vec<u8>,
}

/// A machine on it.
pub struct Host {
    number: u8,
    holder: Process,
    bridge: u32,
    /// Files of its own.
    dir: PathBuf,
}

impl Network {
    /// A network for hosts with these numbers.
    pub fn of(all: &[u8]) -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let bridge = hold("the bridge", &dir.path().join("bridge.log"));
        ip(bridge.pid(), "link add switch type bridge");
        ip(bridge.pid(), "link set switch up");
        Self { bridge, dir, all: all.to_vec() }
    }

    /// Adds a host.
    pub fn host(&self, number: u8) -> Host {
        let dir = self.dir.path().join(number.to_string());
        fs::create_dir(&dir).expect("the temporary folder is writable");
        let holder = hold(&format!("host {number}"), &dir.join("holder.log"));
        let host = Host { number, holder, bridge: self.bridge.pid(), dir };
        let (port, pid) = (host.port(), host.holder.pid());
        ip(host.bridge, &format!("link add {port} type veth peer name eth0 netns {pid}"));
        ip(pid, &format!("link set eth0 address {}", mac(number)));
        ip(pid, &format!("addr add {PREFIX}{number}/24 dev eth0"));
        ip(pid, "link set eth0 up");
        ip(host.bridge, &format!("link set {port} up"));
        for other in self.all.iter().filter(|other| **other != number) {
            ip(pid, &format!("neigh replace {PREFIX}{other} lladdr {} nud permanent dev eth0", mac(*other)));
        }
        host.heal();
        host
    }
}

impl Host {
    pub fn address(&self) -> Ipv4Addr {
        address(self.number)
    }

    /// A folder of its own.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process that holds its namespaces, for [`enter`].
    pub fn holder(&self) -> u32 {
        self.holder.pid()
    }

    /// A program that is to run there; it ends with the test.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let namespaces = format!("/proc/{}/ns", self.holder.pid());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]);
        command.arg(format!("--net={namespaces}/net")).arg(format!("--mount={namespaces}/mnt"));
        command.arg("--").arg(program.as_ref());
        command
    }

    /// Starts one, with a log of that name.
    pub fn start(&self, name: &str, command: &mut Command) -> Process {
        Process::start(name, command, &self.dir.join(format!("{name}.log")))
    }

    /// Runs something on a thread of its own in that network.
    pub fn run<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            enter(self.holder.pid());
            what()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().expect("it did not panic"))
    }

    /// Nothing comes or goes any more.
    pub fn cut(&self) {
        ip(self.bridge, &format!("link set {} nomaster", self.port()));
    }

    pub fn heal(&self) {
        ip(self.bridge, &format!("link set {} master switch", self.port()));
    }

    /// What it sends to another goes nowhere; all else is as before.
    pub fn lose(&self, other: &Self) {
        self.reach(other, mac(NOBODY));
    }

    pub fn find(&self, other: &Self) {
        self.reach(other, mac(other.number));
    }

    fn reach(&self, other: &Self, mac: String) {
        ip(self.holder.pid(), &format!("neigh replace {} lladdr {mac} nud permanent dev eth0", other.address()));
    }

    /// What it sends passes at so many bits a second; for what is too much there is room for so many bytes, and the rest is lost.
    pub fn slow_down(&self, bits: u32, room: u32) {
        let shape = format!("qdisc replace dev eth0 root tbf rate {bits}bit burst 1600 limit {room}");
        run_to_end(inside(self.holder.pid(), "tc").args(shape.split(' ')));
    }

    pub fn as_fast_as_before(&self) {
        run_to_end(inside(self.holder.pid(), "tc").args(["qdisc", "del", "dev", "eth0", "root"]));
    }

    fn port(&self) -> String {
        format!("port{}", self.number)
    }
}

/// The address of a host.
pub fn address(number: u8) -> Ipv4Addr {
    format!("{PREFIX}{number}").parse().expect("it is one")
}

/// Has this thread be in a host's network from now on: sockets that it makes are there.
pub fn enter(holder: u32) {
    let namespace = File::open(format!("/proc/{holder}/ns/net")).expect("the host is there");
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter");
}

fn mac(number: u8) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

fn hold(name: &str, log: &Path) -> Process {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", HOLD]);
    let mut holder = Process::start(name, &mut command, log);
    eventually(&format!("{name}'s namespaces"), HELD, || {
        assert!(holder.ended().is_none(), "it has ended: {}", holder.log());
        if holder.log().contains("held") { Ok(()) } else { Err(holder.log()) }
    });
    holder
}

fn inside(holder: u32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{holder}/ns/net")).args(["--", program]);
    command
}

fn ip(holder: u32, words: &str) {
    run_to_end(inside(holder, "ip").args(words.split(' ')));
}
