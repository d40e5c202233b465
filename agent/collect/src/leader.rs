//! The process that leads an instance: the one whose namespaces and root are the instance's.
//!
//! A pid alone is no handle, since the number may be another process's by the time it is used. A
//! [`Leader`] therefore holds a pidfd: open it, check that the pid still belongs to the instance, use
//! `/proc/<pid>`, and ask [`Leader::is_alive`] afterwards; while that holds, the pid was never reused. A zombie
//! has no namespaces left and is passed over.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use crate::found::{CgroupDirs, Found, Kind};
use crate::mounts::Roots;
use crate::process;
use crate::walk;

/// How many of an instance's processes are looked at for the one that leads.
const CANDIDATES_MAX: usize = 64;

/// A live process that leads an instance.
#[derive(Debug)]
pub struct Leader {
    /// Its pid on the node.
    pub pid: u32,
    /// Its start, in ticks since boot.
    pub start_ticks: u64,
    /// A handle on it that no other process can come to stand behind. None only where `/proc` is a fixture.
    pub pidfd: Option<OwnedFd>,
    /// Inode of its network namespace.
    pub net_namespace: Option<u64>,
    /// Inode of its mount namespace.
    pub mount_namespace: Option<u64>,
}

impl Leader {
    /// Whether it still lives: what was read of its pid before this said so was truly of it.
    pub fn is_alive(&self) -> bool {
        let Some(pidfd) = &self.pidfd else {
            return true;
        };
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        // A pidfd becomes readable when its process ends.
        matches!(rustix::event::poll(&mut fds, Some(&Timespec::default())), Ok(0))
    }

    /// Whether it is in the network namespace that the agent is in, which is the host's.
    pub fn shares_host_network(&self, roots: &Roots) -> bool {
        self.net_namespace.is_some() && self.net_namespace == namespace(&roots.proc.join("self"), "net")
    }

    /// Whether it is in the agent's mount namespace.
    pub fn shares_host_mounts(&self, roots: &Roots) -> bool {
        self.mount_namespace.is_some() && self.mount_namespace == namespace(&roots.proc.join("self"), "mnt")
    }

    /// `/proc/<pid>` of it.
    pub fn directory(&self, roots: &Roots) -> PathBuf {
        roots.proc.join(self.pid.to_string())
    }
}

/// Inode of a process's namespace: two processes with the same one share it.
pub fn namespace(process: &Path, kind: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let path = process.join("ns").join(kind);
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

impl Found {
    /// All processes of the instance, zombies among them, at most `most`.
    pub fn pids(&self, roots: &Roots, most: usize) -> Vec<u32> {
        let mut pids = match &self.kind {
            Kind::Cgroup => match self.cgroups.primary(roots) {
                Some(directory) => walk::pids_below(directory, most).0,
                None => Vec::new(),
            },
            Kind::Processes { pid, start_ticks, .. } => match process::stat(&roots.proc, *pid) {
                Ok(stat) if stat.start_ticks == *start_ticks => process::with_descendants(&roots.proc, *pid),
                _ => Vec::new(),
            },
        };
        pids.truncate(most);
        pids
    }

    /// The process that leads it now: the runtime's own first process while it lives; else, of those in its
    /// cgroup, one that is the first of its pid namespace; else the oldest. None where no process lives.
    pub fn leader(&self, roots: &Roots) -> Option<Leader> {
        if let Kind::Processes { pid, start_ticks, .. } = &self.kind {
            return open(roots, *pid, Some(*start_ticks), None);
        }
        if let Some((pid, start_ticks)) = self.init
            && let Some(leader) = open(roots, pid, Some(start_ticks), Some(self))
        {
            return Some(leader);
        }
        let mut oldest: Option<Leader> = None;
        for pid in self.pids(roots, CANDIDATES_MAX) {
            let Some(candidate) = open(roots, pid, None, Some(self)) else {
                continue;
            };
            let status = std::fs::read(candidate.directory(roots).join("status"));
            if status.is_ok_and(|status| process::innermost_pid(&status) == Some(1)) {
                return Some(candidate);
            }
            let older = |kept: &Leader| (candidate.start_ticks, candidate.pid) < (kept.start_ticks, kept.pid);
            if oldest.as_ref().is_none_or(older) {
                oldest = Some(candidate);
            }
        }
        oldest
    }
}

/// Takes hold of a process: none where it is another one, a zombie, gone, or not in `member_of`.
pub(crate) fn open(roots: &Roots, pid: u32, start_ticks: Option<u64>, member_of: Option<&Found>) -> Option<Leader> {
    let mut leader = hold(roots, pid, start_ticks)?;
    let directory = leader.directory(roots);
    if let Some(found) = member_of {
        let text = std::fs::read(directory.join("cgroup")).ok()?;
        if !is_member(roots, found, &CgroupDirs::of_process(roots, &text)) {
            return None;
        }
    }
    (leader.net_namespace, leader.mount_namespace) = (namespace(&directory, "net"), namespace(&directory, "mnt"));
    leader.is_alive().then_some(leader)
}

/// The same of any process, and its namespaces are not asked for.
pub(crate) fn hold(roots: &Roots, pid: u32, start_ticks: Option<u64>) -> Option<Leader> {
    let pidfd = match roots.proc == Path::new("/proc") {
        true => {
            let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
            Some(rustix::process::pidfd_open(raw, PidfdFlags::empty()).ok()?)
        }
        false => None,
    };
    let stat = process::stat(&roots.proc, pid).ok()?;
    if !process::is_live(stat.state) || start_ticks.is_some_and(|start| start != stat.start_ticks) {
        return None;
    }
    Some(Leader { pid, start_ticks: stat.start_ticks, pidfd, net_namespace: None, mount_namespace: None })
}

/// Whether a process with these cgroups is in the instance's, or below it.
fn is_member(roots: &Roots, found: &Found, process: &CgroupDirs) -> bool {
    match (found.cgroups.primary(roots), process.primary(roots)) {
        (Some(instance), Some(process)) => process.starts_with(instance),
        _ => false,
    }
}
