//! Where records are kept: in a file of one proxy, or in etcd for several.
//!
//! Whoever changes records reads them from a [`Catalogue`] that follows the store, and says with each write what he read. A write, done or refused for
//! a conflict, returns when the catalogue has what decided it, so whoever tries again reads what he lost to.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::catalogue::Catalogue;
use crate::embedded::Embedded;
#[cfg(feature = "etcd")]
use crate::etcd::Etcd;
use crate::write::{MOST_WRITES, Write, WriteError};

/// How long a node counts as speaking after it has: three of its beats, and short of what a scrape may take.
pub const LEASE: Duration = Duration::from_secs(10);

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the inventory {} cannot be made", path.display())]
    Create { path: PathBuf, source: std::io::Error },
    #[error("another process holds the inventory {}: stop that one, or give this one a folder of its own", path.display())]
    Taken { path: PathBuf },
    #[error("the inventory {} cannot be opened", path.display())]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error("the inventory {} was written by a newer version (format {format}): use that one", path.display())]
    Newer { path: PathBuf, format: u64 },
    #[error("the inventory cannot be read")]
    Read { source: Box<redb::Error> },
    #[error("the record of {what} in the inventory cannot be read")]
    Record { what: String, source: serde_json::Error },
    #[error("the thread that holds the inventory cannot be started")]
    Thread { source: std::io::Error },
    #[error("the inventory was closed")]
    Closed,
    #[cfg(feature = "etcd")]
    #[error("etcd cannot be used: {why}")]
    Etcd { why: String },
}

/// How current a catalogue is that follows the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    #[default]
    Current,
    /// What is served is what was known then.
    Behind { since: Instant, why: String },
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("the inventory is current"),
            Self::Behind { since, why } => {
                let age = since.elapsed().as_secs();
                write!(f, "the inventory is as it was {age} s ago: {why}")
            }
        }
    }
}

/// Changes that were asked of a store since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    pub done: u64,
    /// Not made, because a record was not any more as whoever asked had read it: he asks again.
    pub conflicts: u64,
    /// Not made, because the store could not; also where it could not be told that a node speaks.
    pub failed: u64,
}

/// Counts them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: AtomicU64,
    conflicts: AtomicU64,
    failed: AtomicU64,
    damaged: AtomicU64,
}

impl Tally {
    /// Notes how many artifacts cannot be told of, and says it when that changes.
    #[cfg(feature = "etcd")]
    pub(crate) fn damaged(&self, count: u64) {
        let before = self.damaged.swap(count, Ordering::Relaxed);
        if count > 0 && count != before {
            tracing::error!(
                count,
                "artifacts in the store are damaged and are given to nobody, until they are pushed again"
            );
        }
    }

    fn wrote(&self, outcome: &Result<(), WriteError>) {
        let counter = match outcome {
            Ok(()) => &self.done,
            Err(WriteError::Conflict { .. }) => &self.conflicts,
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(feature = "etcd")]
    fn heard(&self, outcome: &Result<(), WriteError>) {
        self.failed.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
    }

    fn read(&self) -> Changes {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Changes { done: read(&self.done), conflicts: read(&self.conflicts), failed: read(&self.failed) }
    }
}

/// See the module.
#[derive(Clone)]
pub enum Store {
    Embedded(Embedded),
    #[cfg(feature = "etcd")]
    Etcd(Etcd),
}

impl Store {
    /// Fills a catalogue with all there is, and keeps it current from then on. With etcd it returns at once, and the catalogue is synced when
    /// etcd has answered.
    ///
    /// # Errors
    /// A record cannot be read, or the store was closed.
    pub async fn follow(&self, catalogue: Arc<Catalogue>) -> Result<(), StoreError> {
        match self {
            Self::Embedded(embedded) => embedded.follow(catalogue).await,
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd) => etcd.follow(catalogue),
        }
    }

    /// Makes all of the changes, or none: at most [`MOST_WRITES`].
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write(&self, writes: Vec<Write>) -> Result<(), WriteError> {
        if writes.len() > MOST_WRITES {
            return Err(WriteError::TooMany);
        }
        if writes.is_empty() {
            return Ok(());
        }
        let outcome = match self {
            Self::Embedded(embedded) => embedded.write(writes).await,
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd) => etcd.write(writes).await,
        };
        self.tally().wrote(&outcome);
        outcome
    }

    /// A node has spoken: it is reachable from now on, for [`LEASE`].
    ///
    /// # Errors
    /// Nobody can be told of it now.
    pub async fn heard(&self, node: Uuid) -> Result<(), WriteError> {
        match self {
            Self::Embedded(embedded) => {
                embedded.heard(node);
                Ok(())
            }
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd) => {
                let outcome = etcd.heard(node).await;
                self.tally().heard(&outcome);
                outcome
            }
        }
    }

    /// What became of the changes that were asked of it.
    pub fn changes(&self) -> Changes {
        self.tally().read()
    }

    /// Artifacts in etcd that were damaged when all were last looked at: a proxy's sweep does. An embedded store that is damaged does not open.
    pub fn damaged_artifacts(&self) -> u64 {
        self.tally().damaged.load(Ordering::Relaxed)
    }

    fn tally(&self) -> &Tally {
        match self {
            Self::Embedded(embedded) => embedded.tally(),
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd) => etcd.tally(),
        }
    }

    /// Whether what is served is current.
    pub fn health(&self) -> Health {
        match self {
            Self::Embedded(embedded) => embedded.health(),
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd) => etcd.health(),
        }
    }

    /// Lets go of what it holds; returns when that is free for another.
    pub async fn close(&self) {
        match self {
            Self::Embedded(embedded) => embedded.close().await,
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd) => etcd.close().await,
        }
    }
}
