//! Starting what is not trusted: one program, two lives, each in a jail that it closes around itself before it reads anything.
//!
//! A child gets its sockets as descriptors 0 and 1, nothing for standard error, no environment, a user that nobody else has and a
//! cgroup of its own with bounds of memory, processes and CPU; where the whole node's memory runs out it goes before what the node is for.
//! The channel to the agent goes to the agent. A child that ends is
//! reaped and its cgroup removed.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Resource, getrlimit};
use sonde_host::RunnerNumber;
use sonde_host::wire::{self, Inbox, Outbox};
use sonde_jail::cgroup::{CgroupLimits, CgroupRoom};
use sonde_jail::{Jail, Profile};
use sonde_manifest::Class;
use tokio::process::Child;

use crate::client::NAME;

use crate::users::{TOO_MANY, User, Users};

/// What a runner needs beside the memories of its runs: half a GiB for engine, stacks, code and images; and for what a run makes the node
/// hold, at most 8 MiB that it sends and 4 MiB that it receives, times 64 places, what is left of another.
const RUNNER_OVERHEAD_BYTES: u64 = (512 + 1024) << 20;
/// Descriptors of a runner: a memory image for each loaded component, sockets and files of its runs.
const RUNNER_DESCRIPTORS: u64 = 16_384;
/// Threads of a runner: the loop, the epoch's, and those that read files.
const RUNNER_THREADS: u64 = 96;
/// What one compilation may take: the dearest honest sensor that was seen (a JavaScript engine) takes half of it.
const COMPILER_MEMORY_BYTES: u64 = 2 << 30;
const COMPILER_CPU_SECONDS: u64 = 20;
const COMPILER_DESCRIPTORS: u64 = 16;
/// Beside the agent and the broker, which are in the cgroup above and come first: they are short, and every run waits for them; then come
/// sensors that cost little. A compilation can wait for all.
const RUNNER_WEIGHT: u64 = 40;
const HEAVY_RUNNER_WEIGHT: u64 = 10;
const COMPILER_WEIGHT: u64 = 10;

/// How readily the kernel should end a child where the node's memory runs out: a compilation, which can be begun again, before runs. Left
/// alone they would have the broker's, which is spared.
const RUNNER_OOM_SCORE: &str = "500";
const COMPILER_OOM_SCORE: &str = "800";

/// What a child is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    Runner { class: Class, places: u64, memory_bytes: u64, gives_way: bool },
    Compiler,
}

/// A child that has been started.
pub(crate) struct Spawned {
    pub(crate) child: Child,
    /// To be kept until it has been waited for.
    pub(crate) user: User,
    pub(crate) cgroup: Option<CgroupRoom>,
    /// Its channels, our ends: to the agent, and for a runner to us.
    pub(crate) to_agent: OwnedFd,
    pub(crate) to_broker: Option<(Inbox, Outbox)>,
}

/// Starts children.
pub(crate) struct Spawner {
    program: PathBuf,
    compile_worker: PathBuf,
    users: Users,
    /// Said once: why children have no cgroup of their own.
    cgroup_fault_said: bool,
}

impl Spawner {
    pub(crate) fn new(program: PathBuf, compile_worker: PathBuf) -> Self {
        Self { program, compile_worker, users: Users::default(), cgroup_fault_said: false }
    }

    /// Starts a child. Must be called on the process's main thread: children die with the thread that made them.
    pub(crate) fn spawn(&mut self, number: RunnerNumber, role: Role) -> std::io::Result<Spawned> {
        let (to_agent, of_child) = UnixStream::pair()?;
        let user = self.users.take().ok_or_else(|| std::io::Error::other(TOO_MANY))?;
        let cgroup = self.cgroup(number, role);
        let jail = jail(user.uid(), role, cgroup.as_ref());
        let mut command = Command::new(match role {
            Role::Runner { .. } => &self.program,
            Role::Compiler => &self.compile_worker,
        });
        command.env_clear().stdin(OwnedFd::from(of_child)).stderr(Stdio::null());
        // The terminal's signals are for the agent, which ends its children in order.
        command.process_group(0).arg0(NAME);
        let to_broker = match role {
            Role::Runner { class, places, .. } => {
                let (ours, of_child) = UnixStream::pair()?;
                command.args(["runner", "--class", class.name(), "--places", &places.to_string()]);
                command.stdout(OwnedFd::from(of_child));
                Some(wire::polled(ours.into(), false)?)
            }
            Role::Compiler => {
                command.arg("compile-worker").stdout(Stdio::null());
                None
            }
        };
        let jail = serde_json::to_string(&jail).map_err(std::io::Error::other)?;
        command.args(["--jail", &jail]);
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
        if let Some(pid) = child.id() {
            // If it has ended already, that is seen to where it is waited for.
            let score = match role {
                Role::Runner { .. } => RUNNER_OOM_SCORE,
                Role::Compiler => COMPILER_OOM_SCORE,
            };
            let _ = std::fs::write(Path::new("/proc").join(pid.to_string()).join("oom_score_adj"), score);
        }
        Ok(Spawned { child, user, cgroup, to_agent: to_agent.into(), to_broker })
    }

    /// A cgroup for it, where this machine lets us make one.
    fn cgroup(&mut self, number: RunnerNumber, role: Role) -> Option<CgroupRoom> {
        let (limits, name) = match role {
            Role::Runner { memory_bytes, gives_way, .. } => {
                let cpu_weight = if gives_way { HEAVY_RUNNER_WEIGHT } else { RUNNER_WEIGHT };
                let memory_bytes = memory_bytes.saturating_add(RUNNER_OVERHEAD_BYTES);
                let limits = CgroupLimits { memory_bytes, pids: RUNNER_THREADS, cpu_weight };
                (limits, format!("runner-{number}"))
            }
            Role::Compiler => {
                let limits = CgroupLimits { memory_bytes: COMPILER_MEMORY_BYTES, pids: 2, cpu_weight: COMPILER_WEIGHT };
                (limits, format!("compiler-{number}"))
            }
        };
        match CgroupRoom::create(&name, &limits) {
            Ok(room) => Some(room),
            Err(error) => {
                if !std::mem::replace(&mut self.cgroup_fault_said, true) {
                    let error = sonde_host::chain(&error);
                    tracing::warn!(error, "runners and compile workers have no cgroup of their own");
                }
                None
            }
        }
    }
}

fn jail(uid: u32, role: Role, cgroup: Option<&CgroupRoom>) -> Jail {
    let hard = |wanted: u64| getrlimit(Resource::Nofile).maximum.map_or(wanted, |most| most.min(wanted));
    let common = Jail {
        profile: Profile::Runner,
        uid,
        parent: std::process::id(),
        cgroup: cgroup.map(CgroupRoom::join_paths).unwrap_or_default(),
        address_space_bytes: None,
        cpu_seconds: None,
        file_bytes: 0,
        open_files: hard(RUNNER_DESCRIPTORS),
        processes: RUNNER_THREADS,
        skip: Vec::new(),
    };
    match role {
        // A memory image is a file to the kernel.
        Role::Runner { class, .. } => Jail { file_bytes: class.memory_bytes(), ..common },
        Role::Compiler => Jail {
            profile: Profile::Compiler,
            address_space_bytes: Some(COMPILER_MEMORY_BYTES),
            cpu_seconds: Some(COMPILER_CPU_SECONDS),
            open_files: hard(COMPILER_DESCRIPTORS),
            processes: 1,
            ..common
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_that_cannot_be_started_leaves_nothing() {
        let mut spawner = Spawner::new("/nonexistent/program".into(), "/nonexistent/worker".into());
        let runner = Role::Runner { class: Class::Small, places: 1, memory_bytes: 1 << 20, gives_way: false };
        let rooms = |number| spawner_rooms(&format!("sonde-{}-runner-{number}", std::process::id()));
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        // What tokio opens once is opened by the first.
        let _ = spawner.spawn(0, runner).err().unwrap();
        let before = open();
        for number in 0..700 {
            let error = spawner.spawn(number, if number % 2 == 0 { runner } else { Role::Compiler }).err().unwrap();
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{number}: {error}");
        }
        assert!(open() < before + 100, "descriptors stay open");
        assert_eq!(rooms(0) + rooms(698), 0);
    }

    fn spawner_rooms(name: &str) -> usize {
        let folders = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        folders.filter(|folder| folder.join(name).exists()).count()
    }
}
