//! The keeper: the one task that changes what is there.
//!
//! It takes what the finder finds, what the sensors' folder holds and what the configuration says, and makes the
//! catalogue and the placed sensors agree with them. Everything that changes passes through it, one thing after the other; whoever
//! serves only reads. A file that is broken, or a configuration that is, changes nothing but what it says in the log.

mod lines;
mod source;
mod unread;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_broker::Client;
use sonde_collect::space::SpacePool;
use sonde_collect::{Change, DiscoveryConfig, Events, FdBudget, Found, InstanceReader, NodeId, Reason, Roots};
use sonde_host::TargetId;
use sonde_inventory::assignment::SensorStanding;
use sonde_listen::stopped;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::about::About;
use crate::config::{Config, OPERATOR};
use crate::finder::{Finder, Finding};
use crate::instance::{Catalogue, Instance};
use crate::owners;
use crate::placing::{Placing, With};
use lines::Lines;
pub use source::ConfigSource;

/// How often the configuration and the sensors' folder are looked at, state is written and the gone are forgotten.
const BEAT: Duration = Duration::from_secs(1);

/// Stands for the text of a configuration that could not be read.
const UNREADABLE: &str = "\0";

/// Refused claims remembered as said; past it they may be said again.
const MOST_SAID: usize = 1024;

/// How often state that belongs to nobody is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// Files kept open for readings, of all instances together: some 30 of each are worth it, so it is enough for a thousand. Opening them anew makes a
/// reading more than twice as long, by a handle on the directory hardly less; the kernel keeps 4.4 KB for each that was read, 140 MB for all.
const KEPT_FILES: usize = 32_768;

/// What the keeper is asked for.
pub(crate) enum Order {
    /// To read everything again, and whether the configuration was taken, or why not.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Whether it is at work.
    Ping(oneshot::Sender<()>),
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
    pub(crate) broker: Arc<Client>,
    pub(crate) roots: Arc<Roots>,
    pub(crate) finder: Finder,
    /// None where the kernel lets nobody listen.
    pub(crate) events: Option<Events>,
    pub(crate) findings: mpsc::Receiver<Finding>,
    pub(crate) about: Arc<About>,
    /// How sensors stand that proxies assigned.
    pub(crate) standings: watch::Sender<Arc<Vec<SensorStanding>>>,
}

pub(crate) struct Keeper {
    parts: Parts,
    placing: Placing,
    budget: FdBudget,
    space: SpacePool,
    next_target: u64,
    config_text: String,
    refreshers: Vec<oneshot::Sender<()>>,
    /// Whether all instances there are have been seen.
    looked: bool,
    /// Refused claims that the log has had.
    said_refusals: HashSet<String>,
    swept: Option<Instant>,
    unread: Lines,
    refused: Lines,
}

impl Keeper {
    pub(crate) fn new(parts: Parts, with: With) -> Self {
        Self {
            placing: Placing::new(with, &parts.config),
            budget: FdBudget::of_process(KEPT_FILES),
            space: SpacePool::default(),
            next_target: 0,
            config_text: parts.config_text.clone(),
            refreshers: Vec::new(),
            looked: false,
            said_refusals: HashSet::new(),
            swept: None,
            unread: Lines::default(),
            refused: Lines::default(),
            parts,
        }
    }

    /// Keeps everything in agreement until `stop` resolves; then writes state and ends.
    pub(crate) async fn keep(
        mut self,
        mut refresh: mpsc::Receiver<oneshot::Sender<()>>,
        mut orders: mpsc::Receiver<Order>,
        mut stop: watch::Receiver<bool>,
    ) {
        // Which files there are is known before the first instance is.
        self.placing.look_at_files(&self.parts.config);
        let mut beat = tokio::time::interval(BEAT);
        loop {
            // Each has its turn, by chance: who makes findings without end must not stop what is done each second, nor orders.
            tokio::select! {
                () = stopped(&mut stop) => break,
                finding = self.parts.findings.recv() => match finding {
                    Some(finding) => self.take(finding).await,
                    None => {
                        tracing::error!("nobody looks for instances any more; this is a defect of the agent");
                        break;
                    }
                },
                Some(loaded) = self.placing.loaded() => {
                    if self.placing.take_loaded(loaded) {
                        self.place_everywhere().await;
                    }
                }
                Some(done) = refresh.recv() => self.refresh(done).await,
                _ = beat.tick() => self.beat().await,
                Some(order) = orders.recv() => self.obey(order).await,
            }
            if !self.placing.is_loading() {
                self.refreshers.drain(..).for_each(|done| done.send(()).unwrap_or(()));
            }
        }
        self.placing.write_state();
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Ping(reply) => reply.send(()).unwrap_or(()),
            Order::Reload(reply) => {
                // Read anew, whatever it was before: the answer is of now.
                let reloaded = self.reload_config(true).await;
                self.look_at_files().await;
                reply.send(reloaded).unwrap_or(());
            }
        }
    }

    async fn beat(&mut self) {
        // What is refused is said where it is.
        let _ = self.reload_config(false).await;
        self.look_at_files().await;
        self.placing.write_state();
        self.say_standings();
        self.parts.about.say_unheard();
        if let Some(lives) = self.unread.beat() {
            tracing::info!(lives, reason = "unread", "so many more instances appeared and are gone");
        }
        if let Some(claims) = self.refused.beat() {
            tracing::warn!(claims, "so many more claims to be an instance were refused");
        }
        for id in self.parts.catalogue.expire(Instant::now()) {
            self.placing.state.forget(id);
        }
        self.sweep_state();
    }

    fn say_standings(&self) {
        let (now, left_out) = self.placing.standings(&self.parts.catalogue.live());
        self.parts.about.sensors_untold(left_out);
        self.parts.standings.send_if_modified(|before| {
            let is_other = **before != now;
            if is_other {
                *before = Arc::new(now);
            }
            is_other
        });
    }

    async fn look_at_files(&mut self) {
        if self.placing.look_at_files(&self.parts.config) {
            self.place_everywhere().await;
        }
    }

    /// Removes the state of instances that are neither alive nor remembered: they went while the agent was down. Once the first look is done,
    /// and then now and again.
    fn sweep_state(&mut self) {
        if !self.looked || self.swept.is_some_and(|at| at.elapsed() < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(Instant::now());
        let catalogue = self.parts.catalogue.clone();
        self.placing.state.sweep(|id| catalogue.knows(id));
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

    /// Takes the configuration over if its text is another, or `anyway`; the error says why it was not taken.
    async fn reload_config(&mut self, anyway: bool) -> Result<(), String> {
        let read = match self.parts.source.read() {
            Ok(text) if text == self.config_text && !anyway => return Ok(()),
            Ok(text) => {
                self.config_text = text;
                self.parts.source.parse(&self.config_text)
            }
            // Said once: no file has a text of one NUL.
            Err(_) if self.config_text == UNREADABLE && !anyway => return Ok(()),
            Err(error) => {
                self.config_text = UNREADABLE.into();
                Err(error)
            }
        };
        let config = match read {
            Ok(config) => Arc::new(config),
            Err(error) => {
                self.parts.about.config_faults.add(1);
                let error = crate::chain(&error);
                tracing::error!(error, "the new configuration was refused; the old one stays");
                return Err(error);
            }
        };
        let old = std::mem::replace(&mut self.parts.config, config.clone());
        let at_start = |config: &Config| (config.listen, config.admin, config.tls.clone(), config.node_id.clone());
        if at_start(&old) != at_start(&config) {
            tracing::warn!("listen and node take effect at the next start");
        }
        if old.report != config.report {
            tracing::warn!("report takes effect at the next start");
        }
        if old.sandbox != config.sandbox {
            tracing::warn!("sandbox takes effect at the next start");
        }
        self.placing.keep_in(&config.state_dir);
        let _ = self.parts.published.send(config.clone());
        tracing::info!("the configuration was reloaded");
        let sought = discovery_config(&self.parts.node, &config);
        if sought != discovery_config(&self.parts.node, &old) {
            self.parts.finder.configure(sought);
        }
        if old.owners != config.owners {
            for instance in self.parts.catalogue.live() {
                self.appeared(instance.found.clone()).await;
            }
        }
        self.place_everywhere().await;
        Ok(())
    }

    async fn place_everywhere(&mut self) {
        for instance in self.parts.catalogue.live() {
            self.placing.place(&instance, &self.parts.config).await;
        }
    }

    // === instances ===

    async fn take(&mut self, finding: Finding) {
        match finding {
            Finding::Changes(changes) => {
                for change in changes {
                    match change {
                        Change::Appeared(found) | Change::Updated(found) => self.appeared(found).await,
                        Change::Gone(id, reason) => self.gone(id, reason).await,
                        Change::Unread(found, lives) => self.unread(found, lives),
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
                    if self.refused.may_say(1) {
                        tracing::warn!(refusal, "a claim to be an instance was refused");
                    }
                    self.said_refusals.insert(refusal);
                }
            }
        }
    }

    async fn appeared(&mut self, found: Arc<Found>) {
        let id = found.name.uuid;
        let known = self.parts.catalogue.get(id);
        let owner: Arc<str> = owners::owner(&found, &self.parts.config).account.into();
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
            self.placing.remove(id).await;
        } else {
            self.parts.about.births.add(1);
            tracing::info!(instance = %id, runtime = found.name.runtime.as_str(), name = found.name.runtime_id, "an instance appeared");
        }
        self.parts.broker.note(&found, &owner);
        let roots = self.parts.roots.clone();
        // The operator is bounded by nothing; of others, none may hold all the threads with file systems of his making.
        let space = if *owner == *OPERATOR { self.space.clone() } else { self.space.of_owner(owner.clone()) };
        let reader = InstanceReader::new(found.clone(), roots.clone(), &self.budget).with_space(&space, roots);
        let mut reader = reader.with_held(self.parts.catalogue.held(id));
        if let Some(events) = &self.parts.events {
            reader = reader.with_events(events, self.parts.catalogue.noticed(id));
        }
        let instance = Arc::new(Instance::new(found, owner, target, reader));
        self.parts.catalogue.insert(instance.clone());
        self.placing.place(&instance, &self.parts.config).await;
    }

    async fn gone(&mut self, id: Uuid, reason: Reason) {
        self.parts.broker.forget(id);
        self.placing.remove(id).await;
        if let Some(instance) = self.parts.catalogue.remove(id, reason) {
            let name = &instance.found.name.runtime_id;
            self.parts.about.deaths.add(1);
            tracing::info!(instance = %id, name, reason = reason.as_str(), "an instance is gone");
        }
    }
}

/// What discovery is told of a configuration.
pub(crate) fn discovery_config(node: &NodeId, config: &Config) -> DiscoveryConfig {
    DiscoveryConfig {
        process_groups: config.process_groups.clone(),
        rules: config.instances.clone(),
        asked_labels: config.asked_labels(),
        ..DiscoveryConfig::new(node.clone())
    }
}
