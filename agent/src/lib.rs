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
mod listeners;
mod node;
mod node_id;
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
mod start;
mod state_files;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use sonde_broker::{Client, ClientError};
use sonde_collect::families;
use sonde_collect::identity::NodeIdError;
use sonde_collect::mounts::RootsError;
use sonde_host::{CodeCacheError, Reserved};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use node_id::node_id;
use scrape_config::ScrapeConfig;
use serve::TlsError;

pub use check::instances_here;
pub use keeper::ConfigSource;
pub use listeners::BesideProxy;
pub use reload::Reloader;
pub use scrape_config::Through;
pub use sonde_broker::{keep_agents, launch};
pub use sonde_fault::chain;

/// Names and labels that belong to Prometheus or to the node.
const RESERVED_NAMES: [&str; 1] = ["up"];
const RESERVED_PREFIXES: [&str; 3] = ["scrape_", "ALERTS", "__"];
const RESERVED_LABELS: [&str; 6] = ["job", "instance", "account", "sensor", "le", "quantile"];

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] sonde_fault::ConfigError),
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

/// What no sensor may claim: the node's own families, Prometheus's, and the labels that either puts on.
pub fn reserved() -> Reserved {
    let prefixes = RESERVED_PREFIXES.iter().chain(&families::RESERVED_PREFIXES);
    Reserved {
        names: RESERVED_NAMES.iter().map(ToString::to_string).collect(),
        prefixes: prefixes.map(ToString::to_string).collect(),
        labels: RESERVED_LABELS.iter().map(ToString::to_string).collect(),
    }
}
