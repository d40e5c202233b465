//! The process groups of the configuration among what a scan finds.
//!
//! A group is a process and its descendants, by whatever the operator says: a port, a pid file, a cgroup. Who could bind the port or write the
//! file first must not make another's process look like the group's: what lies in any claimed cgroup is its tenant's and no group.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::Discovery;
use crate::claims::{Refusal, RefusalReason};
use crate::found::{CgroupDirs, Found, Kind};
use crate::groups::{GroupSource, ProcessGroup};
use crate::mounts::Roots;
use crate::starvation;
use crate::watcher::Watch;

impl Discovery {
    /// Adds the process groups. `claimed` are the cgroups of all that claims to be a container, whether it is an instance, left out or
    /// refused: a process in any of them is its tenant's.
    pub(super) fn find_groups(
        &mut self,
        found: &mut HashMap<Uuid, Arc<Found>>,
        claimed: &[PathBuf],
        refusals: &mut HashSet<Refusal>,
    ) {
        let groups = &self.config.process_groups;
        let roots = &self.roots;
        let is_free = |pid: u32| !lies_within(roots, pid, claimed.iter().map(PathBuf::as_path));
        let here = self.groups.find(roots, &self.config.node, &self.boot_id, groups, &is_free);
        let is_here = |group: &&ProcessGroup| here.iter().any(|found| found.name.runtime_id == group.name);
        self.missing_groups = groups.iter().filter(|group| !is_here(group)).cloned().collect();
        let mut names: HashSet<String> = HashSet::new();
        for group in here {
            if !names.insert(group.name.runtime_id.clone()) {
                refusals.insert(Refusal { reason: RefusalReason::Duplicate, what: group.cgroup_path });
                continue;
            }
            // Whoever writes the pid file or binds the port first must not make another's process look like the group's.
            if self.is_within_another(&group, found, claimed) {
                refusals.insert(Refusal { reason: RefusalReason::Nested, what: group.cgroup_path });
                continue;
            }
            let known = self.known.get(&group.name.uuid).filter(|known| ***known == group);
            let group = known.cloned().unwrap_or_else(|| Arc::new(group));
            found.insert(group.name.uuid, group);
        }
    }

    /// Whether the process that a group was found by is another's already: an instance's, or that of a container which is none by a rule.
    fn is_within_another(&self, group: &Found, found: &HashMap<Uuid, Arc<Found>>, claimed: &[PathBuf]) -> bool {
        let Kind::Processes { pid, .. } = group.kind else { return false };
        let cgroups = found.values().filter(|other| other.kind == Kind::Cgroup);
        let instances = cgroups.filter_map(|other| other.cgroups.primary(&self.roots));
        lies_within(&self.roots, pid, instances.chain(claimed.iter().map(PathBuf::as_path)))
    }
}

/// Whether a process is in one of these cgroups or below. Of one that cannot be looked at, nobody knows that it is not.
fn lies_within<'a>(roots: &Roots, pid: u32, mut cgroups: impl Iterator<Item = &'a Path>) -> bool {
    let Ok(text) = starvation::noted(std::fs::read(roots.proc.join(pid.to_string()).join("cgroup"))) else {
        return true;
    };
    let process = CgroupDirs::of_process(roots, &text);
    process.primary(roots).is_some_and(|directory| cgroups.any(|above| directory.starts_with(above)))
}

/// Where groups that are not there may appear.
pub(super) fn watches(groups: &[ProcessGroup]) -> impl Iterator<Item = Watch> {
    groups.iter().filter_map(|group| match &group.source {
        GroupSource::PidFile(path) => Some(Watch::file(path.parent()?.to_owned(), path.file_name()?.to_owned())),
        GroupSource::Cgroup(_) | GroupSource::Port(_) => None,
    })
}
