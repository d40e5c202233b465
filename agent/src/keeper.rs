//! The keeper: the one task that changes what is there.
//!
//! It takes what the finder finds, what the sensors' folder holds and what the configuration says, and makes the
//! catalogue and the placed sensors agree with them. Everything that changes passes through it, one thing after the other; whoever
//! serves only reads. A file that is broken, or a configuration that is, changes nothing but what it says in the log.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_collect::{Change, DiscoveryConfig, FdBudget, Found, InstanceReader, NodeId, Reason};
use sonde_expo::name::sample_names;
use sonde_host::{Digest, Grant, LoadError, Loader, Placement, Schedule, Sensor, Slot, TargetId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::about::About;
use crate::broker::{BrokerRoom, InstanceBroker};
use crate::config::{Config, ConfigError, OPERATOR, SensorRule};
use crate::finder::{Finder, Finding};
use crate::instance::{Catalogue, Instance, Placed};
use crate::matching::Match;
use crate::reading_threads::ReadingThreads;
use crate::sensor_files::{NewFile, SensorFiles, Stamp};
use crate::state_files::StateFiles;

/// How often the configuration and the sensors' folder are looked at, state is written and the gone are forgotten.
const BEAT: Duration = Duration::from_secs(1);

/// Refused claims remembered as said; past it they may be said again.
const MOST_SAID: usize = 1024;

/// How often state that belongs to nobody is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// Files kept open for readings, of all instances together.
const KEPT_FILES: usize = 16_384;

/// Where the configuration comes from, and where to listen when it does not say.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    pub path: PathBuf,
    pub default_listen: SocketAddr,
}

impl ConfigSource {
    /// The file's text.
    pub(crate) fn read(&self) -> Result<String, ConfigError> {
        let path = self.path.display().to_string();
        std::fs::read_to_string(&self.path).map_err(|source| ConfigError::Read { path, source })
    }

    /// What the text means.
    pub(crate) fn parse(&self, text: &str) -> Result<Config, ConfigError> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Config::parse(text, folder, &self.path.display().to_string(), self.default_listen)
    }
}

/// All that the keeper works with.
pub(crate) struct Parts {
    pub(crate) source: ConfigSource,
    pub(crate) config: Arc<Config>,
    /// The text that it was read from.
    pub(crate) config_text: String,
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
type Loaded = (String, Stamp, Result<Arc<Sensor>, LoadError>);

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
    /// Whether all instances there are have been seen.
    looked: bool,
    /// Refused claims that the log has had.
    said_refusals: HashSet<String>,
    swept: Option<Instant>,
}

impl Keeper {
    pub(crate) fn new(parts: Parts) -> Self {
        let state = StateFiles::new(&parts.config.state_dir);
        Self {
            files: SensorFiles::default(),
            loading: JoinSet::new(),
            budget: FdBudget::of_process(KEPT_FILES),
            state,
            next_target: 0,
            slots: HashMap::new(),
            config_text: parts.config_text.clone(),
            refreshers: Vec::new(),
            looked: false,
            said_refusals: HashSet::new(),
            swept: None,
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
                finding = self.parts.findings.recv() => match finding {
                    Some(finding) => self.take(finding).await,
                    None => {
                        tracing::error!("nobody looks for instances any more; this is a defect of the agent");
                        break;
                    }
                },
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
        self.sweep_state();
    }

    /// Removes the state of instances that are neither alive nor remembered: they went while the agent was down. Once the first look is done,
    /// and then now and again.
    fn sweep_state(&mut self) {
        if !self.looked || self.swept.is_some_and(|at| at.elapsed() < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(Instant::now());
        let catalogue = self.parts.catalogue.clone();
        self.state.sweep(|id| catalogue.knows(id));
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
        self.looked = true;
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
        let config = match self.parts.source.parse(&self.config_text) {
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
            Finding::Refused(counts, mut words) => {
                self.parts.about.set_refused(counts);
                words.retain(|refusal| !self.said_refusals.contains(refusal));
                if self.said_refusals.len() > MOST_SAID {
                    self.said_refusals.clear();
                }
                for refusal in words {
                    tracing::warn!(refusal, "a claim to be an instance was refused");
                    self.said_refusals.insert(refusal);
                }
            }
        }
    }

    async fn appeared(&mut self, found: Arc<Found>) {
        let id = found.name.uuid;
        let known = self.parts.catalogue.get(id);
        let owner = owner(&found, &self.parts.config);
        // What is nested in an instance is its own affair, and must not make it begin anew.
        let same = |known: &Instance| {
            *known.found == Found { nested_claims: known.found.nested_claims, ..(*found).clone() }
                && known.owner == owner
        };
        if known.as_deref().is_some_and(same) {
            return;
        }
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
        self.parts.room.owners.note(&found, &owner);
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
        // Files of many megabytes: not on a thread that serves.
        let look = tokio::task::block_in_place(|| self.files.look(&self.parts.config.sensors_dir));
        for NewFile { name, stamp, bytes } in look.new {
            let loader = self.parts.loader.clone();
            self.loading.spawn_on(
                async move {
                    let loaded = loader.load(bytes).await;
                    (name, stamp, loaded)
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
        let of_instance = self.slots.keys().filter(|(instance, _)| *instance == id).cloned().collect();
        self.end(of_instance).await;
    }

    /// Takes slots away, their state kept.
    async fn end(&mut self, keys: Vec<(Uuid, Arc<str>)>) {
        for key in keys {
            if let Some((_, slot)) = self.slots.remove(&key) {
                self.save(key.0, &slot);
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
        let runs = |name: &Arc<str>| placed.iter().any(|placed| placed.slot.is_some() && placed.name == *name);
        let ended = self.slots.keys().filter(|(id, name)| *id == instance.id() && !runs(name)).cloned().collect();
        self.end(ended).await;
        instance.set_placed(placed);
    }

    /// The rules for an instance: those of the configuration that match it, then a rule for each file that no rule names. Sorted by name; of two with one name, the first.
    fn wanted(&self, instance: &Instance) -> Vec<SensorRule> {
        let rules = &self.parts.config.sensors;
        let mut wanted: Vec<SensorRule> = rules.iter().filter(|rule| meant(rule, &instance.found)).cloned().collect();
        for (file, _) in self.files.iter().filter(|(file, _)| !rules.iter().any(|rule| rule.file == *file)) {
            wanted.push(SensorRule {
                name: file.strip_suffix(".wasm").unwrap_or(file).to_owned(),
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

    /// One sensor's slot and fault. What ran before a *new version* that is refused goes on, as long as the configuration and the
    /// policy still allow exactly that; what they no longer allow stops.
    async fn place_one(
        &mut self,
        instance: &Arc<Instance>,
        name: &Arc<str>,
        rule: &SensorRule,
        beside: &[Placed],
    ) -> (Option<Arc<Slot>>, Option<Arc<str>>) {
        let Some(file) = self.files.get(&rule.file) else {
            let fault = format!("the sensors' folder has no file {}", rule.file);
            return (None, Some(fault.into()));
        };
        let file_fault = file.fault.clone();
        let Some(sensor) = file.sensor.clone() else { return (None, file_fault) };
        match self.decide(&sensor, rule, beside) {
            Ok(grant) => (Some(self.ensure(instance, name, rule, sensor, grant).await), file_fault),
            Err(fault) => {
                self.say_refused(instance, name, &fault);
                let before = self.slots.get(&(instance.id(), name.clone())).map(|(_, slot)| slot.clone());
                let still_allowed = before.filter(|slot| {
                    slot.sensor.digest != sensor.digest
                        && self.decide(&slot.sensor, rule, beside).is_ok_and(|grant| grant == *slot.grant)
                });
                (still_allowed, Some(fault.into()))
            }
        }
    }

    fn decide(&self, sensor: &Sensor, rule: &SensorRule, beside: &[Placed]) -> Result<Grant, String> {
        let asked = sensor.manifest.resolve(&rule.config);
        let asked = asked.map_err(|error| format!("its configuration is not valid: {error}"))?;
        let grant = Grant::decide(&sensor.manifest, asked, &self.parts.config.policy).map_err(|r| r.to_string())?;
        conflict(sensor, beside).map_or(Ok(grant), Err)
    }

    /// The slot in which exactly this runs: the one there is, or a new one in its place.
    async fn ensure(
        &mut self,
        instance: &Arc<Instance>,
        name: &Arc<str>,
        rule: &SensorRule,
        sensor: Arc<Sensor>,
        grant: Grant,
    ) -> Arc<Slot> {
        let key = (instance.id(), name.clone());
        let grant = Arc::new(grant);
        let placed_as = PlacedAs { digest: sensor.digest, grant: grant.clone(), secrets: rule.secrets.clone() };
        if let Some((before, slot)) = self.slots.get(&key) {
            if *before == placed_as {
                return slot.clone();
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
        slot
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

/// Whether a rule is for an instance. A rule with secrets is for none whose name a tenant may have chosen: the secret would go to whoever
/// listens there.
fn meant(rule: &SensorRule, found: &Found) -> bool {
    rule.matching.matches(&found.name) && (found.root_owned || rule.secrets.is_empty())
}

/// What discovery is told of a configuration.
pub(crate) fn discovery_config(node: &NodeId, config: &Config) -> DiscoveryConfig {
    DiscoveryConfig { process_groups: config.process_groups.clone(), ..DiscoveryConfig::new(node.clone()) }
}

/// The first rule that matches decides; else, and where a tenant may have chosen the name, the operator owns it.
fn owner(found: &Found, config: &Config) -> Arc<str> {
    let rule = config.owners.iter().find(|rule| found.root_owned && rule.matching.matches(&found.name));
    rule.map_or(OPERATOR, |rule| rule.account.as_str()).into()
}

/// Whether a name that the sensor's families occupy belongs to one placed before it.
fn conflict(sensor: &Sensor, beside: &[Placed]) -> Option<String> {
    let families = sensor.families()?;
    for other in beside.iter().filter_map(|placed| placed.slot.as_ref()) {
        let theirs = other.sensor.families().unwrap_or_default();
        let taken: HashSet<String> = theirs.iter().flat_map(|family| sample_names(&family.name, family.kind)).collect();
        for family in families {
            if sample_names(&family.name, family.kind).iter().any(|name| taken.contains(name)) {
                let (family, owner) = (&family.name, &other.name);
                return Some(format!("its family {family:?} belongs to the sensor {owner:?} on this instance"));
            }
        }
    }
    None
}
