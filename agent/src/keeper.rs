//! The keeper: the one task that changes what is there.
//!
//! It takes what the finder finds, what the sensors' folder holds and what the configuration says, and makes the
//! catalogue and the placed sensors agree with them. Everything that changes passes through it, one thing after the other; whoever
//! serves only reads. A file that is broken, or a configuration that is, changes nothing but what it says in the log.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_collect::{Change, DiscoveryConfig, FdBudget, Found, InstanceReader, NodeId, Reason};
use sonde_host::{Digest, Grant, Loader, Placement, Schedule, Sensor, Slot, TargetId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::about::About;
use crate::broker::{BrokerRoom, InstanceBroker};
use crate::config::{Config, OPERATOR, SensorRule};
use crate::finder::{Finder, Finding};
use crate::instance::{Catalogue, Instance, Placed};
use crate::matching::Match;
use crate::reading_threads::ReadingThreads;
use crate::sensor_files::{NewFile, SensorFiles, Stamp};
use crate::state_files::StateFiles;

/// How often the configuration and the sensors' folder are looked at, state is written and the gone are forgotten.
const BEAT: Duration = Duration::from_secs(1);

/// Files kept open for readings, of all instances together.
const KEPT_FILES: usize = 16_384;

/// Where the configuration comes from, and where to listen when it does not say.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    pub path: PathBuf,
    pub default_listen: SocketAddr,
}

/// All that the keeper works with.
pub(crate) struct Parts {
    pub(crate) source: ConfigSource,
    pub(crate) config: Arc<Config>,
    pub(crate) published: watch::Sender<Arc<Config>>,
    pub(crate) node: NodeId,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) threads: Arc<ReadingThreads>,
    pub(crate) loader: Arc<Loader>,
    pub(crate) schedule: Schedule,
    pub(crate) room: Arc<BrokerRoom>,
    pub(crate) finder: Finder,
    pub(crate) findings: mpsc::Receiver<Finding>,
    pub(crate) about: Arc<About>,
}

/// What came of loading one file.
type Loaded = (String, Stamp, Result<Arc<Sensor>, String>);

/// What a slot was placed with: if none of it changes, the slot stays.
#[derive(PartialEq)]
struct PlacedAs {
    digest: Digest,
    grant: Arc<Grant>,
    secrets: std::collections::BTreeMap<String, PathBuf>,
}

pub(crate) struct Keeper {
    parts: Parts,
    files: SensorFiles,
    loading: JoinSet<Loaded>,
    state: StateFiles,
    budget: FdBudget,
    next_target: u64,
    slots: HashMap<(Uuid, Arc<str>), (PlacedAs, Arc<Slot>)>,
    config_text: String,
    refreshers: Vec<oneshot::Sender<()>>,
}

impl Keeper {
    pub(crate) fn new(parts: Parts) -> Self {
        let config_text = std::fs::read_to_string(&parts.source.path).unwrap_or_default();
        let state = StateFiles::new(&parts.config.state_dir);
        Self {
            files: SensorFiles::default(),
            loading: JoinSet::new(),
            budget: FdBudget::of_process(KEPT_FILES),
            state,
            next_target: 0,
            slots: HashMap::new(),
            config_text,
            refreshers: Vec::new(),
            parts,
        }
    }

    /// Keeps everything in agreement until `stop` resolves; then writes state and ends.
    pub(crate) async fn keep(
        mut self,
        mut refresh: mpsc::Receiver<oneshot::Sender<()>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut beat = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(finding) = self.parts.findings.recv() => self.take(finding).await,
                Some(loaded) = self.loading.join_next() => self.take_loaded(loaded).await,
                Some(done) = refresh.recv() => self.refresh(done).await,
                _ = beat.tick() => self.beat().await,
            }
            if self.loading.is_empty() {
                self.refreshers.drain(..).for_each(|done| done.send(()).unwrap_or(()));
            }
        }
        self.write_state().await;
    }

    async fn beat(&mut self) {
        self.reload_config().await;
        self.look_at_files().await;
        self.write_state().await;
        for id in self.parts.catalogue.expire(Instant::now()) {
            self.state.forget(id);
        }
    }

    /// Looks at everything now; answers when what was found is in place.
    async fn refresh(&mut self, done: oneshot::Sender<()>) {
        let finder = &self.parts.finder;
        let mut found = Vec::new();
        {
            let mut looking = std::pin::pin!(finder.look());
            loop {
                tokio::select! {
                    () = &mut looking => break,
                    Some(finding) = self.parts.findings.recv() => found.push(finding),
                }
            }
        }
        while let Ok(finding) = self.parts.findings.try_recv() {
            found.push(finding);
        }
        for finding in found {
            self.take(finding).await;
        }
        self.beat().await;
        self.refreshers.push(done);
    }

    // === configuration ===

    async fn reload_config(&mut self) {
        let Ok(text) = std::fs::read_to_string(&self.parts.source.path) else { return };
        if text == self.config_text {
            return;
        }
        self.config_text = text;
        let config = match Config::load(&self.parts.source.path, self.parts.source.default_listen) {
            Ok(config) => Arc::new(config),
            Err(error) => {
                self.parts.about.config_faults.add(1);
                tracing::error!(error = %crate::chain(&error), "the new configuration was refused; the old one stays");
                return;
            }
        };
        let old = std::mem::replace(&mut self.parts.config, config.clone());
        if (old.listen, &old.tls, &old.node_id) != (config.listen, &config.tls, &config.node_id) {
            tracing::warn!("listen and node take effect at the next start");
        }
        self.state = StateFiles::new(&config.state_dir);
        let _ = self.parts.published.send(config.clone());
        tracing::info!("the configuration was reloaded");
        if old.process_groups != config.process_groups {
            self.parts.finder.configure(discovery_config(&self.parts.node, &config));
        }
        if old.owners != config.owners {
            for instance in self.parts.catalogue.live() {
                self.appeared(instance.found.clone()).await;
            }
        }
        self.place_everywhere().await;
    }

    // === instances ===

    async fn take(&mut self, finding: Finding) {
        match finding {
            Finding::Changes(changes) => {
                for change in changes {
                    match change {
                        Change::Appeared(found) | Change::Updated(found) => self.appeared(found).await,
                        Change::Gone(id, reason) => self.gone(id, reason).await,
                    }
                }
            }
            Finding::Everything(all) => {
                for instance in self.parts.catalogue.live() {
                    if !all.iter().any(|found| found.name.uuid == instance.id()) {
                        self.gone(instance.id(), Reason::Removed).await;
                    }
                }
                for found in all {
                    let known = self.parts.catalogue.get(found.name.uuid);
                    if known.is_none_or(|known| known.found != found) {
                        self.appeared(found).await;
                    }
                }
            }
            Finding::Refused(counts, words) => {
                self.parts.about.set_refused(counts);
                for refusal in words {
                    tracing::warn!(refusal, "a claim to be an instance was refused");
                }
            }
        }
    }

    async fn appeared(&mut self, found: Arc<Found>) {
        let id = found.name.uuid;
        let known = self.parts.catalogue.get(id);
        let target = known.as_ref().map_or_else(
            || {
                self.next_target += 1;
                TargetId(self.next_target)
            },
            |known| known.target,
        );
        if known.is_some() {
            // Its sensors hold brokers of what it was before.
            self.remove_sensors(id).await;
        } else {
            tracing::info!(instance = %id, runtime = found.name.runtime.as_str(), name = found.name.runtime_id, "an instance appeared");
        }
        let owner = owner(&found, &self.parts.config);
        if let Some(namespace) = found.leader(&self.parts.room.roots).and_then(|leader| leader.net_namespace) {
            self.parts.room.owners.note(id, namespace, &owner);
        }
        let reader = InstanceReader::new(found.clone(), self.parts.room.roots.clone(), &self.budget);
        let instance = Arc::new(Instance::new(found, owner, target, reader));
        self.parts.catalogue.insert(instance.clone());
        self.place(&instance).await;
    }

    async fn gone(&mut self, id: Uuid, reason: Reason) {
        self.parts.room.owners.forget(id);
        self.remove_sensors(id).await;
        if let Some(instance) = self.parts.catalogue.remove(id, reason) {
            let name = &instance.found.name.runtime_id;
            tracing::info!(instance = %id, name, reason = reason.as_str(), "an instance is gone");
        }
    }

    // === sensors ===

    async fn look_at_files(&mut self) {
        let look = self.files.look(&self.parts.config.sensors_dir);
        for NewFile { name, stamp, bytes } in look.new {
            let loader = self.parts.loader.clone();
            self.loading.spawn_on(
                async move {
                    let loaded = loader.load(bytes).await;
                    (name, stamp, loaded.map_err(|error| crate::chain(&error)))
                },
                self.parts.schedule.runtime(),
            );
        }
        if look.changed {
            self.place_everywhere().await;
        }
    }

    async fn take_loaded(&mut self, loaded: Result<Loaded, tokio::task::JoinError>) {
        let Ok((name, stamp, loaded)) = loaded else {
            tracing::error!("loading a sensor ended in a panic; this is a defect of the agent");
            return;
        };
        if loaded.is_err() {
            self.parts.about.sensor_faults.add(1);
        }
        if self.files.loaded(&name, stamp, loaded) {
            self.place_everywhere().await;
        }
    }

    async fn place_everywhere(&mut self) {
        for instance in self.parts.catalogue.live() {
            self.place(&instance).await;
        }
    }

    async fn remove_sensors(&mut self, id: Uuid) {
        self.write_state().await;
        let names: Vec<_> = self.slots.keys().filter(|(instance, _)| *instance == id).cloned().collect();
        for key in names {
            if let Some((_, slot)) = self.slots.remove(&key) {
                self.parts.schedule.remove(slot).await;
            }
        }
    }

    /// Makes the sensors of an instance those that should run there.
    async fn place(&mut self, instance: &Arc<Instance>) {
        let wanted = self.wanted(instance);
        let mut placed: Vec<Placed> = Vec::with_capacity(wanted.len());
        for rule in wanted {
            let name: Arc<str> = rule.name.as_str().into();
            let (slot, fault) = self.place_one(instance, &name, &rule, &placed).await;
            if slot.is_some() || fault.is_some() {
                placed.push(Placed { name, slot, fault });
            }
        }
        let gone: Vec<_> = self
            .slots
            .keys()
            .filter(|(id, name)| *id == instance.id() && !placed.iter().any(|placed| placed.name == *name))
            .cloned()
            .collect();
        for key in gone {
            if let Some((_, slot)) = self.slots.remove(&key) {
                self.parts.schedule.remove(slot).await;
            }
        }
        instance.set_placed(placed);
    }

    /// The rules for an instance: those of the configuration that match it, then a rule for each file that no rule names. Sorted by name; of two with one name, the first.
    fn wanted(&self, instance: &Instance) -> Vec<SensorRule> {
        let rules = &self.parts.config.sensors;
        let mut wanted: Vec<SensorRule> =
            rules.iter().filter(|rule| rule.matching.matches(&instance.found.name)).cloned().collect();
        for (file, _) in self.files.iter().filter(|(file, _)| !rules.iter().any(|rule| rule.file == *file)) {
            wanted.push(SensorRule {
                name: file.trim_end_matches(".wasm").to_owned(),
                file: file.to_owned(),
                matching: Match::default(),
                config: Default::default(),
                secrets: Default::default(),
            });
        }
        wanted.sort_by(|a, b| a.name.cmp(&b.name));
        wanted.dedup_by(|a, b| a.name == b.name);
        wanted
    }

    /// One sensor's slot and fault. A fault leaves running what ran before.
    async fn place_one(
        &mut self,
        instance: &Arc<Instance>,
        name: &Arc<str>,
        rule: &SensorRule,
        beside: &[Placed],
    ) -> (Option<Arc<Slot>>, Option<Arc<str>>) {
        let key = (instance.id(), name.clone());
        let running = self.slots.get(&key).map(|(_, slot)| slot.clone());
        let Some(file) = self.files.get(&rule.file) else {
            let fault = format!("the sensors' folder has no file {}", rule.file);
            return (running, Some(fault.into()));
        };
        let Some(sensor) = &file.sensor else { return (running, file.fault.clone()) };
        let sensor = sensor.clone();
        let file_fault = file.fault.clone();
        let grant = match decide(&sensor, rule, &self.parts.config) {
            Ok(grant) => Arc::new(grant),
            Err(fault) => {
                self.say_refused(instance, name, &fault);
                return (running, Some(fault.into()));
            }
        };
        if let Some(fault) = conflict(&sensor, beside) {
            self.say_refused(instance, name, &fault);
            return (running, Some(fault.into()));
        }
        let placed_as = PlacedAs { digest: sensor.digest, grant: grant.clone(), secrets: rule.secrets.clone() };
        if let Some((before, slot)) = self.slots.get(&key) {
            if *before == placed_as {
                return (Some(slot.clone()), file_fault);
            }
            let slot = slot.clone();
            self.save(instance.id(), &slot);
            self.parts.schedule.remove(slot).await;
        }
        let broker = InstanceBroker {
            room: self.parts.room.clone(),
            found: instance.found.clone(),
            owner: instance.owner.clone(),
            gate: instance.gate.clone(),
            threads: self.parts.threads.clone(),
            floor: self.parts.config.floor,
            secrets: rule.secrets.clone(),
        };
        let state = if grant.state { self.state.load(instance.id(), name) } else { Vec::new() };
        let placement =
            Placement { target: instance.target, name: name.clone(), sensor, grant, broker: Arc::new(broker), state };
        let slot = self.parts.schedule.place(placement).await;
        self.slots.insert(key, (placed_as, slot.clone()));
        (Some(slot), file_fault)
    }

    /// Logs a refusal, once while it stays the same.
    fn say_refused(&self, instance: &Instance, name: &str, fault: &str) {
        let said =
            instance.placed().iter().any(|placed| *placed.name == *name && placed.fault.as_deref() == Some(fault));
        if !said {
            self.parts.about.sensor_faults.add(1);
            tracing::warn!(instance = %instance.id(), sensor = name, fault, "a sensor was refused on an instance");
        }
    }

    async fn write_state(&mut self) {
        let slots: Vec<_> = self.slots.iter().map(|((id, _), (_, slot))| (*id, slot.clone())).collect();
        for (id, slot) in slots {
            self.save(id, &slot);
        }
    }

    fn save(&self, id: Uuid, slot: &Slot) {
        let Some(state) = slot.changed_state() else { return };
        if let Err(error) = self.state.store(id, &slot.name, &state) {
            tracing::warn!(instance = %id, sensor = %slot.name, %error, "a sensor's state could not be kept");
        }
    }
}

/// Resolves when the agent is to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the agent's handle is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What discovery is told of a configuration.
pub(crate) fn discovery_config(node: &NodeId, config: &Config) -> DiscoveryConfig {
    DiscoveryConfig { process_groups: config.process_groups.clone(), ..DiscoveryConfig::new(node.clone()) }
}

/// The first rule that matches decides; else the operator owns it.
fn owner(found: &Found, config: &Config) -> Arc<str> {
    let rule = config.owners.iter().find(|rule| rule.matching.matches(&found.name));
    rule.map_or(OPERATOR, |rule| rule.account.as_str()).into()
}

fn decide(sensor: &Sensor, rule: &SensorRule, config: &Config) -> Result<Grant, String> {
    let asked =
        sensor.manifest.resolve(&rule.config).map_err(|error| format!("its configuration is not valid: {error}"))?;
    Grant::decide(&sensor.manifest, asked, &config.policy).map_err(|refusal| refusal.to_string())
}

/// Whether a family that the sensor described belongs to one placed before it.
fn conflict(sensor: &Sensor, beside: &[Placed]) -> Option<String> {
    let families = sensor.families()?;
    for other in beside.iter().filter_map(|placed| placed.slot.as_ref()) {
        let theirs = other.sensor.families().unwrap_or_default();
        for family in families {
            if theirs.iter().any(|known| known.name == family.name) {
                return Some(format!(
                    "its family {:?} belongs to the sensor {:?} on this instance",
                    family.name, other.name
                ));
            }
        }
    }
    None
}
