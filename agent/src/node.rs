//! The node as a target: read like an instance, at the scrape, once for all who ask, and not oftener than the floor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_collect::Roots;
use sonde_collect::node::{NodeFiles, NodeReading};
use sonde_collect::space::{NodeSpace, SpacePool};

use crate::floor::Scraper;
use crate::gate::flight::{Ask, Flights};
use crate::reading_threads::ReadingThreads;

/// A reading of the node and when it was taken.
pub struct TakenNode {
    pub reading: NodeReading,
    pub at: Instant,
}

/// Reads the node for whoever asks.
pub struct NodeGate {
    files: Arc<NodeFiles>,
    roots: Arc<Roots>,
    flights: Flights<Arc<TakenNode>>,
    space: Arc<NodeSpace>,
}

impl NodeGate {
    pub fn new(roots: Arc<Roots>) -> Self {
        // Threads of its own: what instances' file systems do to theirs is no matter of the node's.
        let space = Arc::new(NodeSpace::new(SpacePool::default()));
        Self { files: Arc::new(NodeFiles::open(roots.clone())), roots, flights: Flights::default(), space }
    }

    /// A reading for `scraper`; the last where it may not have its own, or the kernel takes too long. `None` if there is neither.
    pub async fn read(
        &self,
        scraper: Scraper,
        floor: Duration,
        wait: Duration,
        threads: &ReadingThreads,
    ) -> Option<Arc<TakenNode>> {
        let (files, roots, space) = (self.files.clone(), self.roots.clone(), self.space.clone());
        let take = move |_| {
            let at = Instant::now();
            let mut reading = files.read();
            reading.look_at_space(&roots, &space);
            Arc::new(TakenNode { reading, at })
        };
        self.flights.read(Ask { scraper, owner: None, floor, wait }, threads, take).await
    }
}
