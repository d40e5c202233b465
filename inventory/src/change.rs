//! What a store tells the catalogue: all there is, once, then each change.
//!
//! A snapshot replaces, so what is not in it is gone: nothing that ended while nobody listened stays. Changes are whole records, never
//! parts, so that one that comes twice, or again after a snapshot, does no harm.

use uuid::Uuid;

use crate::model::{Account, Instance, Node};
use crate::names::AccountName;
use crate::sensor::{PushedSensor, SensorName};

/// What a record is found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Account(AccountName),
    Node(Uuid),
    Instance(Uuid),
    Sensor(AccountName, SensorName),
    /// That a node speaks; gone when its lease has ended.
    Lease(Uuid),
}

/// One record as it is now, or that there is none any more.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Account(Account),
    Node(Node),
    Instance(Instance),
    Sensor(PushedSensor),
    /// A node speaks.
    Lease(Uuid),
    Gone(Key),
}

/// All records at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    pub accounts: Vec<Account>,
    pub nodes: Vec<Node>,
    pub instances: Vec<Instance>,
    pub sensors: Vec<PushedSensor>,
    /// The nodes that speak.
    pub leases: Vec<Uuid>,
}
