//! What a node's report changes: pure, over the catalogue as it is.
//!
//! A node speaks for itself: for instances that are on it, and that accounts own which may run there. An instance that another node has is
//! taken over at once when that node says that it ended, or has been silent for its lease. While both say that it lives, the second claim
//! is kept beside the record ([`Rival`]), nobody is served, and it alarms: which of the two lies cannot be known here. Whoever may not change
//! something is told why, and the rest of his report counts.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use crate::catalogue::Catalogue;
use crate::model::{Instance, Node, Rival, State};
use crate::names::AccountName;
use crate::report::{Claim, Ended, MOST_INSTANCES, Refused, Report};
use crate::write::{Record, Write};

/// The reason of what a full list does not have any more.
const REMOVED: &str = "removed";
/// Claims to one instance that are kept beside the first: more would only say the same.
const MOST_RIVALS: usize = 4;
/// Records of one node that are kept, those of the gone among them: past it the gone go before their time.
const MOST_KEPT: usize = 2 * MOST_INSTANCES;

/// What becomes of a report.
#[derive(Debug, Default)]
pub struct Merged {
    pub writes: Vec<Write>,
    pub refused: Vec<Refused>,
    /// The instances that from now on are claimed by several nodes.
    pub newly_claimed_twice: Vec<Uuid>,
}

/// What a report of `node` changes.
pub fn merge(node: Uuid, report: &Report, catalogue: &Catalogue, now_ms: u64) -> Merged {
    let mut merge = Merge { node, catalogue, now_ms, seen: HashSet::new(), merged: Merged::default() };
    let record = merge.node_itself(report);
    let may_run = |claim: &Claim| match record.as_deref().and_then(|node| node.accounts.as_ref()) {
        Some(accounts) => accounts.contains(&claim.owner),
        None => true,
    };
    for claim in &report.instances {
        if !may_run(claim) {
            merge.refuse(claim.id, format!("account {} may not run on this node", claim.owner));
        } else if merge.seen.insert(claim.id) {
            merge.claimed(claim);
        } else {
            merge.refuse(claim.id, "the report has it twice".to_owned());
        }
    }
    for ended in &report.ended {
        merge.ended(ended);
    }
    if report.full.is_some() {
        merge.end_what_is_not_listed();
    }
    merge.forget_gone_beyond_bound();
    merge.merged
}

struct Merge<'a> {
    node: Uuid,
    catalogue: &'a Catalogue,
    now_ms: u64,
    /// What this report is about: of each instance one thing.
    seen: HashSet<Uuid>,
    merged: Merged,
}

impl Merge<'_> {
    /// The node's record, with what it says of itself. What the operator said of it stays.
    fn node_itself(&mut self, report: &Report) -> Option<Arc<Node>> {
        let known = self.catalogue.node(self.node);
        if report.full.is_none() && (report.sensors.is_none() || known.is_none()) {
            return known;
        }
        let fresh = || Node {
            id: self.node,
            hostname: String::new(),
            url: String::new(),
            accounts: None,
            is_cmon: false,
            silent_since_ms: None,
            sensors: vec![],
        };
        let mut node = known.as_deref().cloned().unwrap_or_else(fresh);
        if let Some(about) = &report.full {
            node.hostname = about.hostname.clone();
            node.url = about.url.clone();
            node.silent_since_ms = None;
        }
        if let Some(standings) = &report.sensors {
            // Of accounts that have nothing there it has nothing to say.
            let mut owners = self.catalogue.owners_on(self.node);
            // What it says in this very report counts too.
            let may_run = |owner: &&AccountName| node.accounts.as_ref().is_none_or(|accounts| accounts.contains(owner));
            owners.extend(report.instances.iter().map(|claim| &claim.owner).filter(may_run).cloned());
            let of_here = standings.iter().filter(|standing| owners.contains(&standing.account));
            node.sensors = of_here.cloned().collect();
        }
        if known.as_deref() != Some(&node) {
            self.merged.writes.push(Write::put(known.map(Record::Node), node.clone()));
        }
        Some(Arc::new(node))
    }

    fn refuse(&mut self, id: Uuid, why: String) {
        self.merged.refused.push(Refused { id, why });
    }

    fn claimed(&mut self, claim: &Claim) {
        let Some(known) = self.catalogue.instance(claim.id) else {
            // What is gone and was never heard of is of no use to anybody.
            if claim.state != State::Gone {
                let instance = instance_of(claim, self.node, None, self.now_ms);
                self.merged.writes.push(Write::put(None, instance));
            }
            return;
        };
        let lives_there = known.state.is_alive() && self.catalogue.is_reachable(known.node);
        if known.node == self.node {
            self.replace(&known, instance_of(claim, self.node, Some(&known), self.now_ms));
        } else if !claim.state.is_alive() {
            self.withdrawn(&known);
        } else if !lives_there {
            let mut instance = instance_of(claim, self.node, Some(&known), self.now_ms);
            instance.rivals = without(instance.rivals, self.node);
            self.replace(&known, instance);
        } else {
            self.contested(&known, claim);
        }
    }

    fn contested(&mut self, known: &Arc<Instance>, claim: &Claim) {
        let others = without(known.rivals.clone(), self.node).map(Vec::from).unwrap_or_default();
        if others.len() >= MOST_RIVALS {
            return self.refuse(claim.id, "too many nodes claim it".to_owned());
        }
        if !known.is_claimed_twice() {
            self.merged.newly_claimed_twice.push(claim.id);
        }
        self.refuse(claim.id, format!("node {} says that it lives there; neither is served", known.node));
        let mut rivals = others;
        rivals.push(Rival { node: self.node, claim: claim.clone() });
        rivals.sort_by_key(|rival| rival.node);
        self.replace(known, Instance { rivals: Some(rivals.into()), ..(**known).clone() });
    }

    fn ended(&mut self, ended: &Ended) {
        let Some(known) = self.catalogue.instance(ended.id) else { return };
        if !self.seen.insert(ended.id) {
            return;
        }
        if known.node == self.node { self.end(&known, &ended.reason) } else { self.withdrawn(&known) }
    }

    fn end(&mut self, known: &Arc<Instance>, reason: &str) {
        let gone = Instance {
            state: State::Gone,
            reasons: vec![reason.to_owned()],
            ended_at_ms: known.ended_at_ms.or(Some(self.now_ms)),
            ..(**known).clone()
        };
        // Said again, it is as gone as before.
        if known.state != State::Gone {
            self.replace(known, gone);
        }
    }

    /// This node does not claim it any more.
    fn withdrawn(&mut self, known: &Arc<Instance>) {
        let rivals = without(known.rivals.clone(), self.node);
        self.replace(known, Instance { rivals, ..(**known).clone() });
    }

    fn end_what_is_not_listed(&mut self) {
        for known in self.catalogue.instances_on(self.node) {
            if self.seen.insert(known.id) {
                self.end(&known, REMOVED);
            }
        }
        for known in self.catalogue.claimed_twice() {
            if self.seen.insert(known.id) {
                self.withdrawn(&known);
            }
        }
    }

    fn replace(&mut self, known: &Arc<Instance>, instance: Instance) {
        let instance = settle(instance, self.catalogue, self.now_ms);
        if **known != instance {
            self.merged.writes.push(Write::put(Some(Record::Instance(known.clone())), instance));
        }
    }

    fn forget_gone_beyond_bound(&mut self) {
        let is_new = |write: &&Write| matches!((&write.was, &write.becomes), (None, Some(Record::Instance(_))));
        let new = self.merged.writes.iter().filter(is_new).count();
        if new == 0 {
            return;
        }
        let changed: HashSet<Uuid> = self.merged.writes.iter().filter_map(|w| Some(w.instance()?.0)).collect();
        let all = self.catalogue.instances_on(self.node);
        let excess = (all.len() + new).saturating_sub(MOST_KEPT);
        let may_go = |known: &Arc<Instance>| known.state == State::Gone && !changed.contains(&known.id);
        let mut gone: Vec<_> = all.into_iter().filter(may_go).collect();
        gone.sort_unstable_by_key(|instance| instance.ended_at_ms);
        self.merged.writes.extend(gone.into_iter().take(excess).map(|gone| Write::remove(Record::Instance(gone))));
    }
}

/// The record of a claim, in the place of what was known.
fn instance_of(claim: &Claim, node: Uuid, known: Option<&Instance>, now_ms: u64) -> Instance {
    let claim = claim.clone();
    let ended = |known: Option<&Instance>| known.and_then(|known| known.ended_at_ms).unwrap_or(now_ms);
    Instance {
        id: claim.id,
        node,
        owner_epoch: known.map_or(0, |known| known.owner_epoch + u64::from(known.owner != claim.owner)),
        owner: claim.owner,
        name: claim.name,
        alias: claim.alias,
        runtime: claim.runtime,
        runtime_id: claim.runtime_id,
        image: claim.image,
        state: claim.state,
        reasons: claim.reasons,
        groups: claim.groups,
        labels: claim.labels,
        ended_at_ms: (!claim.state.is_alive()).then(|| ended(known)),
        rivals: known.and_then(|known| known.rivals.clone()),
    }
}

fn without(rivals: Option<Box<[Rival]>>, node: Uuid) -> Option<Box<[Rival]>> {
    let left: Vec<Rival> = rivals?.into_vec().into_iter().filter(|rival| rival.node != node).collect();
    (!left.is_empty()).then(|| left.into())
}

/// What becomes of several claims when the nodes that speak are these: claims of silent nodes end, and when the first has ended, or its node is
/// silent, the next counts.
pub(crate) fn settle(mut instance: Instance, catalogue: &Catalogue, now_ms: u64) -> Instance {
    let Some(rivals) = instance.rivals.take() else { return instance };
    let mut speaking: Vec<Rival> =
        rivals.into_vec().into_iter().filter(|rival| catalogue.is_reachable(rival.node)).collect();
    let lives_there = instance.state.is_alive() && catalogue.is_reachable(instance.node);
    if !lives_there && !speaking.is_empty() {
        let next = speaking.remove(0);
        instance = instance_of(&next.claim, next.node, Some(&instance), now_ms);
    }
    instance.rivals = (!speaking.is_empty()).then(|| speaking.into());
    instance
}

#[cfg(test)]
mod tests;
