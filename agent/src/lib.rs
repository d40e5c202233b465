//! The node's daemon: finds instances, reads the kernel about them, runs their sensors, and serves what it knows.
//!
//! [`Agent::start`] puts the parts together: the *finder* looks, the *keeper* decides, *gates* read, the *broker* opens, the sandbox
//! (`sonde-host`) runs, `serve` answers. Each part owns what it changes; the catalogue is where they meet.

mod about;
mod capacity;
mod check;
pub mod config;
mod cpu_weight;
mod finder;
mod floor;
mod gate;
mod instance;
mod keeper;
mod kernel;
mod node;
mod overload;
mod owners;
mod parts;
mod placing;
mod pulses;
mod pushed;
mod readiness;
mod reading_threads;
mod reload;
mod report;
mod scrape_config;
mod sensor_files;
#[cfg(test)]
mod series_page;
mod serve;
mod state_files;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sonde_broker::{Client, ClientError, Launched, raise_descriptors};
use sonde_collect::identity::NodeIdError;
use sonde_collect::mounts::RootsError;
use sonde_collect::{NodeId, Roots, families};
use sonde_host::{Accounts, CodeCache, CodeCacheError, Compiling, Loader, Reserved, Schedule, Settings};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use about::About;
use config::{Config, ConfigError, Report, Tls};
use finder::Finder;
use instance::Catalogue;
use keeper::{Keeper, Parts};
use node::NodeGate;
use placing::With;
use pulses::Pulses;
use readiness::Readiness;
use reading_threads::ReadingThreads;
use report::Reporter;
use scrape_config::ScrapeConfig;
pub use scrape_config::Through;
use serve::admin::{self, Desk};
use serve::{Room, TlsError, TlsFiles};
use sonde_listen::{Notify, Spare};

pub use check::instances_here;
pub use keeper::ConfigSource;
pub use reload::Reloader;

/// Names and labels that belong to Prometheus or to the node.
const RESERVED_NAMES: [&str; 1] = ["up"];
const RESERVED_PREFIXES: [&str; 3] = ["scrape_", "ALERTS", "__"];
const RESERVED_LABELS: [&str; 6] = ["job", "instance", "account", "sensor", "le", "quantile"];
/// Where a machine keeps its id.
const MACHINE_ID: &str = "/etc/machine-id";
/// The machine's name, as the kernel has it.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// The file that holds a made-up id where the machine has none.
const NODE_ID_FILE: &str = "node-id";
/// The folder of compiled code, in the folder of state.
const CODE_FOLDER: &str = "code";
/// Findings on their way to the keeper.
const FINDINGS: usize = 64;
/// Questions to a part of the agent that wait: one asks at a time, and reloads are few.
const QUESTIONS: usize = 16;
/// The service manager is told that the agent is ready so long after the start at the latest: it serves from the beginning, and a first
/// look that takes longer has sensors to compile.
const LATEST_READY: std::time::Duration = std::time::Duration::from_secs(60);

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the node has no id: set [node] id in the configuration")]
    NodeId { source: NodeIdError },
    #[error("the node's id cannot be kept in {path}")]
    KeepNodeId { path: String, source: io::Error },
    #[error("the kernel's files are not where they should be")]
    Roots { source: RootsError },
    #[error("the broker cannot be reached")]
    Broker { source: ClientError },
    #[error("compiled sensors cannot be kept")]
    Code { source: CodeCacheError },
    #[error("{address} cannot be listened on; is another agent running?")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("TLS cannot be set up")]
    Tls { source: TlsError },
    #[error("the thread for {what} cannot be started")]
    Thread { what: &'static str, source: io::Error },
}

pub use sonde_broker::{keep_agents, launch};
pub use sonde_host::chain;

/// A second listener, with TLS, for the proxy beside it: what `sonde up` has, so that the two speak as in production.
pub struct BesideProxy {
    pub tls: Tls,
    pub report: Report,
}

/// A running agent. Dropping it does not stop it; [`Agent::stop`] does.
pub struct Agent {
    address: SocketAddr,
    scheme: &'static str,
    broker: Arc<Client>,
    stop: watch::Sender<bool>,
    ready: watch::Receiver<bool>,
    reloader: Reloader,
    keeper: JoinHandle<()>,
    server: JoinHandle<()>,
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
        let roots = Arc::new(Roots::of_this_machine().map_err(|source| StartError::Roots { source })?);
        let node = node_id(&config)?;
        if !rustix::process::geteuid().is_root() {
            tracing::warn!(
                "not running as root: containers, other users' processes and their files are mostly out of reach"
            );
        }
        let listener = listen(&config, &source).await?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;
        let tls = config.tls.clone().map(TlsFiles::load).transpose().map_err(|source| StartError::Tls { source })?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let beside = match beside {
            Some(beside) => Some(listen_beside(beside).await?),
            None => None,
        };
        let desk_listener = config.admin.map(listen_for_admins).transpose()?;

        let threads = ReadingThreads::start().map_err(|source| StartError::Thread { what: "readings", source })?;
        let threads = Arc::new(threads);
        let key = launched.key();
        let descriptors = raise_descriptors();
        let settings = capacity::fit(settings(&config), descriptors);
        let readiness = Readiness::take(&roots, descriptors, launched.pid());
        let broker = launched.connect(settings.runner_memory_bytes).map_err(|source| StartError::Broker { source })?;
        let cache =
            CodeCache::open(&config.state_dir.join(CODE_FOLDER)).map_err(|source| StartError::Code { source })?;
        let schedule = Schedule::start(settings, broker.clone(), Some(key))
            .map_err(|source| StartError::Thread { what: "sensors", source })?;
        let loader = Loader::new(reserved(), cache, Compiling::new(broker.clone()), schedule.clone());
        let accounts = Arc::<Accounts>::default();
        schedule.warm().await;
        let (findings_in, findings) = mpsc::channel(FINDINGS);
        let finder = Finder::start(roots.clone(), keeper::discovery_config(&node, &config), findings_in)
            .map_err(|source| StartError::Thread { what: "finding instances", source })?;
        let catalogue = Arc::new(Catalogue::default());
        let about = Arc::new(About::default());
        let (published, config_now) = watch::channel(config.clone());
        let (refresh, refreshes) = mpsc::channel(FINDINGS);
        let (stop, stopping) = watch::channel(false);
        let (is_ready, ready) = watch::channel(false);
        let (orders, ordered) = mpsc::channel(QUESTIONS);
        let (ask, asked) = mpsc::channel(QUESTIONS);
        let notify = Arc::new(Notify::from_environment());
        let pulses = Arc::new(Pulses::new(parts::NAMES, notify.watchdog()));
        let reloader = Reloader { orders: orders.clone(), tls: tls.clone(), notify: notify.clone() };
        let watched = parts::all(ask, orders, schedule.clone(), broker.clone());

        let loader = Arc::new(loader);
        let with = With {
            loader: loader.clone(),
            schedule: schedule.clone(),
            broker: broker.clone(),
            accounts: accounts.clone(),
            threads: threads.clone(),
            about: about.clone(),
        };
        let report = beside.as_ref().map(|(_, _, report)| report.clone()).or_else(|| config.report.clone());
        let (standings, sensors) = watch::channel(Arc::default());
        let reporter = report.map(|settings| Reporter {
            sensors,
            config: config_now.clone(),
            node: node.uuid(),
            itself: about_this_node(settings.url.clone().unwrap_or_else(|| format!("{scheme}://{address}"))),
            settings,
            catalogue: catalogue.clone(),
            threads: threads.clone(),
            about: about.clone(),
        });
        let parts = Parts {
            source,
            config,
            config_text,
            published,
            node,
            catalogue: catalogue.clone(),
            broker: broker.clone(),
            roots: roots.clone(),
            finder,
            findings,
            about: about.clone(),
            standings,
        };
        let keeper = Keeper::new(parts, with);
        let room = Room {
            catalogue,
            node: NodeGate::new(roots),
            threads,
            schedule,
            loader,
            accounts,
            config: config_now,
            about,
            refresh: refresh.clone(),
            ready: ready.clone(),
            readiness,
            spare: Spare::take(descriptors),
            pulses: pulses.clone(),
            tls: tls.clone(),
            base_url: format!("{scheme}://{address}"),
        };
        let room = Arc::new(room);
        let desk = Arc::new(Desk::new(room.clone(), reloader.clone()));
        let at_desk = async move {
            if let Some(listener) = desk_listener {
                admin::serve(listener, desk).await;
            }
        };
        pulses::start(watched, pulses, notify.clone(), at_desk, stopping.clone())
            .map_err(|source| StartError::Thread { what: "the admin routes", source })?;
        let keeper = tokio::spawn(keeper.keep(refreshes, ordered, stopping.clone()));
        if let Some(reporter) = reporter {
            tracing::info!(node = %reporter.node, "this node reports what runs on it; its certificate says sonde:node: and this id");
            tokio::spawn(reporter.run(ready.clone(), stopping.clone()));
        }
        if let Some((listener, tls, _)) = beside {
            // Nobody asks this one how it is: it has the same threads as the other.
            let (_, unasked) = mpsc::channel(1);
            tokio::spawn(serve::serve(listener, Some(tls), room.clone(), descriptors, unasked, stopping.clone()));
        }
        let server = tokio::spawn(serve::serve(listener, tls, room, descriptors, asked, stopping));
        tokio::spawn(first_look(refresh, is_ready));
        tokio::spawn(tell_ready(notify, ready.clone(), format!("serving at {scheme}://{address}")));
        Ok(Self { address, scheme, broker, stop, ready, reloader, keeper, server })
    }

    /// What reloads it, for whoever hears a signal.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`, or `https`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// How proxies know the node of that configuration: for the certificate that it will need.
    ///
    /// # Errors
    /// The configuration is not valid, or the node has no id.
    pub fn node_of(source: &ConfigSource) -> Result<Uuid, StartError> {
        let config = source.parse(&source.read()?)?;
        Ok(node_id(&config)?.uuid())
    }

    /// Writes `endpoints.json` and `prometheus.yml` to a folder: the agent's own routes, and the way through the proxy beside it.
    pub fn write_scrape_config(&self, folder: &Path, through: &Through) -> io::Result<()> {
        ScrapeConfig::new(folder, self.address, through).write()
    }

    /// Returns when the first look for instances and sensors is done.
    pub async fn ready(&mut self) {
        let _ = self.ready.wait_for(|ready| *ready).await;
    }

    /// Resolves to the name of a part without which the agent is of no use, when that has ended by itself. The process should end too.
    pub async fn failed(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.keeper => "the keeper",
            _ = &mut self.server => "the server",
            () = self.broker.ended() => "the broker",
        }
    }

    /// Answers what is being asked, keeps the sensors' state, and ends.
    pub async fn stop(self) {
        self.reloader.notify.stopping();
        let _ = self.stop.send(true);
        for (part, ended) in [("serving", self.server.await), ("the keeper", self.keeper.await)] {
            if let Err(error) = ended {
                tracing::error!(part, %error, "a part of the agent did not end cleanly; this is a defect of the agent");
            }
        }
        self.broker.stop().await;
    }
}

/// Binds the second listener, on loopback, and says in the report where it is.
async fn listen_beside(beside: BesideProxy) -> Result<(TcpListener, TlsFiles, Report), StartError> {
    let anywhere = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    let failed = |source| StartError::Listen { address: anywhere, source };
    let listener = TcpListener::bind(anywhere).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let tls = TlsFiles::load(beside.tls).map_err(|source| StartError::Tls { source })?;
    let report = Report { url: Some(format!("https://{address}")), ..beside.report };
    Ok((listener, tls, report))
}

/// Binds. Where only the default port was meant and another program has it, any will do if the source says so.
async fn listen(config: &Config, source: &ConfigSource) -> Result<TcpListener, StartError> {
    let address = config.listen;
    match TcpListener::bind(address).await {
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse && source.any_port && address == source.default_listen =>
        {
            tracing::warn!(%address, "another program listens there; a free port is taken instead");
            let free = SocketAddr::new(address.ip(), 0);
            TcpListener::bind(free).await.map_err(|source| StartError::Listen { address: free, source })
        }
        bound => bound.map_err(|source| StartError::Listen { address, source }),
    }
}

/// Binds the admin routes' own socket, for a runtime that is not there yet.
fn listen_for_admins(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        tracing::info!(url = format!("http://{}", listener.local_addr()?), "the admin routes are served");
        Ok(listener)
    });
    bound.map_err(|source| StartError::Listen { address, source })
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
async fn first_look(refresh: mpsc::Sender<tokio::sync::oneshot::Sender<()>>, is_ready: watch::Sender<bool>) {
    let (done, looked) = tokio::sync::oneshot::channel();
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

/// What no sensor may claim: the node's own families, Prometheus's, and the labels that either puts on.
pub fn reserved() -> Reserved {
    let prefixes = RESERVED_PREFIXES.iter().chain(&families::RESERVED_PREFIXES);
    Reserved {
        names: RESERVED_NAMES.iter().map(ToString::to_string).collect(),
        prefixes: prefixes.map(ToString::to_string).collect(),
        labels: RESERVED_LABELS.iter().map(ToString::to_string).collect(),
    }
}

/// The configured id, the machine's, or one made once and kept: instances' ids are derived from it.
fn node_id(config: &Config) -> Result<NodeId, StartError> {
    if let Some(id) = &config.node_id {
        return NodeId::new(id).map_err(|source| StartError::NodeId { source });
    }
    if let Ok(id) = NodeId::of_machine(Path::new(MACHINE_ID)) {
        return Ok(id);
    }
    let path: PathBuf = config.state_dir.join(NODE_ID_FILE);
    let keep = |source| StartError::KeepNodeId { path: path.display().to_string(), source };
    let id = match std::fs::read_to_string(&path) {
        Ok(id) => id,
        // Only where there is none: another one would make every instance another.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(keep(error)),
        Err(_) => {
            let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(keep)?;
            std::fs::create_dir_all(&config.state_dir).map_err(keep)?;
            std::fs::write(&path, &id).map_err(keep)?;
            id
        }
    };
    NodeId::new(id.trim()).map_err(|source| StartError::NodeId { source })
}
