//! Process groups: what the configuration names as an instance where there is no container.
//!
//! A group is found by a pid file, by a cgroup path or by the TCP port that it listens on in the host's network
//! namespace. It is an instance while the process lives (or the cgroup exists); when another process
//! takes its place, that is another instance of the same name.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::found::{CgroupDirs, Found, Kind};
use crate::identity::{Birth, InstanceName, NodeId, instance_uuid};
use crate::listeners::{self, Listening, PortOwners};
use crate::mounts::Roots;
use crate::process::{self, Stat};
use crate::runtime::Runtime;
use crate::starvation;

/// How a process group is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GroupSource {
    /// The process whose pid is in this file, and its descendants.
    PidFile(#[serde(with = "crate::path_bytes")] PathBuf),
    /// Whatever is in this cgroup, given as its path in the hierarchy (`/system.slice/x.service`).
    Cgroup(String),
    /// The process that listens on this TCP port in the host's network namespace, and its descendants.
    Port(u16),
}

/// A process group of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProcessGroup {
    /// Its name, by which it can be asked for.
    pub name: String,
    /// How it is found.
    pub source: GroupSource,
}

/// Permission bits by which a group or everybody may write a file.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A pid file is a number and a newline.
const PID_FILE_MAX_BYTES: u64 = 64;

/// Finds groups, and remembers who listened on which port.
#[derive(Debug, Default)]
pub(crate) struct GroupFinder {
    owners: PortOwners,
}

impl GroupFinder {
    /// The groups that are there now. `is_free` says of a process that no container has it: another may bind a port first.
    pub(crate) fn find(
        &mut self,
        roots: &Roots,
        node: &NodeId,
        boot_id: &str,
        groups: &[ProcessGroup],
        is_free: &dyn Fn(u32) -> bool,
    ) -> Vec<Found> {
        let by_port = groups.iter().any(|group| matches!(group.source, GroupSource::Port(_)));
        // One dump for all of them. Where it fails no port group is found, and others are.
        let listening = match by_port {
            true => starvation::noted(listeners::listeners()).unwrap_or_default(),
            false => Vec::new(),
        };
        let listening = Listening { sockets: &listening, is_free };
        groups.iter().filter_map(|group| self.find_one(roots, node, boot_id, group, listening)).collect()
    }

    fn find_one(
        &mut self,
        roots: &Roots,
        node: &NodeId,
        boot_id: &str,
        group: &ProcessGroup,
        listening: Listening<'_>,
    ) -> Option<Found> {
        let (mark, cgroup_path, cgroups, kind) = match &group.source {
            GroupSource::Cgroup(written) => {
                let path = roots.mounts.cgroup_path(written);
                let cgroups = CgroupDirs::of_path(roots, &path);
                let inode = std::fs::metadata(cgroups.primary(roots)?).ok()?.ino();
                (inode, path, cgroups, Kind::Cgroup)
            }
            source => {
                let stat = match source {
                    GroupSource::PidFile(path) => process_of_file(roots, path)?,
                    GroupSource::Port(port) => self.owners.find(roots, *port, listening)?,
                    GroupSource::Cgroup(_) => return None,
                };
                let kind = Kind::Processes { source: source.clone(), pid: stat.pid, start_ticks: stat.start_ticks };
                let path = format!("/process-group/{}", group.name);
                (stat.start_ticks, path, CgroupDirs::default(), kind)
            }
        };
        let birth = Birth { boot_id: boot_id.to_owned(), mark };
        let runtime = Runtime::ProcessGroup;
        // The pid is a part of the identity: two processes may start in the same tick.
        let identity = match &kind {
            Kind::Processes { pid, .. } => format!("{}/{pid}", group.name),
            Kind::Cgroup => group.name.clone(),
        };
        Some(Found {
            name: InstanceName {
                uuid: instance_uuid(node, runtime, &identity, &birth),
                runtime,
                runtime_id: group.name.clone(),
                name: Some(group.name.clone()),
                image: None,
            },
            birth,
            cgroup_path,
            cgroups,
            kind,
            init: None,
            created: None,
            annotations: Vec::new(),
            bundle: None,
            metadata: Arc::default(),
            root_owned: true,
            nested_claims: 0,
        })
    }
}

/// The process that a pid file names. The file says whom a sensor looks at, so it is believed only where those who can write it could look
/// there anyway: it belongs to root or to the process's own user, and nobody else may write it.
fn process_of_file(roots: &Roots, path: &Path) -> Option<Stat> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = starvation::noted(opened).ok()?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut text = String::new();
    file.take(PID_FILE_MAX_BYTES).read_to_string(&mut text).ok()?;
    let pid: u32 = text.lines().next()?.trim().parse().ok()?;
    let stat = process::stat(&roots.proc, pid).ok().filter(|stat| process::is_live(stat.state))?;
    let of_process = std::fs::metadata(roots.proc.join(pid.to_string())).ok()?.uid();
    let is_believed = metadata.mode() & WRITABLE_BY_OTHERS == 0 && [0, of_process].contains(&metadata.uid());
    is_believed.then_some(stat)
}
