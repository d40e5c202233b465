//! Settling claims: what is nested in an instance is that instance's, and of two claims to one id or
//! one cgroup at most one is served.
//!
//! A claim that is served already stays, because a newcomer must not be able to put it out by taking its
//! name; one in a tree that only root can write beats one that a user could have made; where two
//! stand alike neither is served. What yields is refused, with its reason.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::metadata::{Metadata, Wanted};
use crate::mounts::Roots;
use crate::runc::State;
use crate::runtime::{self, Runtime};
use crate::walk::{self, Claim};

/// Why a claim is not an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// It lies in another instance and is that one's.
    Nested,
    /// Another claims the same runtime id or the same cgroup.
    Duplicate,
    /// A state file that others than root could have written, or that is none.
    Untrusted,
    /// One too many in a tree that belongs to another than root.
    Crowded,
}

impl RefusalReason {
    /// All, in the order of [`Discovery::refused`].
    pub const ALL: [Self; 4] = [Self::Nested, Self::Duplicate, Self::Untrusted, Self::Crowded];

    /// As a label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nested => "nested",
            Self::Duplicate => "duplicate",
            Self::Untrusted => "untrusted",
            Self::Crowded => "crowded",
        }
    }
}

/// A claim that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// What: a cgroup path or a state file.
    pub what: String,
}

/// A claim with all that is known of it.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) runtime: Runtime,
    pub(crate) runtime_id: String,
    pub(crate) directory: PathBuf,
    pub(crate) cgroup_path: String,
    pub(crate) inode: u64,
    pub(crate) root_owned: bool,
    /// How many components of its path have a root-owned directory above them.
    pub(crate) named_by_root: usize,
    pub(crate) nested: u32,
    pub(crate) state: Option<Arc<State>>,
}

impl Candidate {
    pub(crate) fn of_claim(claim: Claim) -> Self {
        Self {
            runtime: claim.runtime,
            runtime_id: claim.runtime_id,
            directory: claim.directory,
            cgroup_path: claim.cgroup_path,
            inode: claim.inode,
            root_owned: claim.root_owned,
            named_by_root: claim.named_by_root,
            nested: claim.nested,
            state: None,
        }
    }
}

impl Candidate {
    /// What its metadata are looked for by.
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            runtime: self.runtime,
            id: &self.runtime_id,
            directory: &self.directory,
            cgroup_path: &self.cgroup_path,
            named_by_root: self.named_by_root,
            root_owned: self.root_owned,
            state: self.state.as_deref(),
        }
    }

    /// A name for people. A runtime's id in 64 hex digits is none; what the runtime's files have, or what stands in the place of the id, is.
    pub(crate) fn name_of(&self, metadata: &Metadata) -> Option<String> {
        let of_state = self.state.as_ref().map(|state| &state.id);
        let ids = of_state.into_iter().chain([&self.runtime_id]);
        let id = || ids.into_iter().find(|id| !runtime::is_hex_id(id)).cloned();
        metadata.name.clone().or_else(id)
    }
}

/// Puts claims by path and claims by state file together.
pub(crate) fn candidates(
    roots: &Roots,
    claims: Vec<Claim>,
    states: Vec<Arc<State>>,
    refusals: &mut HashSet<Refusal>,
) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = claims.into_iter().map(Candidate::of_claim).collect();
    let mut by_directory: HashMap<PathBuf, usize> =
        candidates.iter().enumerate().map(|(at, candidate)| (candidate.directory.clone(), at)).collect();
    for state in states {
        let Some(directory) = state.cgroups.primary(roots).map(Path::to_owned) else {
            continue;
        };
        if let Some(at) = by_directory.get(&directory) {
            let taken = &mut candidates[*at];
            // A second state file for one cgroup is a candidate of its own, to be settled below.
            if taken.state.is_none() {
                taken.state = Some(state);
                // What root's state names, root has made.
                taken.root_owned = true;
                continue;
            }
        }
        let Some(candidate) = of_state(roots, state, directory.clone()) else {
            continue;
        };
        by_directory.entry(directory).or_insert(candidates.len());
        candidates.push(candidate);
    }
    for candidate in &candidates {
        if candidate.nested > 0 {
            let what = format!("{} below {}", candidate.nested, candidate.cgroup_path);
            refusals.insert(Refusal { reason: RefusalReason::Nested, what });
        }
    }
    candidates
}

/// A container that only its state file tells of. None while its cgroup is not there.
fn of_state(roots: &Roots, state: Arc<State>, directory: PathBuf) -> Option<Candidate> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(&directory).ok().filter(std::fs::Metadata::is_dir)?;
    let cgroup_path = roots.mounts.primary()?.cgroup_path(&directory)?;
    Some(Candidate {
        runtime: state.runtime,
        runtime_id: state.id.clone(),
        cgroup_path,
        inode: metadata.ino(),
        root_owned: true,
        named_by_root: walk::named_by_root(roots.mounts.primary()?, &directory),
        nested: walk::nested_claims(&directory, metadata.nlink()),
        directory,
        state: Some(state),
    })
}

/// An id of 64 hex digits is one container's, wherever it is claimed. A name that only containerd's state tells of is so within its name space.
fn by_id(candidate: &Candidate) -> String {
    let by_name = candidate.state.as_deref().filter(|_| !runtime::is_hex_id(&candidate.runtime_id));
    let namespace = by_name.and_then(|state| state.namespace.as_deref()).unwrap_or_default();
    format!("{}\0{namespace}\0{}", candidate.runtime.as_str(), candidate.runtime_id)
}

fn by_directory(candidate: &Candidate) -> String {
    candidate.directory.to_string_lossy().into_owned()
}

/// Of candidates with one key, those that yield: all but the one of the highest standing, or all where two stand alike.
fn losers(
    candidates: &[Candidate],
    key: fn(&Candidate) -> String,
    standing: &dyn Fn(&Candidate) -> (bool, bool),
) -> Vec<usize> {
    let mut groups: HashMap<String, Vec<usize>> = HashMap::with_capacity(candidates.len());
    for (at, candidate) in candidates.iter().enumerate() {
        groups.entry(key(candidate)).or_default().push(at);
    }
    let mut losers = Vec::new();
    for members in groups.into_values().filter(|members| members.len() > 1) {
        let best = members.iter().map(|at| standing(&candidates[*at])).max();
        let winners: Vec<usize> =
            members.iter().copied().filter(|at| Some(standing(&candidates[*at])) == best).collect();
        let winner = (winners.len() == 1).then(|| winners[0]);
        losers.extend(members.into_iter().filter(|at| Some(*at) != winner));
    }
    losers
}

/// Refuses what is nested in another, and what is claimed twice. `served` says which are instances already.
pub(crate) fn settle(
    mut candidates: Vec<Candidate>,
    served: &dyn Fn(&Candidate) -> bool,
    refusals: &mut HashSet<Refusal>,
) -> Vec<Candidate> {
    let directories: HashSet<PathBuf> = candidates.iter().map(|c| c.directory.clone()).collect();
    let refuse = |reason: RefusalReason, candidate: &Candidate, refusals: &mut HashSet<Refusal>| {
        let what = format!("{} ({} {})", candidate.cgroup_path, candidate.runtime.as_str(), candidate.runtime_id);
        refusals.insert(Refusal { reason, what });
    };
    candidates.retain(|candidate| {
        let nested = candidate.directory.ancestors().skip(1).any(|above| directories.contains(above));
        if nested {
            refuse(RefusalReason::Nested, candidate, refusals);
        }
        !nested
    });
    // Root before whoever was there first: else a tenant could take a name early and keep the real one out.
    let standing = |candidate: &Candidate| (candidate.root_owned, served(candidate));
    let losers: HashSet<usize> = [by_id as fn(&Candidate) -> String, by_directory]
        .into_iter()
        .flat_map(|key| losers(&candidates, key, &standing))
        .collect();
    let mut at = 0;
    candidates.retain(|candidate| {
        let lost = losers.contains(&at);
        at += 1;
        if lost {
            refuse(RefusalReason::Duplicate, candidate, refusals);
        }
        !lost
    });
    candidates
}
