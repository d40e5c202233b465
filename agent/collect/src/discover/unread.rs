//! Lives of which nothing could be read: their directories were made and removed between two scans, and only the kernel's queue tells of them.
//!
//! What is known of such a life is a name: a cgroup's path, which says whose it was as that of a living one does, or a runtime's state directory,
//! which says who ran it and its id. Where both tell of one life it is one. It is told once, as what was born and is gone. A cgroup that lay
//! in an instance was that instance's, and what a rule leaves out is left out. Evidence of the owner is the place alone, and only while the directory
//! that it lay in is still what it was: what is gone with it vouches for nothing. Where another than root can have made it, and it is called as one
//! of root's that lives or just lived, it is refused, as it would be alive; and it covers nobody else's life.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::{Change, Discovery};
use crate::claims::{Candidate, Refusal, RefusalReason};
use crate::found::{CgroupDirs, Found, Kind};
use crate::identity::{Birth, InstanceName, instance_uuid};
use crate::lives::{Lives, Seen, Unseen};
use crate::metadata::{Metadata, Place};
use crate::runtime::{self, Runtime};
use crate::states::Mark;
use crate::walk::{self, Walk};

/// Lives of one directory between two scans that are told one by one; the last of these stands for all others as well. A scan comes every
/// 320 ms at least, and no runtime makes and removes a container in 5. In a tree of another's the first stands for all: his is the rate.
const EACH_MAX: u32 = 64;

/// The lives of cgroups and of state directories, and what is known of both.
#[derive(Debug)]
pub(super) struct Unread {
    cgroups: Lives<u64>,
    states: Lives<Mark>,
    /// Ids of the last scan's candidates, of those that root made.
    ids: HashSet<String>,
    /// Ids of lives of the last scan's that a cgroup told of, and the state directory did not, so often.
    half: HashMap<String, u32>,
    /// The number of the last such life. No kernel gives it an inode; so it is counted from the time of the start, in nanoseconds.
    last: u64,
}

impl Default for Unread {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let last = u64::try_from(since.as_nanos()).unwrap_or(0);
        Self { cgroups: Lives::default(), states: Lives::default(), ids: HashSet::new(), half: HashMap::new(), last }
    }
}

/// What a scan saw: all that claims to be an instance, and the ids of what root made.
pub(super) struct Scanned {
    cgroups: HashMap<PathBuf, Seen<u64>>,
    ids: HashSet<String>,
}

impl Scanned {
    /// Of all that claims to be an instance, whether it is one or not.
    pub(super) fn of(candidates: &[Candidate]) -> Self {
        let seen = |candidate: &Candidate| Seen { mark: candidate.inode, told: true };
        let is_claimed = |it: &&Candidate| it.root_owned && !Runtime::UNCLAIMED.contains(&it.runtime);
        Self {
            cgroups: candidates.iter().map(|candidate| (candidate.directory.clone(), seen(candidate))).collect(),
            ids: candidates.iter().filter(is_claimed).map(|candidate| candidate.runtime_id.clone()).collect(),
        }
    }
}

/// Where an unread life was.
struct Whereabouts {
    runtime: Runtime,
    id: String,
    /// Empty where none is known.
    cgroup_path: String,
    /// Whether it lay in a directory of root's.
    in_roots: bool,
    /// Whether root alone can have made it, as far as can be told now.
    root_owned: bool,
    metadata: Metadata,
}

impl Discovery {
    /// A directory was removed so often since the last scan. False where too many were to keep this one.
    pub(crate) fn hear(&mut self, directory: PathBuf, times: u32) -> bool {
        if self.states.whose(&directory).is_some() {
            return self.unread.states.hear(directory, times);
        }
        let is_cgroup = self.roots.mounts.primary().is_some_and(|mount| directory.starts_with(&mount.point));
        !is_cgroup || self.unread.cgroups.hear(directory, times)
    }

    /// The lives that were over before this scan and that none has seen.
    pub(super) fn unread(&mut self, scanned: Scanned, walk: &Walk, refusals: &mut HashSet<Refusal>) -> Vec<Change> {
        let Scanned { cgroups, ids } = scanned;
        let unseen = self.unread.cgroups.look(cgroups);
        let mut told = Vec::new();
        if !unseen.is_empty() {
            let places = Places::of(self, walk);
            told.extend(unseen.iter().filter_map(|it| Some((places.whereabouts(&it.directory)?, it.lives))));
        }
        let mut half: HashMap<String, u32> = HashMap::new();
        let mut changes = Vec::new();
        for (was, lives) in told {
            let is_known = ids.contains(&was.id) || self.unread.ids.contains(&was.id);
            if is_known && !was.in_roots {
                let what = format!("{} ({} {})", was.cgroup_path, was.runtime.as_str(), was.id);
                refusals.insert(Refusal { reason: RefusalReason::Duplicate, what });
                continue;
            }
            if was.in_roots && !Runtime::UNCLAIMED.contains(&was.runtime) {
                *half.entry(was.id.clone()).or_default() += lives;
            }
            self.tell(was, lives, &mut changes);
        }
        self.unread_states(&ids, half, &mut changes);
        self.unread.ids = ids;
        changes
    }

    /// The same of state directories. `half` are the lives that a cgroup has told of just now.
    fn unread_states(&mut self, ids: &HashSet<String>, mut half: HashMap<String, u32>, changes: &mut Vec<Change>) {
        let mut folders = self.states.take_folders();
        for (directory, seen) in &mut folders {
            let id = directory.file_name().and_then(|id| id.to_str()).unwrap_or_default();
            seen.told |= ids.contains(id) || half.contains_key(id);
        }
        let before = std::mem::take(&mut self.unread.half);
        for Unseen { directory, mut lives, was_seen } in self.unread.states.look(folders) {
            let Some(stated) = self.states.whose(&directory) else { continue };
            // Told by its cgroup in this scan or the one before; or seen there, when its state directory was not yet.
            lives = lives.saturating_sub(half.remove(&stated.id).unwrap_or(0));
            lives = lives.saturating_sub(before.get(&stated.id).copied().unwrap_or(0));
            let was_half_seen = !was_seen && self.unread.ids.contains(&stated.id);
            lives = lives.saturating_sub(u32::from(was_half_seen));
            if lives == 0 || !self.states.is_roots(&directory) {
                continue;
            }
            let metadata =
                Metadata { containerd_namespace: stated.namespace.clone(), ..unread_metadata(stated.runtime) };
            let (runtime, id) = (stated.runtime, stated.id);
            let (cgroup_path, in_roots, root_owned) = (String::new(), true, true);
            self.tell(Whereabouts { runtime, id, cgroup_path, in_roots, root_owned, metadata }, lives, changes);
        }
        self.unread.half = half;
    }

    /// Tells as many lives, where they were an instance's.
    fn tell(&mut self, was: Whereabouts, lives: u32, changes: &mut Vec<Change>) {
        // A domain's name is in libvirt's file alone: what its cgroup is called is another.
        let is_named = !runtime::is_hex_id(&was.id) && was.runtime != Runtime::Libvirt;
        let name = is_named.then(|| was.id.clone());
        let mut found = Found {
            name: InstanceName { uuid: uuid::Uuid::nil(), runtime: was.runtime, runtime_id: was.id, name, image: None },
            birth: Birth { boot_id: format!("{}/unread", self.boot_id), mark: 0 },
            cgroup_path: was.cgroup_path,
            cgroups: CgroupDirs::default(),
            kind: Kind::Cgroup,
            init: None,
            created: None,
            annotations: Vec::new(),
            bundle: None,
            metadata: Arc::new(was.metadata),
            root_owned: was.root_owned,
            nested_claims: 0,
        };
        let verdict = self.config.rules.decide(&found.subject());
        if !verdict.instance {
            return;
        }
        found.name.name = verdict.name.filter(|name| runtime::acceptable(name)).or(found.name.name);
        let each = if was.in_roots { lives.min(EACH_MAX) } else { 1 };
        for number in 1..=each {
            self.unread.last += 1;
            found.birth.mark = self.unread.last;
            found.name.uuid = instance_uuid(&self.config.node, was.runtime, &found.name.runtime_id, &found.birth);
            let lives = if number == each { lives - each + 1 } else { 1 };
            changes.push(Change::Unread(Arc::new(found.clone()), lives));
        }
    }
}

/// What is not known of it may be there. Units and plain cgroups have nothing that could be read.
fn unread_metadata(runtime: Runtime) -> Metadata {
    Metadata { unread: !Runtime::UNCLAIMED.contains(&runtime), ..Metadata::default() }
}

/// The directories that lives were heard in, and what each says of them.
struct Places<'a> {
    discovery: &'a Discovery,
    walk: &'a Walk,
    /// Those in which an instance can appear now, and those in which one could at the scan before; whether they are root's.
    stand: HashMap<&'a Path, bool>,
    stood: HashMap<&'a Path, bool>,
}

impl<'a> Places<'a> {
    fn of(discovery: &'a Discovery, walk: &'a Walk) -> Self {
        let roots = walk.directories.iter().map(|path| (path.as_path(), true));
        let others = walk.foreign.iter().map(|path| (path.as_path(), false));
        let stood = discovery.watches.iter().map(|watch| (watch.directory.as_path(), !watch.foreign));
        Self { discovery, walk, stand: roots.chain(others).collect(), stood: stood.collect() }
    }

    /// Whose a cgroup was that is no more; none where it was no instance's.
    fn whereabouts(&self, directory: &Path) -> Option<Whereabouts> {
        let is_nested = directory.ancestors().skip(1).any(|above| self.discovery.unread.cgroups.is_seen(above));
        if is_nested || self.walk.crowded.iter().any(|tree| directory.starts_with(tree)) {
            return None;
        }
        let parent = directory.parent()?;
        let stands = self.stand.get(parent);
        let is_roots = *stands.or_else(|| self.stood.get(parent))?;
        let mount = self.discovery.roots.mounts.primary()?;
        let cgroup_path = mount.cgroup_path(directory)?;
        let parts = cgroup_path.split('/').filter(|part| !part.is_empty()).count();
        let named = if is_roots { parts } else { walk::named_by_root(mount, directory).min(parts) };
        let (runtime, id) = walk::whose(&cgroup_path, named, &self.discovery.config.rules)?;
        let mut metadata = unread_metadata(runtime);
        if stands.is_some() {
            metadata.place = Place::of(&cgroup_path, named);
        }
        let root_owned = stands.is_some() && is_roots;
        Some(Whereabouts { runtime, id, cgroup_path, in_roots: is_roots, root_owned, metadata })
    }
}
