//! A running `sonde up`, held to its outward contract: its URLs, its files and its command.
//!
//! It gets a data folder of its own and a port from the kernel, and is found as users find it: by
//! `endpoints.json`. The binary and the sensors are those that `cargo xtask test` has built
//! (`SONDE_BIN`, `SONDE_WASM_DIR`); without it, those in the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::exposition::Exposition;
use crate::footprint::Footprint;
use crate::http::{Request, Response};
use crate::process::Process;
use crate::room::Room;
use crate::wait::eventually;

/// From the start to serving: it compiles its sensors first, on a machine that may be busy.
const START: Duration = Duration::from_secs(60);
/// Births and deaths are noticed in about a second (design §3); a busy machine gets a few.
const NOTICE: Duration = Duration::from_secs(10);

/// A `sonde up` to be started.
#[derive(Default)]
pub struct SondeBuilder {
    binary: Option<PathBuf>,
    config: String,
    sensors: Vec<String>,
    user: Option<u32>,
    room: Option<Arc<Room>>,
}

/// A running `sonde up`, ended when dropped.
pub struct Sonde {
    process: Process,
    dir: TempDir,
    agent: String,
}

/// What a `sonde` command said.
#[derive(Debug)]
pub struct CliOutput {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The target folder of this build.
fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}

/// The `sonde` that was built for the tests.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("SONDE_BIN").map_or_else(|| target_dir().join("debug/sonde"), PathBuf::from);
    assert!(path.is_file(), "there is no {}: `cargo xtask test` builds it", path.display());
    path
}

/// A sensor or test guest as built, `name.wasm`.
pub fn sensor_path(file: &str) -> PathBuf {
    let dir = std::env::var_os("SONDE_WASM_DIR").map_or_else(|| target_dir().join("sensors-out"), PathBuf::from);
    let path = dir.join(file);
    assert!(path.is_file(), "there is no {}: `cargo xtask sensors` builds it", path.display());
    path
}

impl SondeBuilder {
    /// Runs this binary instead of the one built for the tests.
    #[must_use]
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = Some(path.to_owned());
        self
    }

    /// Runs as this user and group, with no others and no capabilities.
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Runs in a room.
    #[must_use]
    pub fn inside(mut self, room: &Arc<Room>) -> Self {
        self.room = Some(Arc::clone(room));
        self
    }

    /// Adds text to `sonde.toml`.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// A process group, by one further key: `port = 1`, `pid_file = "…"` or `cgroup = "…"`.
    #[must_use]
    pub fn process_group(self, name: &str, key: &str) -> Self {
        self.config(&format!("[[process_group]]\nname = \"{name}\"\n{key}\n"))
    }

    /// Installs a built sensor and has it run on the instances of that name. `more` is further TOML of
    /// its `[[sensor]]` entry, tables last.
    #[must_use]
    pub fn sensor(mut self, file: &str, instance: &str, more: &str) -> Self {
        self.sensors.push(file.to_owned());
        self.config(&format!("[[sensor]]\nfile = \"{file}\"\nmatch = {{ name = \"{instance}\" }}\n{more}\n"))
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn up(self) -> Sonde {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let sensors = dir.path().join("sensors");
        fs::create_dir(&sensors).expect("the temporary folder is writable");
        for file in &self.sensors {
            fs::copy(sensor_path(file), sensors.join(file)).expect("the temporary folder is writable");
        }
        let config = format!("[listen]\naddress = \"127.0.0.1:0\"\n\n{}", self.config);
        fs::write(dir.path().join("sonde.toml"), config).expect("the temporary folder is writable");
        let binary = self.binary.unwrap_or_else(binary);
        let mut command = match &self.room {
            Some(room) => room.command(&binary),
            None => Command::new(&binary),
        };
        if let Some(user) = self.user {
            give(dir.path(), user);
            command = Command::new("setpriv");
            command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
            command.args(["--bounding-set=-all", "--no-new-privs"]).arg(&binary);
        }
        command.arg("up").arg("--data-dir").arg(dir.path());
        let mut process = Process::start("sonde up", &mut command, &dir.path().join("log"));
        let agent = eventually("sonde writing endpoints.json", START, || {
            assert!(process.ended().is_none(), "sonde up ended at once: {}", process.log());
            let text = fs::read_to_string(dir.path().join("endpoints.json")).map_err(|e| e.to_string())?;
            let endpoints: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            let agent = endpoints["agent"].as_str().ok_or_else(|| format!("no agent in {text}"))?;
            Ok::<_, String>(agent.trim_end_matches('/').to_owned())
        });
        let sonde = Sonde { process, dir, agent };
        eventually("sonde ready", START, || match Request::get(&sonde.url("/readyz")).send() {
            Ok(response) if response.status == 200 => Ok(()),
            Ok(response) => Err(format!("status {}: {}", response.status, response.text())),
            Err(error) => Err(error.to_string()),
        });
        sonde
    }
}

impl Sonde {
    pub fn configure() -> SondeBuilder {
        SondeBuilder::default()
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The folder whose `*.wasm` it runs.
    pub fn sensors_dir(&self) -> PathBuf {
        self.dir().join("sensors")
    }

    /// `127.0.0.1:PORT` of the agent.
    pub fn authority(&self) -> &str {
        self.agent.strip_prefix("http://").expect("the agent's URL is plain http")
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.agent)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        Request::get(&self.url(path)).send().unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    /// Has it look at everything now: instances, its configuration and its sensors. Returns when that is done.
    #[track_caller]
    pub fn refresh(&self) {
        let answer = Request::post(&self.url("/v1/refresh")).send().unwrap_or_else(|e| panic!("POST refresh: {e}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// What `sonde.toml` says.
    pub fn config(&self) -> String {
        fs::read_to_string(self.config_file()).expect("sonde.toml is there")
    }

    /// Writes another `sonde.toml`, as an operator would save it, and has it looked at.
    #[track_caller]
    pub fn reconfigure(&self, toml: &str) {
        let half = self.dir().join("sonde.toml.new");
        fs::write(&half, toml).expect("the data folder is writable");
        fs::rename(&half, self.config_file()).expect("one file system");
        self.refresh();
    }

    fn config_file(&self) -> PathBuf {
        self.dir().join("sonde.toml")
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has printed and logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.process.pid())
    }

    /// The processes that it started which live the life of that name: `broker`, `runner`, `compile-worker`.
    pub fn workers(&self, life: &str) -> Vec<u32> {
        Footprint::tree(self.pid()).into_iter().filter(|pid| lives(*pid, life)).collect()
    }

    /// Ends it as the kernel does where memory runs out.
    pub fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.ended();
    }

    /// As a terminal does that is closed.
    pub fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Waits until it has ended, and returns the code that it exited with by itself.
    #[track_caller]
    pub fn ended(&mut self) -> Option<i32> {
        eventually("sonde up's end", NOTICE, || self.process.ended().ok_or_else(|| "it runs on".to_owned())).code()
    }

    /// Asks it to end; true when it did so by itself.
    pub fn stop(mut self) -> bool {
        self.process.stop()
    }

    /// The list of instances.
    #[track_caller]
    pub fn instances(&self) -> Vec<Value> {
        self.get("/v1/instances").json().as_array().cloned().expect("/v1/instances is a list")
    }

    /// Has it look for instances, and waits until one of that name is listed in a state that is not `gone`, and returns its entry.
    #[track_caller]
    pub fn wait_for_instance(&self, name: &str) -> Value {
        self.refresh();
        self.wait_to_notice(name)
    }

    /// Waits until an instance of that name is listed in a state that is not `gone`, without asking Sonde to look.
    #[track_caller]
    pub fn wait_to_notice(&self, name: &str) -> Value {
        eventually(&format!("{name} listed"), NOTICE, || {
            let instances = self.instances();
            let found = instances.iter().find(|i| i["name"] == name && i["state"] != "gone");
            found.cloned().ok_or_else(|| format!("{} others are", instances.len()))
        })
    }

    /// The text exposition of an instance; panics unless it is served with 200.
    #[track_caller]
    pub fn scrape_text(&self, instance: &str) -> String {
        let response = self.get(&format!("/v1/{instance}/metrics"));
        assert_eq!(response.status, 200, "{}", response.text());
        response.text()
    }

    /// The same, read.
    #[track_caller]
    pub fn scrape(&self, instance: &str) -> Exposition {
        Exposition::read(&self.scrape_text(instance))
    }

    /// Scrapes until the sample is what `accept` wants.
    #[track_caller]
    pub fn wait_for_value(
        &self,
        instance: &str,
        name: &str,
        labels: &[(&str, &str)],
        within: Duration,
        accept: impl Fn(f64) -> bool,
    ) -> f64 {
        eventually(&format!("{name} {labels:?} of {instance}"), within, || {
            let response = self.get(&format!("/v1/{instance}/metrics"));
            if response.status != 200 {
                // On a busy machine the kernel may not answer in time, once.
                return Err(format!("status {}: {}", response.status, response.text()));
            }
            match Exposition::read(&response.text()).value(name, labels) {
                Some(value) if accept(value) => Ok(value),
                other => Err(format!(
                    "it is {other:?}; its sensors: {}",
                    self.get(&format!("/v1/{instance}/sensors")).text()
                )),
            }
        })
    }

    /// What it says of one sensor of an instance: the entry of `/v1/{instance}/sensors` that names it.
    #[track_caller]
    pub fn sensor_entry(&self, instance: &str, name: &str) -> Option<Value> {
        let answer = self.get(&format!("/v1/{instance}/sensors")).json();
        let list = answer.as_array().or_else(|| answer["sensors"].as_array()).expect("the sensors are a list").clone();
        list.into_iter().find(|entry| ["name", "sensor", "file"].iter().any(|key| names(&entry[*key], name)))
    }

    /// Runs `sonde ARGS --data-dir D`.
    pub fn cli(&self, args: &[&str]) -> CliOutput {
        let mut command = Command::new(binary());
        command.args(args).arg("--data-dir").arg(self.dir());
        CliOutput::of(&mut command)
    }

    /// Runs `sonde ARGS` in a folder, with no running Sonde in sight.
    pub fn cli_in(folder: &Path, args: &[&str]) -> CliOutput {
        CliOutput::of(Command::new(binary()).args(args).current_dir(folder))
    }
}

/// Whether a process is `sonde LIFE …` (proc_pid_cmdline(5)).
fn lives(pid: u32, life: &str) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).nth(1) == Some(life.as_bytes())
}

/// Makes a folder and all in it a user's own.
fn give(path: &Path, user: u32) {
    std::os::unix::fs::chown(path, Some(user), Some(user)).expect("root may give files away");
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        give(&entry.path(), user);
    }
}

impl CliOutput {
    fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().expect("the binary can be run");
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Whether a JSON text is `name`, or the file of that name.
fn names(value: &Value, name: &str) -> bool {
    value.as_str().is_some_and(|text| text == name || text.strip_suffix(".wasm") == Some(name))
}
