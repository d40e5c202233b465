//! Reloading on request: configuration, sensors' folder and certificates at once, with an answer.
//!
//! All of them are also looked at by themselves (the keeper each second, certificates at each handshake). Whoever asks, by SIGHUP or at the
//! admin routes, wants to know whether they were taken, and so does the service manager. Connections that are open stay, and what is
//! refused leaves what was there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::keeper::Order;
use crate::serve::TlsFiles;
use sonde_listen::Notify;

/// How long a reload may take until whoever asked is told that it is not done.
const DEADLINE: Duration = Duration::from_secs(20);

/// Has things reloaded.
#[derive(Clone)]
pub struct Reloader {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) notify: Arc<Notify>,
}

impl Reloader {
    /// Reloads everything; the error is all that was refused, in words.
    ///
    /// # Errors
    /// The configuration or the certificates are not valid, or the keeper does not answer.
    pub async fn reload(&self) -> Result<(), String> {
        self.notify.reloading();
        let config = tokio::time::timeout(DEADLINE, self.reload_config()).await;
        let config = config.unwrap_or_else(|_| Err("the reload has begun and is not done yet".to_owned()));
        let certificates = match &self.tls {
            Some(tls) => tls.renew().map_err(|error| crate::chain(&error)),
            None => Ok(()),
        };
        let refused: Vec<String> = [config, certificates].into_iter().filter_map(Result::err).collect();
        let done = if refused.is_empty() { Ok(()) } else { Err(refused.join("; ")) };
        match &done {
            Ok(()) => self.notify.ready("reloaded"),
            Err(refused) => self.notify.ready(&format!("a reload was refused: {}", refused.replace('\n', " "))),
        }
        done
    }

    async fn reload_config(&self) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "the agent is stopping".to_owned();
        self.orders.send(Order::Reload(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
