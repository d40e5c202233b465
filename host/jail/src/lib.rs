//! Takes every authority from the current process, in layers.
//!
//! A runner executes what tenants sent, and a compile worker reads it: if the sandbox inside either
//! fails, what is outside it must not be worth the trouble. So the process gives up, one after the
//! other, its descriptors, its network, its file system, its user, its capabilities and nearly all
//! system calls. The layers overlap on purpose, because kernels differ in what they give: each is
//! tried by itself, none stops the rest, and what is missing is in the report for the operator.
//!
//! It refuses to be a library for other processes: [`Jail::enter`] is for one that was just started
//! and has one thread. The cgroup is made by the parent ([`cgroup`]) and only joined here.
#![cfg(target_os = "linux")]

pub mod agent;
pub mod cgroup;
mod descriptors;
mod fault;
mod identity;
mod layer;
mod limits;
mod paths;
mod process;
mod seccomp;
mod spaces;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use fault::Fault;
pub use layer::{Layer, LayerReport};
use layer::{Outcome, Reports};

/// What the process is for, which decides the system calls it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Runs sensors: an event loop, threads, received sockets, executable memory.
    Runner,
    /// Compiles one component from one socket to another: no threads, no executable memory.
    Compiler,
}

/// What the process becomes. It travels to the child as JSON on its command line, so that parent
/// and child cannot differ over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jail {
    pub profile: Profile,
    /// User and group to become if the process is root; must be nobody else's.
    pub uid: u32,
    /// The parent's process id: if it is another by the time the jail is closed, the parent died.
    pub parent: u32,
    /// The `cgroup.procs` files to join, from [`cgroup::CgroupRoom::join_paths`].
    pub cgroup: Vec<PathBuf>,
    /// `RLIMIT_AS`; `None` for a runner, whose pools are reservations of terabytes.
    pub address_space_bytes: Option<u64>,
    /// `RLIMIT_CPU` of the whole process; at its end the kernel kills it.
    pub cpu_seconds: Option<u64>,
    /// `RLIMIT_FSIZE`: the largest memory image (`memfd`), which the kernel counts as a file; 0 for
    /// a compiler, which writes to its socket alone.
    pub file_bytes: u64,
    /// `RLIMIT_NOFILE`, the three given ones included.
    pub open_files: u64,
    /// `RLIMIT_NPROC`: threads of this user, so of all processes that share `uid`.
    pub processes: u64,
    /// Layers to leave out: for tests that ask whether the next one holds.
    #[serde(default)]
    pub skip: Vec<Layer>,
}

impl Jail {
    /// Closes the jail around the calling process: descriptors 0, 1 and 2 stay open, all else goes.
    ///
    /// One report for each of [`Layer::ALL`], in that order. It never fails as a whole: the caller
    /// decides whether it may go on without a layer.
    pub fn enter(&self) -> Vec<LayerReport> {
        let mut reports = Reports::new(&self.skip);
        let threads = process::threads();
        process::read_ahead();
        // A process that is not root can still get namespaces of its own below a user namespace;
        // where the kernel refuses that, the layers that need it say so.
        let was_root = identity::is_root();
        reports.run(Layer::Descriptors, descriptors::close_all_but_given);
        reports.run(Layer::Cgroup, || cgroup::join(&self.cgroup));
        if !was_root {
            reports.prepare(&[Layer::Network, Layer::Ipc, Layer::Mounts], spaces::own_user_space);
        }
        reports.run(Layer::Network, spaces::own_network);
        reports.run(Layer::Ipc, spaces::own_ipc_and_names);
        reports.run(Layer::Mounts, spaces::empty_root);
        self.drop_identity(&mut reports, was_root);
        reports.run(Layer::Rlimits, || limits::apply(self, was_root));
        reports.run(Layer::NoNewPrivileges, process::no_new_privileges);
        reports.run(Layer::Undumpable, process::undumpable);
        // Behind the change of user, which would clear it.
        reports.run(Layer::ParentDeath, || process::die_with(self.parent));
        reports.run(Layer::Landlock, paths::deny_all);
        // Last: it takes away the calls which the others are made of.
        reports.run(Layer::Seccomp, || seccomp::apply(self.profile));
        reports.finish(threads)
    }

    /// The bounding set needs the capability that the change of user takes away, so it goes first.
    fn drop_identity(&self, reports: &mut Reports<'_>, was_root: bool) {
        let mut bounding = Ok(());
        reports.prepare(&[Layer::Capabilities], || {
            bounding = identity::empty_bounding_set();
            Ok(None)
        });
        reports.run(Layer::User, || identity::become_user(self.uid, was_root));
        reports.run(Layer::Capabilities, || identity::empty_sets(bounding));
    }
}
