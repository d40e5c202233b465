//! `sonde up`: everything on this machine in one process tree.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use sonde_agent::config::Config;
use sonde_agent::{ConfigSource, chain};

use crate::agent::{run_until_signal, start};
use crate::failure::{Failure, print};
use crate::logging::Logging;

/// Written where there is no configuration yet.
const STARTER: &str = include_str!("starter.toml");

/// The agent's port (design §5.3).
const AGENT_PORT: u16 = 9164;

#[derive(Args)]
#[command(after_help = "\
Files in the folder:
  sonde.toml       what to watch and which sensors to run; edits take effect at once
  sensors/*.wasm   sensors; each runs on the instances that match
  endpoints.json   the URLs it serves
  prometheus.yml   a Prometheus configuration that works as it stands")]
pub struct Up {
    /// Folder for configuration, sensors and state; made if missing
    #[arg(long, value_name = "D", default_value = "sonde-data")]
    data_dir: PathBuf,
    #[command(flatten)]
    logging: Logging,
}

impl Up {
    pub fn run(self) -> Result<(), Failure> {
        self.logging.start();
        let folder = &self.data_dir;
        let config = folder.join("sonde.toml");
        let made = std::fs::create_dir_all(folder.join("sensors"))
            .and_then(|()| if config.exists() { Ok(()) } else { std::fs::write(&config, STARTER) });
        made.map_err(|error| Failure::failed(format!("the folder {} cannot be set up: {error}", folder.display())))?;
        let source = ConfigSource { path: config, default_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, AGENT_PORT)) };
        self.refuse_what_others_could_reach(&source)?;
        run_until_signal(async {
            let mut agent = start(source).await?;
            agent.ready().await;
            agent.write_scrape_config(folder).map_err(|error| {
                Failure::failed(format!(
                    "endpoints.json and prometheus.yml cannot be written to {}: {error}",
                    folder.display()
                ))
            })?;
            self.announce(&agent.url())?;
            Ok(agent)
        })
    }

    /// `up` is for this machine alone; with certificates, or for others to reach, there is `sonde agent`.
    fn refuse_what_others_could_reach(&self, source: &ConfigSource) -> Result<(), Failure> {
        let config =
            Config::load(&source.path, source.default_listen).map_err(|error| Failure::usage(chain(&error)))?;
        if config.tls.is_some() || config.listen.ip() != Ipv4Addr::LOCALHOST {
            return Err(Failure::usage(format!(
                "`sonde up` serves plain HTTP on 127.0.0.1 only, and {} says otherwise in [listen]; `sonde agent --config` serves others",
                source.path.display()
            )));
        }
        Ok(())
    }

    fn announce(&self, url: &str) -> Result<(), Failure> {
        let folder = self.data_dir.display();
        print(
            format!(
                "\
sonde is up.

  every instance   {url}/v1/instances
  this machine     {url}/v1/node/metrics
  one instance     {url}/v1/INSTANCE/metrics
  the agent        {url}/metrics

  Prometheus       prometheus --config.file={folder}/prometheus.yml
  configuration    {folder}/sonde.toml
  sensors          {folder}/sensors/*.wasm

Ctrl-C ends it.
"
            )
            .as_bytes(),
        )
    }
}
