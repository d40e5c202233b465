//! What is being sent to nodes: so many artifacts of all, two of a node, and one list of what it is to run.
//!
//! A node that takes no byte of an answer holds a place of its own and one of all, and the answer's memory; so an answer that has not been read in time ends
//! the connection that it is on, whatever else is on it. Places are a node's, and not a connection's: another connection gives no further ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

/// Artifacts to all nodes: 16 MiB each at most.
const ARTIFACTS: usize = 16;
/// Of them to one node. An agent asks for one after the other, and may have come back while one to it hangs.
const ARTIFACTS_OF_NODE: usize = 2;
/// Lists to one node: 64 MiB at most.
const LISTS_OF_NODE: usize = 1;
/// In which an answer is read: the agent waits no longer for an artifact.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// What has a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Artifact,
    List,
}

/// See the module. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Sending(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    artifacts: usize,
    of_node: HashMap<Uuid, OfNode>,
}

#[derive(Default)]
struct OfNode {
    artifacts: usize,
    lists: usize,
}

/// A place, until the answer has gone.
pub(super) struct Place {
    sending: Sending,
    node: Uuid,
    kind: Kind,
}

impl Sending {
    /// A place for an answer to a node, if there is one.
    pub(super) fn place(&self, node: Uuid, kind: Kind) -> Option<Place> {
        let mut state = self.lock();
        let state = &mut *state;
        let has = state.of_node.get(&node);
        let is_full = match kind {
            Kind::Artifact => state.artifacts >= ARTIFACTS || has.is_some_and(|has| has.artifacts >= ARTIFACTS_OF_NODE),
            Kind::List => has.is_some_and(|has| has.lists >= LISTS_OF_NODE),
        };
        if is_full {
            return None;
        }
        let of_node = state.of_node.entry(node).or_default();
        match kind {
            Kind::Artifact => (state.artifacts, of_node.artifacts) = (state.artifacts + 1, of_node.artifacts + 1),
            Kind::List => of_node.lists += 1,
        }
        Some(Place { sending: self.clone(), node, kind })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.sending.lock();
        let state = &mut *state;
        let Some(of_node) = state.of_node.get_mut(&self.node) else { return };
        match self.kind {
            Kind::Artifact => (state.artifacts, of_node.artifacts) = (state.artifacts - 1, of_node.artifacts - 1),
            Kind::List => of_node.lists -= 1,
        }
        if (of_node.artifacts, of_node.lists) == (0, 0) {
            state.of_node.remove(&self.node);
        }
    }
}

/// An answer's bytes, and what is let go with the last of them.
struct Held<T> {
    bytes: Bytes,
    _with: T,
}

impl<T> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes that keep a place until they have gone.
pub(super) fn held(bytes: Bytes, place: Place) -> Bytes {
    Bytes::from_owner(Held { bytes, _with: place })
}

/// Ends a connection on which an answer is not read.
#[derive(Clone, Default)]
pub(super) struct Overdue(Arc<Notify>);

impl Overdue {
    /// Comes when an answer of this connection has not been read in time.
    pub(super) async fn comes(&self) {
        self.0.notified().await;
    }

    /// From now on it is to be read.
    pub(super) fn watch(&self, answer: Response<Bytes>) -> Response<Bytes> {
        if answer.body().is_empty() {
            return answer;
        }
        let (unread, has_gone) = oneshot::channel::<()>();
        let end = self.0.clone();
        tokio::spawn(async move {
            // Dropped with the bytes: nothing is ever sent.
            if tokio::time::timeout(READ_WITHIN, has_gone).await.is_err() {
                end.notify_one();
            }
        });
        answer.map(|bytes| Bytes::from_owner(Held { bytes, _with: unread }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_holds_no_more_than_its_own_places() {
        let sending = Sending::default();
        let node = Uuid::from_u128;
        let hostile: Vec<_> = (0..100).filter_map(|_| sending.place(node(1), Kind::Artifact)).collect();
        assert_eq!(hostile.len(), ARTIFACTS_OF_NODE);
        let list = sending.place(node(1), Kind::List);
        assert!(list.is_some() && sending.place(node(1), Kind::List).is_none(), "one list at once");
        // Others have theirs, to the bound of all.
        let others: Vec<_> = (2..100).filter_map(|n| sending.place(node(n), Kind::Artifact)).collect();
        assert_eq!(hostile.len() + others.len(), ARTIFACTS);
        assert!(sending.place(node(200), Kind::List).is_some(), "lists are not held up by artifacts");
        // What has gone leaves nothing behind.
        drop((hostile, list, others));
        assert!(sending.lock().of_node.is_empty() && sending.lock().artifacts == 0);
        let bytes = held(Bytes::from_static(b"x"), sending.place(node(1), Kind::List).unwrap());
        let part = bytes.slice(..1);
        drop(bytes);
        assert!(sending.place(node(1), Kind::List).is_none(), "a part of it is still on its way");
        drop(part);
        assert!(sending.place(node(1), Kind::List).is_some());
    }
}
