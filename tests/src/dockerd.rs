//! A real dockerd in a [`Room`], with a containerd of its own, and containers that `docker run` makes of an image that is made here.
//!
//! No registry and no network: the daemon lives in a network namespace that has nothing but itself, makes no bridge and no rules of a firewall.
//! Its data and its state are where they are by default, which is where Sonde looks; the room makes those places its own.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::Process;
use crate::room::Room;
use crate::rootfs::Rootfs;
use crate::wait::eventually;

/// Starting takes it a second, its containerd included; a busy CI machine gets far longer.
const START: Duration = Duration::from_secs(60);
/// The file that a packaged dockerd keeps a key in is the machine's, so it gets another folder in its place.
const BEFORE: &str = "mount -t tmpfs -o mode=755 tmpfs /etc/docker";
/// Gives a user some of the numbers of users and groups, in files that are not the machine's (subuid(5)).
const BEFORE_MAPPED: &str = "
for name in nobody nogroup; do echo $name:100000:65536; done >/etc/docker/numbers
for file in subuid subgid; do mount --bind /etc/docker/numbers /etc/$file; done";
/// Root in its containers is that user's first number outside.
const MAPPED: &str = "--userns-remap=nobody:nogroup";
/// Nothing of the host's network is touched. cgroups by dockerd itself, as there may be no systemd; vfs works on any file system.
const OPTIONS: [&str; 10] = [
    "--host=unix:///run/docker.sock",
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--storage-driver=vfs",
    "--exec-opt=native.cgroupdriver=cgroupfs",
    // What runs outlives the daemon, as where an operator updates it.
    "--live-restore",
    "--log-level=error",
];
/// Until a container that ignores its daemon's end has been killed.
const STOP_SECONDS: &str = "1";

/// A running dockerd. Dropping it removes its containers first.
pub struct Dockerd {
    daemon: Process,
    room: Arc<Room>,
    maps_users: bool,
}

impl Dockerd {
    /// What its one image is called.
    pub const IMAGE: &str = "registry.test/web:3";

    /// Starts one whose image has busybox, and these labels.
    pub fn start(room: &Arc<Room>, image_labels: &[(&str, &str)]) -> Self {
        Self::start_as(room, false, image_labels)
    }

    /// Starts one whose containers have other users than the host.
    pub fn start_mapped(room: &Arc<Room>) -> Self {
        Self::start_as(room, true, &[])
    }

    fn start_as(room: &Arc<Room>, maps_users: bool, image_labels: &[(&str, &str)]) -> Self {
        let mut docker = Self { daemon: launch(room, maps_users), room: Arc::clone(room), maps_users };
        docker.until_it_answers();
        let rootfs = Rootfs::with(&[]);
        let image = room.dir().join("image.tar").to_string_lossy().into_owned();
        room.run("tar", &["-C", &rootfs.path().to_string_lossy(), "-cf", &image, "."]);
        let labels = image_labels.iter().flat_map(|(key, value)| ["--change".into(), format!("LABEL {key}={value}")]);
        let labels: Vec<String> = labels.collect();
        let mut import = vec!["import"];
        import.extend(labels.iter().map(String::as_str));
        import.extend([image.as_str(), Self::IMAGE]);
        docker.command(&import);
        fs::remove_file(&image).expect("a room's folder is writable");
        docker
    }

    fn until_it_answers(&mut self) {
        eventually("dockerd answering", START, || {
            assert!(self.daemon.ended().is_none(), "dockerd has ended: {}", self.daemon.log());
            // Asked for the server's version, the client fails where there is none.
            let answered = self.client().args(["version", "--format", "{{.Server.Version}}"]).output();
            let answered = answered.expect("docker comes with dockerd");
            if answered.status.success() {
                return Ok(());
            }
            Err(format!("{}{}", String::from_utf8_lossy(&answered.stderr), self.daemon.log()))
        });
    }

    /// Runs a shell script as a container, and returns its id.
    #[track_caller]
    pub fn run(&self, name: &str, options: &[&str], script: &str) -> String {
        let parent = format!("{}/docker", self.room.cgroup());
        let fixed = [
            "run",
            "--detach",
            "--name",
            name,
            "--network",
            "none",
            "--cgroup-parent",
            &parent,
            "--stop-timeout",
            STOP_SECONDS,
        ];
        let said = self.command(&[&fixed[..], options, &[Self::IMAGE, "sh", "-c", script]].concat());
        said.trim().to_owned()
    }

    /// `docker ARGUMENTS`: what it printed; panics unless it exits with 0.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> String {
        let mut command = self.client();
        let output = command.args(arguments).output().expect("docker comes with dockerd");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (told, complaint) = (said(&output.stdout), said(&output.stderr));
        assert!(output.status.success(), "{command:?} ended with {}: {told}{complaint}", output.status);
        told
    }

    fn client(&self) -> Command {
        let mut command = self.room.command("docker");
        command.args(["--host", "unix:///run/docker.sock"]).stdin(Stdio::null());
        command
    }

    /// Kills the daemon, as the kernel does where memory runs out. Its containers live on.
    pub fn kill(&mut self) {
        self.daemon.signal(Signal::KILL);
        eventually("dockerd's end", START, || self.daemon.ended().ok_or("it runs"));
    }

    /// Starts it again over what it left.
    pub fn start_again(&mut self) {
        // Its containerd has ended with it. Where the machine's first process does not reap that, a new dockerd takes it for one that lives.
        self.room.run("rm", &["-f", "/run/docker/containerd/containerd.pid"]);
        self.daemon = launch(&self.room, self.maps_users);
        self.until_it_answers();
    }
}

fn launch(room: &Room, maps_users: bool) -> Process {
    let (more, option) = if maps_users { (BEFORE_MAPPED, Some(MAPPED)) } else { ("", None) };
    let mut command = room.daemon(&format!("{BEFORE}{more}"), "dockerd");
    Process::start("dockerd", command.args(OPTIONS).args(option), &room.dir().join("dockerd.log"))
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // Where the daemon is gone, what it ran ends with the room's cgroup.
        let listed = self.client().args(["ps", "--all", "--quiet"]).output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let ids: Vec<&str> = listed.split_whitespace().collect();
        if !ids.is_empty() {
            let _ = self.client().args(["rm", "--force"]).args(ids).output();
        }
        self.daemon.stop();
    }
}
