//! The listener for nodes and other proxies: only certificates of the tier's own authority, TLS 1.3 alone, since both ends are ours.
//!
//! What a certificate says its holder is, [`crate::identity::tier_role`] tells; one that says nothing is turned away here. Expiry is asked for again with the role, for
//! connections outlive certificates; and one whose certificate is revoked meanwhile ends.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use serde::{Deserialize, Serialize};
use sonde_listen::tier::{End, Guarded, TierAuthority};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::limits::{HandshakeLimits, Handshakes, Limits};
use super::names::certified;
use super::peer::{Peer, Presented};
use super::public::{Counts, shake, without_resumption};
use super::watched::Watched;
use super::{CertificateFiles, PROTOCOLS, TlsError, roots};
use crate::identity::TierRole;

/// What the listener is made of, and what a proxy shows to agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierSettings {
    /// This proxy's, with the role: it shows the same at both ends.
    #[serde(flatten)]
    pub own: CertificateFiles,
    /// PEM: the authority of nodes and proxies, and of nothing else.
    pub ca: std::path::PathBuf,
    /// PEM: its lists of revoked certificates; none means that nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<std::path::PathBuf>,
}

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct TierTls(Arc<Inner>);

struct Inner {
    server: Arc<Watched<ServerConfig>>,
    authority: Arc<TierAuthority>,
    limits: Arc<Limits>,
    counts: Counts,
}

impl TierTls {
    /// Reads the files; a fault here stops the start. Within a runtime, which then watches them.
    pub fn start(settings: &TierSettings) -> Result<Self, TlsError> {
        let files = [&settings.own.certificate, &settings.own.key, &settings.ca].map(Clone::clone).to_vec();
        let authority = TierAuthority::open(&settings.ca, settings.crl.as_deref())?;
        let settings = settings.clone();
        let server = Watched::start(files, Box::new(move || configuration(&settings)))?;
        let limits = Limits::new(HandshakeLimits::default());
        Ok(Self(Arc::new(Inner { server, authority, limits, counts: Counts::default() })))
    }

    /// Reads the files again, whether they seem changed or not; the error says why those before them stay.
    pub fn renew(&self) -> Result<(), TlsError> {
        self.0.server.renew()?;
        Ok(self.0.authority.renew()?)
    }

    /// How often changed files were refused.
    pub fn faults(&self) -> u64 {
        self.0.server.faults() + self.0.authority.faults()
    }

    pub fn handshakes(&self) -> Handshakes {
        self.0.counts.read(self.0.limits.in_flight())
    }

    /// The handshake, with somebody who has a role.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(Guarded<TlsStream<TcpStream>>, Peer)> {
        let configuration = self.0.server.current();
        let stream = shake(stream, configuration, &self.0.limits, &self.0.counts).await?;
        let connection = stream.get_ref().1;
        let presented = Presented::tier(connection.peer_certificates());
        match &presented {
            Presented::Tier(certificate) if TierRole::claimed(certificate).is_some() => {
                let peer = Peer::of(connection, presented, None);
                let shown = connection.peer_certificates().map(<[_]>::to_vec);
                let guarded = Guarded::new(stream, shown.as_deref(), End::Client, &self.0.authority);
                Ok((guarded.map_err(io::Error::other)?, peer))
            }
            _ => Err(io::Error::other("the certificate does not say that it is a node's or a proxy's")),
        }
    }
}

fn configuration(settings: &TierSettings) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots(&settings.ca)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|source| TlsError::Roots { source })?;
    let own = certified(&settings.own)?;
    let mut configuration = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Configuration { source })?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own)));
    configuration.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    without_resumption(&mut configuration);
    Ok(configuration)
}
