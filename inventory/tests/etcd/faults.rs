//! What goes wrong with etcd, and what is served meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::Client;
use sonde_inventory::etcd::EtcdSettings;
use sonde_inventory::{Catalogue, Health, Record, Store, Write, WriteError};
use uuid::Uuid;

use crate::cluster::{Cluster, DEADLINE, Relay};
use crate::records::{account, instance, node, until};
use crate::sharing::follow;

/// Waits until a write is taken.
async fn written(store: &Store, catalogue: &Arc<Catalogue>, n: u128) {
    let began = Instant::now();
    loop {
        let was = catalogue.instance(Uuid::from_u128(n)).map(Record::Instance);
        match store.write(vec![Write::put(was, instance(n, "acme"))]).await {
            Ok(()) => return,
            Err(error) => assert!(began.elapsed() < DEADLINE, "no write is taken: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn until_health(store: &Store, what: &str, is_so: impl Fn(&Health) -> bool) {
    let began = Instant::now();
    while !is_so(&store.health()) {
        assert!(began.elapsed() < DEADLINE, "not {what}: {:?}", store.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_while_cut_off_it_reads_anew_and_what_ended_is_purged() {
    let cluster = Cluster::start(1).await;
    let relay = Relay::to(cluster.address(0)).await;
    let (cut_off, catalogue) = follow(EtcdSettings { endpoints: vec![relay.url.clone()], ..cluster.settings() }).await;
    let (writer, writers) = follow(cluster.settings()).await;
    until(&writers, "synced", Catalogue::is_synced).await;
    for n in 0..5 {
        written(&writer, &writers, n).await;
    }
    until(&catalogue, "all five", |catalogue| catalogue.counts().2 == 5).await;
    until_health(&cut_off, "current", |health| *health == Health::Current).await;
    relay.cut();
    until_health(&cut_off, "behind", |health| *health != Health::Current).await;
    assert!(cut_off.health().to_string().contains("as it was"), "{}", cut_off.health());
    for n in 0..3 {
        let known = writers.instance(Uuid::from_u128(n)).unwrap();
        writer.write(vec![Write::remove(Record::Instance(known))]).await.unwrap();
    }
    written(&writer, &writers, 100).await;
    let mut client = Client::connect(cluster.endpoints(), None).await.unwrap();
    let revision = client.get("x", None).await.unwrap().header().unwrap().revision();
    client.compact(revision, None).await.unwrap();
    assert_eq!(catalogue.counts().2, 5, "what was known is still known");
    let refused = cut_off.write(vec![Write::put(None, node(9))]).await;
    assert!(matches!(refused, Err(WriteError::Unavailable { .. })), "{refused:?}");
    relay.heal();
    until(&catalogue, "what there is now", |catalogue| catalogue.counts().2 == 3).await;
    assert!(catalogue.instance(Uuid::from_u128(0)).is_none() && catalogue.instance(Uuid::from_u128(100)).is_some());
    until_health(&cut_off, "current again", |health| *health == Health::Current).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_for_a_while_nothing_is_missed() {
    let cluster = Cluster::start(1).await;
    let relay = Relay::to(cluster.address(0)).await;
    let (_store, catalogue) = follow(EtcdSettings { endpoints: vec![relay.url.clone()], ..cluster.settings() }).await;
    let (writer, writers) = follow(cluster.settings()).await;
    until(&writers, "synced", Catalogue::is_synced).await;
    for n in 0..60_u128 {
        match n % 20 {
            5 => relay.cut(),
            15 => relay.heal(),
            _ => {}
        }
        written(&writer, &writers, n).await;
        if n % 3 == 0 {
            let known = writers.instance(Uuid::from_u128(n)).unwrap();
            writer.write(vec![Write::remove(Record::Instance(known))]).await.unwrap();
        }
    }
    until(&catalogue, "what the writer has", |catalogue| catalogue.counts() == writers.counts()).await;
    for n in 0..60 {
        assert_eq!(catalogue.instance(Uuid::from_u128(n)).is_some(), n % 3 != 0, "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_lost_and_come_back() {
    let mut cluster = Cluster::start(3).await;
    let (store, catalogue) = follow(cluster.settings()).await;
    until(&catalogue, "synced", Catalogue::is_synced).await;
    written(&store, &catalogue, 1).await;
    // Each of them in turn, so also the one that is used and the one that leads.
    for at in 0..3_u128 {
        cluster.kill(at as usize);
        written(&store, &catalogue, 10 + at).await;
        cluster.start_member(at as usize);
        cluster.wait().await;
    }
    until(&catalogue, "everything", |catalogue| catalogue.counts().2 == 4).await;

    // No quorum: what was known is served and said to be old, and changes are refused in a sentence.
    cluster.kill(0);
    cluster.kill(1);
    until_health(&store, "behind", |health| *health != Health::Current).await;
    assert_eq!(catalogue.counts().2, 4);
    let refused = store.write(vec![Write::put(None, account("acme"))]).await.unwrap_err();
    assert!(matches!(refused, WriteError::Unavailable { .. }), "{refused:?}");
    assert!(refused.to_string().contains("takes no changes now"), "{refused}");
    assert!(store.heard(Uuid::from_u128(1)).await.is_err());
    cluster.start_member(0);
    written(&store, &catalogue, 20).await;
    until_health(&store, "current", |health| *health == Health::Current).await;
    assert_eq!(catalogue.counts().2, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_restarted_and_nothing_is_lost() {
    let mut cluster = Cluster::start(1).await;
    let (store, catalogue) = follow(cluster.settings()).await;
    until(&catalogue, "synced", Catalogue::is_synced).await;
    written(&store, &catalogue, 1).await;
    store.heard(Uuid::from_u128(5)).await.unwrap();
    cluster.kill(0);
    until_health(&store, "behind", |health| *health != Health::Current).await;
    cluster.start_member(0);
    cluster.wait().await;
    written(&store, &catalogue, 2).await;
    assert_eq!(catalogue.counts().2, 2);
    store.heard(Uuid::from_u128(5)).await.unwrap();
    assert!(catalogue.is_reachable(Uuid::from_u128(5)));
    until_health(&store, "current", |health| *health == Health::Current).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_left_out_and_holds_up_nothing() {
    let cluster = Cluster::start(1).await;
    let mut client = Client::connect(cluster.endpoints(), None).await.unwrap();
    client.put("/sonde/v1/instances/00000000-0000-0000-0000-000000000007", "{", None).await.unwrap();
    client.put("/sonde/v1/other/x", "{", None).await.unwrap();
    let (store, catalogue) = follow(cluster.settings()).await;
    until(&catalogue, "synced", Catalogue::is_synced).await;
    written(&store, &catalogue, 1).await;
    client.put("/sonde/v1/nodes/00000000-0000-0000-0000-000000000008", "[]", None).await.unwrap();
    written(&store, &catalogue, 2).await;
    assert_eq!(catalogue.counts(), (0, 0, 2));
}
