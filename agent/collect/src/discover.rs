//! Which instances are there: one scan over the cgroup tree, the runtimes' state files and the
//! configured process groups, compared with the scan before.
//!
//! What identifies an instance is its cgroup directory and that directory's inode. Claims are settled here: what
//! lies in an instance belongs to it; two claims to one id or one cgroup are refused, except that
//! one which is already served stays (a newcomer must not be able to put it out), and one in a tree that only root
//! can write beats one that a user could have made. Everything refused is counted by reason.

mod process_groups;
mod unread;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::claims::{self, Candidate, Refusal, RefusalReason};
use crate::found::{CgroupDirs, Found, Kind};
use crate::groups::{GroupFinder, ProcessGroup};
use crate::identity::{Birth, InstanceName, NodeId, instance_uuid};
use crate::metadata::MetadataReader;
use crate::mounts::Roots;
use crate::rules::Rules;
use crate::runc::State;
use crate::runtime;
use crate::starvation;
use crate::state::Reason;
use crate::states::States;
use crate::walk::{self, Walk};
use crate::watcher::Watch;
use unread::{Scanned, Unread};

/// How to look for instances.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveryConfig {
    /// The node that instances are named after.
    pub node: NodeId,
    /// What the configuration names as instances.
    pub process_groups: Vec<ProcessGroup>,
    /// What else the operator says is an instance, and what is not.
    pub rules: Rules,
    /// Keys of labels that anything is decided by: they are known however many others an instance has.
    pub asked_labels: BTreeSet<String>,
    /// Whose a runtime's state files must be to be believed: 0. Only a test says otherwise.
    pub state_owner: u32,
}

impl DiscoveryConfig {
    /// Without process groups and rules, believing root alone.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            process_groups: Vec::new(),
            rules: Rules::default(),
            asked_labels: BTreeSet::new(),
            state_owner: 0,
        }
    }
}

/// What is different from the scan before.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new instance.
    Appeared(Arc<Found>),
    /// The same instance, of which more is known now: its runtime's state has come to light, or cgroups
    /// in further hierarchies. Whoever reads it makes a new reader.
    Updated(Arc<Found>),
    /// It is no more.
    Gone(Uuid, Reason),
    /// One that was born and is no more, and of which nothing but a name could be read; it stands for so many lives: for one, unless there
    /// were too many of that name.
    Unread(Arc<Found>, u32),
}

/// With a configured group missing, or an instance half made, look this often: a port that begins to
/// listen makes no event, nor does a cgroup in another hierarchy.
const RESCAN_MISSING: Duration = Duration::from_secs(1);
/// A runtime makes an instance's cgroups in one go: what is missing after this long stays so.
const MAKING: Duration = Duration::from_secs(5);
/// Otherwise events tell, and a scan is only to make sure.
const RESCAN: Duration = Duration::from_secs(10);

/// How many of a bundle's annotations are kept with what was found.
const ANNOTATIONS_MAX: usize = 64;

/// Finds instances.
#[derive(Debug)]
pub struct Discovery {
    roots: Arc<Roots>,
    config: DiscoveryConfig,
    boot_id: String,
    states: States,
    metadata: MetadataReader,
    groups: GroupFinder,
    known: HashMap<Uuid, Arc<Found>>,
    /// What would be an instance if no rule said otherwise.
    left_out: HashMap<Uuid, Arc<Found>>,
    /// Which rule decided; a name that it gave does not match it any more.
    decided: HashMap<Uuid, usize>,
    /// What the last scan refused: so that one claim is counted once and not at each scan.
    refusals: HashSet<Refusal>,
    refused: [u64; RefusalReason::ALL.len()],
    watches: Vec<Watch>,
    missing_groups: Vec<ProcessGroup>,
    /// Those that were found without a cgroup in each hierarchy or without their state, and when: their runtime may be at it still.
    incomplete: HashMap<Uuid, Instant>,
    /// Whether the last scan saw nothing for want of descriptors.
    starved: bool,
    unread: Unread,
}

impl Discovery {
    /// Looks nowhere yet: [`Self::scan`] does.
    pub fn new(roots: Arc<Roots>, config: DiscoveryConfig) -> Self {
        let boot_id = std::fs::read_to_string(roots.proc.join("sys/kernel/random/boot_id"));
        Self {
            states: States::new(&roots, config.state_owner),
            metadata: MetadataReader::new(&roots, config.state_owner, config.asked_labels.clone()),
            boot_id: boot_id.unwrap_or_default().trim().to_owned(),
            roots,
            config,
            groups: GroupFinder::default(),
            known: HashMap::new(),
            left_out: HashMap::new(),
            decided: HashMap::new(),
            refusals: HashSet::new(),
            refused: [0; RefusalReason::ALL.len()],
            watches: Vec::new(),
            missing_groups: Vec::new(),
            incomplete: HashMap::new(),
            starved: false,
            unread: Unread::default(),
        }
    }

    /// By another configuration: what is there is to be found again, and what was seen to live is not forgotten.
    #[must_use]
    pub fn configured(self, config: DiscoveryConfig) -> Self {
        Self { unread: self.unread, watches: self.watches, ..Self::new(self.roots, config) }
    }

    /// The roots it looks under.
    pub fn roots(&self) -> &Arc<Roots> {
        &self.roots
    }

    /// What is there, as of the last scan.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Found>> {
        self.known.values()
    }

    /// How many claims were refused since the start, by reason in the order of [`RefusalReason::ALL`].
    pub fn refused(&self) -> [u64; RefusalReason::ALL.len()] {
        self.refused
    }

    /// The process groups of the configuration that are not there.
    pub fn missing_groups(&self) -> &[ProcessGroup] {
        &self.missing_groups
    }

    /// What a rule leaves out, as of the last scan.
    pub fn left_out(&self) -> impl Iterator<Item = &Arc<Found>> {
        self.left_out.values()
    }

    /// Which rule, counted from 0, made one an instance or left it out, as of the last scan; none is the default.
    pub fn rule_of(&self, id: Uuid) -> Option<usize> {
        self.decided.get(&id).copied()
    }

    /// What is refused now.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.refusals.iter()
    }

    /// The directories in which something could change, as of the last scan, those that another than root can make last.
    pub fn watches(&self) -> &[Watch] {
        &self.watches
    }

    /// How long to go without a scan at most, events or none.
    pub fn rescan_every(&self) -> Duration {
        let soon = self.starved || !self.missing_groups.is_empty() || self.incomplete.values().any(is_young);
        if soon { RESCAN_MISSING } else { RESCAN }
    }

    /// Looks, and says what has changed: first what is gone, then what is new, then what was both unseen. Who is out of descriptors sees nothing, and changes nothing.
    pub fn scan(&mut self) -> Vec<Change> {
        starvation::forget();
        let mut refusals = HashSet::new();
        let states = self.states.read(&self.roots, &mut refusals);
        let mut walk = self.walk(&states, &mut refusals);
        let claims = std::mem::take(&mut walk.claims);
        let candidates = claims::candidates(&self.roots, claims, states, &mut refusals);
        let scanned = Scanned::of(&candidates);
        let claimed: Vec<PathBuf> = candidates.iter().map(|candidate| candidate.directory.clone()).collect();
        let served = |candidate: &Candidate| self.known.contains_key(&self.uuid(candidate));
        let candidates = claims::settle(candidates, &served, &mut refusals);
        let mut found: HashMap<Uuid, Arc<Found>> = HashMap::with_capacity(candidates.len());
        let mut left_out = HashMap::new();
        self.metadata.begin();
        for candidate in candidates {
            let (instance, is_one) = self.instance(candidate);
            let into = if is_one { &mut found } else { &mut left_out };
            into.insert(instance.name.uuid, instance);
        }
        self.find_groups(&mut found, &claimed, &mut refusals);
        self.starved = starvation::was_noted();
        if self.starved {
            return Vec::new();
        }
        self.metadata.end();
        self.left_out = left_out;
        self.decided.retain(|id, _| found.contains_key(id) || self.left_out.contains_key(id));
        let unread = self.unread(scanned, &walk, &mut refusals);
        self.watches = walk.directories.into_iter().map(Watch::directories).collect();
        self.watches.extend(self.states.watches(&self.roots));
        self.watches.extend(process_groups::watches(&self.config.process_groups));
        // Last, because not all of them may be watched.
        self.watches.extend(walk.foreign.into_iter().map(Watch::foreign));
        self.count(refusals);
        let mut changes = self.changes(found);
        changes.extend(unread);
        changes
    }

    /// The claims, and the directories to be watched: root's, and others'.
    fn walk(&self, states: &[Arc<State>], refusals: &mut HashSet<Refusal>) -> Walk {
        let Some(mount) = self.roots.mounts.primary() else {
            return Default::default();
        };
        let stated: HashSet<&Path> = states
            .iter()
            .filter_map(|state| state.cgroups.primary(&self.roots))
            // Those whose path alone says who they are stay with the walk.
            .filter(|path| mount.cgroup_path(path).is_none_or(|path| runtime::classify(&path).is_none()))
            .collect();
        let guide = walk::Guide { known: &|path| stated.contains(path), rules: &self.config.rules };
        let walk = walk::walk(mount, guide);
        let refusal = |tree: &PathBuf| Refusal { reason: RefusalReason::Crowded, what: tree.display().to_string() };
        refusals.extend(walk.crowded.iter().map(refusal));
        walk
    }

    fn birth(&self, candidate: &Candidate) -> Birth {
        Birth { boot_id: self.boot_id.clone(), mark: candidate.inode }
    }

    fn uuid(&self, candidate: &Candidate) -> Uuid {
        let birth = self.birth(candidate);
        instance_uuid(&self.config.node, candidate.runtime, &candidate.runtime_id, &birth)
    }

    /// The instance of a candidate, the one known already where nothing about it is new, and whether the rules have it as one.
    fn instance(&mut self, candidate: Candidate) -> (Arc<Found>, bool) {
        let birth = self.birth(&candidate);
        let uuid = self.uuid(&candidate);
        let init = candidate.state.as_ref().map(|state| state.init);
        let metadata = self.metadata.look(candidate.wanted());
        let known = self.known.get(&uuid).or_else(|| self.left_out.get(&uuid)).cloned();
        if let Some(known) = &known
            && known.init == init
            && known.metadata == metadata
            && known.nested_claims == candidate.nested
            && !self.incomplete.get(&uuid).is_some_and(is_young)
        {
            return (known.clone(), self.known.contains_key(&uuid));
        }
        let mut cgroups = CgroupDirs::of_path(&self.roots, &candidate.cgroup_path);
        if let Some(state) = &candidate.state {
            cgroups = state.cgroups.clone().or(cgroups);
        }
        let name = candidate.name_of(&metadata);
        let state = candidate.state.as_deref();
        let mut found = Found {
            name: InstanceName {
                uuid,
                runtime: candidate.runtime,
                runtime_id: candidate.runtime_id,
                name,
                image: metadata.image.clone().or_else(|| state.and_then(State::image)),
            },
            birth,
            cgroup_path: candidate.cgroup_path,
            cgroups,
            kind: Kind::Cgroup,
            init,
            created: state.and_then(|state| state.created),
            annotations: state.map(shown_annotations).unwrap_or_default(),
            bundle: state.and_then(|state| state.bundle.clone()),
            metadata,
            root_owned: candidate.root_owned,
            nested_claims: candidate.nested,
        };
        let verdict = self.config.rules.decide(&found.subject());
        match verdict.rule {
            Some(rule) => drop(self.decided.insert(uuid, rule)),
            None => drop(self.decided.remove(&uuid)),
        }
        found.name.name = verdict.name.filter(|name| runtime::acceptable(name)).or(found.name.name);
        self.complete_cgroups(&mut found);
        let found = known.filter(|known| **known == found).unwrap_or_else(|| Arc::new(found));
        (found, verdict.instance)
    }

    /// Fills the hierarchies in which the instance has another path, from one of its processes.
    fn complete_cgroups(&self, found: &mut Found) {
        let Some(pid) = found.pids(&self.roots, 1).first().copied() else {
            return;
        };
        let text = std::fs::read(self.roots.proc.join(pid.to_string()).join("cgroup"));
        let Ok(text) = text else { return };
        let process = CgroupDirs::of_process(&self.roots, &text);
        let own = found.cgroups.primary(&self.roots);
        // The pid may have been reused between the two reads: then it is not in our cgroup.
        if process.primary(&self.roots).zip(own).is_some_and(|(process, own)| process == own) {
            found.cgroups = std::mem::take(&mut found.cgroups).or(process);
        }
    }

    fn count(&mut self, refusals: HashSet<Refusal>) {
        for refusal in refusals.difference(&self.refusals) {
            self.refused[refusal.reason as usize] += 1;
        }
        self.refusals = refusals;
    }

    fn changes(&mut self, found: HashMap<Uuid, Arc<Found>>) -> Vec<Change> {
        let mut changes: Vec<Change> = self
            .known
            .keys()
            .filter(|uuid| !found.contains_key(uuid))
            .map(|uuid| Change::Gone(*uuid, Reason::Removed))
            .collect();
        for (uuid, instance) in &found {
            match self.known.get(uuid) {
                None => changes.push(Change::Appeared(instance.clone())),
                Some(known) if !Arc::ptr_eq(known, instance) => {
                    changes.push(Change::Updated(instance.clone()));
                }
                Some(_) => {}
            }
        }
        let mut before = std::mem::take(&mut self.incomplete);
        self.incomplete = found
            .values()
            .filter(|found| found.kind == Kind::Cgroup)
            .filter(|found| !found.cgroups.is_complete(&self.roots) || found.awaits_state())
            .map(|found| (found.name.uuid, before.remove(&found.name.uuid).unwrap_or_else(Instant::now)))
            .collect();
        self.known = found;
        changes
    }
}

/// As many as are shown; what decides is in the metadata.
fn shown_annotations(state: &State) -> Vec<(String, String)> {
    state.annotations.iter().take(ANNOTATIONS_MAX).cloned().collect()
}

fn is_young(found_at: &Instant) -> bool {
    found_at.elapsed() < MAKING
}
