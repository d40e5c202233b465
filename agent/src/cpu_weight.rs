//! The agent's part of the CPU when all of it is taken: a weight on its cgroup, where that is its own.
//!
//! Its service manager may have set one, and then it stays. Nothing is done to a cgroup in which others live too, whom a weight
//! would favour with us, nor to the root of a hierarchy. Runners are in rooms below, with less (`broker/src/spawn.rs`).

use std::io;
use std::path::{Path, PathBuf};

use sonde_collect::Roots;
use sonde_collect::mounts::{Controller, Mounts};

/// Times the share of an ordinary cgroup: a scrape is short, and everything else on the node can wait for it.
const TIMES: u64 = 5;
/// An ordinary cgroup's `cpu.weight` (cgroup-v2.rst) and `cpu.shares` (sched-design-CFS).
const DEFAULT_WEIGHT: u64 = 100;
const DEFAULT_SHARES: u64 = 1024;
/// Where the broker moves agent and itself in version 2, so that their cgroup can have children.
const LEAF: &str = "sonde-self";

/// Why the agent has no weight of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WeightError {
    #[error("no cgroup hierarchy with the controller cpu is mounted")]
    NoController,
    #[error("the agent has no cgroup of its own: {why}")]
    NotOwn { why: &'static str },
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: io::Error },
}

/// Sees to it that the cgroup of the calling process has a weight over the ordinary. `ours` are the processes that may be in it.
pub(crate) fn take(roots: &Roots, ours: &[u32]) -> Result<(), WeightError> {
    let path = roots.proc.join("self/cgroup");
    let text = std::fs::read_to_string(&path).map_err(|source| WeightError::Read { path, source })?;
    weigh(&own_cgroup(&roots.mounts, &text)?, ours)
}

/// A directory, its file for the weight, and what an ordinary one has there.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    directory: PathBuf,
    file: &'static str,
    ordinary: u64,
}

fn own_cgroup(mounts: &Mounts, of_process: &str) -> Result<Own, WeightError> {
    let path_in = |is_it: &dyn Fn(&str) -> bool| {
        of_process.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            is_it(names).then_some(path)
        })
    };
    let v1 = mounts.v1(Controller::Cpu).map(|mount| (mount, "cpu.shares", DEFAULT_SHARES));
    let v2 = mounts.v2.as_ref().map(|mount| (mount, "cpu.weight", DEFAULT_WEIGHT));
    let (mount, file, ordinary) = v1.or(v2).ok_or(WeightError::NoController)?;
    let path = match file {
        "cpu.shares" => path_in(&|names| names.split(',').any(|name| name == "cpu")),
        _ => path_in(&str::is_empty),
    };
    let path = path.ok_or(WeightError::NoController)?;
    let path = path.strip_suffix(LEAF).and_then(|above| above.strip_suffix('/')).unwrap_or(path);
    if path.trim_start_matches('/').is_empty() {
        return Err(WeightError::NotOwn { why: "it is in the root of all" });
    }
    let directory = mount.directory(path).ok_or(WeightError::NotOwn { why: "it is outside what is mounted" })?;
    Ok(Own { directory, file, ordinary })
}

fn weigh(own: &Own, ours: &[u32]) -> Result<(), WeightError> {
    let read = |path: PathBuf| std::fs::read_to_string(&path).map_err(|source| WeightError::Read { path, source });
    let leaf = own.directory.join(LEAF).join("cgroup.procs");
    let there = [own.directory.join("cgroup.procs")].into_iter().chain(leaf.exists().then_some(leaf));
    for processes in there {
        if read(processes)?.lines().any(|pid| !pid.parse().is_ok_and(|pid: u32| ours.contains(&pid))) {
            return Err(WeightError::NotOwn { why: "others are in it" });
        }
    }
    let path = own.directory.join(own.file);
    if !path.exists() {
        return Err(WeightError::NoController);
    }
    if read(path.clone())?.trim().parse() != Ok(own.ordinary) {
        // Somebody has decided.
        return Ok(());
    }
    write(&path, own.ordinary * TIMES)
}

fn write(path: &Path, weight: u64) -> Result<(), WeightError> {
    std::fs::write(path, weight.to_string()).map_err(|source| WeightError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const HYBRID: &str = "30 1 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        31 1 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
    const UNIFIED: &str = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

    fn own(mountinfo: &str, of_process: &str) -> Result<Own, String> {
        own_cgroup(&Mounts::parse(mountinfo.as_bytes()), of_process).map_err(|error| error.to_string())
    }

    #[test]
    fn the_cgroup_is_found_in_either_layout() {
        let found = own(HYBRID, "4:cpu,cpuacct:/system.slice/sonde.service\n0::/else\n").unwrap();
        assert_eq!(found.directory, Path::new("/sys/fs/cgroup/cpu,cpuacct/system.slice/sonde.service"));
        assert_eq!((found.file, found.ordinary), ("cpu.shares", 1024));
        let found = own(UNIFIED, "0::/system.slice/sonde.service\n").unwrap();
        assert_eq!(found.directory, Path::new("/sys/fs/cgroup/system.slice/sonde.service"));
        assert_eq!((found.file, found.ordinary), ("cpu.weight", 100));
        let settled = own(UNIFIED, "0::/system.slice/sonde.service/sonde-self\n").unwrap();
        assert_eq!(settled, found, "the service's, though the processes are in a leaf of it");
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for root in ["0::/\n", "0::/sonde-self\n"] {
            assert!(own(UNIFIED, root).unwrap_err().contains("root of all"), "{root}");
        }
        assert!(own(UNIFIED, "0::/../above\n").unwrap_err().contains("outside"));
        assert!(own("", "0::/a\n").unwrap_err().contains("no cgroup hierarchy"));
        assert!(own(HYBRID, "0::/a\n").unwrap_err().contains("no cgroup hierarchy"));
    }

    /// A cgroup with those processes and that weight; what became of the weight.
    fn weighed(processes: &str, in_leaf: Option<&str>, weight: &str) -> (Result<(), String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
        write("cgroup.procs", processes);
        write("cpu.weight", weight);
        if let Some(processes) = in_leaf {
            fs::create_dir(folder.path().join(LEAF)).unwrap();
            write("sonde-self/cgroup.procs", processes);
        }
        let own = Own { directory: folder.path().into(), file: "cpu.weight", ordinary: DEFAULT_WEIGHT };
        let done = weigh(&own, &[10, 11]).map_err(|error| error.to_string());
        (done, fs::read_to_string(folder.path().join("cpu.weight")).unwrap())
    }

    #[test]
    fn only_a_cgroup_of_our_own_is_weighed_and_only_if_nobody_has() {
        assert_eq!(weighed("10\n11\n", None, "100\n"), (Ok(()), "500".into()));
        assert_eq!(weighed("", Some("10\n11\n"), "100\n"), (Ok(()), "500".into()));
        assert_eq!(weighed("10\n", None, "300\n"), (Ok(()), "300\n".into()), "an operator's weight stays");
        for (processes, in_leaf) in [("10\n12\n", None), ("", Some("12\n")), ("garbage\n", None)] {
            let (done, weight) = weighed(processes, in_leaf, "100\n");
            assert!(done.unwrap_err().contains("others are in it"));
            assert_eq!(weight, "100\n");
        }
    }
}
