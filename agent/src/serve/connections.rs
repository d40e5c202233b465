//! Who is connected: bounded in number, and the one that has been quiet longest makes room.
//!
//! Refusing the newest would let anybody who opens connections and says nothing make the agent deaf; so
//! the oldest silence ends instead, and a scraper that is put out comes back with its next scrape.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::about::About;

/// Connections at once. A Prometheus keeps one a target open.
const CONNECTIONS: usize = 4096;

/// All open connections.
#[derive(Default)]
pub(super) struct Connections {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    open: HashMap<u64, Open>,
}

struct Open {
    heard: Instant,
    /// Dropped to end the connection.
    _end: oneshot::Sender<()>,
}

/// A place among the connections; leaving it frees the place.
pub(super) struct Place {
    pub(super) id: u64,
    connections: Arc<Connections>,
    /// Resolves when the place is given to another.
    pub(super) put_out: oneshot::Receiver<()>,
}

impl Connections {
    /// A place for a new connection, another one's if there is none free.
    pub(super) fn admit(self: &Arc<Self>, about: &About) -> Place {
        let mut inner = self.lock();
        if inner.open.len() >= CONNECTIONS
            && let Some(quietest) = inner.open.iter().min_by_key(|(_, open)| open.heard).map(|(id, _)| *id)
        {
            inner.open.remove(&quietest);
            about.connections_refused.add(1);
        }
        let id = inner.next;
        inner.next += 1;
        let (end, put_out) = oneshot::channel();
        inner.open.insert(id, Open { heard: Instant::now(), _end: end });
        Place { id, connections: self.clone(), put_out }
    }

    /// Notes that a connection has asked for something.
    pub(super) fn heard(&self, id: u64) {
        if let Some(open) = self.lock().open.get_mut(&id) {
            open.heard = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quietest_makes_room() {
        let (connections, about) = (Arc::new(Connections::default()), About::default());
        let mut places: Vec<Place> = (0..CONNECTIONS).map(|_| connections.admit(&about)).collect();
        connections.heard(places[0].id);
        let newest = connections.admit(&about);
        assert!(places[0].put_out.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        assert!(places[1].put_out.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        drop(places);
        assert_eq!(connections.lock().open.len(), 1);
        drop(newest);
        assert!(connections.lock().open.is_empty());
    }
}
