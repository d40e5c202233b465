//! A mount namespace of the test's own, with a `/run` and a `/var/lib` of its own: where real runtimes can keep their
//! state in the very places that Sonde looks at, on a machine whose own runtimes are none of the test's business.
//!
//! Processes, cgroups and the network are the machine's, so an agent that is started in the room finds what runs there as it would
//! find it anywhere. All cgroups of a room lie below one of its own, which is emptied and removed with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::names::{maker, unique_name};
use crate::process::Process;
use crate::wait::eventually;

/// Two mounts.
const FURNISHED: Duration = Duration::from_secs(20);
/// Until what was killed has left its cgroup.
const EMPTIED: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(20);
/// The hierarchies' mount points; in a unified one it is a hierarchy itself.
const HIERARCHIES: &str = "/sys/fs/cgroup";
/// How the name of a room's cgroup ends. libvirt gives what has no dot in its name another name.
const SUFFIX: &str = ".room";
/// What the room's first process does: its own `/run` and `/var/lib`, which root alone may write to as anywhere, and then to be there.
const FURNISH: &str = "mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=755 tmpfs /var/lib && echo furnished && exec sleep 1000000";
/// Enters the cgroup `$0` in each hierarchy that takes a process, and goes on in a network without anything but itself. A cpuset of the older kind
/// takes nobody before it is filled.
const ENTER: &str = "for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -f $root/cgroup.procs ] || continue
    mkdir -p $root$0/daemon
    for which in cpus mems; do
        [ -f $root/cpuset.$which ] || continue
        for below in $0 $0/daemon; do cat $root/cpuset.$which >$root$below/cpuset.$which; done
    done
    echo $$ >$root$0/daemon/cgroup.procs
done
";

/// A room; what is started in it must have ended before it is dropped.
pub struct Room {
    holder: Process,
    dir: TempDir,
    cgroup: String,
}

impl Room {
    pub fn make() -> Self {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let dir = TempDir::new().expect("a temporary folder can be made");
        // setpriv(1): if the test is killed, the room is no more.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "sh", "-c", FURNISH]);
        let mut holder = Process::start("the room", &mut command, &dir.path().join("room.log"));
        eventually("the room's own mounts", FURNISHED, || {
            assert!(holder.ended().is_none(), "it has ended: {}", holder.log());
            if holder.log().contains("furnished") { Ok(()) } else { Err(holder.log()) }
        });
        Self { holder, dir, cgroup: format!("{}{SUFFIX}", unique_name("of")) }
    }

    /// A folder that is seen from inside and from outside.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The cgroup, `/…`, below which all of the room's are.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.cgroup)
    }

    /// A program that is to run inside. It begins in the root folder.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.pid())).arg("--").arg(program.as_ref());
        command
    }

    /// A runtime's daemon that is to run inside after a few lines of shell, in a network of its own. It is killed with the test; what it
    /// starts is in the room's cgroup, and ends with the room whatever becomes of the daemon.
    pub(crate) fn daemon(&self, before: &str, program: &str) -> Command {
        let mut command = self.command("setpriv");
        let script = format!("{ENTER}{before}\nexec \"$@\"");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "sh", "-ec", &script, &self.cgroup()]);
        command.arg(program);
        command
    }

    /// Runs a command inside to its end and returns what it printed; panics unless it exits with 0.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = self.command(program);
        let output = command.args(arguments).stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?} ended with {}: {said}{complaint}", output.status);
        said
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        remove_cgroups(&self.cgroup);
    }
}

/// Removes the rooms' cgroups of tests that were killed before they could, with what still runs in them.
fn sweep() {
    let entries = hierarchies().into_iter().flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten());
    for name in entries.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        let is_a_room = name.ends_with(SUFFIX);
        if is_a_room && maker(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove_cgroups(&name);
        }
    }
}

fn hierarchies() -> Vec<PathBuf> {
    let below = fs::read_dir(HIERARCHIES).into_iter().flatten().flatten().map(|entry| entry.path());
    below.chain([PathBuf::from(HIERARCHIES)]).filter(|root| root.join("cgroup.procs").is_file()).collect()
}

/// Empties a cgroup in every hierarchy and removes it with all that is below. What stays is said, and is the next test's to sweep.
fn remove_cgroups(name: &str) {
    for top in hierarchies().into_iter().map(|root| root.join(name)).filter(|top| top.is_dir()) {
        let began = Instant::now();
        while let Err(error) = remove(&top) {
            if began.elapsed() > EMPTIED {
                eprintln!("{} stays: {error}", top.display());
                break;
            }
            // What was killed has yet to leave.
            thread::sleep(AGAIN);
        }
    }
}

fn remove(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path())?;
    }
    // What is frozen cannot die in the old hierarchy.
    let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
    let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
    fs::remove_dir(cgroup)
}
