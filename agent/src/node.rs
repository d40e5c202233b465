//! The node as a target: read like an instance, at the scrape and not oftener than the floor.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sonde_collect::Roots;
use sonde_collect::node::{self, NodeReading};
use tokio::sync::oneshot;

use crate::floor::{Floor, Scraper};
use crate::gate::READ_DEADLINE;
use crate::reading_threads::ReadingThreads;

/// A reading of the node and when it was taken.
pub struct TakenNode {
    pub reading: NodeReading,
    pub at: Instant,
}

/// Reads the node for whoever asks.
pub struct NodeGate {
    roots: Arc<Roots>,
    inner: Mutex<(Floor, Option<Arc<TakenNode>>)>,
}

impl NodeGate {
    pub fn new(roots: Arc<Roots>) -> Self {
        Self { roots, inner: Mutex::default() }
    }

    /// A reading for `scraper`; the last where it may not have its own, or the kernel takes too long. `None` if there is neither.
    pub async fn read(
        &self,
        scraper: Scraper,
        floor: Duration,
        wait: Duration,
        threads: &ReadingThreads,
    ) -> Option<Arc<TakenNode>> {
        let last = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = inner.0.admits(scraper, floor, Instant::now());
            match &inner.1 {
                Some(last) if !fresh => return Some(last.clone()),
                last => last.clone(),
            }
        };
        let roots = self.roots.clone();
        let (landing, landed) = oneshot::channel();
        threads.run(Box::new(move || {
            let at = Instant::now();
            let _ = landing.send(Arc::new(TakenNode { reading: node::read(&roots), at }));
        }));
        match tokio::time::timeout(wait.min(READ_DEADLINE), landed).await {
            Ok(Ok(taken)) => {
                self.inner.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(taken.clone());
                Some(taken)
            }
            _ => last,
        }
    }
}
