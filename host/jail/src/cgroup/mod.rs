//! A cgroup for one child: made, limited and removed by the parent, joined by the child.
//!
//! The child joins itself while it is still root, so that nothing of it ever runs outside; the
//! parent removes the room, since the child cannot. Rooms lie below the creator's own place, never
//! elsewhere in the tree: what limits the agent limits its children too. Their names carry the
//! creator's pid, by which [`sweep`] knows those whose creator died.
//!
//! It refuses to take another's directory: a room that exists and has processes is an error.

mod place;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io, thread};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Fault, Outcome};
pub use place::{Controller, Place};
use place::{Hierarchy, Version};

/// Removal is tried this often: a process that has just been waited for can be counted a moment longer.
const REMOVE_TRIES: u32 = 20;
/// Between two tries; with [`REMOVE_TRIES`], a tenth of a second at most.
const REMOVE_PAUSE: Duration = Duration::from_millis(5);
/// `cpu.shares` for the default weight: 1024 of version 1 are 100 of version 2.
const SHARES_PER_WEIGHT: (u64, u64) = (1024, 100);
/// The least the kernel takes for `cpu.shares`.
const MIN_SHARES: u64 = 2;

/// What a room may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupLimits {
    /// Memory and, where the kernel counts it, swap together.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Share of the CPU against its siblings, 1 to 10000; 100 is the default.
    pub cpu_weight: u64,
}

/// Why there is no room.
#[derive(Debug, Error)]
pub enum CgroupError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("no cgroup hierarchy with a memory, pids or cpu controller is mounted where this process is")]
    NoHierarchy,
    #[error("{name:?} is not a name for a room: letters, digits and dashes, at most 32")]
    Name { name: String },
    #[error("cannot empty {path} for children with limits")]
    Settle { path: PathBuf, source: io::Error },
    #[error("cannot create {path}")]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot set the limit {path}")]
    Limit { path: PathBuf, source: io::Error },
    #[error("cannot remove {path}")]
    Remove { path: PathBuf, source: io::Error },
}

/// A cgroup in each hierarchy that has one of the controllers; removed when dropped.
#[derive(Debug)]
pub struct CgroupRoom {
    rooms: Vec<PathBuf>,
    missing: Vec<Controller>,
}

impl CgroupRoom {
    /// Makes `sonde-<pid>-<name>` below the calling process's own place and sets its limits.
    pub fn create(name: &str, limits: &CgroupLimits) -> Result<Self, CgroupError> {
        Self::create_in(&Place::of_self()?, name, limits)
    }

    /// As [`Self::create`], in a place read before.
    pub fn create_in(place: &Place, name: &str, limits: &CgroupLimits) -> Result<Self, CgroupError> {
        let name = place::room_name(std::process::id(), name)?;
        let mut room = Self { rooms: Vec::new(), missing: place.missing() };
        for hierarchy in &place.hierarchies {
            if hierarchy.version == Version::V2 {
                place::settle(&hierarchy.path, &hierarchy.controllers)?;
            }
            let path = hierarchy.path.join(&name);
            make(&path)?;
            // From here on the drop of `room` removes what was made.
            room.rooms.push(path.clone());
            limit(hierarchy, &path, limits)?;
        }
        Ok(room)
    }

    /// The files to which the child writes itself, one a hierarchy.
    pub fn join_paths(&self) -> Vec<PathBuf> {
        self.rooms.iter().map(|room| room.join("cgroup.procs")).collect()
    }

    /// Controllers the kernel does not offer here, so that their limits do not hold.
    pub fn missing(&self) -> &[Controller] {
        &self.missing
    }

    /// Removes it. Its processes must have ended and been waited for; waits a tenth of a second at
    /// most for the kernel to notice.
    pub fn remove(mut self) -> Result<(), CgroupError> {
        self.remove_rooms()
    }

    fn remove_rooms(&mut self) -> Result<(), CgroupError> {
        let mut result = Ok(());
        for path in self.rooms.drain(..) {
            if let Err(source) = remove_dir(&path) {
                result = Err(CgroupError::Remove { path, source });
            }
        }
        result
    }
}

impl Drop for CgroupRoom {
    fn drop(&mut self) {
        // What stays is found by the next agent's sweep.
        let _ = self.remove_rooms();
    }
}

/// Removes the rooms of creators that are no longer alive, and returns how many directories went. A
/// room that still has processes stays.
pub fn sweep() -> Result<usize, CgroupError> {
    Ok(sweep_in(&Place::of_self()?, |pid| Path::new("/proc").join(pid.to_string()).exists()))
}

fn sweep_in(place: &Place, is_alive: impl Fn(u32) -> bool) -> usize {
    let mut removed = 0;
    for hierarchy in &place.hierarchies {
        for entry in fs::read_dir(&hierarchy.path).into_iter().flatten().flatten() {
            let creator = entry.file_name().to_str().and_then(place::creator_of);
            if creator.is_some_and(|pid| !is_alive(pid)) && fs::remove_dir(entry.path()).is_ok() {
                removed += 1;
            }
        }
    }
    removed
}

/// The child's side: joins each of `procs`. `0` is whoever writes it.
pub(crate) fn join(procs: &[PathBuf]) -> Outcome {
    if procs.is_empty() {
        return Err(Fault::NoCgroup);
    }
    for path in procs {
        fs::write(path, "0").map_err(|source| Fault::Join { path: path.display().to_string(), source })?;
    }
    Ok(None)
}

/// Makes the directory; one of the same name is from an earlier process with our pid, and goes if
/// it has no processes.
fn make(path: &Path) -> Result<(), CgroupError> {
    let made = match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_dir(path).and_then(|()| fs::create_dir(path))
        }
        other => other,
    };
    made.map_err(|source| CgroupError::Create { path: path.to_owned(), source })
}

fn limit(hierarchy: &Hierarchy, room: &Path, limits: &CgroupLimits) -> Result<(), CgroupError> {
    for controller in &hierarchy.controllers {
        for (file, value, must) in settings(hierarchy.version, *controller, limits) {
            let path = room.join(file);
            if must || path.exists() {
                fs::write(&path, value).map_err(|source| CgroupError::Limit { path, source })?;
            }
        }
    }
    Ok(())
}

/// File, value, and whether it must be there; the others depend on how the kernel was built.
fn settings(version: Version, controller: Controller, limits: &CgroupLimits) -> Vec<(&'static str, String, bool)> {
    let memory = limits.memory_bytes.to_string();
    let pids = vec![("pids.max", limits.pids.to_string(), true)];
    match (version, controller) {
        // Swap with memory can only be lowered to what memory is limited to, so it comes second.
        (Version::V1, Controller::Memory) => {
            vec![("memory.limit_in_bytes", memory.clone(), true), ("memory.memsw.limit_in_bytes", memory, false)]
        }
        (Version::V2, Controller::Memory) => vec![
            ("memory.max", memory, true),
            ("memory.swap.max", "0".to_owned(), false),
            // A runner with a thread less is worse than none.
            ("memory.oom.group", "1".to_owned(), false),
        ],
        (_, Controller::Pids) => pids,
        (Version::V1, Controller::Cpu) => {
            let shares = limits.cpu_weight.saturating_mul(SHARES_PER_WEIGHT.0) / SHARES_PER_WEIGHT.1;
            vec![("cpu.shares", shares.max(MIN_SHARES).to_string(), true)]
        }
        (Version::V2, Controller::Cpu) => vec![("cpu.weight", limits.cpu_weight.to_string(), true)],
    }
}

fn remove_dir(path: &Path) -> io::Result<()> {
    for _ in 1..REMOVE_TRIES {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => thread::sleep(REMOVE_PAUSE),
            other => return other,
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests;
