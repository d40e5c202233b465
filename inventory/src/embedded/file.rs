//! The file of the embedded store: a table for each kind of record, values in JSON.
//!
//! A transaction is on the disk, or it is not, also when the process is killed or the power fails (redb's copy on write). Records are compared as
//! records, not as bytes: what an older version wrote and this one reads as the same is the same.

use std::ops::RangeInclusive;
use std::panic::resume_unwind;
use std::path::Path;

use redb::{
    Builder, Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition,
    TableError,
};
use uuid::Uuid;

use crate::change::{Key, Snapshot};
use crate::model::Instance;
use crate::names::AccountName;
use crate::sensor::SensorName;
use crate::store::StoreError;
use crate::write::{Record, Write, WriteError, describe};

mod artifacts;

const ACCOUNTS: TableDefinition<&str, &[u8]> = TableDefinition::new("accounts");
const NODES: TableDefinition<u128, &[u8]> = TableDefinition::new("nodes");
const INSTANCES: TableDefinition<u128, &[u8]> = TableDefinition::new("instances");
/// By `ACCOUNT/NAME`.
const SENSORS: TableDefinition<&str, &[u8]> = TableDefinition::new("sensors");
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");

/// The number that says how the file is laid out.
const FORMAT: &str = "format";
const THIS_FORMAT: u64 = 1;
/// Pages kept in memory: the catalogue has everything, and is what is read from.
const CACHE_BYTES: usize = 32 << 20;
/// Threads that read at a start: more than these wait for the disk, and for each other.
const MOST_READERS: usize = 8;

pub(super) struct File(Database);

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let opened = Builder::new().set_cache_size(CACHE_BYTES).create(path);
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::Taken { path: path.to_owned() },
            other => StoreError::Open { path: path.to_owned(), source: Box::new(other.into()) },
        })?;
        let file = Self(database);
        let open = |source: redb::Error| StoreError::Open { path: path.to_owned(), source: Box::new(source) };
        match file.format().map_err(open)? {
            None => file.begin().map_err(open)?,
            // Tables that a later version added are made where they are not; an older one does not look at them.
            Some(THIS_FORMAT) => file.begin().map_err(open)?,
            Some(format) => return Err(StoreError::Newer { path: path.to_owned(), format }),
        }
        Ok(file)
    }

    fn format(&self) -> Result<Option<u64>, redb::Error> {
        let reading = self.0.begin_read()?;
        match reading.open_table(ABOUT) {
            Ok(about) => Ok(about.get(FORMAT)?.map(|format| format.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn begin(&self) -> Result<(), redb::Error> {
        let transaction = self.0.begin_write()?;
        transaction.open_table(ABOUT)?.insert(FORMAT, THIS_FORMAT)?;
        drop(transaction.open_table(ACCOUNTS)?);
        drop(transaction.open_table(NODES)?);
        drop(transaction.open_table(INSTANCES)?);
        drop(transaction.open_table(SENSORS)?);
        artifacts::begin(&transaction)?;
        Ok(transaction.commit()?)
    }

    /// All records.
    pub(super) fn read_all(&self) -> Result<Snapshot, StoreError> {
        let read = |source: redb::Error| StoreError::Read { source: Box::new(source) };
        let reading = self.0.begin_read().map_err(|error| read(error.into()))?;
        let mut snapshot = Snapshot::default();
        let accounts = reading.open_table(ACCOUNTS).map_err(|error| read(error.into()))?;
        for entry in accounts.iter().map_err(|error| read(error.into()))? {
            let (name, json) = entry.map_err(|error| read(error.into()))?;
            snapshot.accounts.push(parse(json.value(), || format!("account {}", name.value()))?);
        }
        let nodes = reading.open_table(NODES).map_err(|error| read(error.into()))?;
        for entry in nodes.iter().map_err(|error| read(error.into()))? {
            let (id, json) = entry.map_err(|error| read(error.into()))?;
            snapshot.nodes.push(parse(json.value(), || describe(&Key::Node(Uuid::from_u128(id.value()))))?);
        }
        let instances = reading.open_table(INSTANCES).map_err(|error| read(error.into()))?;
        snapshot.instances = read_instances(&instances)?;
        let sensors = reading.open_table(SENSORS).map_err(|error| read(error.into()))?;
        for entry in sensors.iter().map_err(|error| read(error.into()))? {
            let (key, json) = entry.map_err(|error| read(error.into()))?;
            snapshot.sensors.push(parse(json.value(), || format!("sensor {}", key.value()))?);
        }
        Ok(snapshot)
    }

    /// Makes the changes of each list whose records are as they were read, in one transaction; of the others says which is not.
    pub(super) fn write(&self, asked: &[Vec<Write>]) -> Result<Vec<Result<(), WriteError>>, redb::Error> {
        let transaction = self.0.begin_write()?;
        let outcomes = {
            let mut tables = Tables {
                accounts: transaction.open_table(ACCOUNTS)?,
                nodes: transaction.open_table(NODES)?,
                instances: transaction.open_table(INSTANCES)?,
                sensors: transaction.open_table(SENSORS)?,
            };
            let mut outcomes = Vec::with_capacity(asked.len());
            for writes in asked {
                outcomes.push(tables.write(writes)?);
            }
            outcomes
        };
        if outcomes.iter().any(Result::is_ok) {
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        Ok(outcomes)
    }
}

/// All instances, by id. They are most of what there is, and a proxy says nothing until it has them: so each core reads a part.
fn read_instances(table: &ReadOnlyTable<u128, &'static [u8]>) -> Result<Vec<Instance>, StoreError> {
    let parts = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_READERS) as u128;
    // Ids are spread evenly over all numbers.
    let width = u128::MAX / parts;
    let read = |part: u128| {
        let last = if part + 1 == parts { u128::MAX } else { (part + 1) * width - 1 };
        read_range(table, part * width..=last)
    };
    let parts: Vec<Result<Vec<Instance>, StoreError>> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..parts).map(|part| scope.spawn(move || read(part))).collect();
        readers.into_iter().map(|reader| reader.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut all = Vec::with_capacity(parts.iter().flatten().map(Vec::len).sum());
    for part in parts {
        all.append(&mut part?);
    }
    Ok(all)
}

fn read_range(
    table: &ReadOnlyTable<u128, &'static [u8]>,
    ids: RangeInclusive<u128>,
) -> Result<Vec<Instance>, StoreError> {
    let read = |source: redb::Error| StoreError::Read { source: Box::new(source) };
    let mut instances = Vec::new();
    for entry in table.range(ids).map_err(|error| read(error.into()))? {
        let (id, json) = entry.map_err(|error| read(error.into()))?;
        instances.push(parse(json.value(), || describe(&Key::Instance(Uuid::from_u128(id.value()))))?);
    }
    Ok(instances)
}

/// Neither of the two has a slash.
fn sensor_key(account: &AccountName, name: &SensorName) -> String {
    format!("{account}/{name}")
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8], what: impl Fn() -> String) -> Result<T, StoreError> {
    serde_json::from_slice(json).map_err(|source| StoreError::Record { what: what(), source })
}

struct Tables<'a> {
    accounts: Table<'a, &'static str, &'static [u8]>,
    nodes: Table<'a, u128, &'static [u8]>,
    instances: Table<'a, u128, &'static [u8]>,
    sensors: Table<'a, &'static str, &'static [u8]>,
}

impl Tables<'_> {
    /// Checks all of them before it makes the first.
    fn write(&mut self, writes: &[Write]) -> Result<Result<(), WriteError>, redb::Error> {
        for write in writes {
            let now = match self.get(&write.key)?.map(|json| Record::from_json(&write.key, &json)).transpose() {
                Ok(now) => now.flatten(),
                Err(source) => return Ok(Err(WriteError::Failed { source: source.into() })),
            };
            if now != write.was {
                return Ok(Err(WriteError::Conflict { key: write.key.clone() }));
            }
        }
        for write in writes {
            self.put(&write.key, write.becomes.as_ref().map(Record::to_json).as_deref())?;
        }
        Ok(Ok(()))
    }

    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, redb::Error> {
        let json = match key {
            Key::Account(name) => self.accounts.get(AccountName::as_str(name))?,
            Key::Node(id) => self.nodes.get(id.as_u128())?,
            Key::Instance(id) => self.instances.get(id.as_u128())?,
            Key::Sensor(account, name) => self.sensors.get(sensor_key(account, name).as_str())?,
            Key::Lease(_) => None,
        };
        Ok(json.map(|json| json.value().to_vec()))
    }

    fn put(&mut self, key: &Key, json: Option<&[u8]>) -> Result<(), redb::Error> {
        match (key, json) {
            (Key::Account(name), Some(json)) => drop(self.accounts.insert(name.as_str(), json)?),
            (Key::Account(name), None) => drop(self.accounts.remove(name.as_str())?),
            (Key::Node(id), Some(json)) => drop(self.nodes.insert(id.as_u128(), json)?),
            (Key::Node(id), None) => drop(self.nodes.remove(id.as_u128())?),
            (Key::Instance(id), Some(json)) => drop(self.instances.insert(id.as_u128(), json)?),
            (Key::Instance(id), None) => drop(self.instances.remove(id.as_u128())?),
            (Key::Sensor(account, name), Some(json)) => {
                drop(self.sensors.insert(sensor_key(account, name).as_str(), json)?);
            }
            (Key::Sensor(account, name), None) => {
                drop(self.sensors.remove(sensor_key(account, name).as_str())?);
            }
            // Who speaks is not written.
            (Key::Lease(_), _) => {}
        }
        Ok(())
    }
}
