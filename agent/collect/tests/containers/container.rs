//! A container of runc for one test, and what finds and reads it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_collect::mounts::Controller;
use sonde_collect::{Discovery, DiscoveryConfig, FdBudget, Found, InstanceReader, NodeId, Reading, Roots};

const BUSYBOX: &str = "/bin/busybox";
/// Two are to be told apart when tests of several checkouts run at once.
const NAME_PREFIX: &str = "sonde-collect-test";

/// A container that is deleted on drop.
pub struct Container {
    pub name: String,
    pub directory: tempfile::TempDir,
}

impl Container {
    /// Starts one that runs a shell script, with limits; none where this machine cannot.
    pub fn start(kind: &str, script: &str) -> Option<Self> {
        let runc = Command::new("runc").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !rustix::process::getuid().is_root()
            || !runc.is_ok_and(|status| status.success())
            || !Path::new(BUSYBOX).exists()
        {
            println!("skipped: needs root, runc and {BUSYBOX}");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("rootfs");
        for name in ["bin", "proc", "dev", "sys", "tmp"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        for applet in ["sh", "sleep", "cat", "dd", "nc", "nslookup"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        let name = format!("{NAME_PREFIX}-{kind}-{}", std::process::id());
        let container = Self { name, directory };
        container.configure(script);
        assert!(container.runc(&["run", "-d", &container.name]), "runc run");
        Some(container)
    }

    fn configure(&self, script: &str) {
        assert!(self.runc(&["spec"]), "runc spec");
        let path = self.directory.path().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["/bin/sh", "-c", script]);
        config["process"]["rlimits"] = serde_json::json!([{"type": "RLIMIT_NOFILE", "hard": 64, "soft": 64}]);
        config["linux"]["cgroupsPath"] = format!("/{}", self.name).into();
        // What a bundle's author may write, whoever he is.
        config["annotations"] = serde_json::json!({"owner": "bank", "io.kubernetes.pod.namespace": "bank"});
        config["linux"]["resources"]["memory"] = serde_json::json!({"limit": 64 << 20});
        config["linux"]["resources"]["cpu"] = serde_json::json!({"quota": 10_000, "period": 100_000});
        config["linux"]["resources"]["pids"] = serde_json::json!({"limit": 16});
        std::fs::write(path, config.to_string()).unwrap();
    }

    pub fn runc(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("runc");
        command.args(arguments).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.runc(&["resume", &self.name]);
        self.runc(&["delete", "--force", &self.name]);
    }
}

pub struct Watched {
    pub roots: Arc<Roots>,
    pub found: Arc<Found>,
}

pub fn found(container: &Container) -> Watched {
    let roots = Arc::new(Roots::of_this_machine().unwrap());
    let mut discovery = Discovery::new(roots.clone(), DiscoveryConfig::new(NodeId::new("test").unwrap()));
    discovery.scan();
    let found = discovery.instances().find(|found| found.name.runtime_id == container.name).unwrap().clone();
    Watched { roots, found }
}

impl Watched {
    pub fn reader(&self) -> InstanceReader {
        InstanceReader::new(self.found.clone(), self.roots.clone(), &FdBudget::new(100))
    }

    pub fn file(&self, controller: Controller, name: &str) -> PathBuf {
        self.found.cgroups.v1(controller).or(self.found.cgroups.v2.as_deref()).unwrap().join(name)
    }

    pub fn number(&self, controller: Controller, name: &str) -> u64 {
        std::fs::read_to_string(self.file(controller, name)).unwrap().trim().parse().unwrap()
    }

    pub fn is_v1(&self) -> bool {
        self.found.cgroups.v1(Controller::Memory).is_some()
    }
}

/// Reads until what is wanted is so.
pub fn read_until(reader: &mut InstanceReader, mut wanted: impl FnMut(&Reading) -> bool) -> Reading {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let reading = reader.read().unwrap();
        if wanted(&reading) {
            return reading;
        }
        assert!(Instant::now() < deadline, "not so in 20 s: {reading:#?}");
        std::thread::yield_now();
    }
}
