//! A change that is asked of a store: a record as it was read, and as it is to be.
//!
//! Writes of one call are done in one transaction, all or none, and only if every record still is as it was read. So two proxies, or a person and a
//! report, never undo each other's change without knowing of it.

use std::sync::Arc;

use uuid::Uuid;

use crate::change::{Change, Key};
use crate::model::{Account, Instance, Node};
use crate::sensor::PushedSensor;

/// Writes that one transaction may have: etcd's own default is 128 operations.
pub const MOST_WRITES: usize = 100;

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Account(Arc<Account>),
    Node(Arc<Node>),
    Instance(Arc<Instance>),
    Sensor(Arc<PushedSensor>),
}

impl Record {
    pub fn key(&self) -> Key {
        match self {
            Self::Account(account) => Key::Account(account.name.clone()),
            Self::Node(node) => Key::Node(node.id),
            Self::Instance(instance) => Key::Instance(instance.id),
            Self::Sensor(sensor) => Key::Sensor(sensor.account.clone(), sensor.name.clone()),
        }
    }

    /// As one JSON object.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let json = match self {
            Self::Account(account) => serde_json::to_vec(&**account),
            Self::Node(node) => serde_json::to_vec(&**node),
            Self::Instance(instance) => serde_json::to_vec(&**instance),
            Self::Sensor(sensor) => serde_json::to_vec(&**sensor),
        };
        json.expect("records have string keys alone, and nothing else can fail")
    }

    /// The record of a key, from its JSON.
    pub(crate) fn from_json(key: &Key, json: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        Ok(match key {
            Key::Account(_) => Some(serde_json::from_slice::<Account>(json)?.into()),
            Key::Node(_) => Some(serde_json::from_slice::<Node>(json)?.into()),
            Key::Instance(_) => Some(serde_json::from_slice::<Instance>(json)?.into()),
            Key::Sensor(..) => Some(serde_json::from_slice::<PushedSensor>(json)?.into()),
            Key::Lease(_) => None,
        })
    }

    pub(crate) fn into_change(self) -> Change {
        match self {
            Self::Account(account) => Change::Account(Arc::unwrap_or_clone(account)),
            Self::Node(node) => Change::Node(Arc::unwrap_or_clone(node)),
            Self::Instance(instance) => Change::Instance(Arc::unwrap_or_clone(instance)),
            Self::Sensor(sensor) => Change::Sensor(Arc::unwrap_or_clone(sensor)),
        }
    }
}

impl From<Account> for Record {
    fn from(account: Account) -> Self {
        Self::Account(Arc::new(account))
    }
}

impl From<Node> for Record {
    fn from(node: Node) -> Self {
        Self::Node(Arc::new(node))
    }
}

impl From<Instance> for Record {
    fn from(instance: Instance) -> Self {
        Self::Instance(Arc::new(instance))
    }
}

impl From<PushedSensor> for Record {
    fn from(sensor: PushedSensor) -> Self {
        Self::Sensor(Arc::new(sensor))
    }
}

/// One record's change.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    pub(crate) key: Key,
    /// As it was read; none where there was none.
    pub(crate) was: Option<Record>,
    /// As it is to be; none to remove it.
    pub(crate) becomes: Option<Record>,
}

impl Write {
    /// Puts a record in the place of what was read.
    pub fn put(was: Option<Record>, becomes: impl Into<Record>) -> Self {
        let becomes = becomes.into();
        Self { key: becomes.key(), was, becomes: Some(becomes) }
    }

    /// Removes what was read.
    pub fn remove(was: Record) -> Self {
        Self { key: was.key(), was: Some(was), becomes: None }
    }

    pub(crate) fn into_change(self) -> Change {
        match self.becomes {
            Some(record) => record.into_change(),
            None => Change::Gone(self.key),
        }
    }

    /// Which instance it is about, and what becomes of it.
    pub fn instance(&self) -> Option<(Uuid, Option<&Instance>)> {
        match (&self.key, &self.becomes) {
            (Key::Instance(id), Some(Record::Instance(instance))) => Some((*id, Some(instance))),
            (Key::Instance(id), _) => Some((*id, None)),
            _ => None,
        }
    }
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Read it again; by then the catalogue has it.
    #[error("{} was changed by another meanwhile", describe(.key))]
    Conflict { key: Key },
    #[error("more than {MOST_WRITES} records cannot be written at once")]
    TooMany,
    #[error("the inventory takes no changes now ({why}); what it last knew is still served, try again")]
    Unavailable { why: String },
    #[error("the inventory could not be written")]
    Failed { source: Box<dyn std::error::Error + Send + Sync> },
}

/// A key for a sentence.
pub(crate) fn describe(key: &Key) -> String {
    match key {
        Key::Account(name) => format!("account {name}"),
        Key::Node(id) => format!("node {id}"),
        Key::Instance(id) => format!("instance {id}"),
        Key::Sensor(account, name) => format!("sensor {name} of account {account}"),
        Key::Lease(id) => format!("the lease of node {id}"),
    }
}
