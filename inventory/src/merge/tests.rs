//! Each way in which two nodes can say something of one instance.

use super::*;
use crate::change::{Change, Key};
use crate::names::AccountName;
use crate::report::About;

const A: Uuid = Uuid::from_u128(0xa);
const B: Uuid = Uuid::from_u128(0xb);
const X: Uuid = Uuid::from_u128(7);
const NOW: u64 = 1_000_000;

fn claim(id: Uuid, owner: &str, state: State) -> Claim {
    Claim { state, ..serde_json::from_value(serde_json::json!({ "id": id, "owner": owner })).unwrap() }
}

fn full(node: Uuid, instances: Vec<Claim>) -> Report {
    let full = Some(About { hostname: "h".into(), url: "https://h:1".into() });
    Report { node, session: Uuid::nil(), sequence: 1, full, instances, ended: vec![], sensors: None }
}

fn diff(node: Uuid, instances: Vec<Claim>, ended: &[Uuid]) -> Report {
    let ended = ended.iter().map(|id| Ended { id: *id, reason: REMOVED.into() }).collect();
    Report { full: None, ended, ..full(node, instances) }
}

/// A catalogue that takes what a report changes, with both nodes speaking.
struct World(Catalogue);

impl World {
    fn new() -> Self {
        let catalogue = Catalogue::default();
        catalogue.apply([Change::Lease(A), Change::Lease(B)]);
        Self(catalogue)
    }

    fn hear(&self, report: &Report) -> Merged {
        let merged = merge(report.node, report, &self.0, NOW);
        self.0.apply(merged.writes.iter().cloned().map(Write::into_change));
        let again = merge(report.node, report, &self.0, NOW);
        assert!(again.writes.is_empty(), "said twice, it changes something twice: {:?}", again.writes);
        assert!(again.newly_claimed_twice.is_empty());
        merged
    }

    fn x(&self) -> Arc<Instance> {
        self.0.instance(X).unwrap()
    }

    fn silence(&self, node: Uuid) {
        self.0.apply([Change::Gone(Key::Lease(node))]);
        let writes = crate::sweep(&self.0, NOW, &crate::Silence::default(), std::time::Instant::now());
        self.0.apply(writes.into_iter().map(Write::into_change));
    }
}

#[test]
fn births_changes_and_deaths() {
    let world = World::new();
    world.hear(&full(A, vec![claim(X, "acme", State::Running)]));
    assert_eq!((world.x().node, world.x().ended_at_ms, world.x().owner_epoch), (A, None, 0));
    assert_eq!(world.0.node(A).unwrap().url, "https://h:1");
    world.hear(&diff(A, vec![claim(X, "acme", State::Stopped)], &[]));
    assert_eq!((world.x().state, world.x().ended_at_ms), (State::Stopped, Some(NOW)));
    world.hear(&diff(A, vec![claim(X, "acme", State::Running)], &[]));
    assert_eq!(world.x().ended_at_ms, None);
    world.hear(&diff(A, vec![], &[X]));
    assert_eq!((world.x().state, world.x().reasons.as_slice()), (State::Gone, [REMOVED.to_owned()].as_slice()));
    world.hear(&full(A, vec![claim(X, "acme", State::Running)]));
    assert_eq!(world.x().state, State::Running);
    world.hear(&full(A, vec![]));
    assert_eq!(world.x().state, State::Gone);
}

#[test]
fn another_owner_is_another_epoch() {
    let world = World::new();
    world.hear(&full(A, vec![claim(X, "acme", State::Running)]));
    world.hear(&diff(A, vec![claim(X, "bank", State::Running)], &[]));
    assert_eq!((world.x().owner.as_str(), world.x().owner_epoch), ("bank", 1));
    world.hear(&diff(A, vec![], &[X]));
    world.hear(&full(B, vec![claim(X, "acme", State::Running)]));
    assert_eq!((world.x().owner.as_str(), world.x().owner_epoch, world.x().node), ("acme", 2, B));
}

#[test]
fn an_account_that_may_not_run_there_is_refused_and_the_rest_counts() {
    let world = World::new();
    let may = AccountName::new("acme").unwrap();
    let node = Node {
        id: A,
        hostname: String::new(),
        url: String::new(),
        accounts: Some(vec![may]),
        is_cmon: false,
        silent_since_ms: None,
        sensors: vec![],
    };
    world.0.apply([Change::Node(node)]);
    let other = Uuid::from_u128(8);
    let merged = world.hear(&full(A, vec![claim(X, "bank", State::Running), claim(other, "acme", State::Running)]));
    assert_eq!(merged.refused.iter().map(|refused| refused.id).collect::<Vec<_>>(), [X]);
    assert!(world.0.instance(X).is_none() && world.0.instance(other).is_some());
    assert!(world.0.node(A).unwrap().accounts.is_some(), "a node does not widen what it may");
    // One that changes hands to an account that may not run there is nobody's there.
    let merged = world.hear(&full(A, vec![claim(other, "bank", State::Running)]));
    assert_eq!(merged.refused.len(), 1);
    assert_eq!(
        (world.0.instance(other).unwrap().state, world.0.instance(other).unwrap().owner.as_str()),
        (State::Gone, "acme")
    );
}

#[test]
fn two_live_claims_are_kept_and_the_first_to_end_leaves_the_other() {
    let world = World::new();
    world.hear(&full(A, vec![claim(X, "acme", State::Running)]));
    let merged = world.hear(&full(B, vec![claim(X, "bank", State::Running)]));
    assert_eq!(merged.newly_claimed_twice, [X]);
    assert_eq!(merged.refused.len(), 1);
    assert!(world.x().is_claimed_twice());
    assert_eq!((world.x().node, world.x().owner.as_str()), (A, "acme"), "the second gains nothing by it");
    // What the first says of it meanwhile changes nothing of that.
    world.hear(&diff(A, vec![claim(X, "acme", State::Saturated)], &[]));
    assert!(world.x().is_claimed_twice());
    world.hear(&diff(A, vec![], &[X]));
    assert_eq!((world.x().node, world.x().owner.as_str(), world.x().owner_epoch), (B, "bank", 1));
    assert!(!world.x().is_claimed_twice() && world.0.claimed_twice().is_empty());
    assert_eq!(world.x().state, State::Running);
}

#[test]
fn a_claim_that_is_withdrawn_leaves_the_first() {
    for withdraws in [diff(B, vec![], &[X]), full(B, vec![]), diff(B, vec![claim(X, "acme", State::Stopped)], &[])] {
        let world = World::new();
        world.hear(&full(A, vec![claim(X, "acme", State::Running)]));
        world.hear(&full(B, vec![claim(X, "acme", State::Running)]));
        assert!(world.x().is_claimed_twice());
        world.hear(&withdraws);
        assert!(!world.x().is_claimed_twice(), "{withdraws:?}");
        assert_eq!(world.x().node, A);
    }
}

#[test]
fn one_that_moves_counts_at_once_when_the_old_node_has_ended_it_or_is_silent() {
    let world = World::new();
    world.hear(&full(A, vec![claim(X, "acme", State::Running)]));
    world.hear(&diff(A, vec![claim(X, "acme", State::Stopped)], &[]));
    world.hear(&diff(B, vec![claim(X, "acme", State::Running)], &[]));
    assert_eq!((world.x().node, world.x().is_claimed_twice()), (B, false));
    // The old node still has what is left of it, and says so: no claim.
    world.hear(&full(A, vec![claim(X, "acme", State::Stopped)]));
    assert_eq!((world.x().node, world.x().state), (B, State::Running));

    let world = World::new();
    world.hear(&full(A, vec![claim(X, "acme", State::Running)]));
    world.silence(A);
    assert_eq!((world.x().node, world.x().state), (A, State::Running), "known as it was last");
    world.hear(&full(B, vec![claim(X, "acme", State::Running)]));
    assert_eq!((world.x().node, world.x().is_claimed_twice()), (B, false));
    // It was only cut off, and comes back with it.
    world.0.apply([Change::Lease(A)]);
    world.hear(&full(A, vec![claim(X, "acme", State::Running)]));
    assert_eq!((world.x().node, world.x().is_claimed_twice()), (B, true));
    world.silence(A);
    assert_eq!((world.x().node, world.x().is_claimed_twice()), (B, false));
}

#[test]
fn when_the_first_of_two_falls_silent_the_second_counts() {
    let world = World::new();
    world.hear(&full(A, vec![claim(X, "acme", State::Running)]));
    world.hear(&full(B, vec![claim(X, "acme", State::Running)]));
    world.silence(A);
    assert_eq!((world.x().node, world.x().is_claimed_twice()), (B, false));
}

#[test]
fn a_node_cannot_end_or_change_what_is_on_another() {
    let world = World::new();
    world.hear(&full(A, vec![claim(X, "acme", State::Running)]));
    for report in [
        diff(B, vec![], &[X]),
        full(B, vec![]),
        full(B, vec![claim(X, "bank", State::Gone)]),
        full(B, vec![claim(X, "bank", State::Stopped)]),
    ] {
        let merged = world.hear(&report);
        assert!(merged.writes.iter().all(|write| write.instance().is_none()), "{report:?}");
    }
    assert_eq!((world.x().owner.as_str(), world.x().state), ("acme", State::Running));
}

#[test]
fn new_ones_without_end_push_out_the_gone_and_nothing_else() {
    let world = World::new();
    let many =
        |from: u128| (0..MOST_INSTANCES as u128).map(move |n| claim(Uuid::from_u128(from + n), "acme", State::Running));
    for round in 0..4 {
        let report = full(A, many(1000 + round * 100_000).collect());
        let merged = merge(A, &report, &world.0, NOW + round as u64);
        world.0.apply(merged.writes.into_iter().map(Write::into_change));
        let all = world.0.instances_on(A);
        assert!(all.len() <= MOST_KEPT, "{}", all.len());
        assert_eq!(all.iter().filter(|instance| instance.state.is_alive()).count(), MOST_INSTANCES);
    }
}
