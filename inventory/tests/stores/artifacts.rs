//! Artifacts: one copy, whole, until nobody refers to it; the same of both stores.

use std::sync::Arc;

use sonde_inventory::artifacts::{UNREFERRED_MS, Unreferred};
use sonde_inventory::{ArtifactDigest, Catalogue, PushedSensor, Record, Store, Write};

/// A moment, in ms since 1970.
const THEN: u64 = 1_700_000_000_000;
const LATER: u64 = THEN + UNREFERRED_MS;

pub fn sensor(account: &str, name: &str, sha256: ArtifactDigest, bytes: usize) -> PushedSensor {
    let version = serde_json::json!({ "sha256": sha256, "bytes": bytes, "pushed_at_ms": THEN });
    let json = serde_json::json!({ "account": account, "name": name, "current": version });
    serde_json::from_value(json).unwrap()
}

/// Larger than a request of etcd's may be, and not a whole number of pieces.
pub fn large() -> Arc<Vec<u8>> {
    Arc::new((0..3_000_001_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect())
}

/// What is dropped by two sweeps.
pub async fn swept(store: &Store, catalogue: &Catalogue, now_ms: u64) -> usize {
    let mut last = Unreferred::default();
    let first = store.sweep_artifacts(catalogue, now_ms, &mut last).await.unwrap();
    assert_eq!(first, 0, "the first only looks");
    store.sweep_artifacts(catalogue, now_ms, &mut last).await.unwrap()
}

/// The catalogue is synced and has no sensor; the store has no artifact.
pub async fn are_dropped_by_who_is_current_and_has_looked_twice(store: &Store, catalogue: &Arc<Catalogue>) {
    let (bytes, others) = (Arc::new(b"one".to_vec()), Arc::new(b"another".to_vec()));
    let sha256 = store.put_artifact(bytes.clone(), THEN).await.unwrap();
    let another = store.put_artifact(others.clone(), THEN).await.unwrap();
    assert_eq!(swept(store, &Catalogue::default(), LATER).await, 0, "a catalogue that knows nothing");
    // At the second look one is referred to, by a record that came late.
    let mut last = Unreferred::default();
    assert_eq!(store.sweep_artifacts(catalogue, LATER, &mut last).await.unwrap(), 0);
    let late = sensor("a", "late", sha256, bytes.len());
    store.write(vec![Write::put(None, late.clone())]).await.unwrap();
    assert_eq!(store.sweep_artifacts(catalogue, LATER, &mut last).await.unwrap(), 1, "the other");
    assert!(store.has_artifact(sha256).await.unwrap() && !store.has_artifact(another).await.unwrap());
    // A look by who is not current is none: what was seen before it does not count.
    store.write(vec![Write::remove(Record::from(late))]).await.unwrap();
    assert_eq!(store.sweep_artifacts(catalogue, LATER, &mut last).await.unwrap(), 0);
    assert_eq!(store.sweep_artifacts(&Catalogue::default(), LATER, &mut last).await.unwrap(), 0);
    assert_eq!(store.sweep_artifacts(catalogue, LATER, &mut last).await.unwrap(), 0);
    // Nor does one before it was put anew.
    store.put_artifact(bytes, THEN + 1).await.unwrap();
    assert_eq!(store.sweep_artifacts(catalogue, LATER + 1, &mut last).await.unwrap(), 0);
    assert_eq!(store.sweep_artifacts(catalogue, LATER + 1, &mut last).await.unwrap(), 1);
    assert!(store.artifacts().await.unwrap().is_empty());
}

pub async fn live_as_long_as_they_are_referred_to(store: &Store, catalogue: &Arc<Catalogue>) {
    let bytes = large();
    let sha256 = store.put_artifact(bytes.clone(), THEN).await.unwrap();
    assert_eq!(sha256, ArtifactDigest::of(&bytes));
    let small = store.put_artifact(Arc::new(b"small".to_vec()), THEN).await.unwrap();
    assert_eq!(store.artifact(sha256).await.unwrap().as_deref(), Some(&*bytes));
    assert_eq!(store.artifact(ArtifactDigest::of(b"other")).await.unwrap(), None);
    assert!(
        store.has_artifact(small).await.unwrap() && !store.has_artifact(ArtifactDigest::of(b"other")).await.unwrap()
    );
    // Two accounts with one artifact: one copy.
    let (ones, others) = (sensor("a", "web", sha256, bytes.len()), sensor("b", "web", sha256, bytes.len()));
    store.write(vec![Write::put(None, ones.clone()), Write::put(None, others.clone())]).await.unwrap();
    store.put_artifact(bytes.clone(), THEN).await.unwrap();
    assert_eq!(store.artifacts().await.unwrap().len(), 2);
    // What nobody refers to lies for a while: its record may be on its way.
    assert_eq!(swept(store, catalogue, LATER - 1).await, 0);
    assert_eq!(swept(store, catalogue, LATER).await, 1);
    assert_eq!(store.artifact(small).await.unwrap(), None);
    store.write(vec![Write::remove(Record::from(ones))]).await.unwrap();
    assert_eq!(swept(store, catalogue, LATER).await, 0, "another has it still");
    store.write(vec![Write::remove(Record::from(others))]).await.unwrap();
    // Pushed once more just before it would have gone.
    store.put_artifact(bytes.clone(), LATER - 1).await.unwrap();
    assert_eq!(swept(store, catalogue, LATER).await, 0);
    assert_eq!(store.artifact(sha256).await.unwrap().as_deref(), Some(&*bytes));
    assert_eq!(swept(store, catalogue, LATER + UNREFERRED_MS).await, 1);
    assert!(store.artifacts().await.unwrap().is_empty() && store.artifact(sha256).await.unwrap().is_none());
}
