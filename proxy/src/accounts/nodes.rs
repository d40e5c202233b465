//! What the operator says of nodes: which accounts may run there, and that one is no more.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use sonde_inventory::report::{About, Refused, Report};
use sonde_inventory::{AccountName, Claim, Node, Record, Write, WriteError, merge};
use uuid::Uuid;

use super::{AccountError, Accounts, MOST_ATTEMPTS};

/// Accounts that a node may be kept for; a node for more is for all.
const MOST_ACCOUNTS: usize = 10_000;

/// A node whose agent is cmon's, which reports nothing, and all that runs there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CmonNode {
    pub hostname: String,
    /// `http://HOST:PORT`.
    pub url: String,
    #[serde(default)]
    pub instances: Vec<Claim>,
}

impl Accounts {
    /// Says what runs on a node of cmon's, in place of what was said before; returns what was not taken. The rules are those of a report.
    pub async fn set_cmon_node(&self, id: Uuid, cmon: CmonNode) -> Result<Vec<Refused>, AccountError> {
        let full = Some(About { hostname: cmon.hostname, url: cmon.url });
        let report = Report {
            node: id,
            session: Uuid::nil(),
            sequence: 1,
            full,
            instances: cmon.instances,
            ended: vec![],
            sensors: None,
        };
        report.check().map_err(|error| AccountError::Invalid(error.to_string()))?;
        for _ in 0..MOST_ATTEMPTS {
            let was = self.catalogue()?.node(id);
            if was.as_ref().is_some_and(|node| !node.is_cmon && self.catalogue.is_reachable(id)) {
                return Err(AccountError::Invalid(format!("node {id} reports by itself")));
            }
            let node = Node { is_cmon: true, ..was.as_deref().cloned().unwrap_or_else(|| unknown(id)) };
            let marked = match was {
                Some(was) if *was == node => Ok(()),
                was => self.store.write(vec![Write::put(was.map(Record::Node), node)]).await,
            };
            let merged = merge(id, &report, self.catalogue()?, now_ms());
            let mut outcome = marked;
            for part in merged.writes.chunks(sonde_inventory::write::MOST_WRITES) {
                if outcome.is_ok() {
                    outcome = self.store.write(part.to_vec()).await;
                }
            }
            match outcome {
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    tracing::info!(node = %id, instances = report.instances.len(), "what runs on a node of cmon's was set");
                    return Ok(merged.refused);
                }
            }
        }
        Err(WriteError::Unavailable { why: format!("node {id} changes all the time") }.into())
    }

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
            let mut node = was.as_deref().cloned().unwrap_or_else(|| unknown(id));
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
        if catalogue.is_reachable(id) && !catalogue.node(id).is_some_and(|node| node.is_cmon) {
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

/// The record of a node that has not said anything.
fn unknown(id: Uuid) -> Node {
    Node {
        id,
        hostname: String::new(),
        url: String::new(),
        accounts: None,
        is_cmon: false,
        silent_since_ms: None,
        sensors: vec![],
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
