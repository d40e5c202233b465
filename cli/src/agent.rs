//! `sonde agent`: the node's daemon, until a signal ends it.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use sonde_agent::config::Config;
use sonde_agent::{Agent, BesideProxy, ConfigSource, StartError, chain};
use sonde_broker::Launched;

use crate::failure::{Failure, print};
use crate::logging::Logging;
use crate::signals::{Hangup, run_until_signal};

/// Where the daemon listens unless its configuration says otherwise: loopback, because anything else needs certificates.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9164);

/// The very file that this process runs, whatever a package has put in its place since: agent, broker and runners are of one build.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

#[derive(Args)]
pub struct AgentArgs {
    /// The configuration
    #[arg(long, value_name = "F")]
    config: PathBuf,
    /// Print the effective configuration and exit
    #[arg(long)]
    check: bool,
    /// With --check: print what of this machine would be an instance, whose, and by which rule
    #[arg(long, requires = "check")]
    instances: bool,
    #[command(flatten)]
    logging: Logging,
}

impl AgentArgs {
    pub fn run(self) -> Result<(), Failure> {
        if self.check {
            let config = Config::load(&self.config, DEFAULT_LISTEN).map_err(|error| Failure::usage(chain(&error)))?;
            if self.instances {
                let lines = sonde_agent::instances_here(&config).map_err(|error| Failure::failed(chain(&error)))?;
                return print(lines.as_bytes());
            }
            return print(config.to_toml().as_bytes());
        }
        self.logging.start();
        let source = ConfigSource { path: self.config, default_listen: DEFAULT_LISTEN, any_port: false };
        let launched = launch(&source, &self.logging)?;
        run_until_signal(Hangup::Reloads, async {
            let agent = start(source, launched, None).await?;
            tracing::info!(url = agent.url(), "the agent listens");
            Ok(agent)
        })
    }
}

/// Starts the broker, which keeps the privileges, and gives up those of this process. To be called before there is a second thread.
pub fn launch(source: &ConfigSource, logging: &Logging) -> Result<Launched, Failure> {
    // A configuration that is wrong starts nothing.
    let config = Config::load(&source.path, source.default_listen).map_err(|error| Failure::usage(chain(&error)))?;
    let program = PathBuf::from(THIS_PROGRAM);
    let mut arguments: Vec<OsString> = logging.arguments().map(OsString::from).into();
    if let Some(compile_worker) = config.sandbox.compile_worker {
        arguments.extend(["--compile-worker".into(), compile_worker.into_os_string()]);
    }
    let launched = sonde_agent::launch(&program, &arguments).map_err(|error| Failure::failed(chain(&error)))?;
    sonde_agent::keep_agents();
    Ok(launched)
}

/// Starts an agent; a configuration that is wrong is the caller's fault (2), anything else a failure (1).
pub async fn start(source: ConfigSource, launched: Launched, beside: Option<BesideProxy>) -> Result<Agent, Failure> {
    Agent::start(source, launched, beside).await.map_err(|error| match &error {
        StartError::Config(_) | StartError::NodeId { .. } => Failure::usage(chain(&error)),
        _ => Failure::failed(chain(&error)),
    })
}
