//! Plain cgroups: directories of the test's own, with no runtime behind them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Until the kernel lets go of a cgroup whose processes have ended.
const EMPTIES: Duration = Duration::from_secs(5);

/// A cgroup of the test's own in every hierarchy that accounts something; removed when dropped, which
/// must be after its processes have ended.
pub struct OwnCgroup {
    folders: Vec<PathBuf>,
}

impl OwnCgroup {
    /// Makes `/name` in v1's hierarchies, and in v2's tree wherever it is mounted.
    pub fn make(name: &str) -> Self {
        let roots = ["cpuacct", "cpu", "memory", "pids", "freezer", "blkio", "unified", "."];
        let roots = roots.map(|root| Path::new("/sys/fs/cgroup").join(root));
        // `cgroup.procs` is in every root of a hierarchy and in no plain folder.
        let folders: Vec<_> =
            roots.iter().filter(|r| r.join("cgroup.procs").exists()).map(|root| root.join(name)).collect();
        for folder in &folders {
            fs::create_dir(folder).unwrap_or_else(|e| panic!("cannot make {}: {e}", folder.display()));
        }
        assert!(!folders.is_empty(), "no cgroup hierarchy is mounted");
        Self { folders }
    }

    /// Moves a process into it.
    pub fn take(&self, pid: u32) {
        for folder in &self.folders {
            fs::write(folder.join("cgroup.procs"), pid.to_string()).expect("root may move processes");
        }
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            // It stays busy for a moment after its last process was waited for.
            let removed = || fs::remove_dir(folder).or_else(|error| if folder.exists() { Err(error) } else { Ok(()) });
            let until = Instant::now() + EMPTIES;
            while let Err(error) = removed() {
                if Instant::now() >= until {
                    eprintln!("cannot remove {}: {error}", folder.display());
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
}
