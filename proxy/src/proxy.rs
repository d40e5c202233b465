//! A running proxy: its parts, in the order in which they begin and end.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_inventory::artifacts::Unreferred;
use sonde_inventory::{Catalogue, Embedded, Store, StoreError};
use sonde_listen::{Connections, Notify, Spare, raise_descriptors, stopped};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::access_log::AccessLog;
use crate::accounts;
use crate::accounts::socket::{Socket, SocketError};
use crate::admin::{self, Desk};
use crate::config::{Config, StoreConfig};
use crate::discovery;
use crate::flight::Flights;
use crate::limits::Accounts;
use crate::names::{self, ListKey, ListKeyError, NamesError};
use crate::reload::Reloader;
use crate::reports::{self, Reports};
use crate::sensor_health::SensorHealth;
use crate::sensors::{Sensors, Vault, VaultError};
use crate::serve::{self, Door, Paces};
use crate::tls::{PublicTls, TierTls, TlsError, UpstreamTls, upstream_tls};
use crate::upstream::{NodeTls, Upstream};

/// What time alone changes is looked at this often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// What is held for long, this often.
const SELDOM: u32 = 60;
/// What we say to be to clients of Consul.
const DATACENTER: &str = "sonde";
/// Of the descriptors that the process may have, connections of tenants take half at most: the other half is for agents and files.
const PART: u64 = 2;

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] sonde_fault::ConfigError),
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    #[error("{address} cannot be listened on; is another proxy running?")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the inventory cannot be used")]
    Store(#[from] StoreError),
    #[error("the inventory is in etcd, and this program was built without it: build with the feature `etcd`")]
    NoEtcd,
    #[error("the operator's socket cannot be made")]
    Socket(#[from] SocketError),
    #[error("names cannot be served")]
    Names(#[from] NamesError),
    #[error("labels of lists cannot be made")]
    ListKey(#[from] ListKeyError),
    #[error("secrets of tenants cannot be sealed")]
    Vault(#[from] VaultError),
    #[error("other proxies cannot be looked at")]
    Probe { source: rustls::Error },
    #[error("the thread for the admin routes cannot be started")]
    Thread { source: io::Error },
}

/// Where somebody can come in, nobody being served yet.
struct Entrances {
    listener: TcpListener,
    public: SocketAddr,
    socket: Socket,
    tls: PublicTls,
    admin: (std::net::TcpListener, SocketAddr),
    names: Option<names::Server>,
    tier: Option<(TcpListener, TierTls)>,
}

/// See the module. Dropping it does not stop it; [`Proxy::stop`] does.
pub struct Proxy {
    public: SocketAddr,
    admin: SocketAddr,
    tier: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    gone: watch::Sender<bool>,
    door: Arc<Door>,
    reloader: Reloader,
    store: Store,
    accounts: accounts::Accounts,
    server: JoinHandle<()>,
    /// The rest of what has to have ended before the store is closed.
    others: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Starts everything; returns when it listens. With etcd that may be before there is an inventory.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(path: PathBuf) -> Result<Self, StartError> {
        let config = Config::load(&path)?;
        // First: whoever is refused the port has touched nothing.
        let listener = TcpListener::bind(config.public).await.map_err(not_listening(config.public))?;
        let public = listener.local_addr().map_err(not_listening(config.public))?;
        let store = open(&config.store)?;
        let catalogue = Arc::<Catalogue>::default();
        store.follow(catalogue.clone()).await?;
        let entrances = Entrances {
            socket: Socket::bind(&config.data_dir).await?,
            tls: PublicTls::start(&config.tls)?,
            admin: admin_listener(config.admin)?,
            names: names_server(&config, public.port(), catalogue.clone()).await?,
            tier: tier_listener(&config).await?,
            listener,
            public,
        };
        let upstream_files = config.tier.as_ref().map(UpstreamTls::start).transpose()?;
        let vault = vault(config.secrets_key.as_deref(), matches!(config.store, StoreConfig::Embedded(_)))?;
        let sensors = Sensors::new(store, catalogue, vault, config.secrets_on_any_node);
        let (published, config_now) = watch::channel(Arc::new(config));
        let door = Arc::new(door(config_now, sensors, upstream_files.as_ref(), public)?);
        let reloader = Reloader {
            path,
            published: Arc::new(published),
            tls: entrances.tls.clone(),
            upstream_tls: upstream_files,
            notify: Arc::new(Notify::from_environment()),
            about: door.about.clone(),
            last: Arc::default(),
        };
        Self::run(entrances, door, reloader)
    }

    /// Sets all parts to work.
    fn run(entrances: Entrances, door: Arc<Door>, reloader: Reloader) -> Result<Self, StartError> {
        let Entrances { listener, public, socket, tls, admin: (desk_listener, admin), names, tier } = entrances;
        let tier_address = tier.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
        let (stop, stopping) = watch::channel(false);
        let (gone, going) = watch::channel(false);
        let store = door.sensors.store().clone();
        let accounts = accounts::Accounts::new(store.clone(), door.catalogue.clone());
        let reports = Arc::new(Reports::new(store.clone(), door.catalogue.clone(), reports::Settings::default()));
        let desk = Desk {
            door: door.clone(),
            reloader: reloader.clone(),
            store: store.clone(),
            reports: reports.clone(),
            names: names.as_ref().map(names::Server::counters),
            stop: stopping.clone(),
            pulse: Arc::default(),
        };
        admin::start(desk_listener, desk, tokio::runtime::Handle::current(), reloader.notify.clone(), going)
            .map_err(|source| StartError::Thread { source })?;
        let mut others = vec![
            tokio::spawn(sweep(door.clone(), stopping.clone())),
            tokio::spawn(socket.serve(accounts.clone(), stopping.clone())),
        ];
        if let Some((listener, tls)) = tier {
            let desk = serve::TierDesk::new(door.clone(), reports.clone(), door.sensors.clone(), raise_descriptors());
            others.push(tokio::spawn(serve::serve_tier(listener, tls, desk, stopping.clone())));
        }
        if let Some(names) = names {
            others.push(tokio::spawn(names.run(stopping.clone())));
        }
        let keeping = stopping.clone();
        others.push(tokio::spawn(async move { reports.keep(keeping).await }));
        let server = tokio::spawn(serve::serve(listener, tls, door.clone(), stopping));
        reloader.notify.ready(&format!("serving at https://{public}"));
        Ok(Self { public, admin, tier: tier_address, stop, gone, door, reloader, store, accounts, server, others })
    }

    /// Where tenants come in.
    pub fn address(&self) -> SocketAddr {
        self.public
    }

    /// Where agents report, if they do.
    pub fn tier_address(&self) -> Option<SocketAddr> {
        self.tier
    }

    /// Where the operator asks it.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Changes of accounts, for whoever is in this process.
    pub fn accounts(&self) -> accounts::Accounts {
        self.accounts.clone()
    }

    /// The inventory, for whoever is in this process.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// What reloads it, for whoever hears a signal.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Resolves to the name of a part without which the proxy is of no use, when that has ended by itself.
    pub async fn failed(&mut self) -> &'static str {
        let _ = (&mut self.server).await;
        "the server"
    }

    /// Takes no connection any more, answers what is being asked, and ends.
    pub async fn stop(self) {
        self.reloader.notify.stopping();
        let _ = self.stop.send(true);
        self.door.discovery.end_waiting();
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the server did not end cleanly; this is a defect of the proxy");
        }
        for other in self.others {
            let _ = other.await;
        }
        self.store.close().await;
        let _ = self.gone.send(true);
    }
}

fn not_listening(address: SocketAddr) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Listen { address, source }
}

/// Where the operator asks. It is served by a runtime of its own.
fn admin_listener(address: SocketAddr) -> Result<(std::net::TcpListener, SocketAddr), StartError> {
    let listener = std::net::TcpListener::bind(address).map_err(not_listening(address))?;
    listener.set_nonblocking(true).map_err(not_listening(address))?;
    let bound = listener.local_addr().map_err(not_listening(address))?;
    Ok((listener, bound))
}

/// The zone's server, where the operator wants one.
async fn names_server(
    config: &Config,
    port: u16,
    catalogue: Arc<Catalogue>,
) -> Result<Option<names::Server>, StartError> {
    let Some(names) = &config.names else { return Ok(None) };
    let alive = names::follow_proxies(names.addresses.clone(), port, &config.suffix);
    let settings = names.settings(port, alive.map_err(|source| StartError::Probe { source })?)?;
    Ok(Some(names::Server::bind(&settings, catalogue).await?))
}

fn open(config: &StoreConfig) -> Result<Store, StartError> {
    match config {
        StoreConfig::Embedded(path) => Ok(Store::Embedded(Embedded::open(path)?)),
        #[cfg(feature = "etcd")]
        StoreConfig::Etcd(etcd) => Ok(Store::Etcd(sonde_inventory::etcd::Etcd::new(etcd.settings())?)),
        #[cfg(not(feature = "etcd"))]
        StoreConfig::Etcd(_) => Err(StartError::NoEtcd),
    }
}

/// What secrets are sealed with. A proxy that has its inventory for itself makes its own key.
fn vault(key: Option<&Path>, is_embedded: bool) -> Result<Option<Vault>, VaultError> {
    let open = |key| if is_embedded { Vault::open_or_create(key) } else { Vault::open(key) };
    key.map(open).transpose()
}

/// Where agents report, if they do.
async fn tier_listener(config: &Config) -> Result<Option<(TcpListener, TierTls)>, StartError> {
    let (Some(address), Some(tier)) = (config.tier_listen, &config.tier) else { return Ok(None) };
    let tls = TierTls::start(tier)?;
    let listener = TcpListener::bind(address).await.map_err(not_listening(address))?;
    Ok(Some((listener, tls)))
}

fn door(
    config: watch::Receiver<Arc<Config>>,
    sensors: Sensors,
    upstream_files: Option<&UpstreamTls>,
    public: SocketAddr,
) -> Result<Door, StartError> {
    let (bounds, suffix) = {
        let config = config.borrow();
        (config.bounds, config.suffix.clone())
    };
    let list_key = config.borrow().names.as_ref().and_then(|names| names.list_key.as_deref().map(ListKey::load));
    let discovery = discovery::Settings::new(public.to_string(), Some(suffix), DATACENTER.to_owned())
        .with_lists(list_key.transpose()?);
    let descriptors = raise_descriptors();
    let most = usize::try_from(descriptors / PART).unwrap_or(usize::MAX).min(bounds.connections as usize);
    let node_tls = upstream_files.cloned().map(|files| -> NodeTls {
        Arc::new(move |node| Ok((Arc::new(upstream_tls(&files, node)), files.authority().clone())))
    });
    Ok(Door {
        catalogue: sensors.catalogue().clone(),
        config,
        accounts: Arc::new(Accounts::new(bounds.scrapes_in_flight)),
        flights: Flights::default(),
        upstream: Upstream::new(node_tls, bounds.scrapes_per_node),
        discovery,
        about: Arc::default(),
        log: AccessLog::default(),
        paces: Paces::default(),
        sensor_health: SensorHealth::default(),
        sensors,
        connections: Arc::new(Connections::with_addresses(most, bounds.connections_per_address as usize)),
        spare: Arc::new(Spare::take(descriptors)),
    })
}

/// Ends what breaks its pace, and forgets what is old.
async fn sweep(door: Arc<Door>, mut stop: watch::Receiver<bool>) {
    let mut beat = tokio::time::interval(SWEEP_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unreferred = Unreferred::default();
    for round in 1_u32.. {
        tokio::select! {
            () = stopped(&mut stop) => return,
            _ = beat.tick() => {}
        }
        let now = Instant::now();
        door.paces.sweep(now).into_iter().for_each(|broken| door.about.broke(broken));
        door.upstream.end_late(now);
        door.flights.sweep();
        if round % SELDOM == 0 {
            door.accounts.sweep(now);
            door.upstream.sweep(&door.catalogue);
            door.sensor_health.sweep(&door.catalogue);
            door.sensors.sweep(&mut unreferred).await;
        }
    }
}
