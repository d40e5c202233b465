//! Where the calling process is in the cgroup hierarchies, and how children get controllers there.
//!
//! `/proc/self/cgroup` says the place in each hierarchy, `/proc/self/mountinfo` where it is mounted
//! and from which of its directories on. A controller is in one hierarchy only: of version 1, or of
//! version 2 if its own place offers it (`cgroup.controllers`).

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::CgroupError;

/// The leaf into which the processes of our own cgroup move: in version 2, one with processes
/// cannot give its children controllers.
const SELF_LEAF: &str = "sonde-self";
/// What room names begin with.
const PREFIX: &str = "sonde-";
/// Of a room's own part of the name.
const NAME_BYTES: usize = 32;
/// Processes can be born while others are moved; after this many rounds somebody forks faster.
const MOVE_ROUNDS: usize = 16;

/// What limits a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    pub const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// The kernel's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// One hierarchy in which there is something to limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Where rooms are made.
    pub(super) path: PathBuf,
    pub(super) controllers: Vec<Controller>,
}

/// Where a process is, in all hierarchies that limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) hierarchies: Vec<Hierarchy>,
}

impl Place {
    /// Of the calling process.
    pub fn of_self() -> Result<Self, CgroupError> {
        Self::read(Path::new("/proc/self"), Path::new("/"))
    }

    /// Of the process whose `/proc` directory is `process`, with mount points below `root`.
    pub fn read(process: &Path, root: &Path) -> Result<Self, CgroupError> {
        let [memberships, mounts] = ["cgroup", "mountinfo"].map(|file| {
            let path = process.join(file);
            fs::read_to_string(&path).map_err(|source| CgroupError::Read { path, source })
        });
        let (memberships, mounts) = (memberships?, mounts?);
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for line in memberships.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(names), Some(own)) = (parts.next(), parts.next()) else { continue };
            let version = if names.is_empty() { Version::V2 } else { Version::V1 };
            let Some(path) = mounted_at(&mounts, version, names, own) else { continue };
            let path = path_below(root, &path);
            let path = if version == Version::V2 { above_leaf(path) } else { path };
            let controllers = offered(version, names, &path);
            if !controllers.is_empty() {
                hierarchies.push(Hierarchy { version, path, controllers });
            }
        }
        if hierarchies.is_empty() { Err(CgroupError::NoHierarchy) } else { Ok(Self { hierarchies }) }
    }

    /// The controllers that no hierarchy has.
    pub(super) fn missing(&self) -> Vec<Controller> {
        let has = |wanted| self.hierarchies.iter().any(|hierarchy| hierarchy.controllers.contains(&wanted));
        Controller::ALL.into_iter().filter(|wanted| !has(*wanted)).collect()
    }
}

/// `sonde-<pid>-<name>`.
pub(super) fn room_name(pid: u32, name: &str) -> Result<String, CgroupError> {
    let fits = (1..=NAME_BYTES).contains(&name.len());
    if fits && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(format!("{PREFIX}{pid}-{name}"));
    }
    Err(CgroupError::Name { name: name.to_owned() })
}

/// The pid in a room's name; `None` for what is not a room.
pub(super) fn creator_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn path_below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// An agent that has moved into its leaf still makes its rooms beside it.
fn above_leaf(path: PathBuf) -> PathBuf {
    match path.parent() {
        Some(parent) if path.ends_with(SELF_LEAF) => parent.to_owned(),
        _ => path,
    }
}

/// Which controllers the hierarchy with these names, or this directory of version 2, has for us.
fn offered(version: Version, names: &str, path: &Path) -> Vec<Controller> {
    let listed = match version {
        Version::V1 => names.replace(',', " "),
        // Absent in a hybrid set-up without any.
        Version::V2 => fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default(),
    };
    let has = |controller: &Controller| listed.split_whitespace().any(|name| name == controller.as_str());
    Controller::ALL.into_iter().filter(has).collect()
}

/// The directory for `own` in the mount of the hierarchy, by mountinfo (proc_pid_mountinfo(5)).
fn mounted_at(mounts: &str, version: Version, names: &str, own: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut file_system = file_system.split(' ');
        let (kind, options) = (file_system.next()?, file_system.nth(1)?);
        let is_it = match version {
            Version::V2 => kind == "cgroup2",
            Version::V1 => {
                kind == "cgroup" && names.split(',').all(|name| options.split(',').any(|option| option == name))
            }
        };
        if !is_it {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (from, point) = (fields.next()?, fields.next()?);
        // A place outside what is mounted (`/..` or a foreign directory) cannot be reached.
        let below = Path::new(own).strip_prefix(from).ok()?;
        let reachable = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        reachable.then(|| Path::new(point).join(below))
    })
}

/// Makes the controllers of `path`, of version 2, available to its children, moving its processes
/// into a leaf first if they are in the way.
pub(super) fn settle(path: &Path, controllers: &[Controller]) -> Result<(), CgroupError> {
    let fault = |source| CgroupError::Settle { path: path.to_owned(), source };
    let control = path.join("cgroup.subtree_control");
    let given = fs::read_to_string(&control).map_err(fault)?;
    let wanted = controllers.iter().filter(|wanted| !given.split_whitespace().any(|name| name == wanted.as_str()));
    let wanted = wanted.map(|wanted| format!("+{}", wanted.as_str())).collect::<Vec<_>>().join(" ");
    if wanted.is_empty() {
        return Ok(());
    }
    // Only the root of all has no type, and may have both processes and children.
    if path.join("cgroup.type").exists() {
        move_processes(path).map_err(fault)?;
    }
    fs::write(&control, wanted).map_err(fault)
}

fn move_processes(path: &Path) -> io::Result<()> {
    let leaf = path.join(SELF_LEAF);
    for _ in 0..MOVE_ROUNDS {
        let processes = fs::read_to_string(path.join("cgroup.procs"))?;
        if processes.trim().is_empty() {
            return Ok(());
        }
        if !leaf.exists() {
            fs::create_dir(&leaf)?;
        }
        for process in processes.lines() {
            match fs::write(leaf.join("cgroup.procs"), process) {
                // It ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                other => other?,
            }
        }
    }
    Err(io::Error::from(io::ErrorKind::ResourceBusy))
}
