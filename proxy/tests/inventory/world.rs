//! A store in a folder of its own, and a catalogue that follows it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_inventory::{Catalogue, Embedded, Store};

/// What waits longer than this has gone wrong.
const DEADLINE: Duration = Duration::from_secs(30);

pub struct World {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub catalogue: Arc<Catalogue>,
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::Embedded(Embedded::open(&folder.path().join("inventory.redb")).unwrap());
        let catalogue = Arc::new(Catalogue::default());
        store.follow(catalogue.clone()).await.unwrap();
        Self { folder, store, catalogue }
    }

    pub async fn until(&self, what: &str, is_so: impl Fn(&Catalogue) -> bool) {
        let mut moves = self.catalogue.revisions();
        let began = Instant::now();
        while !is_so(&self.catalogue) {
            let left = DEADLINE.checked_sub(began.elapsed()).unwrap_or_default();
            assert!(tokio::time::timeout(left, moves.changed()).await.is_ok(), "not within {DEADLINE:?}: {what}");
        }
    }
}
