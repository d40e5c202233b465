//! What the operator says of nodes: which accounts may run there, and that one is no more.

use std::sync::Arc;

use sonde_inventory::{AccountName, Node, Record, Write, WriteError};
use uuid::Uuid;

use super::{AccountError, Accounts, MOST_ATTEMPTS};

/// Accounts that a node may be kept for; a node for more is for all.
const MOST_ACCOUNTS: usize = 10_000;

impl Accounts {
    /// All nodes, by id, and whether each speaks.
    pub fn nodes(&self) -> Result<Vec<(Arc<Node>, bool)>, AccountError> {
        let catalogue = self.catalogue()?;
        Ok(catalogue.nodes().into_iter().map(|node| (node.clone(), catalogue.is_reachable(node.id))).collect())
    }

    /// Says which accounts may run on a node, also of one that has not reported yet; none means all.
    pub async fn allow(&self, id: Uuid, accounts: Option<&[AccountName]>) -> Result<Arc<Node>, AccountError> {
        if accounts.is_some_and(|accounts| accounts.len() > MOST_ACCOUNTS) {
            return Err(AccountError::Invalid(format!("a node is kept for {MOST_ACCOUNTS} accounts at most")));
        }
        for _ in 0..MOST_ATTEMPTS {
            let was = self.catalogue()?.node(id);
            let fresh = || Node {
                id,
                hostname: String::new(),
                url: String::new(),
                accounts: None,
                is_cmon: false,
                silent_since_ms: None,
            };
            let mut node = was.as_deref().cloned().unwrap_or_else(fresh);
            node.accounts = accounts.map(<[AccountName]>::to_vec);
            match self.store.write(vec![Write::put(was.map(Record::Node), node.clone())]).await {
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    tracing::info!(node = %id, accounts = node.accounts.as_ref().map(Vec::len), "who may run on a node was changed");
                    return Ok(Arc::new(node));
                }
            }
        }
        Err(WriteError::Unavailable { why: format!("node {id} changes all the time") }.into())
    }

    /// Forgets a node that does not speak, with what was on it.
    pub async fn forget_node(&self, id: Uuid) -> Result<(), AccountError> {
        let catalogue = self.catalogue()?;
        if catalogue.is_reachable(id) {
            return Err(AccountError::Invalid(format!("node {id} speaks: stop its agent first")));
        }
        let node = catalogue.node(id).ok_or_else(|| AccountError::NotThere(format!("there is no node {id}")))?;
        let instances =
            catalogue.instances_on(id).into_iter().map(|instance| Write::remove(Record::Instance(instance)));
        let writes: Vec<Write> = instances.chain([Write::remove(Record::Node(node))]).collect();
        for part in writes.chunks(sonde_inventory::write::MOST_WRITES) {
            self.store.write(part.to_vec()).await?;
        }
        tracing::info!(node = %id, "a node was forgotten");
        Ok(())
    }
}
