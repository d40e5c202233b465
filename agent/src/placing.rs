//! Sensors on instances: which run where, and making it so.
//!
//! A rule of the configuration and a file of the folder meet an instance; manifest and policy make a grant; the schedule gets a slot. What
//! is unchanged stays as it is, what is no longer allowed stops, and a new version that is refused leaves the old one running. State
//! is kept here too, because it belongs to a sensor's place and not to a version of its code.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sonde_broker::{Client, OpenDoors};
use sonde_collect::Match;
use sonde_host::{Accounts, Digest, Grant, LoadError, Loader, Placement, Schedule, Sensor, Slot};
use sonde_inventory::assignment::SensorStanding;
use sonde_inventory::sensor::Selected;
use tokio::task::{JoinError, JoinSet};
use uuid::Uuid;

use crate::about::About;
use crate::config::{Config, OPERATOR, SensorRule};
use crate::instance::{Instance, Placed};
use crate::kernel::InstanceKernel;
use crate::pushed::PushedSensors;
use crate::reading_threads::ReadingThreads;
use crate::report::claim;
use crate::sensor_files::{NewFile, SensorFiles, Stamp};
use crate::state_files::StateFiles;

mod deciding;
mod standings;

use deciding::{decide, meant};

/// What came of loading one file.
pub(crate) struct Loaded {
    /// Who pushed it; none is the operator.
    pushed_by: Option<Arc<str>>,
    file: String,
    stamp: Stamp,
    loaded: Result<Arc<Sensor>, LoadError>,
}

/// What a slot was placed with: if none of it changes, the slot stays.
#[derive(PartialEq)]
struct PlacedAs {
    digest: Digest,
    grant: Arc<Grant>,
    secrets: BTreeMap<String, PathBuf>,
    is_assigned: bool,
    /// None is the operator. What another's sensor keeps is never this one's.
    brought_by: Option<Arc<str>>,
}

/// What sensors are placed with.
pub(crate) struct With {
    pub(crate) loader: Arc<Loader>,
    pub(crate) schedule: Schedule,
    pub(crate) broker: Arc<Client>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) threads: Arc<ReadingThreads>,
    pub(crate) about: Arc<About>,
}

/// All sensors of the node.
pub(crate) struct Placing {
    with: With,
    files: SensorFiles,
    pushed: PushedSensors,
    loading: JoinSet<Loaded>,
    pub(crate) state: StateFiles,
    slots: HashMap<(Uuid, Arc<str>), InPlace>,
}

/// A sensor on an instance.
struct InPlace {
    placed_as: PlacedAs,
    slot: Arc<Slot>,
    /// What the broker was told of it, for as long as it is there.
    _doors: Option<OpenDoors>,
}

impl Placing {
    pub(crate) fn new(with: With, config: &Config) -> Self {
        let (files, loading, slots) = Default::default();
        let state = StateFiles::new(&config.state_dir);
        Self { with, files, pushed: PushedSensors::new(&config.state_dir), loading, state, slots }
    }

    /// Where state and what was pushed are from now on.
    pub(crate) fn keep_in(&mut self, state_dir: &Path) {
        self.state = StateFiles::new(state_dir);
        self.pushed.keep_in(state_dir);
    }

    /// Looks at the folders: begins to load what is new. True where what runs must be gone over again.
    pub(crate) fn look_at_files(&mut self, config: &Config) -> bool {
        // Files of many megabytes: not on a thread that serves.
        let (look, pushed) =
            tokio::task::block_in_place(|| (self.files.look(&config.sensors_dir, None), self.pushed.look()));
        let new = look.new.into_iter().map(|file| (None, file));
        for (pushed_by, file) in new.chain(pushed.new.into_iter().map(|(account, file)| (Some(account), file))) {
            self.load(pushed_by, file, config);
        }
        look.changed || pushed.changed
    }

    /// Begins to load a file. What compiling it costs is for whoever brought it; the folder is the operator's.
    fn load(&mut self, pushed_by: Option<Arc<str>>, file: NewFile, config: &Config) {
        let NewFile { name: file, stamp, bytes } = file;
        let name = pushed_by.as_deref().unwrap_or(OPERATOR);
        let (loader, account) = (self.with.loader.clone(), self.with.accounts.account(name, &config.share(name)));
        let loading = async move {
            let loaded = loader.load(bytes, &account).await;
            Loaded { pushed_by, file, stamp, loaded }
        };
        self.loading.spawn_on(loading, self.with.schedule.runtime());
    }

    /// Waits for a file to be loaded. `None` where none is being loaded.
    pub(crate) async fn loaded(&mut self) -> Option<Result<Loaded, JoinError>> {
        self.loading.join_next().await
    }

    /// Whether files are being loaded.
    pub(crate) fn is_loading(&self) -> bool {
        !self.loading.is_empty()
    }

    /// Takes in a loaded file. True where what runs must be gone over again.
    pub(crate) fn take_loaded(&mut self, loaded: Result<Loaded, JoinError>) -> bool {
        let Ok(Loaded { pushed_by, file, stamp, loaded }) = loaded else {
            tracing::error!("loading a sensor ended in a panic; this is a defect of the agent");
            return false;
        };
        if loaded.is_err() {
            self.with.about.sensor_faults.add(1);
        }
        match pushed_by {
            None => self.files.loaded(&file, stamp, loaded),
            Some(account) => self.pushed.loaded(&account, &file, stamp, loaded),
        }
    }

    /// Takes all sensors of an instance away.
    pub(crate) async fn remove(&mut self, id: Uuid) {
        let of_instance = self.slots.keys().filter(|(instance, _)| *instance == id).cloned().collect();
        self.end(of_instance).await;
    }

    /// Takes slots away, their state kept.
    async fn end(&mut self, keys: Vec<(Uuid, Arc<str>)>) {
        for key in keys {
            if let Some(in_place) = self.slots.remove(&key) {
                tracing::debug!(instance = %key.0, sensor = %key.1, "a sensor was taken away");
                self.save(key.0, &in_place);
                self.with.schedule.remove(in_place.slot).await;
            }
        }
    }

    /// Makes the sensors of an instance those that should run there.
    pub(crate) async fn place(&mut self, instance: &Arc<Instance>, config: &Config) {
        let wanted = self.wanted(instance, config);
        let mut placed: Vec<Placed> = Vec::with_capacity(wanted.len());
        for rule in wanted {
            let name: Arc<str> = rule.name.as_str().into();
            let (slot, fault) = self.place_one(instance, config, &name, &rule, &placed).await;
            if slot.is_some() || fault.is_some() {
                placed.push(Placed { name, slot, fault, assigned: rule.digest });
            }
        }
        let runs = |name: &Arc<str>| placed.iter().any(|placed| placed.slot.is_some() && placed.name == *name);
        let ended = self.slots.keys().filter(|(id, name)| *id == instance.id() && !runs(name)).cloned().collect();
        self.end(ended).await;
        instance.set_placed(placed);
    }

    /// The rules for an instance: those of the configuration that match it, then a rule for each file that no rule names, then its account's own.
    /// The operator's go first, so that their names and families are theirs; sorted by name; of two with one name, the first.
    fn wanted(&self, instance: &Instance, config: &Config) -> Vec<SensorRule> {
        let rules = &config.sensors;
        let mut wanted: Vec<SensorRule> = rules.iter().filter(|rule| meant(rule, &instance.found)).cloned().collect();
        for (file, _) in self.files.iter().filter(|(file, _)| !rules.iter().any(|rule| rule.file == *file)) {
            wanted.push(SensorRule {
                name: file.strip_suffix(".wasm").unwrap_or(file).to_owned(),
                file: file.to_owned(),
                pushed_by: None,
                matching: Match::default(),
                config: Default::default(),
                secrets: Default::default(),
                digest: None,
                fault: None,
            });
        }
        wanted.sort_by(|a, b| a.name.cmp(&b.name));
        wanted.dedup_by(|a, b| a.name == b.name);
        let Some(claim) = claim(instance) else { return wanted };
        let (id, groups, labels) = (claim.id, &claim.groups, &claim.labels);
        let selected = Selected { id, name: &claim.name, alias: &claim.alias, groups, labels };
        let pushed = self.pushed.rules(&instance.owner, &selected);
        let free = |rule: &SensorRule| wanted.iter().all(|of_operator| of_operator.name != rule.name);
        let pushed: Vec<SensorRule> = pushed.into_iter().filter(free).collect();
        wanted.extend(pushed);
        wanted
    }

    /// One sensor's slot and fault. What ran before goes on when a new version is refused, or new settings that are not valid; what the
    /// policy no longer allows stops.
    async fn place_one(
        &mut self,
        instance: &Arc<Instance>,
        config: &Config,
        name: &Arc<str>,
        rule: &SensorRule,
        beside: &[Placed],
    ) -> (Option<Arc<Slot>>, Option<Arc<str>>) {
        let file = match &rule.pushed_by {
            None => self.files.get(&rule.file),
            Some(account) => self.pushed.get(account, &rule.file),
        };
        let Some(file) = file else {
            let fault = format!("the sensors' folder has no file {}", rule.file);
            self.say_refused(instance, name, &fault);
            return (None, Some(fault.into()));
        };
        let file_fault = file.fault.clone();
        let is_meant = |sensor: &Arc<Sensor>| rule.digest.is_none_or(|digest| digest == sensor.digest);
        let Some(sensor) = file.sensor.clone().filter(is_meant) else {
            // Until what is assigned is loaded, what ran before goes on, where it may.
            let before = rule.digest.and_then(|_| self.before(instance, name, config));
            return (before, file_fault);
        };
        match decide(&sensor, rule, config, beside) {
            Ok(grant) => (Some(self.ensure(instance, config, name, rule, sensor, grant).await), file_fault),
            Err(fault) => {
                self.say_refused(instance, name, &fault);
                let before = self.slots.get(&(instance.id(), name.clone())).map(|known| known.slot.clone());
                let keeps = |slot: &Slot| {
                    let rule_is_broken = rule.fault.is_some() || slot.sensor.manifest.resolve(&rule.config).is_err();
                    let as_before = || decide(&slot.sensor, rule, config, beside).is_ok_and(|g| g == *slot.grant);
                    slot.grant.is_within(&slot.sensor.manifest, &config.policy)
                        && (rule_is_broken || (slot.sensor.digest != sensor.digest && as_before()))
                };
                let still_allowed = before.filter(|slot| keeps(slot));
                (still_allowed, Some(fault.into()))
            }
        }
    }

    /// What an account's sensor of this name runs as on the instance, if the policy still allows it.
    fn before(&self, instance: &Instance, name: &Arc<str>, config: &Config) -> Option<Arc<Slot>> {
        let before = self.slots.get(&(instance.id(), name.clone())).filter(|before| before.placed_as.is_assigned)?;
        let slot = &before.slot;
        let may_run =
            *slot.account.name == *instance.owner && slot.grant.is_within(&slot.sensor.manifest, &config.policy);
        may_run.then(|| slot.clone())
    }

    /// What became of what proxies assigned here, and of how much more there is no room to say it.
    pub(crate) fn standings(&self, instances: &[Arc<Instance>]) -> (Vec<SensorStanding>, usize) {
        standings::of(&self.pushed, instances)
    }

    /// The slot in which exactly this runs: the one there is, or a new one in its place.
    async fn ensure(
        &mut self,
        instance: &Arc<Instance>,
        config: &Config,
        name: &Arc<str>,
        rule: &SensorRule,
        sensor: Arc<Sensor>,
        grant: Grant,
    ) -> Arc<Slot> {
        let key = (instance.id(), name.clone());
        let grant = Arc::new(grant);
        let placed_as = PlacedAs {
            digest: sensor.digest,
            grant: grant.clone(),
            secrets: rule.secrets.clone(),
            is_assigned: rule.digest.is_some(),
            brought_by: rule.pushed_by.clone(),
        };
        let account = self.with.accounts.account(&instance.owner, &config.share(&instance.owner));
        if let Some(before) = self.slots.get(&key) {
            if before.placed_as == placed_as {
                return before.slot.clone();
            }
            self.save(instance.id(), before);
            self.with.schedule.remove(before.slot.clone()).await;
        }
        let kernel =
            InstanceKernel { gate: instance.gate.clone(), threads: self.with.threads.clone(), floor: config.floor };
        let brought_by = placed_as.brought_by.as_deref();
        self.state.forget_others(instance.id(), brought_by, name);
        let state = if grant.state { self.state.load(instance.id(), brought_by, name) } else { Vec::new() };
        let doors = self.with.broker.doors(instance.id(), &grant, &rule.secrets).await;
        let placement = Placement {
            target: instance.target,
            name: name.clone(),
            sensor,
            account,
            doors: doors.as_ref().map(OpenDoors::number),
            kernel: Arc::new(kernel),
            state,
            grant,
        };
        let slot = self.with.schedule.place(placement).await;
        self.slots.insert(key, InPlace { placed_as, slot: slot.clone(), _doors: doors });
        slot
    }

    /// Logs a refusal, once while it stays the same.
    fn say_refused(&self, instance: &Instance, name: &str, fault: &str) {
        let said =
            instance.placed().iter().any(|placed| *placed.name == *name && placed.fault.as_deref() == Some(fault));
        if !said {
            self.with.about.sensor_faults.add(1);
            tracing::warn!(instance = %instance.id(), sensor = name, fault, "a sensor was refused on an instance");
        }
    }

    /// Keeps all state that has changed.
    pub(crate) fn write_state(&self) {
        self.slots.iter().for_each(|((id, _), in_place)| self.save(*id, in_place));
    }

    fn save(&self, id: Uuid, InPlace { slot, placed_as, .. }: &InPlace) {
        let Some(state) = slot.changed_state() else { return };
        if let Err(error) = self.state.store(id, placed_as.brought_by.as_deref(), &slot.name, &state) {
            tracing::warn!(instance = %id, sensor = %slot.name, %error, "a sensor's state could not be kept");
        }
    }
}
