//! Real containers of runc for the broker's tests, and brokers on them.
//!
//! A rootfs is busybox and what a test puts there; runc's own default configuration otherwise, whose root has three capabilities and
//! none that opens files. Needs root, runc and a static busybox; a test says so and passes where one is missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sonde_collect::{Discovery, DiscoveryConfig, Found, NodeId, ProcessGroup, Roots};
use sonde_host::BrokerError;

use super::super::{InstanceBroker, OpeningRoom};

pub(super) const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 4] = ["sh", "sleep", "httpd", "cat"];
/// For what needs a moment; nothing takes it.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// Whether this machine can run containers.
pub(super) fn possible() -> bool {
    let runc = Command::new("runc").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let possible =
        rustix::process::getuid().is_root() && runc.is_ok_and(|status| status.success()) && Path::new(BUSYBOX).exists();
    if !possible {
        println!("skipped: needs root, runc and {BUSYBOX}");
    }
    possible
}

/// A container that is deleted on drop.
pub(super) struct Container {
    name: String,
    directory: tempfile::TempDir,
}

impl Container {
    /// Makes a rootfs; [`Self::run`] starts it.
    pub(super) fn new(what: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let container = Self { name: format!("sonde-broker-test-{what}-{}", std::process::id()), directory };
        for folder in ["bin", "etc", "proc", "dev", "sys", "tmp"] {
            std::fs::create_dir_all(container.root().join(folder)).unwrap();
        }
        std::fs::copy(BUSYBOX, container.root().join("bin/busybox")).unwrap();
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", container.root().join("bin").join(applet)).unwrap();
        }
        container
    }

    /// Its root, on the host.
    pub(super) fn root(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    /// Starts it, with a tmpfs at `/tmp`.
    pub(super) fn run(self, script: &str, configure: impl FnOnce(&mut Value)) -> Self {
        self.runc(&["spec"]);
        let path = self.directory.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        config["linux"]["cgroupsPath"] = format!("/{}", self.name).into();
        let tmpfs = json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"] });
        config["mounts"].as_array_mut().unwrap().push(tmpfs);
        configure(&mut config);
        std::fs::write(path, config.to_string()).unwrap();
        self.runc(&["run", "-d", &self.name]);
        self
    }

    /// Runs a command inside, to its end.
    pub(super) fn exec(&self, command: &[&str]) {
        self.runc(&[&["exec", &self.name], command].concat());
    }

    fn runc(&self, arguments: &[&str]) {
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        let mut command = Command::new("runc");
        command.args(arguments).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let status = command.status().unwrap();
        let said = || std::fs::read_to_string(self.directory.path().join("log")).unwrap();
        assert!(status.success(), "{command:?}: {}", said());
    }

    /// As discovery finds it.
    pub(super) fn found(&self) -> Arc<Found> {
        find(&self.name, Vec::new())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut command = Command::new("runc");
        command.args(["delete", "--force", &self.name]).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = command.status();
    }
}

/// Drops a namespace of the default configuration, or gives it a path to join.
pub(super) fn namespace(config: &mut Value, kind: &str, join: Option<&str>) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != kind);
    if let Some(path) = join {
        namespaces.push(json!({ "type": kind, "path": path }));
    }
}

/// What discovery finds under a runtime's id or a group's name.
pub(super) fn find(name: &str, process_groups: Vec<ProcessGroup>) -> Arc<Found> {
    let config = DiscoveryConfig { process_groups, ..DiscoveryConfig::new(NodeId::new("test").unwrap()) };
    let mut discovery = Discovery::new(roots(), config);
    discovery.scan();
    let found = discovery.instances().find(|found| found.name.runtime_id == name);
    found.expect("it was just started").clone()
}

pub(super) fn roots() -> Arc<Roots> {
    Arc::new(Roots::of_this_machine().unwrap())
}

pub(super) fn room() -> Arc<OpeningRoom> {
    Arc::new(OpeningRoom::new(roots()))
}

/// A broker on an instance of `owner`, noted as the keeper does.
pub(super) fn broker(room: &Arc<OpeningRoom>, found: &Arc<Found>, owner: &str) -> InstanceBroker {
    let owner: Arc<str> = owner.into();
    room.owners.note(found, &owner);
    InstanceBroker { room: room.clone(), found: found.clone(), owner }
}

pub(super) fn soon() -> Instant {
    Instant::now() + LONG
}

/// Connects as soon as somebody listens.
pub(super) async fn connects(broker: &InstanceBroker, port: u16) -> std::net::TcpStream {
    let deadline = soon();
    loop {
        match broker.tcp(port, deadline).await {
            Ok(stream) => return stream,
            Err(BrokerError::Refused) if Instant::now() < deadline => tokio::task::yield_now().await,
            Err(error) => panic!("port {port}: {error}"),
        }
    }
}
