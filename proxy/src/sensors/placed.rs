//! Of what accounts pushed, what a node runs: what is meant for an instance that lives there.
//!
//! Being an owner there is not enough. A node that is lied to, or lies, with an instance of its own making is told of the sensors whose selector means
//! that one, and gets the secrets of the versions that it would run, where the operator has
//! named the account for it ([`is_named`]). A sensor's current version is named also where all there run the next, because the
//! list has it; its secrets are not. The mark of all that moves with what selectors look at, and costs a walk over a node's instances and none over its
//! sensors: it is asked for with each report.

use std::collections::BTreeMap;
use std::sync::Arc;

use sonde_inventory::sensor::{Selected, Selector, is_among};
use sonde_inventory::{AccountName, ArtifactDigest, Catalogue, Instance, PushedSensor, State};
use uuid::Uuid;

/// Of a mark, as the inventory's are.
const MARK_LETTERS: usize = 32;

/// A sensor that a node runs.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) sensor: Arc<PushedSensor>,
    /// Whether an instance there runs the current version, and whether one runs the next.
    pub(crate) runs_current: bool,
    pub(crate) runs_next: bool,
}

impl Placed {
    fn of(sensor: Arc<PushedSensor>, instances: &[Arc<Instance>]) -> Option<Self> {
        let (mut runs_current, mut runs_next) = (false, false);
        for instance in instances {
            let is_next = sensor.next.as_ref().is_some_and(|next| is_among(next.percent, &sensor.name, instance.id));
            let known = if is_next { &mut runs_next } else { &mut runs_current };
            *known = *known || sensor.selector.has(&selected(instance));
            if runs_current && (runs_next || sensor.next.is_none()) {
                break;
            }
        }
        (runs_current || runs_next).then_some(Self { sensor, runs_current, runs_next })
    }

    /// Whether the node may have this artifact for it.
    pub(crate) fn names(&self, sha256: &ArtifactDigest) -> bool {
        let next = self.sensor.next.as_ref().filter(|_| self.runs_next);
        self.sensor.current.sha256 == *sha256 || next.is_some_and(|next| next.version.sha256 == *sha256)
    }
}

pub(super) fn selected(instance: &Instance) -> Selected<'_> {
    let Instance { id, name, alias, groups, labels, .. } = instance;
    Selected { id: *id, name, alias, groups, labels }
}

/// What lives on a node, by those of its owners who have an account. What is gone, or claimed by another node too, does not count.
fn living(catalogue: &Catalogue, node: Uuid) -> BTreeMap<AccountName, Vec<Arc<Instance>>> {
    let mut of_owner: BTreeMap<AccountName, Vec<Arc<Instance>>> = BTreeMap::new();
    for instance in catalogue.instances_on(node) {
        if instance.state != State::Gone && !instance.is_claimed_twice() {
            of_owner.entry(instance.owner.clone()).or_default().push(instance);
        }
    }
    of_owner.retain(|owner, _| catalogue.account(owner).is_some());
    of_owner
}

/// What a node runs, by account. `is_wanted` says of which sensors that is asked.
pub(crate) fn placed_on(
    catalogue: &Catalogue,
    node: Uuid,
    is_wanted: impl Fn(&PushedSensor) -> bool,
) -> Vec<(AccountName, Vec<Placed>)> {
    let of_account = |(owner, instances): (AccountName, Vec<Arc<Instance>>)| {
        let pushed = catalogue.sensors_of(&owner).into_iter().filter(|sensor| is_wanted(sensor));
        let placed: Vec<Placed> = pushed.filter_map(|sensor| Placed::of(sensor, &instances)).collect();
        (!placed.is_empty()).then_some((owner, placed))
    };
    living(catalogue, node).into_iter().filter_map(of_account).collect()
}

/// Whether the operator has said that an account may run on a node. That all may (`sonde node allow --all`, and nothing at all) names none.
pub(super) fn is_named(catalogue: &Catalogue, node: Uuid, account: &AccountName) -> bool {
    let node = catalogue.node(node);
    node.is_some_and(|node| node.accounts.as_ref().is_some_and(|accounts| accounts.contains(account)))
}

/// What changes with anything that a node is to run; empty where that is nothing.
pub(crate) fn mark(catalogue: &Catalogue, node: Uuid) -> String {
    let of_accounts = catalogue.assignment_mark(node);
    if of_accounts.is_empty() {
        return of_accounts;
    }
    let mut all = of_accounts.into_bytes();
    for (owner, instances) in living(catalogue, node) {
        // With it secrets come and go.
        all.push(u8::from(is_named(catalogue, node, &owner)));
        let is_for_some = |sensor: &Arc<PushedSensor>| sensor.selector != Selector::default() || sensor.next.is_some();
        if !catalogue.sensors_of(&owner).iter().any(is_for_some) {
            continue;
        }
        for instance in instances {
            let Instance { id, name, alias, groups, labels, .. } = &*instance;
            // Texts and maps of texts: it cannot fail.
            all.extend(serde_json::to_vec(&(&owner, id, name, alias, groups, labels)).unwrap_or_default());
        }
    }
    let mut mark = ArtifactDigest::of(&all).to_string();
    mark.truncate(MARK_LETTERS);
    mark
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sonde_inventory::{Account, Change};

    use super::*;

    const NODE: Uuid = Uuid::from_u128(1);

    fn put(catalogue: &Catalogue, id: u128, more: Value) {
        let mut json = json!({ "id": Uuid::from_u128(id), "node": NODE, "owner": "acme", "state": "running" });
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        catalogue.apply([Change::Instance(serde_json::from_value(json).unwrap())]);
    }

    fn push(catalogue: &Catalogue, name: &str, selector: Value, percent: Option<u8>) {
        let version = |of: &str| {
            let sha256 = ArtifactDigest::of(format!("{name} {of}").as_bytes());
            json!({ "sha256": sha256, "bytes": 1, "pushed_at_ms": 1 })
        };
        let mut json = json!({ "account": "acme", "name": name, "match": selector, "current": version("one") });
        if let Some(percent) = percent {
            json["next"] = json!({ "version": version("two"), "percent": percent });
        }
        catalogue.apply([Change::Sensor(serde_json::from_value(json).unwrap())]);
    }

    fn seen(catalogue: &Catalogue) -> Vec<(String, bool, bool)> {
        let all = placed_on(catalogue, NODE, |_| true).into_iter().flat_map(|(_, placed)| placed);
        all.map(|placed| (placed.sensor.name.to_string(), placed.runs_current, placed.runs_next)).collect()
    }

    #[test]
    fn a_node_is_told_of_what_is_meant_for_an_instance_there() {
        let catalogue = Catalogue::default();
        catalogue.apply([Change::Account(Account::new(AccountName::new("acme").unwrap()))]);
        push(&catalogue, "all", json!({}), None);
        push(&catalogue, "db", json!({ "groups": ["db"] }), None);
        push(&catalogue, "elsewhere", json!({ "instances": ["shop"] }), None);
        push(&catalogue, "nobody", json!({}), Some(0));
        assert!(seen(&catalogue).is_empty() && mark(&catalogue, NODE).is_empty(), "nothing lives there");
        // One that a node makes up is meant by nothing that asks for something.
        put(&catalogue, 7, json!({}));
        let one = |name: &str| (name.to_owned(), true, false);
        assert_eq!(seen(&catalogue), [one("all"), one("nobody")]);
        let next = ArtifactDigest::of(b"nobody two");
        let has = |sha256: &ArtifactDigest| {
            placed_on(&catalogue, NODE, |_| true)
                .iter()
                .flat_map(|(_, placed)| placed)
                .any(|placed| placed.names(sha256))
        };
        assert!(has(&ArtifactDigest::of(b"nobody one")) && !has(&next), "a version that none there runs");
        assert!(!has(&ArtifactDigest::of(b"db one")));
        // What selectors look at moves the mark, and what they mean.
        let before = mark(&catalogue, NODE);
        assert_eq!(before, mark(&catalogue, NODE));
        put(&catalogue, 7, json!({ "groups": ["db"] }));
        assert_ne!(mark(&catalogue, NODE), before);
        assert_eq!(seen(&catalogue), [one("all"), one("db"), one("nobody")]);
        for away in [json!({ "state": "gone", "groups": ["db"] }), json!({ "rivals": [], "groups": ["db"] })] {
            put(&catalogue, 7, away);
            assert!(seen(&catalogue).is_empty());
        }
    }

    #[test]
    fn of_a_rollout_a_node_has_the_versions_that_its_instances_run() {
        let catalogue = Catalogue::default();
        catalogue.apply([Change::Account(Account::new(AccountName::new("acme").unwrap()))]);
        push(&catalogue, "web", json!({}), Some(50));
        let name = sonde_inventory::SensorName::new("web").unwrap();
        let find = |is_next| (1..1000).find(|id| is_among(50, &name, Uuid::from_u128(*id)) == is_next).unwrap();
        put(&catalogue, find(true), json!({}));
        assert_eq!(seen(&catalogue), [("web".to_owned(), false, true)]);
        put(&catalogue, find(false), json!({}));
        assert_eq!(seen(&catalogue), [("web".to_owned(), true, true)]);
    }
}
