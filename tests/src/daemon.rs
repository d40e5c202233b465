//! A running `sonde agent`: the daemon, with a configuration of the test's own and what it says in its log.
//!
//! Unlike `sonde up` it has admin routes and certificates, takes SIGHUP for a reload, and speaks to a service manager.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::footprint::Footprint;
use crate::process::Process;
use crate::sonde::binary;
use crate::wait::eventually;

/// From the start to listening, on a machine that may be busy.
const START: Duration = Duration::from_secs(60);

/// A `sonde agent`, ended when dropped.
pub struct Daemon {
    pub process: Process,
    dir: TempDir,
    url: String,
    admin: String,
}

impl Daemon {
    /// Starts one in a folder, whose `agent.toml` is `[listen]` with free ports and then `config`. `prepare` may change how it is started:
    /// its environment, or what it is started by.
    #[track_caller]
    pub fn start(dir: TempDir, config: &str, prepare: impl FnOnce(Command) -> Command) -> Self {
        fs::create_dir_all(dir.path().join("sensors")).expect("the temporary folder is writable");
        let path = dir.path().join("agent.toml");
        write(&path, config);
        let mut command = prepare(Command::new(binary()));
        command.args(["agent", "--config"]).arg(&path);
        let mut process = Process::start("sonde agent", &mut command, &dir.path().join("log"));
        let [admin, url] = ["the admin routes are served", "the agent listens"].map(|said| {
            eventually(said, START, || {
                assert!(process.ended().is_none(), "it ended at once: {}", process.log());
                let log = process.log();
                let line = log.lines().find(|line| line.contains(said)).ok_or_else(|| log.clone())?;
                line.split('"').nth(1).map(str::to_owned).ok_or_else(|| log.clone())
            })
        });
        Self { process, dir, url, admin }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where instances are served.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Where the admin routes are.
    pub fn admin(&self, path: &str) -> String {
        format!("{}{path}", self.admin)
    }

    /// Puts another configuration in the place of the one there is.
    pub fn write_config(&self, config: &str) {
        let half = self.dir().join("agent.toml.new");
        write(&half, config);
        fs::rename(&half, self.dir().join("agent.toml")).expect("one file system");
    }

    /// The broker's process id.
    pub fn broker(&self) -> u32 {
        let is_broker = |pid: &u32| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).nth(1) == Some(b"broker")
        };
        Footprint::tree(self.process.pid()).into_iter().find(is_broker).expect("a broker runs")
    }

    /// Sends a signal to a process of the agent's.
    pub fn signal(&self, pid: u32, signal: Signal) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it runs");
    }
}

fn write(path: &Path, config: &str) {
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
    fs::write(path, format!("{listen}{config}")).expect("the temporary folder is writable");
}

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
