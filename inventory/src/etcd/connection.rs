//! Connections to etcd's members: one at a time is used, and the next when it fails.
//!
//! Each member has its own client, so a member that hangs costs one deadline and is left. A call that failed where it may not have been heard is
//! made again at the next member, once at each; what etcd refuses it refuses everywhere.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};

use super::{EtcdSettings, lock};
use crate::store::StoreError;

/// How long a member may take to be connected to, and to answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// The largest answer that is taken: a page of records, or as many of the largest as one transaction reads.
pub(super) const MESSAGE_BYTES: usize = 64 << 20;
/// Whether a member is still there is asked so often, and it may take so long to say so.
const ALIVE_EVERY: Duration = Duration::from_secs(2);
const ALIVE_WITHIN: Duration = Duration::from_secs(2);

/// Why etcd did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("etcd {}: {why}", if *.everywhere { "does not answer at any of its members" } else { "refused it" })]
pub(super) struct CallError {
    /// Whether no member could be asked.
    pub(super) everywhere: bool,
    pub(super) why: String,
}

pub(super) struct Connection {
    endpoints: Vec<String>,
    options: ConnectOptions,
    /// Which is used, and the clients that are connected.
    state: Mutex<(usize, Vec<Option<Client>>)>,
}

impl Connection {
    pub(super) fn new(settings: &EtcdSettings) -> Result<Self, StoreError> {
        if settings.endpoints.is_empty() {
            return Err(StoreError::Etcd { why: "no endpoint is given".to_owned() });
        }
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_WITHIN)
            .with_timeout(ANSWER_WITHIN)
            .with_keep_alive(ALIVE_EVERY, ALIVE_WITHIN)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if let Some((user, password)) = &settings.user {
            let password = read(password)?;
            let password = String::from_utf8_lossy(&password).trim_end().to_owned();
            options = options.with_user(user, password).with_auto_token_refresh(true);
        }
        if settings.ca.is_some() || settings.identity.is_some() {
            let mut tls = TlsOptions::new();
            if let Some(ca) = &settings.ca {
                tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
            }
            if let Some((certificate, key)) = &settings.identity {
                tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            options = options.with_tls(tls);
        }
        let clients = settings.endpoints.iter().map(|_| None).collect();
        Ok(Self { endpoints: settings.endpoints.clone(), options, state: Mutex::new((0, clients)) })
    }

    /// The client of the member that is used, and which that is.
    pub(super) async fn client(&self) -> Result<(usize, Client), Error> {
        let at = {
            let state = lock(&self.state);
            if let Some(client) = &state.1[state.0] {
                return Ok((state.0, client.clone()));
            }
            state.0
        };
        let connecting = Client::connect([&self.endpoints[at]], Some(self.options.clone()));
        let connected = tokio::time::timeout(CONNECT_WITHIN + ANSWER_WITHIN, connecting).await;
        let connected = connected.unwrap_or_else(|_| Err(Error::Internal("no connection in time".to_owned())));
        match connected {
            Ok(client) => {
                lock(&self.state).1[at] = Some(client.clone());
                Ok((at, client))
            }
            Err(error) => {
                self.failed(at);
                Err(error)
            }
        }
    }

    /// A member is of no use now: the next is used, unless that is so already.
    pub(super) fn failed(&self, which: usize) {
        let mut state = lock(&self.state);
        state.1[which] = None;
        if state.0 == which {
            state.0 = (which + 1) % self.endpoints.len();
        }
    }

    /// Calls the member that is used; where that is of no use, the others.
    pub(super) async fn call<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut why = String::new();
        for _ in 0..self.endpoints.len() {
            let (which, client) = match self.client().await {
                Ok(client) => client,
                Err(error) => {
                    why = words(&error);
                    continue;
                }
            };
            let answer = tokio::time::timeout(ANSWER_WITHIN + CONNECT_WITHIN, call(client)).await;
            match answer.unwrap_or_else(|_| Err(Error::Internal("no answer in time".to_owned()))) {
                Ok(answer) => return Ok(answer),
                Err(error) if may_do_elsewhere(&error) => {
                    self.failed(which);
                    why = words(&error);
                }
                Err(error) => return Err(CallError { everywhere: false, why: words(&error) }),
            }
        }
        Err(CallError { everywhere: true, why })
    }
}

/// Whether another member may do what this one did not.
fn may_do_elsewhere(error: &Error) -> bool {
    use etcd_client::Error::{EndpointError, GRpcStatus, Internal, IoError, TransportError};
    match error {
        // gRPC's codes: cancelled, unknown, deadline exceeded, aborted, internal, unavailable, unauthenticated (a token that has ended).
        GRpcStatus(status) => [1, 2, 4, 10, 13, 14, 16].contains(&i32::from(status.code())),
        Internal(_) | IoError(_) | TransportError(_) | EndpointError(_) => true,
        _ => false,
    }
}

/// Whether an answer was larger than [`MESSAGE_BYTES`]. The code alone does not say: etcd has the same for a revision that is compacted.
pub(super) fn is_too_large(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().contains("message length too large"))
}

/// The error for a sentence: gRPC's have a lot around what matters.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|error| StoreError::Etcd { why: format!("{} cannot be read: {error}", path.display()) })
}
