//! Many instances at little cost: cgroups named as docker names them, each with one sleeping process in a network namespace of its own.
//!
//! What a reading reads of them is what it reads of a container, and a thousand are made in seconds. They lie below one cgroup of ours in
//! every hierarchy that instances are read from, with the machine's own left as they are. All ends when the fleet is dropped; what is killed outright
//! leaves empty cgroups, whose processes have ended because their input has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Hierarchies of v1 that take no process before somebody has configured them, or that nobody reads.
const LEFT_OUT: [&str; 3] = ["cpuset", "devices", "systemd"];
/// A cgroup can be removed once the kernel has buried its last process, which takes milliseconds.
const BURIED: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

/// The instances.
pub struct Fleet {
    name: String,
    /// Of this process's fleets: no two have a member's id in common.
    number: u32,
    hierarchies: Vec<PathBuf>,
    members: Vec<Member>,
}

struct Member {
    id: String,
    process: Child,
}

impl Fleet {
    /// As many as asked for. Needs root.
    pub fn of(count: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        allow_descriptors();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sonde-fleet-{}-{number}", std::process::id());
        let mut fleet = Self { name, number, hierarchies: hierarchies(), members: Vec::new() };
        for hierarchy in &fleet.hierarchies {
            let own = hierarchy.join(&fleet.name);
            fs::create_dir(&own).unwrap_or_else(|e| panic!("cannot make {}: {e}", own.display()));
            // In a cgroup2 tree the members have the controllers that their parent hands on.
            let controllers = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
            for controller in controllers.split_whitespace() {
                // Some are refused, and their files are then not there to be read.
                let _ = fs::write(own.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
        for _ in 0..count {
            fleet.add();
        }
        fleet
    }

    /// Descriptors that a process started from here may have.
    pub fn descriptors() -> usize {
        let most = getrlimit(Resource::Nofile).maximum;
        most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
    }

    /// One more; its runtime's id.
    pub fn add(&mut self) -> String {
        let id = format!("{:08x}{:08x}{:048x}", std::process::id(), self.number, self.members.len());
        let mut command = Command::new("unshare");
        // It ends with its input, and that with us.
        command.args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let process = command.spawn().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
        for hierarchy in &self.hierarchies {
            let cgroup = hierarchy.join(&self.name).join(scope(&id));
            fs::create_dir(&cgroup).unwrap_or_else(|e| panic!("cannot make {}: {e}", cgroup.display()));
            let entered = fs::write(cgroup.join("cgroup.procs"), process.id().to_string());
            entered.unwrap_or_else(|e| panic!("{} takes no process: {e}", cgroup.display()));
        }
        self.members.push(Member { id: id.clone(), process });
        id
    }

    /// Ends the one added last, and removes its cgroups.
    pub fn remove(&mut self) {
        let Some(mut member) = self.members.pop() else { return };
        end(&mut member.process);
        self.bury(&member.id);
    }

    /// What all their cgroups' paths begin with.
    pub fn prefix(&self) -> String {
        format!("/{}/", self.name)
    }

    /// Their ids, as a runtime gives them.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.id.as_str())
    }

    fn bury(&self, id: &str) {
        for hierarchy in &self.hierarchies {
            remove(&hierarchy.join(&self.name).join(scope(id)));
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // All are told before one is waited for.
        for member in &mut self.members {
            let _ = member.process.kill();
        }
        for member in &mut self.members {
            let _ = member.process.wait();
        }
        for member in &self.members {
            self.bury(&member.id);
        }
        for hierarchy in &self.hierarchies {
            remove(&hierarchy.join(&self.name));
        }
    }
}

/// Each member is a pipe of ours, and whoever has a fleet may want a connection for each as well.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // What is refused is missed, and said, when it is needed.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn scope(id: &str) -> String {
    format!("docker-{id}.scope")
}

fn end(process: &mut Child) {
    // It may have ended by itself.
    let _ = process.kill();
    let _ = process.wait();
}

fn remove(cgroup: &Path) {
    let began = Instant::now();
    while cgroup.exists() && fs::remove_dir(cgroup).is_err() && began.elapsed() < BURIED {
        thread::sleep(PAUSE);
    }
}

/// Where cgroup hierarchies are mounted that instances are read from.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    let of_cgroups = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (Path::new(fields.next()?), fields.next()?);
        let wanted = !LEFT_OUT.iter().any(|name| point.ends_with(name));
        (wanted && matches!(kind, "cgroup" | "cgroup2")).then(|| point.to_owned())
    });
    of_cgroups.collect()
}
