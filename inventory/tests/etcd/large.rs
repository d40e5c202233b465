//! Records of tenants at their largest, and more of them than one message may have.

use std::sync::Arc;

use etcd_client::Client;
use sonde_inventory::sweep::{parts, sweep};
use sonde_inventory::{AccountName, ArtifactDigest, Catalogue, PushedSensor, Record, Silence, Write};

use crate::cluster::{Cluster, Relay};
use crate::records::until;
use crate::sharing::follow;

/// What an account may have, and half of what etcd takes in one record: 70 MB together, where a message may have 64 MiB.
const SENSORS: usize = 100;
const LARGE: usize = 700_000;

fn large(n: usize, bytes: usize) -> PushedSensor {
    let mut sensor = crate::artifacts::sensor("acme", &format!("s{n}"), ArtifactDigest::of(b"x"), 1);
    sensor.current.pushed_by = "x".repeat(bytes);
    sensor
}

async fn put(cluster: &Cluster, bytes: usize) {
    let mut client = Client::connect(cluster.endpoints(), None).await.unwrap();
    for n in 0..SENSORS {
        let json = serde_json::to_vec(&large(n, bytes)).unwrap();
        client.put(format!("/sonde/v1/sensors/acme/s{n}"), json, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_too_large_is_read_in_parts_and_so_is_what_changed_meanwhile() {
    let cluster = Cluster::start(1).await;
    put(&cluster, LARGE).await;
    let relay = Relay::to(cluster.address(0)).await;
    let settings = sonde_inventory::etcd::EtcdSettings { endpoints: vec![relay.url.clone()], ..cluster.settings() };
    let (_store, catalogue) = follow(settings).await;
    let account = AccountName::new("acme").unwrap();
    let all = |bytes: usize, catalogue: &Catalogue| {
        let sensors = catalogue.sensors_of(&account);
        sensors.len() == SENSORS && sensors.iter().all(|sensor| sensor.current.pushed_by.len() == bytes)
    };
    until(&catalogue, "all of them", |catalogue| all(LARGE, catalogue)).await;
    // While it is cut off all of them change: etcd tells that in one message, which is too large too.
    relay.cut();
    put(&cluster, LARGE + 1).await;
    relay.heal();
    until(&catalogue, "all of them as they are now", |catalogue| all(LARGE + 1, catalogue)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sensors_without_an_owner_are_removed_also_where_each_is_large() {
    let cluster = Cluster::start(1).await;
    put(&cluster, LARGE).await;
    let (store, catalogue) = follow(cluster.settings()).await;
    until(&catalogue, "all of them", |catalogue| catalogue.ownerless_sensors().len() == SENSORS).await;
    for part in parts(sweep(&catalogue, 0, &Silence::default(), std::time::Instant::now())) {
        store.write(part).await.unwrap();
    }
    assert!(catalogue.ownerless_sensors().is_empty());
    // As many of the largest that there are, in one transaction.
    put(&cluster, 230_000).await;
    until(&catalogue, "they are back", |catalogue| catalogue.ownerless_sensors().len() == SENSORS).await;
    let all = catalogue.ownerless_sensors();
    let all = all.into_iter().map(|sensor: Arc<PushedSensor>| Write::remove(Record::Sensor(sensor)));
    store.write(all.collect()).await.unwrap();
    assert!(catalogue.ownerless_sensors().is_empty());
}
