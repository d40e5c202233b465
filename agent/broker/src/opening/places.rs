//! How much of the node's blocking work one instance may hold.
//!
//! To open a file below an instance's root, to list its processes or its sockets can block for as long as a stuck file
//! system likes, and a thread that blocks in the kernel cannot be ended. So each such piece of work takes a place: one of its
//! instance's, one of its owner's and one of the node's, in that order, so that who waits behind a stuck instance holds nobody
//! else's place. A place is free again within microseconds unless what holds it is stuck, so the wait is short and then refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use sonde_host::BrokerError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Places of the node: threads that may be at work, or stuck, at once.
const OF_NODE: usize = 32;
/// Of one owner's instances: a quarter is left to others, whatever one of them does.
const OF_OWNER: usize = 24;
/// Of one instance.
const OF_INSTANCE: usize = 4;
/// Longest wait for a place: thousands of times what the work takes, and a small part of a run's time.
const WAIT: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Instance(Uuid),
    Owner(Arc<str>),
}

/// The places for one kind of work.
pub(super) struct Places {
    node: Arc<Semaphore>,
    /// Of those who hold or wait for a place now.
    holders: Mutex<HashMap<Holder, Weak<Semaphore>>>,
}

/// A place held; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permits: [OwnedSemaphorePermit; 3],
}

impl Default for Places {
    fn default() -> Self {
        Self { node: Arc::new(Semaphore::new(OF_NODE)), holders: Mutex::default() }
    }
}

impl Places {
    /// Waits for a place, until `deadline` and not long.
    ///
    /// # Errors
    /// [`BrokerError::Other`] with a sentence that says whose places are taken.
    pub(super) async fn take(&self, instance: Uuid, owner: &Arc<str>, deadline: Instant) -> Result<Place, BrokerError> {
        let until = deadline.min(Instant::now() + WAIT);
        let instance = self.of(Holder::Instance(instance), OF_INSTANCE);
        let owner = self.of(Holder::Owner(owner.clone()), OF_OWNER);
        let instance = permit(instance, until, "the instance").await?;
        let owner = permit(owner, until, "the instance's owner").await?;
        let node = permit(self.node.clone(), until, "the node").await?;
        Ok(Place { _permits: [instance, owner, node] })
    }

    fn of(&self, holder: Holder, most: usize) -> Arc<Semaphore> {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = holders.get(&holder).and_then(Weak::upgrade) {
            return known;
        }
        holders.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(most));
        holders.insert(holder, Arc::downgrade(&places));
        places
    }
}

async fn permit(places: Arc<Semaphore>, until: Instant, whose: &str) -> Result<OwnedSemaphorePermit, BrokerError> {
    match tokio::time::timeout_at(until.into(), places.acquire_owned()).await {
        Ok(permit) => Ok(permit.expect("nobody closes the semaphore")),
        Err(_) => {
            Err(BrokerError::Other(format!("too much is being opened or listed for {whose} that does not get done")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn one_instance_and_one_owner_cannot_hold_all() {
        let places = Places::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut held = Vec::new();
        for number in 0..OF_OWNER / OF_INSTANCE {
            for _ in 0..OF_INSTANCE {
                held.push(places.take(instance(number as u128), &a, soon()).await.unwrap());
            }
        }
        let words = |place: Result<Place, BrokerError>| place.unwrap_err().to_string();
        assert!(words(places.take(instance(0), &a, soon()).await).contains("for the instance that"));
        assert!(words(places.take(instance(99), &a, soon()).await).contains("the instance's owner"));
        let mut others = Vec::new();
        for number in 0..OF_NODE - OF_OWNER {
            others.push(places.take(instance(100 + number as u128), &b, soon()).await.unwrap());
        }
        assert!(words(places.take(instance(200), &b, soon()).await).contains("the node"));
        held.pop();
        places.take(instance(200), &b, soon()).await.unwrap();
        drop((held, others));
        places.take(instance(0), &a, Instant::now()).await.unwrap();
        assert!(places.holders.lock().unwrap().len() <= 2, "who holds nothing is forgotten");
    }
}
