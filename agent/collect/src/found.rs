//! An instance that discovery has found: its names, where its cgroups are, and who leads it.
//!
//! It is fixed for the life of the instance and shared as an `Arc`: whatever changes (state, values,
//! processes) is read anew by others. The cgroup directories are one for each hierarchy, because v1
//! controllers' paths of one container can differ.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::groups::GroupSource;
use crate::identity::{Birth, InstanceName};
use crate::matching::Subject;
use crate::metadata::Metadata;
use crate::mounts::{Controller, Mode, Roots};
use crate::runtime::Runtime;

/// The directories of one instance in the cgroup hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupDirs {
    /// In the cgroup2 tree; none where its processes were left in that tree's root.
    #[serde(with = "crate::path_bytes::option")]
    pub v2: Option<PathBuf>,
    #[serde(with = "crate::path_bytes::array")]
    v1: [Option<PathBuf>; Controller::ALL.len()],
}

impl CgroupDirs {
    /// In the hierarchy of a v1 controller.
    pub fn v1(&self, controller: Controller) -> Option<&Path> {
        self.v1[controller as usize].as_deref()
    }

    /// Sets the directory of a v1 controller.
    pub fn set_v1(&mut self, controller: Controller, directory: PathBuf) {
        self.v1[controller as usize] = Some(directory);
    }

    /// The directories that exist where every controller has the same path.
    pub fn of_path(roots: &Roots, cgroup_path: &str) -> Self {
        let existing = |mount: &crate::mounts::Mount| mount.directory(cgroup_path).filter(|path| path.is_dir());
        let mut dirs = Self::default();
        if cgroup_path == "/" {
            return dirs;
        }
        dirs.v2 = roots.mounts.v2.as_ref().and_then(existing);
        for controller in Controller::ALL {
            dirs.v1[controller as usize] = roots.mounts.v1(controller).and_then(existing);
        }
        dirs
    }

    /// The directories that a process's `/proc/<pid>/cgroup` names (cgroups(7)). The root of a
    /// hierarchy is nobody's own and is left out.
    pub fn of_process(roots: &Roots, proc_cgroup: &[u8]) -> Self {
        let mut dirs = Self::default();
        for entry in crate::process::cgroup_entries(proc_cgroup) {
            if entry.path == "/" {
                continue;
            }
            if entry.unified {
                dirs.v2 = roots.mounts.v2.as_ref().and_then(|mount| mount.directory(entry.path));
                continue;
            }
            for controller in entry.controllers() {
                dirs.v1[controller as usize] =
                    roots.mounts.v1(controller).and_then(|mount| mount.directory(entry.path));
            }
        }
        dirs
    }

    /// Whether there is one in every hierarchy that is mounted and read: nothing is read of systemd's own.
    pub fn is_complete(&self, roots: &Roots) -> bool {
        let here = |c| c == Controller::Systemd || self.v1(c).is_some() || roots.mounts.v1(c).is_none();
        let v1 = Controller::ALL.into_iter().all(here);
        v1 && (self.v2.is_some() || roots.mounts.v2.is_none())
    }

    /// Fills what is missing here from `other`.
    pub fn or(mut self, other: Self) -> Self {
        self.v2 = self.v2.or(other.v2);
        for (mine, theirs) in self.v1.iter_mut().zip(other.v1) {
            *mine = mine.take().or(theirs);
        }
        self
    }

    /// The directory in the hierarchy where instances are looked for, or else any.
    pub fn primary(&self, roots: &Roots) -> Option<&Path> {
        if roots.mounts.mode() == Mode::Unified {
            return self.v2.as_deref();
        }
        [Controller::Memory, Controller::Cpuacct, Controller::Cpu, Controller::Pids]
            .into_iter()
            .find_map(|controller| self.v1(controller))
            .or(self.v2.as_deref())
    }
}

/// What an instance consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Whatever is in its cgroup.
    Cgroup,
    /// A process and its descendants, found as the configuration says.
    Processes {
        /// How it was found.
        source: GroupSource,
        /// The process that leads it.
        pid: u32,
        /// That process's start, in ticks since boot: with the pid, which process it is.
        start_ticks: u64,
    },
}

/// An instance, as found. What serde leaves out is of no use to the broker, which is told of instances so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its names.
    pub name: InstanceName,
    /// Which life of that name this is.
    pub birth: Birth,
    /// The cgroup path, as cAdvisor's label `id` has it; for a process group without a cgroup of its own, `/process-group/NAME`.
    pub cgroup_path: String,
    /// Where its files are.
    pub cgroups: CgroupDirs,
    /// What it consists of.
    pub kind: Kind,
    /// The runtime's word for its first process: pid and start in ticks since boot. Read from a root-owned state file.
    pub init: Option<(u32, u64)>,
    /// When it was made: the runtime's word, else the cgroup directory's.
    #[serde(skip)]
    pub created: Option<SystemTime>,
    /// Annotations of the bundle (runc), in the order of the file. A tenant may have set them: they decide nothing.
    #[serde(skip)]
    pub annotations: Vec<(String, String)>,
    /// Where the bundle is (runc).
    #[serde(skip)]
    pub bundle: Option<PathBuf>,
    /// What its runtime's own files tell of it, and where root has put it.
    #[serde(skip)]
    pub metadata: Arc<Metadata>,
    /// Whether root alone could make it what it says it is: its cgroup and all above belong to root, or root's runtime or the
    /// configuration names it. What a tenant may have named decides no owner and opens no secret.
    pub root_owned: bool,
    /// Claims found below its cgroup, which are its own and nobody else's.
    pub nested_claims: u32,
}

impl Found {
    /// Whether its runtime writes of it only once it runs, and has yet to.
    pub(crate) fn awaits_state(&self) -> bool {
        let told = &self.metadata;
        let is_untold = told.name.is_none() && told.image.is_none() && told.labels.is_empty();
        is_untold && self.root_owned && matches!(self.name.runtime, Runtime::Nspawn | Runtime::Libvirt)
    }

    /// As rules look at it.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            runtime: self.name.runtime,
            runtime_id: &self.name.runtime_id,
            uuid: Some(self.name.uuid),
            name: self.name.name.as_deref(),
            image: self.name.image.as_deref(),
            cgroup: &self.cgroup_path,
            metadata: &self.metadata,
        }
    }
}
