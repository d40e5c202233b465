//! Reloading on request, by SIGHUP or at the admin routes: configuration and certificates at once, with an answer.
//!
//! Certificates are also looked at by themselves (`tls`), and whoever has an account, a key or a limit is in the inventory and needs no reload. What is refused
//! leaves what was there; what only a new start can change is named. Connections that are open stay.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sonde_listen::Notify;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::about::About;
use crate::chain;
use crate::config::Config;
use crate::tls::{PublicTls, UpstreamTls};

/// Between two reloads: whoever asks sooner waits, one after the other.
const EVERY: Duration = Duration::from_millis(250);

/// Has things reloaded.
#[derive(Clone)]
pub struct Reloader {
    pub(crate) path: PathBuf,
    pub(crate) published: Arc<watch::Sender<Arc<Config>>>,
    pub(crate) tls: PublicTls,
    pub(crate) upstream_tls: Option<UpstreamTls>,
    pub(crate) notify: Arc<Notify>,
    pub(crate) about: Arc<About>,
    pub(crate) last: Arc<Mutex<Option<Instant>>>,
}

impl Reloader {
    /// Reloads everything; what was done, or all that was refused, in words.
    ///
    /// # Errors
    /// The configuration or the certificates are not valid.
    pub async fn reload(&self) -> Result<String, String> {
        let mut last = self.last.lock().await;
        if let Some(at) = *last {
            tokio::time::sleep_until(at + EVERY).await;
        }
        self.notify.reloading();
        let done = self.take();
        *last = Some(Instant::now());
        match &done {
            Ok(done) => {
                tracing::info!("{done}");
                self.notify.ready(done);
            }
            Err(refused) => {
                self.about.config_faults.add(1);
                tracing::error!(refused, "a reload was refused; what was there stays");
                self.notify.ready(&format!("a reload was refused: {}", refused.replace('\n', " ")));
            }
        }
        done
    }

    fn take(&self) -> Result<String, String> {
        let config = Config::load(&self.path).map_err(|error| chain(&error))?;
        let current = self.published.borrow().clone();
        // First what can only be read again: once other settings are in force there is no way back.
        if let Some(upstream) = &self.upstream_tls {
            upstream.renew().map_err(|error| chain(&error))?;
        }
        if config.tls == current.tls {
            self.tls.renew().map_err(|error| chain(&error))?;
        } else {
            self.tls.reconfigure(&config.tls).map_err(|error| chain(&error))?;
        }
        let waiting = current.needs_a_start(&config);
        // What is in force stays what is said to be: of the new file, what can change now.
        let changed = Config {
            tls: config.tls,
            hosts: config.hosts,
            limits: config.limits,
            log_lines_per_second: config.log_lines_per_second,
            ..(*current).clone()
        };
        self.published.send_replace(Arc::new(changed));
        Ok(match waiting.as_slice() {
            [] => "reloaded".to_owned(),
            some => format!("reloaded; these take effect at the next start: {}", some.join(", ")),
        })
    }

    /// How often renewed certificates were refused since the start.
    pub(crate) fn certificate_faults(&self) -> u64 {
        self.tls.faults() + self.upstream_tls.as_ref().map_or(0, UpstreamTls::faults)
    }
}
