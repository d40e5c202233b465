//! Settling claims: what is nested in an instance is that instance's, and of two claims to one id or
//! one cgroup at most one is served.
//!
//! A claim that is served already stays, because a newcomer must not be able to put it out by taking its
//! name; one in a tree that only root can write beats one that a user could have made; where two
//! stand alike neither is served. What yields is refused, with its reason.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::runc::State;
use crate::runtime::Runtime;
use crate::walk::Claim;

/// Why a claim is not an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// It lies in another instance and is that one's.
    Nested,
    /// Another claims the same runtime id or the same cgroup.
    Duplicate,
    /// A state file that others than root could have written, or that is none.
    Untrusted,
}

impl RefusalReason {
    /// All, in the order of [`Discovery::refused`].
    pub const ALL: [Self; 3] = [Self::Nested, Self::Duplicate, Self::Untrusted];

    /// As a label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nested => "nested",
            Self::Duplicate => "duplicate",
            Self::Untrusted => "untrusted",
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
            nested: claim.nested,
            state: None,
        }
    }
}

fn by_id(candidate: &Candidate) -> String {
    format!("{}\0{}", candidate.runtime.as_str(), candidate.runtime_id)
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
