//! All of the inventory in memory, found by what requests have: ids, owners, aliases, hashes of tokens.
//!
//! Readers take an `Arc` of a record and let go of the lock, so a change is seen by the next request and by none halfway. Before the
//! first snapshot the catalogue is not synced, and whoever would list it must say so instead of listing nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use uuid::Uuid;

use crate::change::{Change, Key, Snapshot};
use crate::model::{Account, Instance, Node, State};
use crate::names::AccountName;
use crate::sensor::{ArtifactDigest, PushedSensor, SensorName, short};

/// See the module.
#[derive(Debug)]
pub struct Catalogue {
    records: RwLock<Records>,
    /// How many batches of changes were taken; 0 until the first snapshot.
    revision: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Records {
    accounts: HashMap<AccountName, Arc<Account>>,
    nodes: HashMap<Uuid, Arc<Node>>,
    instances: HashMap<Uuid, Arc<Instance>>,
    /// Ordered, because the order of a list of targets is what a scraper tells groups apart by.
    of_owner: HashMap<AccountName, BTreeSet<Uuid>>,
    of_node: HashMap<Uuid, BTreeSet<Uuid>>,
    /// The nodes that speak.
    leases: HashSet<Uuid>,
    /// The instances that several nodes claim.
    claimed_twice: BTreeSet<Uuid>,
    /// The instances that are gone, by when.
    gone: BTreeSet<(u64, Uuid)>,
    /// From a token's SHA-256 in hexadecimal.
    of_token: HashMap<String, AccountName>,
    /// From an issued certificate's SHA-256 in hexadecimal.
    of_certificate: HashMap<String, AccountName>,
    sensors: HashMap<AccountName, OfAccount>,
    /// How often an account was put or taken away.
    accounts_revision: u64,
}

/// What an account pushed.
#[derive(Debug, Default)]
struct OfAccount {
    sensors: BTreeMap<SensorName, Marked>,
    /// Over all of them: it is asked for with each report of a node.
    mark: String,
}

/// A sensor with its mark, which is worked out once and before the lock is taken: a record may be 230 KB.
#[derive(Debug)]
struct Marked {
    sensor: Arc<PushedSensor>,
    mark: String,
}

impl OfAccount {
    fn all(&self) -> impl Iterator<Item = &Arc<PushedSensor>> {
        self.sensors.values().map(|marked| &marked.sensor)
    }

    fn mark_anew(&mut self) {
        let mut hash = Sha256::new();
        self.sensors.values().for_each(|sensor| hash.update(&sensor.mark));
        self.mark = short(hash.finalize().into());
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Self { records: RwLock::default(), revision: watch::Sender::new(0) }
    }
}

impl Catalogue {
    /// Takes all there is in place of what there was.
    pub fn replace(&self, snapshot: Snapshot) {
        let mut fresh = Records::default();
        snapshot.accounts.into_iter().for_each(|account| fresh.put_account(account));
        snapshot.nodes.into_iter().for_each(|node| fresh.put_node(node));
        snapshot.instances.into_iter().for_each(|instance| fresh.put_instance(instance));
        for sensor in snapshot.sensors {
            let mark = sensor.mark();
            fresh.put_sensor(sensor, mark);
        }
        fresh.sensors.values_mut().for_each(OfAccount::mark_anew);
        fresh.leases.extend(snapshot.leases);
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        fresh.accounts_revision += records.accounts_revision + 1;
        let old = std::mem::replace(&mut *records, fresh);
        drop(records);
        self.move_on();
        // A million records take a while to drop: not under the lock.
        drop(old);
    }

    /// Takes changes, all of them at once for whoever reads.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        let mark = |change: &Change| if let Change::Sensor(sensor) = change { sensor.mark() } else { String::new() };
        let marked: Vec<_> = changes.into_iter().map(|change| (mark(&change), change)).collect();
        {
            let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
            let pushed = marked.into_iter().filter_map(|(mark, change)| records.apply(change, mark));
            let pushed: BTreeSet<AccountName> = pushed.collect();
            pushed.iter().for_each(|account| records.mark_anew(account));
        }
        self.move_on();
    }

    fn move_on(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    fn read(&self) -> RwLockReadGuard<'_, Records> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there has been a snapshot.
    pub fn is_synced(&self) -> bool {
        *self.revision.borrow() > 0
    }

    /// Moves with each batch of changes.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Moves when accounts do, and not with instances: for what is derived of all accounts.
    pub fn accounts_revision(&self) -> u64 {
        self.read().accounts_revision
    }

    pub fn account(&self, name: &AccountName) -> Option<Arc<Account>> {
        self.read().accounts.get(name).cloned()
    }

    /// All accounts, by name.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        let mut all: Vec<_> = self.read().accounts.values().cloned().collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The account that has a token of this hash.
    pub fn account_of_token(&self, sha256_hex: &str) -> Option<Arc<Account>> {
        let records = self.read();
        records.accounts.get(records.of_token.get(sha256_hex)?).cloned()
    }

    /// The account that a certificate of this fingerprint was issued to.
    pub fn account_of_certificate(&self, sha256_hex: &str) -> Option<Arc<Account>> {
        let records = self.read();
        records.accounts.get(records.of_certificate.get(sha256_hex)?).cloned()
    }

    pub fn node(&self, id: Uuid) -> Option<Arc<Node>> {
        self.read().nodes.get(&id).cloned()
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let mut all: Vec<_> = self.read().nodes.values().cloned().collect();
        all.sort_unstable_by_key(|node| node.id);
        all
    }

    /// Whether a node has spoken within its lease. Of one that has not, what was last known is all there is. Nodes of cmon's never speak, and count
    /// as reachable.
    pub fn is_reachable(&self, node: Uuid) -> bool {
        let records = self.read();
        records.leases.contains(&node) || records.nodes.get(&node).is_some_and(|node| node.is_cmon)
    }

    /// The instances that several nodes claim, by id.
    pub fn claimed_twice(&self) -> Vec<Arc<Instance>> {
        let records = self.read();
        records.claimed_twice.iter().filter_map(|id| records.instances.get(id).cloned()).collect()
    }

    /// Instances that are gone since before then, in ms since 1970: so many at most, the oldest first.
    pub fn gone_before(&self, ms: u64, most: usize) -> Vec<Arc<Instance>> {
        let records = self.read();
        let old = records.gone.range(..(ms, Uuid::nil())).take(most);
        old.filter_map(|(_, id)| records.instances.get(id).cloned()).collect()
    }

    pub fn instance(&self, id: Uuid) -> Option<Arc<Instance>> {
        self.read().instances.get(&id).cloned()
    }

    /// An account's instances, by id.
    pub fn instances_of(&self, owner: &AccountName) -> Vec<Arc<Instance>> {
        let records = self.read();
        let ids = records.of_owner.get(owner).into_iter().flatten();
        ids.filter_map(|id| records.instances.get(id).cloned()).collect()
    }

    /// A node's instances, by id.
    pub fn instances_on(&self, node: Uuid) -> Vec<Arc<Instance>> {
        let records = self.read();
        let ids = records.of_node.get(&node).into_iter().flatten();
        ids.filter_map(|id| records.instances.get(id).cloned()).collect()
    }

    pub fn sensor(&self, account: &AccountName, name: &SensorName) -> Option<Arc<PushedSensor>> {
        Some(self.read().sensors.get(account)?.sensors.get(name)?.sensor.clone())
    }

    /// What an account pushed, by name.
    pub fn sensors_of(&self, account: &AccountName) -> Vec<Arc<PushedSensor>> {
        let records = self.read();
        records.sensors.get(account).into_iter().flat_map(OfAccount::all).cloned().collect()
    }

    /// Sensors of accounts that are not there.
    pub fn ownerless_sensors(&self) -> Vec<Arc<PushedSensor>> {
        let records = self.read();
        let ownerless = records.sensors.iter().filter(|(account, _)| !records.accounts.contains_key(*account));
        ownerless.flat_map(|(_, of)| of.all()).cloned().collect()
    }

    /// All artifacts that any sensor refers to.
    pub fn artifacts(&self) -> HashSet<ArtifactDigest> {
        let records = self.read();
        let sensors = records.sensors.values().flat_map(OfAccount::all);
        sensors.flat_map(|sensor| sensor.versions()).map(|version| version.sha256).collect()
    }

    /// The accounts that own an instance on a node which is not gone, by name. Of one that another node has, and this one claims too, the owner is not among them.
    pub fn owners_on(&self, node: Uuid) -> BTreeSet<AccountName> {
        let records = self.read();
        let instances = records.of_node.get(&node).into_iter().flatten().filter_map(|id| records.instances.get(id));
        let present = instances.filter(|instance| instance.state != State::Gone && !instance.is_claimed_twice());
        present.map(|instance| instance.owner.clone()).collect()
    }

    /// What changes with anything that a node is to run: the owners there that have an account, and what they pushed. Empty where that is nothing.
    pub fn assignment_mark(&self, node: Uuid) -> String {
        let owners = self.owners_on(node);
        let records = self.read();
        let mut hash = Sha256::new();
        let mut is_empty = true;
        for owner in owners.iter().filter(|owner| records.accounts.contains_key(*owner)) {
            let Some(of_account) = records.sensors.get(owner) else { continue };
            is_empty = false;
            hash.update(owner.as_str());
            hash.update([0]);
            hash.update(&of_account.mark);
        }
        if is_empty { String::new() } else { short(hash.finalize().into()) }
    }

    /// How many there are: accounts, nodes, instances.
    pub fn counts(&self) -> (usize, usize, usize) {
        let records = self.read();
        (records.accounts.len(), records.nodes.len(), records.instances.len())
    }
}

impl Records {
    /// Takes a change, with the mark where it is a sensor; returns the account whose sensors are to be marked anew.
    fn apply(&mut self, change: Change, mark: String) -> Option<AccountName> {
        match change {
            Change::Account(account) => self.put_account(account),
            Change::Node(node) => self.put_node(node),
            Change::Instance(instance) => self.put_instance(instance),
            Change::Sensor(sensor) => return Some(self.put_sensor(sensor, mark)),
            Change::Lease(node) => drop(self.leases.insert(node)),
            Change::Gone(Key::Lease(node)) => drop(self.leases.remove(&node)),
            Change::Gone(Key::Account(name)) => self.drop_account(&name),
            Change::Gone(Key::Node(id)) => drop(self.nodes.remove(&id)),
            Change::Gone(Key::Instance(id)) => self.drop_instance(id),
            Change::Gone(Key::Sensor(account, name)) => {
                self.sensors.get_mut(&account)?.sensors.remove(&name)?;
                return Some(account);
            }
        }
        None
    }

    fn put_account(&mut self, mut account: Account) {
        self.drop_account(&account.name);
        account.keys.shrink_to_fit();
        account.tokens.shrink_to_fit();
        account.certificates.shrink_to_fit();
        for token in &account.tokens {
            self.of_token.insert(token.sha256.clone(), account.name.clone());
        }
        for certificate in &account.certificates {
            self.of_certificate.insert(certificate.sha256.clone(), account.name.clone());
        }
        self.accounts_revision += 1;
        self.accounts.insert(account.name.clone(), Arc::new(account));
    }

    fn drop_account(&mut self, name: &AccountName) {
        let Some(old) = self.accounts.remove(name) else { return };
        self.accounts_revision += 1;
        for token in &old.tokens {
            // Only what leads here: two accounts may have been given one token by mistake.
            if self.of_token.get(&token.sha256) == Some(name) {
                self.of_token.remove(&token.sha256);
            }
        }
        for certificate in &old.certificates {
            if self.of_certificate.get(&certificate.sha256) == Some(name) {
                self.of_certificate.remove(&certificate.sha256);
            }
        }
    }

    fn put_sensor(&mut self, sensor: PushedSensor, mark: String) -> AccountName {
        let account = sensor.account.clone();
        let marked = Marked { sensor: Arc::new(sensor), mark };
        self.sensors.entry(account.clone()).or_default().sensors.insert(marked.sensor.name.clone(), marked);
        account
    }

    fn mark_anew(&mut self, account: &AccountName) {
        let Some(of_account) = self.sensors.get_mut(account) else { return };
        of_account.mark_anew();
        if of_account.sensors.is_empty() {
            self.sensors.remove(account);
        }
    }

    fn put_node(&mut self, node: Node) {
        self.nodes.insert(node.id, Arc::new(node));
    }

    fn put_instance(&mut self, mut instance: Instance) {
        self.drop_instance(instance.id);
        // Lists come from JSON with room for more.
        instance.groups.shrink_to_fit();
        instance.reasons.shrink_to_fit();
        // One text for all that an owner has.
        if let Some((owner, _)) = self.of_owner.get_key_value(&instance.owner) {
            instance.owner = owner.clone();
        }
        self.gone.extend(gone_since(&instance).map(|since| (since, instance.id)));
        if instance.is_claimed_twice() {
            self.claimed_twice.insert(instance.id);
        }
        self.of_owner.entry(instance.owner.clone()).or_default().insert(instance.id);
        self.of_node.entry(instance.node).or_default().insert(instance.id);
        self.instances.insert(instance.id, Arc::new(instance));
    }

    fn drop_instance(&mut self, id: Uuid) {
        let Some(old) = self.instances.remove(&id) else { return };
        self.claimed_twice.remove(&id);
        if let Some(since) = gone_since(&old) {
            self.gone.remove(&(since, id));
        }
        if let Some(ids) = self.of_owner.get_mut(&old.owner) {
            ids.remove(&id);
            if ids.is_empty() {
                self.of_owner.remove(&old.owner);
            }
        }
        if let Some(ids) = self.of_node.get_mut(&old.node) {
            ids.remove(&id);
            if ids.is_empty() {
                self.of_node.remove(&old.node);
            }
        }
    }
}

fn gone_since(instance: &Instance) -> Option<u64> {
    instance.ended_at_ms.filter(|_| instance.state == State::Gone)
}

#[cfg(test)]
mod tests;
