//! Records to write, and waiting for what a catalogue is to have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_inventory::{Account, AccountName, Catalogue, Instance, Node};
use uuid::Uuid;

/// What waits longer than this has gone wrong.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub fn account(name: &str) -> Account {
    Account::new(AccountName::new(name).unwrap())
}

pub fn node(id: u128) -> Node {
    serde_json::from_value(serde_json::json!({ "id": Uuid::from_u128(id), "url": "https://127.0.0.1:1" })).unwrap()
}

pub fn instance(id: u128, owner: &str) -> Instance {
    let json = serde_json::json!({ "id": Uuid::from_u128(id), "node": Uuid::from_u128(1), "owner": owner });
    serde_json::from_value(json).unwrap()
}

/// Waits until the catalogue is so.
pub async fn until(catalogue: &Arc<Catalogue>, what: &str, is_so: impl Fn(&Catalogue) -> bool) {
    let mut moves = catalogue.revisions();
    let began = Instant::now();
    while !is_so(catalogue) {
        let left = DEADLINE.checked_sub(began.elapsed());
        let moved = tokio::time::timeout(left.unwrap_or_default(), moves.changed()).await;
        assert!(matches!(moved, Ok(Ok(()))), "not within {DEADLINE:?}: {what}; there is {:?}", catalogue.counts());
    }
}
