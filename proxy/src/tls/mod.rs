//! TLS at both of the proxy's doors, and towards agents.
//!
//! The tenants' listener lets anybody finish a handshake who has the key of what they show, or shows nothing: who that is, is asked for each request
//! ([`crate::identity`]), so that the answer is a 401 that a person can read. The tier listener lets in only what the tier's authority has signed. Files are looked
//! at each second, and renewed ones are taken without closing a connection; of a renewal that is half done, or broken, nothing is taken.

mod limits;
mod names;
mod peer;
mod possession;
mod public;
mod tier;
mod upstream;
mod watched;

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

pub use limits::{HandshakeLimits, Handshakes};
pub use peer::Peer;
#[cfg(feature = "fuzzing")]
pub use peer::{peer_of, tier_peer_of};
pub use public::{PublicSettings, PublicTls};
pub use tier::{TierSettings, TierTls};
pub use upstream::{UpstreamTls, upstream_tls};

pub(crate) use peer::Presented;
#[cfg(test)]
pub(crate) use public::AuthorityCell;

use crate::identity::AuthorityError;

/// What is spoken over TLS, the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// PEM: the certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Why files were not taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("there is no certificate for the listener, or more than {most}")]
    Count { most: usize },
    #[error("the certificate {path} cannot be read")]
    Certificate { path: PathBuf, source: pem::Error },
    #[error("the certificate {path} is not one, or not of a client or server")]
    Malformed { path: PathBuf },
    #[error("the key {path} cannot be read")]
    Key { path: PathBuf, source: pem::Error },
    #[error("the certificate {path} and its key do not make a pair")]
    Pair { path: PathBuf, source: rustls::Error },
    #[error("a certificate of the tier's authority {path} is not valid")]
    Root { path: PathBuf, source: rustls::Error },
    #[error("the tier's authority is not valid")]
    Roots { source: rustls::server::VerifierBuilderError },
    #[error("what was read does not make a TLS configuration")]
    Configuration { source: rustls::Error },
    #[error("the tiers' authority was not taken")]
    Tier {
        #[from]
        source: sonde_listen::tier::TierError,
    },
    #[error("the operator's authority was not taken")]
    Authority {
        #[from]
        source: AuthorityError,
    },
}

pub(crate) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    all.map_err(|source| TlsError::Certificate { path: path.to_owned(), source })
}

pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Key { path: path.to_owned(), source })
}

fn roots(path: &Path) -> Result<rustls::RootCertStore, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|source| TlsError::Root { path: path.to_owned(), source })?;
    }
    Ok(roots)
}
