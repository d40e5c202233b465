//! Where this machine keeps its cgroups: from `/proc/self/mountinfo`, never from assumed names.
//!
//! v1 controllers may be mounted each on its own, several together or not at all; a cgroup2 tree may
//! stand beside them (hybrid) or alone (unified). A mount may show only a part of its hierarchy (its
//! `root` field), so a path out of `/proc/<pid>/cgroup` is turned into a directory here and nowhere
//! else. The kernel's version is never asked: what is there is there.

use std::path::{Path, PathBuf};

use crate::bytes;
use crate::dataset::Datasets;

/// What can be asked of a v1 hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Controller {
    /// Limits and throttling of CPU time.
    Cpu,
    /// CPU time used.
    Cpuacct,
    /// Memory.
    Memory,
    /// Block devices.
    Blkio,
    /// How many tasks.
    Pids,
    /// Freezing.
    Freezer,
    /// systemd's own tree, which has no controller.
    Systemd,
}

impl Controller {
    /// All, in the order in which [`Mounts`] keeps them.
    pub const ALL: [Self; 7] =
        [Self::Cpu, Self::Cpuacct, Self::Memory, Self::Blkio, Self::Pids, Self::Freezer, Self::Systemd];

    /// The kernel's name, as in `/proc/<pid>/cgroup`.
    pub fn kernel_name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Memory => "memory",
            Self::Blkio => "blkio",
            Self::Pids => "pids",
            Self::Freezer => "freezer",
            Self::Systemd => "name=systemd",
        }
    }

    pub(crate) fn of_kernel_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|controller| controller.kernel_name().as_bytes() == name)
    }
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Which part of the hierarchy is to be seen there: `/` unless somebody mounted less.
    pub root: PathBuf,
}

impl Mount {
    /// The directory of a cgroup path as `/proc/<pid>/cgroup` has it; none where the mount does not
    /// show that part, or the path climbs.
    pub fn directory(&self, cgroup_path: &str) -> Option<PathBuf> {
        let below = Path::new(cgroup_path).strip_prefix(&self.root).ok()?;
        let plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        plain.then(|| self.point.join(below))
    }

    /// The cgroup path of a directory under this mount.
    pub fn cgroup_path(&self, directory: &Path) -> Option<String> {
        let below = directory.strip_prefix(&self.point).ok()?;
        self.root.join(below).to_str().map(str::to_owned)
    }
}

/// How a machine's cgroups are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// cgroup2 alone, with the controllers.
    Unified,
    /// v1 controllers, and a cgroup2 tree without them (`cpu.stat` and PSI still live there).
    Hybrid,
    /// v1 controllers only.
    V1,
    /// No cgroups at all: only process groups and the node can be read.
    None,
}

/// The cgroup mounts of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// The cgroup2 tree.
    pub v2: Option<Mount>,
    v1: [Option<Mount>; Controller::ALL.len()],
}

impl Mounts {
    /// Reads `/proc/<pid>/mountinfo` (proc_pid_mountinfo(5)). The first mount of a hierarchy that
    /// shows it whole wins over those that show a part.
    pub fn parse(mountinfo: &[u8]) -> Self {
        let mut mounts = Self::default();
        for line in bytes::lines(mountinfo) {
            mounts.take_line(line);
        }
        mounts
    }

    /// A cgroup path, from what a person may write: the path itself, or the directory of it under a mount.
    pub fn cgroup_path(&self, written: &str) -> String {
        let directory = Path::new(written);
        let all = self.v2.iter().chain(self.v1.iter().flatten());
        let under =
            all.filter(|mount| directory.starts_with(&mount.point)).max_by_key(|mount| mount.point.as_os_str().len());
        under.and_then(|mount| mount.cgroup_path(directory)).unwrap_or_else(|| written.to_owned())
    }

    fn take_line(&mut self, line: &[u8]) {
        let mut fields = bytes::fields(line);
        let (Some(root), Some(point)) = (fields.nth(3), fields.next()) else {
            return;
        };
        // Optional fields follow, up to a lone hyphen.
        let Some(kind) = fields.by_ref().skip_while(|field| *field != b"-").nth(1) else {
            return;
        };
        let mount = Mount { point: unescaped(point), root: unescaped(root) };
        match kind {
            b"cgroup2" => keep_whole(&mut self.v2, &mount),
            b"cgroup" => {
                let options = fields.nth(1).unwrap_or_default();
                for name in options.split(|byte| *byte == b',') {
                    if let Some(controller) = Controller::of_kernel_name(name) {
                        keep_whole(&mut self.v1[controller as usize], &mount);
                    }
                }
            }
            _ => {}
        }
    }

    /// The v1 hierarchy of a controller.
    pub fn v1(&self, controller: Controller) -> Option<&Mount> {
        self.v1[controller as usize].as_ref()
    }

    /// Which layout this is.
    pub fn mode(&self) -> Mode {
        let controllers = Controller::ALL.into_iter().any(|c| c != Controller::Systemd && self.v1(c).is_some());
        match (controllers, self.v2.is_some()) {
            (true, true) => Mode::Hybrid,
            (true, false) => Mode::V1,
            (false, true) => Mode::Unified,
            (false, false) => Mode::None,
        }
    }

    /// The one hierarchy in which instances are looked for and whose directory inode marks their
    /// birth. Of v1, the first that every runtime places its containers in.
    pub fn primary(&self) -> Option<&Mount> {
        if self.mode() == Mode::Unified {
            return self.v2.as_ref();
        }
        [Controller::Memory, Controller::Cpuacct, Controller::Cpu, Controller::Pids]
            .into_iter()
            .find_map(|controller| self.v1(controller))
            .or(self.v2.as_ref())
    }
}

fn keep_whole(slot: &mut Option<Mount>, mount: &Mount) {
    let whole = |mount: &Mount| mount.root == Path::new("/");
    match slot {
        Some(kept) if whole(kept) || !whole(mount) => {}
        _ => *slot = Some(mount.clone()),
    }
}

/// mountinfo writes blank, tab, newline and backslash as a backslash and three octal digits.
pub(crate) fn unescaped(field: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\' && after.len() >= 3)
            .then(|| std::str::from_utf8(&after[..3]).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(plain))
}

/// Where to read: the machine's own directories, or a fixture tree's.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`, for the names of block devices.
    pub sys: PathBuf,
    /// `/run`, where runtimes keep their state.
    pub run: PathBuf,
    /// `/var/lib`, where they keep what outlives a boot.
    pub lib: PathBuf,
    /// The cgroup hierarchies.
    pub mounts: Mounts,
    /// Where ZFS keeps the counts of which data set.
    pub(crate) datasets: Datasets,
}

/// Why the roots could not be found.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// `self/mountinfo` under the given `/proc` is not to be read.
    #[error("cannot read {path}: is procfs mounted there?")]
    MountInfo {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Roots {
    /// Of the machine that this runs on.
    pub fn of_this_machine() -> Result<Self, RootsError> {
        Self::of(PathBuf::from("/proc"), PathBuf::from("/sys"), PathBuf::from("/run"))
    }

    /// Of another tree: `<proc>/self/mountinfo` says where its cgroups are. `/var/lib` is found beside `run`.
    pub fn of(proc: PathBuf, sys: PathBuf, run: PathBuf) -> Result<Self, RootsError> {
        let path = proc.join("self/mountinfo");
        let mountinfo = std::fs::read(&path).map_err(|source| RootsError::MountInfo { path, source })?;
        let lib = run.with_file_name("var").join("lib");
        Ok(Self { proc, sys, run, lib, mounts: Mounts::parse(&mountinfo), datasets: Datasets::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime shared:9 master:2 - cgroup cgroup rw,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn layouts() {
        let hybrid = Mounts::parse(HYBRID);
        assert_eq!(hybrid.mode(), Mode::Hybrid);
        assert_eq!(hybrid.primary().unwrap().point, Path::new("/sys/fs/cgroup/memory"));
        assert!(hybrid.v1(Controller::Pids).is_none());

        let together = Mounts::parse(b"1 2 0:1 / /cg/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n");
        assert_eq!(together.mode(), Mode::V1);
        assert_eq!(together.v1(Controller::Cpu), together.v1(Controller::Cpuacct));

        let unified = Mounts::parse(b"1 2 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(unified.mode(), Mode::Unified);

        for garbage in [&b""[..], b"\n", b"a b c\n", b"1 2 0:1 / /x rw - cgroup2"] {
            assert_eq!(Mounts::parse(garbage).mode(), Mode::None);
        }
    }

    #[test]
    fn partial_mounts_and_escapes() {
        let mounts = Mounts::parse(
            b"1 2 0:1 /a /part rw - cgroup2 cgroup2 rw\n\
              2 2 0:1 / /wh\\040ole rw - cgroup2 cgroup2 rw\n\
              3 2 0:1 /b /part2 rw - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(mounts.v2.unwrap().point, Path::new("/wh ole"));

        let part = Mount { point: "/cg".into(), root: "/docker".into() };
        assert_eq!(part.directory("/docker/x"), Some("/cg/x".into()));
        assert_eq!(part.directory("/other"), None);
        assert_eq!(part.directory("/docker/../etc"), None);
        assert_eq!(part.cgroup_path(Path::new("/cg/x")), Some("/docker/x".into()));
    }
}
