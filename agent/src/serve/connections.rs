//! Who is connected: bounded in number, and the one that has been quiet longest makes room.
//!
//! Refusing the newest would let anybody who opens connections and says nothing make the agent deaf; so
//! the oldest silence ends instead, and a scraper that is put out comes back with its next scrape.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::about::About;

/// Connections at once, if there are descriptors for so many. A Prometheus keeps one a target open.
const CONNECTIONS: usize = 4096;
/// Of the descriptors that the process may have, connections take this part at most: readings keep files open in half of them.
const PART: u64 = 4;

/// All open connections.
pub(super) struct Connections {
    inner: Mutex<Inner>,
    most: usize,
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
    /// Of a process that may have so many descriptors.
    pub(super) fn fitting(descriptors: u64) -> Self {
        Self::of(usize::try_from(descriptors / PART).unwrap_or(CONNECTIONS).clamp(1, CONNECTIONS))
    }

    /// At most so many.
    pub(super) fn of(most: usize) -> Self {
        Self { inner: Mutex::default(), most }
    }

    /// A place for a new connection, another one's if there is none free.
    pub(super) fn admit(self: &Arc<Self>, about: &About) -> Place {
        let mut inner = self.lock();
        if inner.open.len() >= self.most {
            inner.put_out_quietest(about);
        }
        let id = inner.next;
        inner.next += 1;
        let (end, put_out) = oneshot::channel();
        inner.open.insert(id, Open { heard: Instant::now(), _end: end });
        Place { id, connections: self.clone(), put_out }
    }

    /// Ends the quietest connection: its descriptor is wanted.
    pub(super) fn put_out_quietest(&self, about: &About) {
        self.lock().put_out_quietest(about);
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

impl Inner {
    fn put_out_quietest(&mut self, about: &About) {
        if let Some(quietest) = self.open.iter().min_by_key(|(_, open)| open.heard).map(|(id, _)| *id) {
            self.open.remove(&quietest);
            about.connections_refused.add(1);
        }
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
        const MOST: usize = 100;
        let (connections, about) = (Arc::new(Connections::of(MOST)), About::default());
        let mut places: Vec<Place> = (0..MOST).map(|_| connections.admit(&about)).collect();
        connections.heard(places[0].id);
        let newest = connections.admit(&about);
        assert!(places[0].put_out.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        assert!(places[1].put_out.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        drop(places);
        assert_eq!(connections.lock().open.len(), 1);
        drop(newest);
        assert!(connections.lock().open.is_empty());
    }

    #[test]
    fn there_are_no_more_than_descriptors_for_them() {
        assert_eq!(Connections::fitting(16_384).most, CONNECTIONS);
        assert_eq!(Connections::fitting(1_000_000).most, CONNECTIONS);
        assert_eq!(Connections::fitting(256).most, 64);
        assert_eq!(Connections::fitting(0).most, 1);
    }
}
