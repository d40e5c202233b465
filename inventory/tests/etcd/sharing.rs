//! Two proxies with one inventory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_inventory::change::Snapshot;
use sonde_inventory::etcd::{Etcd, EtcdSettings};
use sonde_inventory::{Catalogue, Health, Record, Store, Write, WriteError};
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::faults::until_health;
use crate::records::{account, instance, node, until};

pub async fn follow(settings: EtcdSettings) -> (Store, Arc<Catalogue>) {
    let store = Store::Etcd(Etcd::new(settings).unwrap());
    let catalogue = Arc::new(Catalogue::default());
    store.follow(catalogue.clone()).await.unwrap();
    (store, catalogue)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_writes_the_other_has() {
    let cluster = Cluster::start(1).await;
    let (one, ones) = follow(cluster.settings()).await;
    let (other, others) = follow(cluster.settings()).await;
    until(&ones, "synced", Catalogue::is_synced).await;
    until(&others, "synced", Catalogue::is_synced).await;
    let writes =
        vec![Write::put(None, account("acme")), Write::put(None, node(1)), Write::put(None, instance(7, "acme"))];
    one.write(writes).await.unwrap();
    assert_eq!(ones.counts(), (1, 1, 1), "who wrote it has it at once");
    until(&others, "the others' records", |catalogue| catalogue.counts() == (1, 1, 1)).await;
    let known = others.instance(Uuid::from_u128(7)).unwrap();
    other.write(vec![Write::remove(Record::Instance(known))]).await.unwrap();
    until(&ones, "it is gone", |catalogue| catalogue.counts() == (1, 1, 0)).await;
    until(&ones, "current", |_| one.health() == Health::Current).await;
    // One that starts later reads it all.
    let (_third, thirds) = follow(cluster.settings()).await;
    until(&thirds, "a snapshot", |catalogue| catalogue.counts() == (1, 1, 0)).await;
    // Another inventory in the same etcd is another.
    let elsewhere = EtcdSettings { prefix: "/sonde2".into(), ..cluster.settings() };
    let (_fourth, fourths) = follow(elsewhere).await;
    until(&fourths, "an empty snapshot", Catalogue::is_synced).await;
    assert_eq!(fourths.counts(), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_read_the_same_one_wins_and_the_other_sees_why() {
    let cluster = Cluster::start(1).await;
    let (one, ones) = follow(cluster.settings()).await;
    let (other, others) = follow(cluster.settings()).await;
    until(&ones, "synced", Catalogue::is_synced).await;
    until(&others, "synced", Catalogue::is_synced).await;
    let mut won = [0, 0];
    for n in 0..20_u128 {
        let (first, second) = tokio::join!(
            one.write(vec![Write::put(None, instance(n, "a")), Write::put(None, node(n))]),
            other.write(vec![Write::put(None, instance(n, "b"))]),
        );
        let winner = match (&first, &second) {
            (Ok(()), Err(WriteError::Conflict { .. })) => "a",
            (Err(WriteError::Conflict { .. }), Ok(())) => "b",
            both => panic!("one of two wins, not {both:?}"),
        };
        won[usize::from(winner == "b")] += 1;
        let id = Uuid::from_u128(n);
        let loser = if winner == "a" { &others } else { &ones };
        assert_eq!(loser.instance(id).unwrap().owner.as_str(), winner, "who lost has what it lost to");
        for catalogue in [&ones, &others] {
            until(catalogue, "the winner's record", |c| c.instance(id).is_some_and(|i| i.owner.as_str() == winner))
                .await;
        }
        assert_eq!(ones.node(Uuid::from_u128(n)).is_some(), winner == "a", "all or nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_speaks_to_every_proxy_while_one_of_them_hears_it() {
    let cluster = Cluster::start(1).await;
    let (one, ones) = follow(cluster.settings()).await;
    let (other, others) = follow(cluster.settings()).await;
    let id = Uuid::from_u128(1);
    until(&ones, "synced", Catalogue::is_synced).await;
    one.heard(id).await.unwrap();
    assert!(ones.is_reachable(id));
    until(&others, "it is heard of", |catalogue| catalogue.is_reachable(id)).await;
    // It goes to the other proxy, and the first one's lease runs out without harm.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(14) {
        other.heard(id).await.unwrap();
        assert!(ones.is_reachable(id) && others.is_reachable(id), "after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Now nobody hears it.
    let began = Instant::now();
    for catalogue in [&ones, &others] {
        until(catalogue, "it is unreachable", |catalogue| !catalogue.is_reachable(id)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(5), "not before its lease has ended: {:?}", began.elapsed());
    one.heard(id).await.unwrap();
    until(&others, "it is back", |catalogue| catalogue.is_reachable(id)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_artifact_is_counted_given_to_nobody_and_mended_by_a_push() {
    let cluster = Cluster::start(1).await;
    let (store, catalogue) = follow(cluster.settings()).await;
    until(&catalogue, "synced", Catalogue::is_synced).await;
    until_health(&store, "current", |health| *health == Health::Current).await;
    let bytes = crate::artifacts::large();
    let sha256 = store.put_artifact(bytes.clone(), 1).await.unwrap();
    let sensor = crate::artifacts::sensor("acme", "web", sha256, bytes.len());
    store.write(vec![Write::put(None, sensor)]).await.unwrap();
    until(&catalogue, "the sensor", |catalogue| catalogue.artifacts().contains(&sha256)).await;
    let mut client = etcd_client::Client::connect(cluster.endpoints(), None).await.unwrap();
    client.put(format!("/sonde/artifacts/v1/{sha256}/about"), "half of", None).await.unwrap();
    assert_eq!(crate::artifacts::swept(&store, &catalogue, u64::MAX).await, 0, "it is referred to");
    assert_eq!(store.damaged_artifacts(), 1);
    assert_eq!((store.artifact(sha256).await.unwrap(), store.has_artifact(sha256).await.unwrap()), (None, false));
    store.put_artifact(bytes.clone(), 2).await.unwrap();
    assert_eq!((store.artifact(sha256).await.unwrap(), store.has_artifact(sha256).await.unwrap()), (Some(bytes), true));
    assert_eq!(crate::artifacts::swept(&store, &catalogue, u64::MAX).await, 0);
    assert_eq!(store.damaged_artifacts(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_are_shared_and_no_watch_hears_of_them() {
    let cluster = Cluster::start(1).await;
    let (one, ones) = follow(cluster.settings()).await;
    let (other, others) = follow(cluster.settings()).await;
    until(&ones, "synced", Catalogue::is_synced).await;
    until(&others, "synced", Catalogue::is_synced).await;
    until_health(&one, "current", |health| *health == Health::Current).await;
    crate::artifacts::are_dropped_by_who_is_current_and_has_looked_twice(&one, &ones).await;
    crate::artifacts::live_as_long_as_they_are_referred_to(&one, &ones).await;
    let revision = *others.revisions().borrow();
    let bytes = crate::artifacts::large();
    let sha256 = one.put_artifact(bytes.clone(), 1).await.unwrap();
    assert_eq!(other.artifact(sha256).await.unwrap(), Some(bytes.clone()));
    let sensor = crate::artifacts::sensor("acme", "web", sha256, bytes.len());
    other.write(vec![Write::put(None, sensor.clone())]).await.unwrap();
    until(&ones, "the sensor", |catalogue| catalogue.sensor(&sensor.account, &sensor.name).is_some()).await;
    assert_eq!(*others.revisions().borrow(), revision + 1, "the record alone was told of");
    // One that starts later has the record, and not a byte of the artifact.
    let (third, thirds) = follow(cluster.settings()).await;
    until(&thirds, "a snapshot", |catalogue| catalogue.artifacts().contains(&sha256)).await;
    assert_eq!(crate::artifacts::swept(&third, &thirds, u64::MAX).await, 0);
    // A catalogue that nobody keeps current refers to nothing, and the store says so.
    let (behind, stale) = (Store::Etcd(Etcd::new(cluster.settings()).unwrap()), Catalogue::default());
    stale.replace(Snapshot::default());
    assert!(stale.is_synced() && behind.health() != Health::Current);
    assert_eq!(crate::artifacts::swept(&behind, &stale, u64::MAX).await, 0);
    assert_eq!(other.artifact(sha256).await.unwrap(), Some(bytes));
}
