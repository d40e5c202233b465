//! What a process tree holds of the machine: the measure of a leak.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Threads in which files are looked at, each second and for several matters: one does them all, or a few where they fall together, and each stays for ten
/// seconds after its last. Whoever leaks one a life or a reading leaks hundreds.
const PASSING_TASKS: usize = 3;

/// Counts over a process and all its descendants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    pub processes: usize,
    pub tasks: usize,
    pub descriptors: usize,
    /// Network namespaces other than this test's own that the tree keeps alive: by a thread in one, by
    /// a descriptor on one, or by a bind mount.
    pub net_namespaces: usize,
}

impl Footprint {
    /// Reads `/proc`. What ends while it looks is not counted.
    pub fn of(pid: u32) -> Self {
        let mut namespaces = BTreeSet::new();
        let mut footprint = Self { processes: 0, tasks: 0, descriptors: 0, net_namespaces: 0 };
        for pid in tree(pid) {
            let process = Path::new("/proc").join(pid.to_string());
            footprint.processes += 1;
            for task in names(&process.join("task")) {
                footprint.tasks += 1;
                namespaces.extend(link(&process.join("task").join(task).join("ns/net")));
            }
            for descriptor in names(&process.join("fd")) {
                footprint.descriptors += 1;
                namespaces.extend(link(&process.join("fd").join(descriptor)).filter(|to| to.starts_with("net:[")));
            }
            let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
            namespaces.extend(mounts.split_whitespace().filter(|word| word.starts_with("net:[")).map(str::to_owned));
        }
        if let Some(own) = link(Path::new("/proc/self/ns/net")) {
            namespaces.remove(&own);
        }
        footprint.net_namespaces = namespaces.len();
        footprint
    }

    /// A process and all its descendants.
    pub fn tree(root: u32) -> Vec<u32> {
        tree(root)
    }

    /// What one process has in memory, in KiB.
    pub fn resident_kib_of(pid: u32) -> u64 {
        resident_kib(pid)
    }

    /// What they have in memory together, in KiB. What they share is counted for each.
    pub fn resident_kib(root: u32) -> u64 {
        tree(root).into_iter().map(resident_kib).sum()
    }

    /// The first thing of which there is more here than in `before`, in words.
    pub fn exceeds(&self, before: &Self) -> Option<String> {
        [
            ("processes", self.processes, before.processes),
            ("tasks", self.tasks, before.tasks + PASSING_TASKS),
            ("descriptors", self.descriptors, before.descriptors),
            ("network namespaces", self.net_namespaces, before.net_namespaces),
        ]
        .into_iter()
        .find(|(_, now, was)| now > was)
        .map(|(what, now, was)| format!("{now} {what}, {was} before"))
    }
}

/// What a process has in memory, in KiB (proc_pid_status(5)); nothing where it has ended.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// `root` and every descendant of it.
fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = names(Path::new("/proc"))
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter_map(|pid: u32| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| child));
        next += 1;
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces and parentheses; what follows its last `)` does not.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn link(path: &Path) -> Option<String> {
    Some(fs::read_link(path).ok()?.to_string_lossy().into_owned())
}
