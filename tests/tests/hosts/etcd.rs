//! Three members of etcd, each on a host of its own with its data in a file system of its own, in memory.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use sonde_tests::{Process, eventually};

use crate::network::Host;

/// An election takes a second or two; a busy machine gets far longer.
const READY: Duration = Duration::from_secs(60);
/// Room for a member, in MiB: two segments of its log, which it takes at once, and what it keeps.
pub const ROOM_MIB: u32 = 256;

pub struct Member {
    pub host: Host,
    process: Option<Process>,
}

pub struct Etcd {
    pub members: Vec<Member>,
    arguments: Vec<String>,
}

impl Etcd {
    /// Starts a member on each host, and waits until they take a change.
    pub fn start(hosts: Vec<Host>, arguments: &[&str], room_mib: u32) -> Self {
        let members = hosts.into_iter().map(|host| Member { host, process: None }).collect();
        let mut etcd = Self { members, arguments: arguments.iter().map(ToString::to_string).collect() };
        for which in 0..etcd.members.len() {
            let host = &etcd.members[which].host;
            let data = host.dir().join("data");
            std::fs::create_dir(&data).expect("it is writable");
            let mut mount = host.command("mount");
            let room = format!("size={room_mib}m");
            sonde_tests::run_to_end(mount.args(["-t", "tmpfs", "-o", &room, "tmpfs"]).arg(data));
            etcd.start_member(which);
        }
        etcd.wait(0);
        etcd
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("http://{}:2379", member.host.address())).collect()
    }

    pub fn start_member(&mut self, which: usize) {
        let name = |which: usize| format!("m{which}");
        let peer = |member: &Member| format!("http://{}:2380", member.host.address());
        let all = self.members.iter().enumerate().map(|(at, member)| format!("{}={}", name(at), peer(member)));
        let all = all.collect::<Vec<_>>().join(",");
        let member = &mut self.members[which];
        let (client, peer) = (format!("http://{}:2379", member.host.address()), peer(member));
        let mut command = member.host.command("etcd");
        command
            .args(["--name", &name(which), "--initial-cluster", &all, "--initial-cluster-state", "new"])
            .args(["--listen-client-urls", &format!("{client},http://127.0.0.1:2379")])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args([
                "--heartbeat-interval",
                "100",
                "--election-timeout",
                "1000",
                "--logger",
                "zap",
                "--log-level",
                "error",
            ])
            .args(&self.arguments)
            .arg("--data-dir")
            .arg(member.host.dir().join("data/etcd"));
        member.process = Some(member.host.start("etcd", &mut command));
    }

    /// Takes all that is left of a member's file system, or gives it back.
    pub fn fill_disk(&self, which: usize, is_full: bool) {
        let filler = self.members[which].host.dir().join("data/filler");
        let script = if is_full { "cat /dev/zero > \"$0\" || [ -s \"$0\" ]" } else { "rm \"$0\"" };
        sonde_tests::run_to_end(self.members[which].host.command("sh").args(["-c", script]).arg(filler));
    }

    /// Whether a member has ended by itself.
    pub fn has_ended(&mut self, which: usize) -> bool {
        self.members[which].process.as_mut().is_none_or(|process| process.ended().is_some())
    }

    pub fn kill(&mut self, which: usize) {
        let mut process = self.members[which].process.take().expect("it runs");
        process.signal(Signal::KILL);
        eventually("the end of a member", READY, || process.ended().ok_or("it runs"));
    }

    /// Waits until a change is taken at a member.
    pub fn wait(&self, which: usize) {
        eventually("etcd taking a change", READY, || self.ctl(which, &["put", "ready", "1"]));
    }

    /// What `etcdctl` says at a member, or what it complains of.
    pub fn ctl(&self, which: usize, arguments: &[&str]) -> Result<String, String> {
        let mut command: Command = self.members[which].host.command("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", "http://127.0.0.1:2379", "--command-timeout", "3s"]);
        let output = command.args(arguments).output().expect("etcd-client is installed");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    }
}
