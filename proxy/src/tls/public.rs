//! The tenants' listener: TLS 1.3 or 1.2, HTTP/2 or 1.1, a certificate by the name asked for, and any client's certificate or none.
//!
//! There is no resumption, neither by tickets nor by ids. It would be safe: what a ticket brings back is the certificate, and whose that is, and whether it is valid
//! still, is asked for each request anew. But a scraper does not resume (Prometheus keeps no sessions), and a ticket carries a chain that anybody can make
//! long; so there is one way in, and with each connection the client has proven that it has its key.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::limits::{HandshakeLimits, Handshakes, Limits};
use super::names::ByName;
use super::peer::{Peer, Presented};
use super::possession::Possession;
use super::watched::Watched;
use super::{CertificateFiles, PROTOCOLS, TlsError};
use crate::identity::{Authority, AuthorityFiles};

/// From a connection's opening to the end of its handshake: some round trips to the other end of the world.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// What the listener is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicSettings {
    /// The first is for clients that ask for no name, or an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// An authority whose certificates are accounts'.
    #[serde(default)]
    pub client_ca: Option<AuthorityFiles>,
    #[serde(default)]
    pub handshakes: HandshakeLimits,
}

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct PublicTls(Arc<Inner>);

struct Inner {
    server: RwLock<Arc<Watched<ServerConfig>>>,
    authority: Arc<AuthorityCell>,
    limits: Arc<Limits>,
    counts: Counts,
}

/// The operator's authority, which connections look up when they need it, so that another one counts at once.
#[derive(Default)]
pub(crate) struct AuthorityCell(RwLock<Option<Arc<Watched<Authority>>>>);

impl AuthorityCell {
    pub(crate) fn current(&self) -> Option<Arc<Authority>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|watched| watched.current())
    }

    fn replace(&self, watched: Option<Arc<Watched<Authority>>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = watched;
    }

    fn watched(&self) -> Option<Arc<Watched<Authority>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(test)]
    pub(crate) fn of(files: AuthorityFiles) -> Arc<Self> {
        let cell = Self::default();
        cell.replace(Some(watch_authority(files).expect("the authority is valid")));
        Arc::new(cell)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub done: AtomicU64,
    pub failed: AtomicU64,
    pub late: AtomicU64,
    pub refused: AtomicU64,
}

impl PublicTls {
    /// Reads the files; a fault here stops the start. Within a runtime, which then watches them.
    pub fn start(settings: &PublicSettings) -> Result<Self, TlsError> {
        let authority = AuthorityCell::default();
        authority.replace(settings.client_ca.clone().map(watch_authority).transpose()?);
        Ok(Self(Arc::new(Inner {
            server: RwLock::new(watch_server(settings.certificates.clone())?),
            authority: Arc::new(authority),
            limits: Limits::new(settings.handshakes),
            counts: Counts::default(),
        })))
    }

    /// Takes other settings, for connections that are open too; of faulty ones nothing.
    pub fn reconfigure(&self, settings: &PublicSettings) -> Result<(), TlsError> {
        let server = watch_server(settings.certificates.clone())?;
        let authority = settings.client_ca.clone().map(watch_authority).transpose()?;
        *self.0.server.write().unwrap_or_else(PoisonError::into_inner) = server;
        self.0.authority.replace(authority);
        self.0.limits.change(settings.handshakes);
        Ok(())
    }

    /// Reads the files again, whether they seem changed or not; the error says why those before them stay.
    pub fn renew(&self) -> Result<(), TlsError> {
        let server = self.server().renew();
        self.0.authority.watched().map_or(Ok(()), |authority| authority.renew()).and(server)
    }

    /// How often changed files were refused, since the settings were taken.
    pub fn faults(&self) -> u64 {
        self.server().faults() + self.0.authority.watched().map_or(0, |authority| authority.faults())
    }

    pub fn handshakes(&self) -> Handshakes {
        self.0.counts.read(self.0.limits.in_flight())
    }

    /// The handshake, within its deadline and what its source may have.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Peer)> {
        let configuration = self.server().current();
        let stream = shake(stream, configuration, &self.0.limits, &self.0.counts).await?;
        let connection = stream.get_ref().1;
        let presented = Presented::tenant(connection.peer_certificates());
        let peer = Peer::of(connection, presented, Some(self.0.authority.clone()));
        Ok((stream, peer))
    }

    fn server(&self) -> Arc<Watched<ServerConfig>> {
        self.0.server.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Counts {
    pub fn read(&self, in_flight: usize) -> Handshakes {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (done, failed) = (of(&self.done), of(&self.failed));
        Handshakes { done, failed, late: of(&self.late), refused: of(&self.refused), in_flight }
    }
}

/// A handshake on either listener.
pub(super) async fn shake(
    stream: TcpStream,
    configuration: Arc<ServerConfig>,
    limits: &Arc<Limits>,
    counts: &Counts,
) -> io::Result<TlsStream<TcpStream>> {
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let Some(place) = limits.admit(stream.peer_addr()?) else {
        count(&counts.refused);
        return Err(io::Error::other("too many handshakes"));
    };
    let shaken = tokio::time::timeout(HANDSHAKE_DEADLINE, TlsAcceptor::from(configuration).accept(stream)).await;
    drop(place);
    match shaken {
        Ok(Ok(stream)) => {
            count(&counts.done);
            Ok(stream)
        }
        Ok(Err(error)) => {
            count(&counts.failed);
            Err(error)
        }
        Err(_) => {
            count(&counts.late);
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

fn watch_authority(files: AuthorityFiles) -> Result<Arc<Watched<Authority>>, TlsError> {
    let paths = [&files.file].into_iter().chain(&files.revoked).cloned().collect();
    Watched::start(paths, Box::new(move || Ok(Authority::load(&files)?)))
}

fn watch_server(files: Vec<CertificateFiles>) -> Result<Arc<Watched<ServerConfig>>, TlsError> {
    let paths: Vec<PathBuf> = files.iter().flat_map(|files| [files.certificate.clone(), files.key.clone()]).collect();
    Watched::start(paths, Box::new(move || configuration(&files)))
}

fn configuration(files: &[CertificateFiles]) -> Result<ServerConfig, TlsError> {
    let names = ByName::load(files)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut configuration = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Configuration { source })?
        .with_client_cert_verifier(Arc::new(Possession))
        .with_cert_resolver(Arc::new(names));
    configuration.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    without_resumption(&mut configuration);
    Ok(configuration)
}

/// See the module.
pub(super) fn without_resumption(configuration: &mut ServerConfig) {
    configuration.session_storage = Arc::new(NoServerSessionStorage {});
    configuration.send_tls13_tickets = 0;
}
