//! A child process that a test owns: its output goes to a file, and it ends with its owner.
//!
//! Output goes to a file and not to a pipe, so that a talkative child never blocks and a test can read
//! the log while the child runs. When the owner is dropped by a panic, the log's tail is printed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a child may take to end when asked, before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How much of a log a failed test shows.
const TAIL_LINES: usize = 60;

/// A running child. Dropping it sends SIGTERM, then SIGKILL after [`GRACE`], and reaps it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with no input and with both outputs in the file `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let output = File::create(log).unwrap_or_else(|e| panic!("cannot create {}: {e}", log.display()));
        let same = output.try_clone().expect("a file can be duplicated");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(same)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name} ({command:?}): {e}"));
        Self { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed up to now.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its exit status, or none while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends `signal` to the child and to nothing else.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("pids fit i32")).expect("pids are not 0");
        // It may have ended by itself; then there is nothing to do.
        let _ = kill_process(pid, signal);
    }

    /// Asks it to end and waits; true when it ended by itself within [`GRACE`].
    pub fn stop(&mut self) -> bool {
        self.signal(Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            if self.ended().is_some() {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.stop();
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            eprintln!("--- the end of what {} said ---\n{}\n---", self.name, tail.join("\n"));
        }
    }
}

/// Runs a command to its end and panics with its output unless it exits with 0.
pub fn run_to_end(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
