//! The nodes that speak: a key for each, under a lease of etcd's that the proxy renews which hears the node.
//!
//! A renewal is no write to etcd's log, so beats of many nodes cost little. A node that goes to another proxy is put under that one's lease; whose lease
//! holds a key is known from the watch, so the one that is left runs out without harm.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd_client::{Client, LeaseKeepAliveStream, LeaseKeeper, PutOptions};
use uuid::Uuid;

use super::connection::{CallError, words};
use super::{Shared, keys, lock};
use crate::change::Key;
use crate::store::LEASE;

/// How long a renewal may take: it is one message each way.
const RENEW_WITHIN: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Leases {
    /// Whose lease holds each node's key, as etcd says.
    holders: Mutex<HashMap<Uuid, i64>>,
    ours: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<Option<Ours>>>>>,
}

/// A lease of ours, and the stream that renews it.
struct Ours {
    id: i64,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    /// When it was last renewed.
    renewed: Instant,
}

impl Leases {
    pub(super) fn held(&self, node: Uuid, lease: i64) {
        lock(&self.holders).insert(node, lease);
    }

    pub(super) fn freed(&self, node: Uuid) {
        lock(&self.holders).remove(&node);
        // A node that is not heard here any more is forgotten here.
        let mut ours = lock(&self.ours);
        let is_old = |slot: &Arc<tokio::sync::Mutex<Option<Ours>>>| {
            slot.try_lock().is_ok_and(|ours| ours.as_ref().is_none_or(|ours| ours.renewed.elapsed() > LEASE))
        };
        if ours.get(&node).is_some_and(is_old) {
            ours.remove(&node);
        }
    }

    pub(super) fn replace_holders(&self, holders: Vec<(Uuid, i64)>) {
        *lock(&self.holders) = holders.into_iter().collect();
    }

    fn holder(&self, node: Uuid) -> Option<i64> {
        lock(&self.holders).get(&node).copied()
    }
}

/// Renews the lease of a node, or makes one and puts the node's key under it.
pub(super) async fn heard(shared: &Shared, node: Uuid) -> Result<(), CallError> {
    let slot = lock(&shared.leases.ours).entry(node).or_default().clone();
    let mut slot = slot.lock().await;
    if let Some(ours) = slot.as_mut()
        && shared.leases.holder(node) == Some(ours.id)
        && ours.renew().await.is_ok()
    {
        return Ok(());
    }
    *slot = None;
    let key = keys::name(&shared.prefix, &Key::Lease(node));
    let made = shared.connection.call(|client| begin(client, key.clone())).await?;
    let (ours, revision) = made;
    // So that the next beat finds it held, even where the watch is late.
    shared.leases.held(node, ours.id);
    *slot = Some(ours);
    let mut seen = shared.seen.subscribe();
    let _ = tokio::time::timeout(super::SEEN_WITHIN, seen.wait_for(|seen| *seen >= revision)).await;
    Ok(())
}

async fn begin(mut client: Client, key: String) -> Result<(Ours, i64), etcd_client::Error> {
    let seconds = i64::try_from(LEASE.as_secs()).unwrap_or(i64::MAX);
    let id = client.lease_grant(seconds, None).await?.id();
    let (keeper, answers) = client.lease_keep_alive(id).await?;
    let put = client.put(key, "{}", Some(PutOptions::new().with_lease(id))).await?;
    let revision = put.header().map_or(0, |header| header.revision());
    Ok((Ours { id, keeper, answers, renewed: Instant::now() }, revision))
}

impl Ours {
    async fn renew(&mut self) -> Result<(), String> {
        let renewing = async {
            self.keeper.keep_alive().await.map_err(|error| words(&error))?;
            match self.answers.message().await {
                Ok(Some(answer)) if answer.ttl() > 0 => Ok(()),
                Ok(_) => Err("the lease has ended".to_owned()),
                Err(error) => Err(words(&error)),
            }
        };
        let renewed = tokio::time::timeout(RENEW_WITHIN, renewing).await;
        renewed.unwrap_or_else(|_| Err("no answer in time".to_owned()))?;
        self.renewed = Instant::now();
        Ok(())
    }
}
