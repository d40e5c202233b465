//! The store of several proxies: records under a prefix in etcd, the nodes that speak under a lease each.
//!
//! A catalogue begins with a snapshot at one revision and goes on with a watch from the next, so nothing is missed; where etcd has forgotten the
//! revision that a watch would go on from, there is a new snapshot. While etcd is away what was known is still served, and [`Etcd::health`]
//! says so; changes are refused in a sentence. A write reads the records again, compares them as records, and is made only if none has moved
//! since (`mod_revision`). Only proxies hold etcd's credentials.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use etcd_client::{Compare, CompareOp, KeyValue, Txn, TxnOp, TxnOpResponse};
use tokio::sync::watch;
use uuid::Uuid;

use crate::catalogue::Catalogue;
use crate::change::Key;
use crate::store::{Health, StoreError, Tally};
use crate::write::{Record, Write, WriteError};

mod artifacts;
mod connection;
mod follow;
mod keys;
mod leases;

use connection::{CallError, Connection, MESSAGE_BYTES};
use leases::Leases;

/// How long a write waits for the catalogue to have what decided it.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// Where etcd is, and as whom it is asked. Secrets are files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcdSettings {
    /// `http://` or `https://`, host and port, of each member.
    pub endpoints: Vec<String>,
    /// What all keys begin with; one inventory has one.
    pub prefix: String,
    /// The authority that members' certificates come from.
    pub ca: Option<PathBuf>,
    /// This proxy's certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A user's name, and the file with the password.
    pub user: Option<(String, PathBuf)>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Etcd {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    prefix: String,
    /// What artifacts' keys begin with: nobody watches there.
    artifacts: String,
    connection: Connection,
    leases: Leases,
    health: Mutex<Health>,
    /// The revision up to which the catalogue has everything.
    seen: watch::Sender<i64>,
    stop: watch::Sender<bool>,
    catalogue: Mutex<Option<Arc<Catalogue>>>,
    tally: Tally,
}

impl Etcd {
    /// Checks the settings and reads their files; connects when it is used.
    ///
    /// # Errors
    /// A file cannot be read, or there is no endpoint.
    pub fn new(settings: EtcdSettings) -> Result<Self, StoreError> {
        let prefix = format!("{}/v1/", settings.prefix.trim_end_matches('/'));
        let artifacts = keys::artifacts(&settings.prefix);
        let connection = Connection::new(&settings)?;
        let why = "etcd has not been read yet".to_owned();
        let shared = Shared {
            prefix,
            artifacts,
            connection,
            leases: Leases::default(),
            health: Mutex::new(Health::Behind { since: Instant::now(), why }),
            seen: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            catalogue: Mutex::default(),
            tally: Tally::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Keeps a catalogue current from now on. One store has one.
    pub(crate) fn follow(&self, catalogue: Arc<Catalogue>) -> Result<(), StoreError> {
        let mut followed = lock(&self.shared.catalogue);
        if followed.is_some() {
            return Err(StoreError::Etcd { why: "a catalogue follows it already".to_owned() });
        }
        *followed = Some(catalogue.clone());
        tokio::spawn(follow::follow(self.shared.clone(), catalogue));
        Ok(())
    }

    pub(crate) fn health(&self) -> Health {
        lock(&self.shared.health).clone()
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    pub(crate) async fn close(&self) {
        let _ = self.shared.stop.send(true);
    }

    /// A node's lease is renewed, or begins.
    pub(crate) async fn heard(&self, node: Uuid) -> Result<(), WriteError> {
        leases::heard(&self.shared, node).await.map_err(unavailable)
    }

    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<(), WriteError> {
        let shared = &self.shared;
        let keys: Vec<String> = writes.iter().map(|write| keys::name(&shared.prefix, &write.key)).collect();
        let now = self.read(&keys).await?;
        for (write, kv) in writes.iter().zip(&now) {
            let record = kv.as_ref().map(|kv| Record::from_json(&write.key, kv.value())).transpose();
            let record = record.map_err(|source| WriteError::Failed { source: source.into() })?.flatten();
            if record != write.was {
                self.wait_for_record(&write.key, record.as_ref()).await;
                return Err(WriteError::Conflict { key: write.key.clone() });
            }
        }
        let compares: Vec<Compare> = keys
            .iter()
            .zip(&now)
            // A key that is not there has revision 0.
            .map(|(key, kv)| {
                Compare::mod_revision(key.as_str(), CompareOp::Equal, kv.as_ref().map_or(0, KeyValue::mod_revision))
            })
            .collect();
        let operations: Vec<TxnOp> = keys
            .iter()
            .zip(&writes)
            .map(|(key, write)| match &write.becomes {
                Some(record) => TxnOp::put(key.as_str(), record.to_json(), None),
                None => TxnOp::delete(key.as_str(), None),
            })
            .collect();
        let txn = Txn::new().when(compares).and_then(operations);
        // Tried again at another member it may find itself done: then it is a conflict, and whoever tries again sees that.
        let done = shared.connection.call(|mut client| {
            let txn = txn.clone();
            async move { client.txn(txn).await }
        });
        let done = done.await.map_err(unavailable)?;
        let revision = done.header().map_or(0, |header| header.revision());
        if !done.succeeded() {
            return Err(self.conflict(&writes, &keys).await);
        }
        self.wait_for_revision(revision).await;
        Ok(())
    }

    /// The keys as they are, in one transaction; a quorum agrees.
    async fn read(&self, keys: &[String]) -> Result<Vec<Option<KeyValue>>, WriteError> {
        let reads: Vec<TxnOp> = keys.iter().map(|key| TxnOp::get(key.as_str(), None)).collect();
        let txn = Txn::new().and_then(reads);
        let answer = self.shared.connection.call(|client| {
            let (txn, mut kv) = (txn.clone(), client.kv_client().max_decoding_message_size(MESSAGE_BYTES));
            async move { kv.txn(txn).await }
        });
        let answers = answer.await.map_err(unavailable)?.op_responses();
        let read = answers.into_iter().map(|answer| match answer {
            TxnOpResponse::Get(mut got) => got.take_kvs().into_iter().next(),
            _ => None,
        });
        Ok(read.collect())
    }

    /// Which record moved, once the catalogue has what it became.
    async fn conflict(&self, writes: &[Write], keys: &[String]) -> WriteError {
        let now = match self.read(keys).await {
            Ok(now) => now,
            Err(error) => return error,
        };
        for (write, kv) in writes.iter().zip(&now) {
            let record = kv.as_ref().and_then(|kv| Record::from_json(&write.key, kv.value()).ok()).flatten();
            if record != write.was {
                self.wait_for_record(&write.key, record.as_ref()).await;
                return WriteError::Conflict { key: write.key.clone() };
            }
        }
        // Moved, and moved back.
        WriteError::Conflict { key: writes[0].key.clone() }
    }

    async fn wait_for_revision(&self, revision: i64) {
        if lock(&self.shared.catalogue).is_some() {
            let mut seen = self.shared.seen.subscribe();
            // Later than that it comes all the same, only the caller does not know.
            let _ = tokio::time::timeout(SEEN_WITHIN, seen.wait_for(|seen| *seen >= revision)).await;
        }
    }

    async fn wait_for_record(&self, key: &Key, record: Option<&Record>) {
        let Some(catalogue) = lock(&self.shared.catalogue).clone() else { return };
        let has_it = || match key {
            Key::Account(name) => catalogue.account(name).map(Record::Account).as_ref() == record,
            Key::Node(id) => catalogue.node(*id).map(Record::Node).as_ref() == record,
            Key::Instance(id) => catalogue.instance(*id).map(Record::Instance).as_ref() == record,
            Key::Sensor(account, name) => catalogue.sensor(account, name).map(Record::Sensor).as_ref() == record,
            Key::Lease(_) => true,
        };
        let mut moves = catalogue.revisions();
        let waiting = async {
            while !has_it() {
                if moves.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(SEEN_WITHIN, waiting).await;
    }
}

impl Shared {
    fn is_current(&self) {
        let mut health = lock(&self.health);
        if *health != Health::Current {
            tracing::info!("the inventory is current with etcd");
            *health = Health::Current;
        }
    }

    /// The first reason is kept: what went wrong after it is what comes of it.
    fn is_behind(&self, why: &str) {
        let mut health = lock(&self.health);
        if *health == Health::Current {
            tracing::error!(why, "etcd does not tell of changes; what was known is still served");
            *health = Health::Behind { since: Instant::now(), why: why.to_owned() };
        }
    }
}

fn unavailable(error: CallError) -> WriteError {
    WriteError::Unavailable { why: error.to_string() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
