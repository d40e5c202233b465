//! Real containers: a runc bundle whose root is busybox and the programs a test names.
//!
//! runc gives each container namespaces of its own, the network's included, and brings its
//! loopback up. Where its cgroups are is read from runc's own state, never guessed: controllers of one
//! container can sit under different paths (design §5.7).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Once};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::names::{long_id, maker, unique_name};
use crate::process::run_to_end;
use crate::rootfs::Rootfs;

/// runc's state, one folder a container.
const RUNC_STATE: &str = "/run/runc";
/// The period of the CPU limit: a tenth of the kernel's default, so that a throttled container's usage
/// is smooth to 10 ms and its rate is a figure that a test can hold to 1 %.
const CPU_PERIOD_US: u64 = 10_000;

/// A container to be started.
pub struct ContainerBuilder {
    name: String,
    rootfs: Option<Arc<Rootfs>>,
    programs: Vec<String>,
    memory_limit_bytes: Option<u64>,
    cpu_percent: Option<u64>,
    pids_limit: Option<u64>,
    open_files_limit: Option<u64>,
    tmpfs: Vec<(String, u64)>,
    folders: Vec<(PathBuf, String)>,
    own_pids: bool,
    own_network: bool,
    annotations: Vec<(String, String)>,
    entry: Vec<String>,
}

/// A running container. Dropping it kills and deletes it.
pub struct Container {
    id: String,
    bundle: TempDir,
    deleted: bool,
    _rootfs: Arc<Rootfs>,
}

impl Container {
    /// A busybox container that sleeps, until told otherwise. `what` ends its unique id.
    pub fn named(what: &str) -> ContainerBuilder {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        ContainerBuilder {
            name: unique_name(what),
            rootfs: None,
            programs: Vec::new(),
            memory_limit_bytes: None,
            cpu_percent: None,
            pids_limit: None,
            open_files_limit: None,
            tmpfs: Vec::new(),
            folders: Vec::new(),
            own_pids: true,
            own_network: true,
            annotations: Vec::new(),
            entry: ["sleep", "100000"].map(String::from).to_vec(),
        }
    }

    /// runc's id, which is also the instance's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn state(&self) -> Value {
        let file = Path::new(RUNC_STATE).join(&self.id).join("state.json");
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("cannot read {}: {e}", file.display()));
        serde_json::from_str(&text).expect("runc writes JSON")
    }

    /// The first process's id, as the host sees it.
    pub fn pid(&self) -> u32 {
        let pid = self.state()["init_process_pid"].as_u64().expect("a running container has a first process");
        u32::try_from(pid).expect("pids fit u32")
    }

    /// The folder of one controller (`cpuacct`, `memory`, …); of the one tree on cgroup v2.
    pub fn cgroup(&self, controller: &str) -> PathBuf {
        let state = self.state();
        let paths = &state["cgroup_paths"];
        let path = paths[controller].as_str().or_else(|| paths[""].as_str());
        path.unwrap_or_else(|| panic!("runc names no cgroup for {controller}: {paths}")).into()
    }

    /// CPU time used since birth, ns, straight from the kernel.
    pub fn cpu_usage_ns(&self) -> u64 {
        read_cpu_usage_ns(&self.cgroup("cpuacct"))
    }

    /// Memory charged now, bytes, straight from the kernel.
    pub fn memory_usage_bytes(&self) -> u64 {
        let folder = self.cgroup("memory");
        read_number(&folder.join("memory.usage_in_bytes"))
            .or_else(|| read_number(&folder.join("memory.current")))
            .expect("memory is accounted")
    }

    /// The memory limit in force, bytes.
    pub fn memory_limit_bytes(&self) -> u64 {
        let folder = self.cgroup("memory");
        read_number(&folder.join("memory.limit_in_bytes"))
            .or_else(|| read_number(&folder.join("memory.max")))
            .expect("memory is limited")
    }

    /// Freezes all that runs in it, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        run_to_end(Command::new("runc").arg(if frozen { "pause" } else { "resume" }).arg(&self.id));
    }

    /// Kills the first process, and with it all others; the container and its cgroups stay until it is deleted.
    pub fn kill_first_process(&self) {
        run_to_end(Command::new("runc").args(["kill", &self.id, "KILL"]));
    }

    /// Kills the first process and no other. Only where it has no pid namespace of its own do others outlive it.
    pub fn kill_first_process_alone(&self) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("pids are positive and fit i32");
        kill_process(pid, Signal::KILL).expect("root may kill it");
    }

    /// Sets another CPU limit while it runs: so much of each period, both in µs.
    pub fn limit_cpu(&self, quota_us: u64, period_us: u64) {
        let (quota, period) = (quota_us.to_string(), period_us.to_string());
        run_to_end(Command::new("runc").args(["update", "--cpu-quota", &quota, "--cpu-period", &period, &self.id]));
    }

    /// Starts a shell script inside and does not wait for it; it ends with the container.
    pub fn start(&self, script: &str) {
        let mut runc = Command::new("runc");
        runc.args(["exec", "--detach", &self.id, "sh", "-c", script]);
        // It would hold a pipe open for as long as it lives.
        runc.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = runc.status().expect("runc is installed");
        assert!(status.success(), "{runc:?} ended with {status}");
    }

    /// A command of this machine's that runs in the container's network namespace, without its limits.
    pub fn in_network(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.pid().to_string()).args(["--net", "--", program]);
        command
    }

    /// Runs a command inside; its output, whatever its exit.
    pub fn exec(&self, command: &[&str]) -> Output {
        let mut runc = Command::new("runc");
        runc.arg("exec").arg(&self.id).args(command).stdin(Stdio::null());
        runc.output().unwrap_or_else(|e| panic!("cannot run {runc:?}: {e}"))
    }

    /// Runs a command inside and returns what it printed; panics unless it exits with 0.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let output = self.exec(&["sh", "-c", script]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "`{script}` in {} ended with {}: {text}{}",
            self.id,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// What the container's first process has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.bundle.path().join("log")).unwrap_or_default()
    }

    /// Kills everything in it and removes it, as `docker rm -f` would.
    pub fn delete(mut self) {
        self.remove();
    }

    fn remove(&mut self) {
        if !std::mem::replace(&mut self.deleted, true) {
            delete_by_id(&self.id);
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what the container {} said ---\n{}\n---", self.id, self.log());
        }
        self.remove();
    }
}

impl ContainerBuilder {
    /// Gives it an id such as docker's, instead of a name.
    #[must_use]
    pub fn with_long_id(mut self) -> Self {
        self.name = long_id();
        self
    }

    /// Gives it the id of a container that is no more.
    #[must_use]
    pub fn instead_of(mut self, id: &str) -> Self {
        self.name = id.to_owned();
        self
    }

    /// Programs of this machine to have inside, by name.
    #[must_use]
    pub fn programs(mut self, programs: &[&str]) -> Self {
        self.programs = programs.iter().map(ToString::to_string).collect();
        self
    }

    /// Uses a rootfs made before, instead of one of its own.
    #[must_use]
    pub fn rootfs(mut self, rootfs: &Arc<Rootfs>) -> Self {
        self.rootfs = Some(Arc::clone(rootfs));
        self
    }

    #[must_use]
    pub fn memory_limit_bytes(mut self, bytes: u64) -> Self {
        self.memory_limit_bytes = Some(bytes);
        self
    }

    /// At most this share of one CPU.
    #[must_use]
    pub fn cpu_percent(mut self, percent: u64) -> Self {
        self.cpu_percent = Some(percent);
        self
    }

    /// At most so many tasks.
    #[must_use]
    pub fn pids_limit(mut self, tasks: u64) -> Self {
        self.pids_limit = Some(tasks);
        self
    }

    /// Each process may have so many descriptors.
    #[must_use]
    pub fn open_files_limit(mut self, descriptors: u64) -> Self {
        self.open_files_limit = Some(descriptors);
        self
    }

    /// A file system of its own in memory, with room for so many bytes.
    #[must_use]
    pub fn tmpfs(mut self, path: &str, bytes: u64) -> Self {
        self.tmpfs.push((path.to_owned(), bytes));
        self
    }

    /// A folder of this machine's, writable inside.
    #[must_use]
    pub fn folder(mut self, host: &Path, path: &str) -> Self {
        self.folders.push((host.to_owned(), path.to_owned()));
        self
    }

    /// Its processes are numbered as the host's are, and are not killed with the first of them.
    #[must_use]
    pub fn with_the_hosts_pids(mut self) -> Self {
        self.own_pids = false;
        self
    }

    /// It is in the host's network namespace.
    #[must_use]
    pub fn in_the_hosts_network(mut self) -> Self {
        self.own_network = false;
        self
    }

    /// An annotation of its bundle, which is a label to those who look.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The first process, a shell script.
    #[must_use]
    pub fn script(mut self, script: &str) -> Self {
        self.entry = ["sh", "-c", script].map(String::from).to_vec();
        self
    }

    /// Starts it; returns when its first process runs.
    pub fn run(self) -> Container {
        let bundle = TempDir::new().expect("a temporary folder can be made");
        let programs: Vec<&str> = self.programs.iter().map(String::as_str).collect();
        let rootfs = self.rootfs.clone().unwrap_or_else(|| Rootfs::with(&programs));
        run_to_end(Command::new("runc").arg("spec").current_dir(bundle.path()));
        let file = bundle.path().join("config.json");
        let text = fs::read_to_string(&file).expect("runc spec writes config.json");
        let mut config: Value = serde_json::from_str(&text).expect("runc writes JSON");
        self.describe(&mut config, &rootfs);
        fs::write(&file, config.to_string()).expect("the bundle is writable");
        let log = fs::File::create(bundle.path().join("log")).expect("the bundle is writable");
        let mut runc = Command::new("runc");
        runc.args(["run", "--detach", "--bundle"]).arg(bundle.path()).arg(&self.name);
        runc.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be duplicated")).stderr(log);
        let status = runc.status().expect("runc is installed");
        let said = fs::read_to_string(bundle.path().join("log")).unwrap_or_default();
        let container = Container { id: self.name, bundle, deleted: false, _rootfs: rootfs };
        assert!(status.success(), "{runc:?} ended with {status}: {said}");
        container
    }

    fn describe(&self, config: &mut Value, rootfs: &Rootfs) {
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(self.entry);
        config["root"] = json!({ "path": rootfs.path(), "readonly": true });
        config["hostname"] = json!(self.name);
        for (key, value) in &self.annotations {
            config["annotations"][key] = json!(value);
        }
        let mounts = config["mounts"].as_array_mut().expect("runc spec lists mounts");
        // A server wants somewhere to write; the rest of its root is read-only and shared.
        for place in ["/tmp", "/run", "/var/log/nginx", "/var/lib/nginx"] {
            mounts.push(json!({ "destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"] }));
        }
        for (path, bytes) in &self.tmpfs {
            let size = format!("size={bytes}");
            mounts.push(json!({ "destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", size] }));
        }
        for (host, path) in &self.folders {
            mounts.push(json!({ "destination": path, "type": "bind", "source": host, "options": ["bind", "rw", "nosuid", "nodev"] }));
        }
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("runc spec lists namespaces");
        namespaces.retain(|it| (self.own_pids || it["type"] != "pid") && (self.own_network || it["type"] != "network"));
        if let Some(limit) = self.open_files_limit {
            config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": limit, "hard": limit }]);
        }
        let resources = &mut config["linux"]["resources"];
        if let Some(limit) = self.pids_limit {
            resources["pids"] = json!({ "limit": limit });
        }
        if let Some(limit) = self.memory_limit_bytes {
            resources["memory"] = json!({ "limit": limit });
        }
        if let Some(percent) = self.cpu_percent {
            resources["cpu"] = json!({ "period": CPU_PERIOD_US, "quota": CPU_PERIOD_US * percent / 100 });
        }
    }
}

/// CPU time of a cgroup in ns: v1's `cpuacct.usage`, else v2's `cpu.stat` (µs).
pub fn read_cpu_usage_ns(folder: &Path) -> u64 {
    read_number(&folder.join("cpuacct.usage"))
        .or_else(|| {
            let text = fs::read_to_string(folder.join("cpu.stat")).ok()?;
            let usage_us: u64 = text.lines().find_map(|l| l.strip_prefix("usage_usec "))?.trim().parse().ok()?;
            Some(usage_us * 1000)
        })
        .unwrap_or_else(|| panic!("{} accounts no CPU time", folder.display()))
}

fn read_number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn delete_by_id(id: &str) {
    // What is frozen cannot die; of all others this is an error that means nothing.
    let _ = Command::new("runc").args(["resume", id]).stdin(Stdio::null()).output();
    let output = Command::new("runc").args(["delete", "--force", id]).stdin(Stdio::null()).output();
    if let Ok(output) = output
        && !output.status.success()
    {
        eprintln!("runc delete {id}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Deletes containers of tests that were killed before they could clean up: ours by prefix, and the
/// test's process is no longer there.
fn sweep() {
    let Ok(entries) = fs::read_dir(RUNC_STATE) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if maker(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            delete_by_id(&name);
        }
    }
}
