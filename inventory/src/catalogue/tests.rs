//! Look-ups, and what follows from a change.

use super::*;
use crate::model::Token;

fn name(name: &str) -> AccountName {
    AccountName::new(name).unwrap()
}

fn instance(id: u128, owner: &str) -> Instance {
    let json = serde_json::json!({ "id": Uuid::from_u128(id), "node": Uuid::from_u128(1), "owner": owner });
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_moved_instance_is_no_more_its_former_owners() {
    let catalogue = Catalogue::default();
    assert!(!catalogue.is_synced());
    catalogue.replace(Snapshot { instances: vec![instance(7, "a"), instance(6, "a")], ..Snapshot::default() });
    assert!(catalogue.is_synced());
    let ids = |owner| catalogue.instances_of(&name(owner)).iter().map(|i| i.id.as_u128()).collect::<Vec<_>>();
    assert_eq!(ids("a"), [6, 7]);
    catalogue.apply([Change::Instance(instance(7, "b"))]);
    assert_eq!((ids("a"), ids("b")), (vec![6], vec![7]));
    catalogue.apply([Change::Gone(Key::Instance(Uuid::from_u128(6)))]);
    assert_eq!(ids("a"), []);
    assert_eq!(catalogue.instances_on(Uuid::from_u128(1)).len(), 1);
}

#[test]
fn a_snapshot_purges_what_is_not_in_it() {
    let catalogue = Catalogue::default();
    catalogue.apply([Change::Instance(instance(7, "a")), Change::Account(Account::new(name("a")))]);
    catalogue.replace(Snapshot::default());
    assert_eq!(catalogue.counts(), (0, 0, 0));
    assert!(catalogue.instances_of(&name("a")).is_empty());
}

#[test]
fn a_token_taken_away_leads_nowhere() {
    let catalogue = Catalogue::default();
    let token = Token { id: "t".into(), sha256: "ab".into(), scopes: vec![], groups: None, not_after: None };
    let account = Account { tokens: vec![token], ..Account::new(name("a")) };
    catalogue.apply([Change::Account(account)]);
    assert_eq!(catalogue.account_of_token("ab").unwrap().name, name("a"));
    catalogue.apply([Change::Account(Account::new(name("a")))]);
    assert!(catalogue.account_of_token("ab").is_none());
}

fn sensor(account: &str, sensor: &str, bytes: &[u8]) -> PushedSensor {
    let version = serde_json::json!({ "sha256": ArtifactDigest::of(bytes), "bytes": bytes.len(), "pushed_at_ms": 1 });
    let json = serde_json::json!({ "account": account, "name": sensor, "current": version });
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_node_is_assigned_what_owners_there_pushed_and_the_mark_says_when_that_changes() {
    let catalogue = Catalogue::default();
    let node = Uuid::from_u128(1);
    let mut marks = vec![catalogue.assignment_mark(node)];
    assert_eq!(marks[0], "");
    let mut moves = |change: Change, is_other: bool, why: &str| {
        catalogue.apply([change]);
        let mark = catalogue.assignment_mark(node);
        assert_eq!(marks.last() != Some(&mark), is_other, "{why}");
        marks.push(mark);
    };
    moves(Change::Account(Account::new(name("a"))), false, "nothing is pushed");
    moves(Change::Sensor(sensor("a", "web", b"1")), false, "it has nothing there");
    moves(Change::Instance(instance(7, "a")), true, "now it has");
    moves(Change::Sensor(sensor("a", "web", b"2")), true, "another artifact");
    moves(Change::Sensor(sensor("b", "web", b"3")), false, "another's");
    moves(Change::Instance(instance(8, "b")), false, "one without an account");
    let twice = Instance { rivals: Some(Box::new([])), ..instance(9, "a") };
    moves(Change::Instance(twice), false, "the owner is there already");
    moves(Change::Gone(Key::Account(name("a"))), true, "an account that is removed runs nothing");
    moves(Change::Account(Account::new(name("a"))), true, "it is back");
    let gone = Instance { state: State::Gone, ..instance(7, "a") };
    moves(Change::Instance(gone), true, "what is gone, or claimed twice, is none");
    assert_eq!(catalogue.assignment_mark(node), "");
    assert_eq!(catalogue.ownerless_sensors().len(), 1);
    assert_eq!(catalogue.artifacts().len(), 2);
    catalogue.apply([Change::Gone(Key::Sensor(name("a"), SensorName::new("web").unwrap()))]);
    assert!(catalogue.sensors_of(&name("a")).is_empty());
    // The same at a proxy that read it all at once.
    let (one, other) = (Catalogue::default(), Catalogue::default());
    let sensors = || vec![sensor("a", "web", b"1"), sensor("a", "db", b"2")];
    let snapshot = |sensors| Snapshot {
        accounts: vec![Account::new(name("a"))],
        instances: vec![instance(7, "a")],
        sensors,
        ..Snapshot::default()
    };
    one.replace(snapshot(sensors()));
    other.replace(snapshot(vec![]));
    other.apply(sensors().into_iter().rev().map(Change::Sensor));
    assert_eq!(one.assignment_mark(node), other.assignment_mark(node));
}

/// Marking all of an account's sensors with each of them would take minutes here.
const LONG: std::time::Duration = std::time::Duration::from_secs(20);

#[test]
fn many_sensors_of_one_account_are_each_marked_once() {
    let pushed = || (0..4000).map(|n| sensor("a", &format!("s{n}"), b"1"));
    let began = std::time::Instant::now();
    let (one, other) = (Catalogue::default(), Catalogue::default());
    one.replace(Snapshot { sensors: pushed().collect(), ..Snapshot::default() });
    other.apply(pushed().map(Change::Sensor));
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    for catalogue in [&one, &other] {
        catalogue.apply([Change::Account(Account::new(name("a"))), Change::Instance(instance(7, "a"))]);
    }
    let node = Uuid::from_u128(1);
    let mark = one.assignment_mark(node);
    assert_eq!(mark, other.assignment_mark(node));
    // One of them changed, and changed back; then all of them are gone at once.
    one.apply([Change::Sensor(sensor("a", "s7", b"2"))]);
    assert_ne!(mark, one.assignment_mark(node));
    one.apply([Change::Sensor(sensor("a", "s7", b"1"))]);
    assert_eq!(mark, one.assignment_mark(node));
    one.apply(pushed().map(|sensor| Change::Gone(Key::Sensor(sensor.account, sensor.name))));
    assert_eq!(one.assignment_mark(node), "");
}
