use super::*;
use crate::change::Change;
use crate::model::{Instance, State};

const A: Uuid = Uuid::from_u128(0xa);
const X: Uuid = Uuid::from_u128(7);

fn instance(state: State, ended_at_ms: Option<u64>) -> Instance {
    let json = serde_json::json!({ "id": X, "node": A, "owner": "acme", "ended_at_ms": ended_at_ms });
    Instance { state, ..serde_json::from_value(json).unwrap() }
}

fn node() -> Node {
    serde_json::from_value(serde_json::json!({ "id": A, "url": "https://a:1" })).unwrap()
}

fn swept(catalogue: &Catalogue, now_ms: u64) {
    // One that has looked for longer than it must.
    let (mut silence, now) = (Silence::default(), Instant::now());
    silence.look(catalogue, now);
    let writes = sweep(catalogue, now_ms, &silence, now + SEEN_SILENT);
    catalogue.apply(writes.into_iter().map(Write::into_change));
}

#[test]
fn what_is_gone_is_known_for_fifteen_minutes() {
    let catalogue = Catalogue::default();
    catalogue.apply([Change::Instance(instance(State::Gone, Some(1000)))]);
    swept(&catalogue, 1000 + KEEP_GONE_MS);
    assert!(catalogue.instance(X).is_some());
    swept(&catalogue, 1001 + KEEP_GONE_MS);
    assert!(catalogue.instance(X).is_none());
    catalogue.apply([Change::Instance(instance(State::Stopped, Some(1000)))]);
    swept(&catalogue, 1001 + KEEP_GONE_MS);
    assert!(catalogue.instance(X).is_some(), "what its node still has is known");
}

#[test]
fn a_silent_node_is_marked_and_keeps_what_it_has_for_a_day() {
    let catalogue = Catalogue::default();
    catalogue.apply([Change::Node(node()), Change::Lease(A), Change::Instance(instance(State::Running, None))]);
    assert!(sweep(&catalogue, 5, &Silence::default(), Instant::now()).is_empty());
    catalogue.apply([Change::Gone(Key::Lease(A))]);
    swept(&catalogue, 5);
    assert_eq!(catalogue.node(A).unwrap().silent_since_ms, Some(5));
    swept(&catalogue, 5 + KEEP_SILENT_MS);
    assert!(catalogue.instance(X).is_some());
    catalogue.apply([Change::Lease(A)]);
    swept(&catalogue, 6 + KEEP_SILENT_MS);
    assert_eq!(catalogue.node(A).unwrap().silent_since_ms, None, "it speaks again");
    catalogue.apply([Change::Gone(Key::Lease(A))]);
    swept(&catalogue, 5);
    swept(&catalogue, 6 + KEEP_SILENT_MS);
    swept(&catalogue, 6 + KEEP_SILENT_MS);
    assert!(catalogue.instance(X).is_none() && catalogue.node(A).is_none());
}

#[test]
fn what_the_operator_said_of_a_node_stays_and_nodes_that_never_report_are_not_silent() {
    let catalogue = Catalogue::default();
    catalogue.apply([Change::Node(Node { accounts: Some(vec![]), silent_since_ms: Some(0), ..node() })]);
    swept(&catalogue, 1 + KEEP_SILENT_MS);
    assert!(catalogue.node(A).is_some());
    catalogue.apply([Change::Node(Node { is_cmon: true, ..node() })]);
    swept(&catalogue, 1 + KEEP_SILENT_MS);
    assert_eq!(catalogue.node(A).unwrap().silent_since_ms, None);
}

#[test]
fn a_clock_that_jumps_takes_nobody_away() {
    let catalogue = Catalogue::default();
    catalogue.apply([Change::Node(node()), Change::Instance(instance(State::Running, None))]);
    let (mut silence, now) = (Silence::default(), Instant::now());
    let sweep = |silence: &Silence, now_ms, now| {
        catalogue.apply(sweep(&catalogue, now_ms, silence, now).into_iter().map(Write::into_change));
    };
    silence.look(&catalogue, now);
    sweep(&silence, 5, now);
    sweep(&silence, 6 + KEEP_SILENT_MS, now + Duration::from_secs(1));
    assert!(catalogue.instance(X).is_some(), "it was silent for a second");
    // Each time that it speaks the wait begins anew.
    catalogue.apply([Change::Lease(A)]);
    silence.look(&catalogue, now + SEEN_SILENT / 2);
    catalogue.apply([Change::Gone(Key::Lease(A))]);
    silence.look(&catalogue, now + SEEN_SILENT / 2);
    sweep(&silence, 6 + KEEP_SILENT_MS, now + SEEN_SILENT);
    assert!(catalogue.instance(X).is_some());
    sweep(&silence, 6 + KEEP_SILENT_MS, now + SEEN_SILENT * 2);
    assert!(catalogue.instance(X).is_none());
}

#[test]
fn sensors_without_an_owner_hold_up_nothing_and_go_a_few_at_once() {
    let catalogue = Catalogue::default();
    let sensor = |n: usize| {
        let version = serde_json::json!({ "sha256": "0".repeat(64), "bytes": 1, "pushed_at_ms": 1 });
        let json = serde_json::json!({ "account": "acme", "name": format!("s{n}"), "current": version });
        Change::Sensor(serde_json::from_value(json).unwrap())
    };
    catalogue.apply((0..=MOST).map(sensor));
    catalogue.apply([Change::Node(node()), Change::Instance(instance(State::Gone, Some(1000)))]);
    let writes = sweep(&catalogue, 1001 + KEEP_GONE_MS, &Silence::default(), Instant::now());
    assert_eq!(writes.len(), MOST);
    let parts = parts(writes);
    let keys = |part: &[Write]| part.iter().map(|write| write.key.clone()).collect::<Vec<_>>();
    assert_eq!(
        keys(&parts[0]),
        [Key::Instance(X), Key::Node(A)],
        "more sensors than one sweep takes are after the rest"
    );
    assert!(parts[1..].iter().all(|part| part.len() <= MOST_SENSORS));
    assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), MOST);
    parts.into_iter().flatten().for_each(|write| catalogue.apply([write.into_change()]));
    swept(&catalogue, 1001 + KEEP_GONE_MS);
    assert!(catalogue.ownerless_sensors().is_empty());
}
