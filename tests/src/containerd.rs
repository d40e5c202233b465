//! A real containerd in a [`Room`], and containers that `ctr` runs by it.
//!
//! Roots are folders and not images, since no image can be fetched. What a kubelet and containerd's CRI plugin
//! would make of a pod's container is given as they give it: the cgroup's path, and annotations of the plugin's own.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::names::long_id;
use crate::process::Process;
use crate::room::Room;
use crate::rootfs::Rootfs;
use crate::wait::eventually;

/// Starting takes it some 50 ms; a busy CI machine gets far longer.
const START: Duration = Duration::from_secs(30);
/// Its root and its state where they are by default, and without the kubelet's side, which wants a network.
const CONFIG: &str = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";

/// A running containerd. Dropping it kills and deletes what it runs.
pub struct Containerd {
    daemon: Process,
    room: Arc<Room>,
    rootfs: Arc<Rootfs>,
    started: Vec<(String, String)>,
}

/// A container of a pod, as Kubernetes speaks of it.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'p> {
    pub namespace: &'p str,
    pub name: &'p str,
    pub container: &'p str,
    pub image: &'p str,
}

/// A container that runs.
#[derive(Clone, Debug)]
pub struct Task {
    pub id: String,
    pub pid: u32,
}

impl Containerd {
    /// Starts one whose containers have busybox and a `/proc` to run on.
    pub fn start(room: &Arc<Room>) -> Self {
        let config = room.dir().join("containerd.toml");
        fs::write(&config, CONFIG).expect("a room's folder is writable");
        let mut command = room.command("containerd");
        let mut daemon = Process::start(
            "containerd",
            command.args(["--log-level", "error", "--config"]).arg(&config),
            &room.dir().join("containerd.log"),
        );
        eventually("containerd answering", START, || {
            assert!(daemon.ended().is_none(), "containerd ended at once: {}", daemon.log());
            let answered = room.command("ctr").arg("version").output().expect("ctr comes with containerd");
            if answered.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&answered.stderr).into_owned()) }
        });
        Self { daemon, room: Arc::clone(room), rootfs: Rootfs::with(&[]), started: Vec::new() }
    }

    /// Runs a shell script as a container of a pod, in the cgroup that a kubelet with systemd's driver would give it.
    #[track_caller]
    pub fn run_pod(&mut self, pod: Pod<'_>, options: &[&str], script: &str) -> Task {
        let id = long_id();
        let cgroup = format!("{}/kubepods.slice/cri-containerd-{id}.scope", self.room.cgroup());
        let annotations = [
            ("container-type", "container"),
            ("sandbox-namespace", pod.namespace),
            ("sandbox-name", pod.name),
            ("container-name", pod.container),
            ("image-name", pod.image),
        ];
        let mut all = vec!["--cgroup".to_owned(), cgroup];
        for (key, value) in annotations {
            all.extend(["--annotation".to_owned(), format!("io.kubernetes.cri.{key}={value}")]);
        }
        all.extend(options.iter().map(ToString::to_string));
        self.run("k8s.io", &id, &all, script)
    }

    /// Runs a shell script as a container of a namespace of containerd's, with more options of `ctr run`.
    #[track_caller]
    pub fn run(&mut self, namespace: &str, id: &str, options: &[String], script: &str) -> Task {
        let mut arguments: Vec<&str> = vec!["--namespace", namespace, "run", "--detach", "--rootfs"];
        arguments.extend(options.iter().map(String::as_str));
        let rootfs = self.rootfs.path().to_string_lossy().into_owned();
        arguments.extend([&rootfs, id, "/bin/sh", "-c", script]);
        self.started.push((namespace.to_owned(), id.to_owned()));
        self.room.run("ctr", &arguments);
        let listed = self.room.run("ctr", &["--namespace", namespace, "task", "ls"]);
        let pid = listed.lines().find(|line| line.starts_with(id)).and_then(|line| line.split_whitespace().nth(1));
        let pid = pid.and_then(|pid| pid.parse().ok());
        Task { id: id.to_owned(), pid: pid.unwrap_or_else(|| panic!("no task {id} runs: {listed}")) }
    }

    /// The folder of one controller of a container's, as the kernel has it.
    #[track_caller]
    pub fn cgroup(task: &Task, controller: &str) -> PathBuf {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", task.pid)).expect("the container runs");
        let of = |line: &str| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/').to_owned());
            let root = PathBuf::from("/sys/fs/cgroup");
            match controllers {
                "" => Some(root.join(path)),
                listed if listed.split(',').any(|one| one == controller) => Some(root.join(controller).join(path)),
                _ => None,
            }
        };
        // cgroup2 comes last, and counts where no older hierarchy has the controller.
        text.lines().find_map(of).unwrap_or_else(|| panic!("no hierarchy has {controller}: {text}"))
    }

    /// Kills and deletes a container.
    pub fn delete(&self, namespace: &str, id: &str) {
        // Each fails where the one before has done it already.
        let ctr = |arguments: &[&str]| {
            let mut command = self.room.command("ctr");
            let _ = command.args(["--namespace", namespace]).args(arguments).output();
        };
        ctr(&["task", "rm", "--force", id]);
        ctr(&["container", "rm", id]);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for (namespace, id) in std::mem::take(&mut self.started) {
            self.delete(&namespace, &id);
        }
        self.daemon.stop();
    }
}
