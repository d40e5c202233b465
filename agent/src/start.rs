//! How the parts of an agent are put together, in three steps: what listens, the sandbox, and the keeper with those who serve.
//!
//! The order is what matters: listening comes first, so that two agents on one machine are told apart before anything is opened; the broker was
//! launched before there were threads; and nobody is served before the keeper is at work.

use std::sync::Arc;
use std::time::Duration;

use sonde_broker::{Client, Launched, raise_descriptors};
use sonde_collect::unheard::Unheard;
use sonde_collect::{Events, NodeId, Roots};
use sonde_host::{Accounts, CodeCache, Compiling, Loader, Schedule, Settings};
use sonde_inventory::assignment::SensorStanding;
use sonde_listen::{Notify, Spare, admin};
use tokio::sync::{mpsc, oneshot, watch};

use crate::about::About;
use crate::config::Config;
use crate::finder::Finder;
use crate::instance::Catalogue;
use crate::keeper::{self, ConfigSource, Keeper, Order, Parts};
use crate::listeners::{Beside, BesideProxy, Listeners};
use crate::node::NodeGate;
use crate::node_id::node_id;
use crate::placing::With;
use crate::pulses::{self, Pulses};
use crate::readiness::Readiness;
use crate::reading_threads::ReadingThreads;
use crate::reload::Reloader;
use crate::report::{Credentials, Reporter};
use crate::serve::admin::Desk;
use crate::serve::{self, Ask, Room};
use crate::{Agent, StartError, capacity, parts, reserved};

/// The machine's name, as the kernel has it.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// The folder of compiled code, in the folder of state.
const CODE_FOLDER: &str = "code";
/// Findings on their way to the keeper.
const FINDINGS: usize = 64;
/// Questions to a part of the agent that wait: one asks at a time, and reloads are few.
const QUESTIONS: usize = 16;
/// The service manager is told that the agent is ready so long after the start at the latest: it serves from the beginning, and a first
/// look that takes longer has sensors to compile.
const LATEST_READY: Duration = Duration::from_secs(60);

/// Who runs sensors, and what they have.
struct Sandbox {
    descriptors: u64,
    readiness: Readiness,
    broker: Arc<Client>,
    schedule: Schedule,
    loader: Arc<Loader>,
    accounts: Arc<Accounts>,
}

impl Sandbox {
    async fn start(config: &Config, roots: &Roots, launched: Launched) -> Result<Self, StartError> {
        let key = launched.key();
        let descriptors = raise_descriptors();
        let settings = capacity::fit(settings(config), descriptors);
        let readiness = Readiness::take(roots, descriptors, launched.pid());
        let broker = launched.connect(settings.runner_memory_bytes).map_err(|source| StartError::Broker { source })?;
        let cache =
            CodeCache::open(&config.state_dir.join(CODE_FOLDER)).map_err(|source| StartError::Code { source })?;
        let schedule = Schedule::start(settings, broker.clone(), Some(key))
            .map_err(|source| StartError::Thread { what: "sensors", source })?;
        let loader = Arc::new(Loader::new(reserved(), cache, Compiling::new(broker.clone()), schedule.clone()));
        schedule.warm().await;
        Ok(Self { descriptors, readiness, broker, schedule, loader, accounts: Arc::default() })
    }
}

/// What all parts share.
struct Shared {
    config: Arc<Config>,
    node: NodeId,
    roots: Arc<Roots>,
    threads: Arc<ReadingThreads>,
    catalogue: Arc<Catalogue>,
    about: Arc<About>,
    /// None where the kernel lets nobody listen.
    events: Option<Events>,
    unheard: Arc<Unheard>,
}

impl Shared {
    fn of(config: Arc<Config>) -> Result<Self, StartError> {
        let roots = Arc::new(Roots::of_this_machine().map_err(|source| StartError::Roots { source })?);
        let node = node_id(&config)?;
        if !rustix::process::geteuid().is_root() {
            tracing::warn!(
                "not running as root: containers, other users' processes and their files are mostly out of reach"
            );
        }
        let threads = ReadingThreads::start().map_err(|source| StartError::Thread { what: "readings", source })?;
        let unheard = Arc::<Unheard>::default();
        let events = Events::start(unheard.clone()).inspect_err(|error| {
            tracing::warn!(%error, "nobody can listen to the kernel's events: OOM kills are counted at scrapes alone");
        });
        let events = events.ok();
        let about = About::of(events.as_ref().map(Events::totals), unheard.clone());
        Ok(Self {
            config,
            node,
            roots,
            threads: Arc::new(threads),
            catalogue: Arc::default(),
            about: Arc::new(about),
            events,
            unheard,
        })
    }

    fn with(&self, sandbox: &Sandbox) -> With {
        With {
            loader: sandbox.loader.clone(),
            schedule: sandbox.schedule.clone(),
            broker: sandbox.broker.clone(),
            accounts: sandbox.accounts.clone(),
            threads: self.threads.clone(),
            about: self.about.clone(),
        }
    }

    fn keeper(&self, source: ConfigSource, config_text: String, sandbox: &Sandbox) -> Result<Kept, StartError> {
        let (findings_in, findings) = mpsc::channel(FINDINGS);
        let sought = keeper::discovery_config(&self.node, &self.config);
        let finder = Finder::start(self.roots.clone(), sought, findings_in, self.unheard.clone())
            .map_err(|source| StartError::Thread { what: "finding instances", source })?;
        let (published, config) = watch::channel(self.config.clone());
        let (standings, sensors) = watch::channel(Arc::default());
        let parts = Parts {
            source,
            config: self.config.clone(),
            config_text,
            published,
            node: self.node.clone(),
            catalogue: self.catalogue.clone(),
            broker: sandbox.broker.clone(),
            roots: self.roots.clone(),
            finder,
            events: self.events.clone(),
            findings,
            about: self.about.clone(),
            standings,
        };
        Ok(Kept { keeper: Keeper::new(parts, self.with(sandbox)), config, sensors })
    }

    /// Who tells proxies, where there are some.
    fn reporter(&self, listeners: &Listeners, kept: &Kept) -> Option<Reporter> {
        let report = listeners.beside.as_ref().map(|(_, _, report)| report.clone());
        let settings = report.or_else(|| self.config.report.clone())?;
        Some(Reporter {
            sensors: kept.sensors.clone(),
            config: kept.config.clone(),
            node: self.node.uuid(),
            itself: about_this_node(settings.url.clone().unwrap_or_else(|| listeners.url())),
            credentials: settings.tls.clone().map(|files| Arc::new(Credentials::new(files))),
            settings,
            catalogue: self.catalogue.clone(),
            threads: self.threads.clone(),
            about: self.about.clone(),
        })
    }
}

/// The keeper, and what it will publish: the configuration, and how pushed sensors stand.
struct Kept {
    keeper: Keeper,
    config: watch::Receiver<Arc<Config>>,
    sensors: watch::Receiver<Arc<Vec<SensorStanding>>>,
}

/// Who is asked for what, and told when to stop.
struct Lines {
    refresh: (mpsc::Sender<oneshot::Sender<()>>, mpsc::Receiver<oneshot::Sender<()>>),
    stop: (watch::Sender<bool>, watch::Receiver<bool>),
    ready: (watch::Sender<bool>, watch::Receiver<bool>),
    orders: (mpsc::Sender<Order>, mpsc::Receiver<Order>),
    asks: (mpsc::Sender<Ask>, mpsc::Receiver<Ask>),
}

impl Lines {
    fn lay() -> Self {
        Self {
            refresh: mpsc::channel(FINDINGS),
            stop: watch::channel(false),
            ready: watch::channel(false),
            orders: mpsc::channel(QUESTIONS),
            asks: mpsc::channel(QUESTIONS),
        }
    }
}

impl Agent {
    /// Starts everything behind a broker that was launched before there were threads; returns when the agent listens.
    pub async fn start(
        source: ConfigSource,
        launched: Launched,
        beside: Option<BesideProxy>,
    ) -> Result<Self, StartError> {
        let config_text = source.read()?;
        let config = Arc::new(source.parse(&config_text)?);
        let listeners = Listeners::bind(&config, &source, beside).await?;
        let shared = Shared::of(config)?;
        let sandbox = Sandbox::start(&shared.config, &shared.roots, launched).await?;
        let kept = shared.keeper(source, config_text, &sandbox)?;
        Self::run(shared, sandbox, listeners, kept)
    }

    /// Sets all parts to work.
    fn run(shared: Shared, sandbox: Sandbox, listeners: Listeners, kept: Kept) -> Result<Self, StartError> {
        let Lines { refresh, stop: (stop, stopping), ready: (is_ready, ready), orders, asks } = Lines::lay();
        let (broker, descriptors) = (sandbox.broker.clone(), sandbox.descriptors);
        let (url, scheme, address) = (listeners.url(), listeners.scheme(), listeners.address);
        let notify = Arc::new(Notify::from_environment());
        let pulses = Arc::new(Pulses::new(parts::NAMES, notify.watchdog()));
        let reloader = Reloader { orders: orders.0.clone(), tls: listeners.tls.clone(), notify: notify.clone() };
        let watched = parts::all(asks.0, orders.0, sandbox.schedule.clone(), broker.clone());
        let reporter = shared.reporter(&listeners, &kept);
        let Kept { keeper, config, .. } = kept;
        let Listeners { listener, tls, beside, admin: at_admin, .. } = listeners;
        let room = Arc::new(Room {
            catalogue: shared.catalogue,
            node: NodeGate::new(shared.roots),
            threads: shared.threads,
            schedule: sandbox.schedule,
            loader: sandbox.loader,
            accounts: sandbox.accounts,
            config,
            about: shared.about,
            refresh: refresh.0.clone(),
            ready: ready.clone(),
            readiness: sandbox.readiness,
            spare: Arc::new(Spare::take(descriptors)),
            pulses: pulses.clone(),
            tls: tls.clone(),
            reporting: reporter.as_ref().and_then(|reporter| reporter.credentials.clone()),
            base_url: url.clone(),
        });
        let at_desk = at_desk(at_admin, Desk::new(room.clone(), reloader.clone()));
        pulses::start(watched, pulses, notify.clone(), at_desk, stopping.clone())
            .map_err(|source| StartError::Thread { what: "the admin routes", source })?;
        let keeper = tokio::spawn(keeper.keep(refresh.1, orders.1, stopping.clone()));
        if let Some(reporter) = reporter {
            tracing::info!(node = %reporter.node, "this node reports what runs on it; its certificate says sonde:node: and this id");
            tokio::spawn(reporter.run(ready.clone(), stopping.clone()));
        }
        serve_beside(beside, &room, descriptors, &stopping);
        let server = tokio::spawn(serve::serve(listener, tls, room, descriptors, asks.1, stopping));
        tokio::spawn(first_look(refresh.0, is_ready));
        tokio::spawn(tell_ready(notify, ready.clone(), format!("serving at {url}")));
        Ok(Self { address, scheme, broker, stop, ready, reloader, keeper, server })
    }
}

/// The admin routes, where there is a place for them.
async fn at_desk(listener: Option<std::net::TcpListener>, desk: Desk) {
    if let Some(listener) = listener {
        admin::serve(listener, Arc::new(desk)).await;
    }
}

/// Serves proxies beside this one's own listener, where there is one. Nobody asks this one how it is: it has the same threads as the other.
fn serve_beside(beside: Option<Beside>, room: &Arc<Room>, descriptors: u64, stopping: &watch::Receiver<bool>) {
    if let Some((listener, tls, _)) = beside {
        let (_, unasked) = mpsc::channel(1);
        tokio::spawn(serve::serve(listener, Some(tls), room.clone(), descriptors, unasked, stopping.clone()));
    }
}

/// Tells the service manager that the agent is ready.
async fn tell_ready(notify: Arc<Notify>, mut ready: watch::Receiver<bool>, status: String) {
    let looked = tokio::time::timeout(LATEST_READY, ready.wait_for(|ready| *ready)).await;
    if looked.is_err() {
        tracing::warn!("the first look for instances and sensors is not done yet; it is served meanwhile");
    }
    notify.ready(&status);
}

/// Ready means: the keeper has looked at everything once.
async fn first_look(refresh: mpsc::Sender<oneshot::Sender<()>>, is_ready: watch::Sender<bool>) {
    let (done, looked) = oneshot::channel();
    // Each fails only where the keeper or all who wait for this are gone: the agent is ending, and says so itself.
    let _ = refresh.send(done).await;
    let _ = looked.await;
    let _ = is_ready.send(true);
}

/// What proxies are told of this machine.
fn about_this_node(url: String) -> sonde_inventory::report::About {
    let hostname = std::fs::read_to_string(HOSTNAME).unwrap_or_default().trim().to_owned();
    sonde_inventory::report::About { hostname, url }
}

/// How runs are placed on this machine.
fn settings(config: &Config) -> Settings {
    let sandbox = &config.sandbox;
    Settings {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        runners_for: sandbox.runners_for,
        runner_memory_bytes: sandbox.memory_bytes,
        standing: sandbox.standing,
        ..Settings::default()
    }
}
