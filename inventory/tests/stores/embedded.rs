//! The file: who may hold it, what survives, and who wins.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sonde_inventory::{Catalogue, Embedded, Health, Record, Store, StoreError, Write, WriteError};
use uuid::Uuid;

use crate::records::{account, instance, node, until};

/// Says to a process of this test that it is the one which is killed, and where its file is.
const VICTIM: &str = "SONDE_TEST_INVENTORY_VICTIM";

async fn open(path: &Path) -> (Store, Arc<Catalogue>) {
    let store = Store::Embedded(Embedded::open(path).unwrap());
    let catalogue = Arc::new(Catalogue::default());
    store.follow(catalogue.clone()).await.unwrap();
    (store, catalogue)
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_for_this_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.redb");
    let (store, catalogue) = open(&path).await;
    assert!(catalogue.is_synced());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let writes =
        vec![Write::put(None, account("acme")), Write::put(None, node(1)), Write::put(None, instance(7, "acme"))];
    store.write(writes).await.unwrap();
    assert_eq!(catalogue.counts(), (1, 1, 1), "known when it is written");
    let known = catalogue.instance(Uuid::from_u128(7)).unwrap();
    store.write(vec![Write::remove(Record::Instance(known))]).await.unwrap();
    store.close().await;
    assert!(matches!(store.write(vec![Write::put(None, node(2))]).await, Err(WriteError::Unavailable { .. })));
    let (store, catalogue) = open(&path).await;
    assert_eq!(catalogue.counts(), (1, 1, 0));
    assert_eq!(store.health(), Health::Current);
}

#[tokio::test]
async fn a_second_holder_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.redb");
    let (_store, _) = open(&path).await;
    let error = Embedded::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Taken { .. }), "{error}");
    assert!(error.to_string().contains("another process holds"), "{error}");
}

#[tokio::test]
async fn of_two_that_read_the_same_one_wins_and_all_of_the_others_changes_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let (store, catalogue) = open(&folder.path().join("i")).await;
    store.write(vec![Write::put(None, instance(7, "a"))]).await.unwrap();
    let read = || Some(Record::Instance(catalogue.instance(Uuid::from_u128(7)).unwrap()));
    let was = read();
    let first = store.write(vec![Write::put(was.clone(), instance(7, "b"))]);
    let second = store.write(vec![Write::put(None, node(1)), Write::put(was, instance(7, "c"))]);
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok());
    assert!(matches!(second, Err(WriteError::Conflict { .. })), "{second:?}");
    assert_eq!(catalogue.counts(), (0, 0, 1), "all or nothing");
    assert_eq!(catalogue.instance(Uuid::from_u128(7)).unwrap().owner.as_str(), "b");
    store.write(vec![Write::put(read(), instance(7, "c"))]).await.unwrap();
    assert!(matches!(store.write(vec![Write::put(None, instance(7, "d"))]).await, Err(WriteError::Conflict { .. })));
    let many = (0..101).map(|n| Write::put(None, node(n))).collect();
    assert!(matches!(store.write(many).await, Err(WriteError::TooMany)));
}

#[tokio::test]
async fn a_node_speaks_for_a_lease_and_after_a_restart_has_one_to_be_heard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("i");
    let (store, catalogue) = open(&path).await;
    store.write(vec![Write::put(None, node(1))]).await.unwrap();
    assert!(!catalogue.is_reachable(Uuid::from_u128(1)));
    store.heard(Uuid::from_u128(1)).await.unwrap();
    assert!(catalogue.is_reachable(Uuid::from_u128(1)));
    store.close().await;
    let (_store, catalogue) = open(&path).await;
    assert!(catalogue.is_reachable(Uuid::from_u128(1)), "nobody knows better yet");
}

#[tokio::test]
async fn what_is_no_inventory_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("i");
    std::fs::write(&path, "x".repeat(100_000)).unwrap();
    let error = Embedded::open(&path).err().unwrap();
    assert!(error.to_string().contains("cannot be opened"), "{error}");
}

/// Writes without end until it is killed; of no consequence where nobody asked for it.
#[tokio::test]
async fn victim() {
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let (store, _) = open(Path::new(&path)).await;
    for n in 0_u128.. {
        store.write(vec![Write::put(None, node(n)), Write::put(None, instance(n, "acme"))]).await.unwrap();
        println!("written {n}");
    }
}

#[tokio::test]
async fn killed_it_has_all_that_it_said_it_had_and_nothing_by_halves() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("i");
    let mut written = None;
    for round in 0..3_u128 {
        let _ = std::fs::remove_file(&path);
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["embedded::victim", "--exact", "--nocapture"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(victim.stdout.take().unwrap());
        for line in said.lines() {
            let line = line.unwrap();
            let Some(n) = line.strip_prefix("written ") else { continue };
            written = n.parse::<u128>().ok();
            if written >= Some(20 + round * 7) {
                break;
            }
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        let last = written.expect("it wrote something");
        let (store, catalogue) = open(&path).await;
        let (_, nodes, instances) = catalogue.counts();
        assert_eq!(nodes, instances, "of a transaction that was cut off nothing is there");
        assert!(nodes as u128 > last, "{nodes} of {last} that were said to be there");
        store.write(vec![Write::put(None, account("acme"))]).await.unwrap();
        until(&catalogue, "written after it", |catalogue| catalogue.counts().0 == 1).await;
        store.close().await;
    }
}

#[tokio::test]
async fn artifacts_live_as_long_as_they_are_referred_to_and_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.redb");
    let (store, catalogue) = open(&path).await;
    crate::artifacts::are_dropped_by_who_is_current_and_has_looked_twice(&store, &catalogue).await;
    crate::artifacts::live_as_long_as_they_are_referred_to(&store, &catalogue).await;
    let bytes = crate::artifacts::large();
    let sha256 = store.put_artifact(bytes.clone(), 1).await.unwrap();
    let sensor = crate::artifacts::sensor("a", "web", sha256, bytes.len());
    store.write(vec![Write::put(None, sensor.clone())]).await.unwrap();
    store.close().await;
    let (store, catalogue) = open(&path).await;
    assert_eq!(
        catalogue.sensors_of(&sensor.account).iter().map(|known| (**known).clone()).collect::<Vec<_>>(),
        [sensor]
    );
    assert_eq!(crate::artifacts::swept(&store, &catalogue, u64::MAX).await, 0);
    assert_eq!(store.artifact(sha256).await.unwrap(), Some(bytes));
}
