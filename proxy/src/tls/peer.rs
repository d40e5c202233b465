//! What a finished handshake showed of who is at the other end; kept with the connection, and asked at each request.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;

use super::public::AuthorityCell;
use crate::identity::{Authority, Checked, ClientCertificate};

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<Shown>);

struct Shown {
    server_name: Option<Box<str>>,
    is_http2: bool,
    presented: Presented,
    authority: Option<Arc<AuthorityCell>>,
    checked: Mutex<Checked>,
}

/// What certificate came, and at which door: one door's says nothing at the other.
pub(crate) enum Presented {
    Nothing,
    /// Its key was proven, and nothing else of it will be believed.
    Unreadable,
    /// By whomever it is signed.
    Tenant(Box<ClientCertificate>),
    /// Verified against the tier's authority.
    Tier(Box<ClientCertificate>),
}

impl Presented {
    /// What came at the tenants' door.
    pub(crate) fn tenant(chain: Option<&[CertificateDer<'_>]>) -> Self {
        match chain {
            None | Some([]) => Self::Nothing,
            Some(chain) => ClientCertificate::read(chain).map_or(Self::Unreadable, |read| Self::Tenant(Box::new(read))),
        }
    }

    /// What the tier's verifier let in.
    pub(crate) fn tier(chain: Option<&[CertificateDer<'_>]>) -> Self {
        match Self::tenant(chain) {
            Self::Tenant(certificate) => Self::Tier(certificate),
            other => other,
        }
    }
}

impl Peer {
    pub(super) fn of(
        connection: &ServerConnection,
        presented: Presented,
        authority: Option<Arc<AuthorityCell>>,
    ) -> Self {
        let server_name = connection.server_name().map(|name| name.to_ascii_lowercase().into_boxed_str());
        let is_http2 = connection.alpn_protocol() == Some(b"h2");
        Self(Arc::new(Shown { server_name, is_http2, presented, authority, checked: Mutex::default() }))
    }

    /// The name that the client asked for (SNI), in lower case; none by IP address.
    pub fn server_name(&self) -> Option<&str> {
        self.0.server_name.as_deref()
    }

    /// Whether HTTP/2 was agreed on.
    pub fn is_http2(&self) -> bool {
        self.0.is_http2
    }

    /// Whether a certificate was shown, whatever it is worth.
    pub fn has_certificate(&self) -> bool {
        !matches!(self.0.presented, Presented::Nothing)
    }

    /// SHA-256 over the certificate, in lower-case hexadecimal: for logs.
    pub fn fingerprint(&self) -> Option<&str> {
        match &self.0.presented {
            Presented::Tenant(certificate) | Presented::Tier(certificate) => Some(&certificate.sha256),
            _ => None,
        }
    }

    pub(crate) fn presented(&self) -> &Presented {
        &self.0.presented
    }

    pub(crate) fn tier_certificate(&self) -> Option<&ClientCertificate> {
        match &self.0.presented {
            Presented::Tier(certificate) => Some(certificate),
            _ => None,
        }
    }

    /// The operator's authority as it is now.
    pub(crate) fn authority(&self) -> Option<Arc<Authority>> {
        self.0.authority.as_ref()?.current()
    }

    pub(crate) fn checked(&self) -> MutexGuard<'_, Checked> {
        self.0.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer without a connection.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn showing(presented: Presented, authority: Option<Arc<AuthorityCell>>) -> Self {
        let (server_name, is_http2) = (None, false);
        Self(Arc::new(Shown { server_name, is_http2, presented, authority, checked: Mutex::default() }))
    }
}

/// A tenant's peer with this certificate, without a handshake: for fuzzing alone, since nobody has proven its key.
#[cfg(feature = "fuzzing")]
pub fn peer_of(certificate: &[u8]) -> Peer {
    Peer::showing(Presented::tenant(Some(&[certificate.into()])), None)
}

/// The same at the tier's door.
#[cfg(feature = "fuzzing")]
pub fn tier_peer_of(certificate: &[u8]) -> Peer {
    Peer::showing(Presented::tier(Some(&[certificate.into()])), None)
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.fingerprint();
        f.debug_struct("Peer").field("server_name", &self.0.server_name).field("certificate", &fingerprint).finish()
    }
}
