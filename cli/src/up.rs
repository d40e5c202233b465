//! `sonde up`: everything on this machine in one process tree.

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use sonde_agent::config::{Config, Report, ReportTls, Tls};
use sonde_agent::{Agent, BesideProxy, ConfigSource, Through, chain};
use sonde_proxy::development::Development;

use crate::agent::{launch, start};
use crate::failure::{Failure, print};
use crate::logging::Logging;
use crate::signals::{Hangup, run_until_signal};

/// Written where there is no configuration yet.
const STARTER: &str = include_str!("starter.toml");

/// Held while it runs.
const LOCK: &str = ".lock";

/// The agent's port, unless another program has it.
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
        let _lock = self.lock()?;
        let source = ConfigSource {
            path: config,
            default_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, AGENT_PORT)),
            any_port: true,
        };
        self.refuse_what_others_could_reach(&source)?;
        let launched = launch(&source, &self.logging)?;
        run_until_signal(Hangup::Ends, async {
            let node = Agent::node_of(&source).map_err(|error| Failure::usage(chain(&error)))?;
            let door = Development::start(folder, node).await.map_err(|error| Failure::failed(chain(&error)))?;
            let mut agent = start(source, launched, Some(beside(&door))).await?;
            agent.ready().await;
            agent.write_scrape_config(folder, &through(&door)).map_err(|error| {
                Failure::failed(format!(
                    "endpoints.json and prometheus.yml cannot be written to {}: {error}",
                    folder.display()
                ))
            })?;
            self.announce(&agent.url(), &door)?;
            Ok((agent, door.proxy))
        })
    }

    /// One `sonde up` a folder: two would write each other's files. The lock goes with the process.
    fn lock(&self) -> Result<File, Failure> {
        let path = self.data_dir.join(LOCK);
        let failed = |error| Failure::failed(format!("{} cannot be locked: {error}", path.display()));
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Failure::failed(format!(
                "another `sonde up` runs on {}; end it, or give this one a folder of its own with --data-dir",
                self.data_dir.display()
            ))),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
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

    fn announce(&self, url: &str, door: &Development) -> Result<(), Failure> {
        let folder = self.data_dir.display();
        let (proxy, ca, token) = (&door.url, door.server_ca.display(), door.token.display());
        print(
            format!(
                "\
sonde is up.

  every instance   {url}/v1/instances
  this machine     {url}/v1/node/metrics
  one instance     {url}/v1/INSTANCE/metrics
  the agent        {url}/metrics

  the proxy        {proxy}/v1/instances
                   curl --cacert {ca} -H \"Authorization: Bearer $(cat {token})\" {proxy}/v1/account/metrics

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

/// What the agent needs to speak with the proxy beside it.
fn beside(door: &Development) -> BesideProxy {
    let (certificate, key) = (door.node.certificate.clone(), door.node.key.clone());
    let ca = door.tier_ca.clone();
    let report = ReportTls { certificate: certificate.clone(), key: key.clone(), ca: ca.clone(), crl: None };
    BesideProxy {
        tls: Tls { certificate, key, client_ca: ca, crl: None },
        report: Report { proxies: vec![door.reports.clone()], url: None, tls: Some(report) },
    }
}

/// What a Prometheus needs to go through the proxy.
fn through(door: &Development) -> Through {
    Through {
        url: door.url.clone(),
        admin: door.proxy.admin_address(),
        ca: door.server_ca.clone(),
        token: door.token.clone(),
        certificate: door.certificate.certificate.clone(),
        key: door.certificate.key.clone(),
    }
}
