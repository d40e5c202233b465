//! The node as a target: read like an instance, at the scrape, once for all who ask, and not oftener than the floor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_collect::Roots;
use sonde_collect::node::{NodeFiles, NodeReading};

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
    flights: Flights<Arc<TakenNode>>,
}

impl NodeGate {
    pub fn new(roots: Arc<Roots>) -> Self {
        Self { files: Arc::new(NodeFiles::open(roots)), flights: Flights::default() }
    }

    /// A reading for `scraper`; the last where it may not have its own, or the kernel takes too long. `None` if there is neither.
    pub async fn read(
        &self,
        scraper: Scraper,
        floor: Duration,
        wait: Duration,
        threads: &ReadingThreads,
    ) -> Option<Arc<TakenNode>> {
        let files = self.files.clone();
        let take = move |_| {
            let at = Instant::now();
            Arc::new(TakenNode { reading: files.read(), at })
        };
        self.flights.read(Ask { scraper, floor, wait }, threads, take).await
    }
}
