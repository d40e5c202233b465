//! `sonde proxy`: the tenants' door, until a signal ends it.

use std::path::PathBuf;

use clap::Args;
use sonde_proxy::config::Config;
use sonde_proxy::{Proxy, StartError, chain};

use crate::failure::{Failure, print};
use crate::logging::Logging;
use crate::signals::{Hangup, run_until_signal};

#[derive(Args)]
pub struct ProxyArgs {
    /// The configuration
    #[arg(long, value_name = "F")]
    config: PathBuf,
    /// Print the effective configuration and exit
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    logging: Logging,
}

impl ProxyArgs {
    pub fn run(self) -> Result<(), Failure> {
        let config = Config::load(&self.config).map_err(|error| Failure::usage(chain(&error)))?;
        if self.check {
            return print(config.to_toml().as_bytes());
        }
        self.logging.start();
        run_until_signal(Hangup::Reloads, async {
            let proxy = Proxy::start(self.config).await.map_err(|error| match &error {
                StartError::Config(_) => Failure::usage(chain(&error)),
                _ => Failure::failed(chain(&error)),
            })?;
            tracing::info!(
                url = format!("https://{}", proxy.address()),
                admin = format!("http://{}", proxy.admin_address()),
                tier = proxy.tier_address().map(|address| format!("https://{address}")),
                "the proxy listens"
            );
            Ok(proxy)
        })
    }
}
