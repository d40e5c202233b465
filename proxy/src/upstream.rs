//! Asking agents: pooled connections, one deadline, and no node at another's cost.
//!
//! Each node has its own link: connections, places in flight, a circuit. A node that cannot be reached, or whose agent takes connections and does not
//! speak, is asked no more until a probe has heard it, so its tenants learn which it is at once and nobody waits behind it. A request that was begun is abandoned at the scraper's deadline and never
//! later. Requests are made anew from what was checked; no header of a scraper's passes by itself. Plain HTTP goes to
//! loopback, and to agents that the operator says speak as cmon-agent did; never elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::response::Parts;
use sonde_inventory::{AccountName, Catalogue, Node};
use sonde_listen::tier::TierAuthority;
use uuid::Uuid;

mod circuit;
mod gathering;
mod life;
mod link;
mod pool;
mod reply;
mod slots;
mod target;

use link::Link;
pub use reply::{Cut, ReplyBody};

/// Makes the TLS that proves who we are to a node, and takes nobody for it but the node itself; and says whose certificates go on counting.
pub type NodeTls = Arc<dyn Fn(Uuid) -> Result<(Arc<rustls::ClientConfig>, Arc<TierAuthority>), String> + Send + Sync>;

/// Of the time that is left, a scrape waits at most this part for a place at its node: then the answer still has time.
const WAITING_PART: u32 = 2;

/// Why there is no answer of an agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the node cannot be reached")]
    Unreachable,
    #[error("the agent has not answered in time")]
    Slow,
    #[error("the node has as many scrapes as it takes")]
    Busy,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    /// Whose place in flight it takes.
    pub account: AccountName,
    pub deadline: Instant,
}

/// An answer whose body still comes.
#[derive(Debug)]
pub struct Reply {
    pub parts: Parts,
    pub body: ReplyBody,
}

/// All nodes' links.
pub struct Upstream {
    tls: Option<NodeTls>,
    per_node: u32,
    links: Mutex<HashMap<Uuid, Arc<Link>>>,
}

/// How the links are, for the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    pub nodes: usize,
    /// Nodes that cannot be reached, and those whose agents take connections and do not speak.
    pub unreachable: usize,
    pub slow: usize,
    pub connections: usize,
    pub in_flight: u32,
}

impl Upstream {
    /// With at most so many scrapes of one node at once. Without TLS only what is plain can be asked.
    pub fn new(tls: Option<NodeTls>, per_node: u32) -> Self {
        Self { tls, per_node, links: Mutex::default() }
    }

    /// Asks a node's agent.
    ///
    /// # Errors
    /// Nothing came back by the deadline, or nothing can.
    pub async fn ask(&self, node: &Arc<Node>, question: &Question) -> Result<Reply, Fault> {
        let link = self.link(node).ok_or(Fault::Unreachable)?;
        if let Some(fault) = link.verdict() {
            return Err(fault);
        }
        let left = question.deadline.saturating_duration_since(Instant::now());
        let place = link.slots.take(&question.account, left / WAITING_PART).await.ok_or(Fault::Busy)?;
        let asked = link.ask(question);
        match tokio::time::timeout_at(question.deadline.into(), asked).await {
            Ok(Ok((response, line))) => {
                let (parts, incoming) = response.into_parts();
                Ok(Reply { parts, body: link.replies.begin(incoming, line, &link, place, question.deadline) })
            }
            Ok(Err(fault)) => Err(fault),
            Err(_) => {
                link.suspect();
                Err(Fault::Slow)
            }
        }
    }

    /// A node's link; made anew where its record says another address than before.
    fn link(&self, node: &Arc<Node>) -> Option<Arc<Link>> {
        let mut links = self.lock();
        if let Some(link) = links.get(&node.id).filter(|link| link.is_to(node)) {
            return Some(link.clone());
        }
        match Link::new(node, self.tls.clone(), self.per_node) {
            Ok(link) => {
                let link = Arc::new(link);
                links.insert(node.id, link.clone());
                Some(link)
            }
            Err(error) => {
                tracing::debug!(node = %node.id, %error, "a node cannot be asked");
                None
            }
        }
    }

    /// Whether nobody can reach a node, as far as is known.
    pub fn is_unreachable(&self, node: Uuid) -> bool {
        self.lock().get(&node).is_some_and(|link| link.verdict() == Some(Fault::Unreachable))
    }

    /// Lets go of nodes that are not in the catalogue any more, and of connections that nobody uses.
    pub fn sweep(&self, catalogue: &Catalogue) {
        let mut links = self.lock();
        links.retain(|id, _| catalogue.node(*id).is_some());
        links.values().for_each(|link| link.sweep());
    }

    /// Takes back what is held for scrapers whose time is over. To be called each second.
    pub fn end_late(&self, now: Instant) {
        // Not under the lock of all links: what is taken back is given back to them.
        let links: Vec<Arc<Link>> = self.lock().values().cloned().collect();
        links.iter().for_each(|link| link.replies.end_late(now));
    }

    pub fn facts(&self) -> Facts {
        let links = self.lock();
        links.values().fold(Facts::default(), |facts, link| Facts {
            nodes: facts.nodes + 1,
            unreachable: facts.unreachable + usize::from(link.verdict() == Some(Fault::Unreachable)),
            slow: facts.slow + usize::from(link.verdict() == Some(Fault::Slow)),
            connections: facts.connections + link.connections(),
            in_flight: facts.in_flight + link.slots.taken(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So long a connection may take, and then TLS on it: two nodes of one cloud take milliseconds.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "upstream/tests.rs"]
mod tests;
