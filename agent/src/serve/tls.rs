//! TLS between tiers: both sides have certificates, and the caller's must say that it is a proxy.
//!
//! The role is a URI in the certificate's subject alternative names, `sonde:role:proxy`; one that only chains to the
//! right authority (a tenant's, another node's) is not enough. Files are read again for each handshake whose stamps have changed, so
//! certificates are renewed without a restart; of a renewal that is half done, or broken, nothing is taken, which is said and counted.
//! A connection ends when its caller's certificate is past its date, or revoked.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sonde_listen::tier::{End, Guarded, TierAuthority, TierError};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::Tls;

/// The name that a proxy's certificate carries.
const PROXY_ROLE: &str = "sonde:role:proxy";

/// Why the listener's files were not taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificate {path} cannot be read")]
    Certificate { path: String, source: rustls::pki_types::pem::Error },
    #[error("the key {path} cannot be read")]
    Key { path: String, source: rustls::pki_types::pem::Error },
    #[error("the clients' authority {path} cannot be read")]
    ClientCa { path: String, source: rustls::pki_types::pem::Error },
    #[error("the clients' authority is not valid")]
    Authority { source: rustls::server::VerifierBuilderError },
    #[error("certificate and key do not make a TLS configuration")]
    Configuration { source: rustls::Error },
    #[error("the clients' authority, or its list of revoked certificates, was not taken")]
    Tier { source: TierError },
    #[error("a certificate of the clients' authority is not valid")]
    Root { source: rustls::Error },
}

/// The files of a listener, and what they made when they were last read.
#[derive(Clone)]
pub struct TlsFiles {
    files: Arc<Tls>,
    current: Arc<Mutex<(Stamps, Arc<ServerConfig>)>>,
    authority: Arc<TierAuthority>,
    faults: Arc<AtomicU64>,
}

/// What tells a file from the one before it: inode, size, and when it was written, in seconds and nanoseconds. All three matter: a file
/// that was moved here may be older than the others.
type Stamp = Option<(u64, u64, i64, i64)>;
type Stamps = [Stamp; 3];

impl TlsFiles {
    /// Reads the files once; a fault here stops the start.
    pub fn load(files: Tls) -> Result<Self, TlsError> {
        let current = (stamps(&files), Arc::new(configuration(&files)?));
        let authority = TierAuthority::open(&files.client_ca, files.crl.as_deref());
        let authority = authority.map_err(|source| TlsError::Tier { source })?;
        Ok(Self { files: Arc::new(files), current: Arc::new(Mutex::new(current)), authority, faults: Arc::default() })
    }

    /// Reads the files again, whether they seem changed or not; the error says why those before them stay. A list of revoked certificates that is not taken
    /// keeps nothing else back: what it said before stays, and a certificate that is not renewed would end.
    pub(crate) fn renew(&self) -> Result<(), TlsError> {
        let stamps = stamps(&self.files);
        let authority = self.authority.renew().map_err(|source| TlsError::Tier { source });
        if let Err(error) = &authority {
            tracing::error!(error = %crate::chain(error), "the clients' authority was refused; what was there stays");
        }
        let renewed = configuration(&self.files);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.0 = stamps;
        match renewed {
            Ok(renewed) => {
                tracing::info!("certificates were read again");
                current.1 = Arc::new(renewed);
                authority
            }
            Err(error) => {
                // One renewal is one fault, and the authority counts its own.
                self.faults.fetch_add(u64::from(authority.is_ok()), Ordering::Relaxed);
                tracing::error!(error = %crate::chain(&error), "new certificates were refused; the old ones stay");
                Err(error)
            }
        }
    }

    /// How often files were refused since the start.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed) + self.authority.faults()
    }

    /// The handshake, and the caller's role.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Guarded<TlsStream<TcpStream>>> {
        let stream = TlsAcceptor::from(self.configuration()).accept(stream).await?;
        let presented = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        if presented.is_some_and(|certificate| is_proxy(certificate)) {
            let shown = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
            Guarded::new(stream, shown.as_deref(), End::Client, &self.authority).map_err(io::Error::other)
        } else {
            Err(io::Error::other(format!("the caller's certificate does not have the name {PROXY_ROLE}")))
        }
    }

    fn configuration(&self) -> Arc<ServerConfig> {
        let stamps = stamps(&self.files);
        let current = || self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current().0 != stamps {
            // What is refused has been said, and the handshake is made with what there was.
            let _ = self.renew();
        }
        current().1.clone()
    }
}

fn stamps(files: &Tls) -> Stamps {
    let stamp = |path: &Path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    };
    [&files.certificate, &files.key, &files.client_ca].map(|path| stamp(path))
}

fn configuration(files: &Tls) -> Result<ServerConfig, TlsError> {
    let path = files.certificate.display().to_string();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::Certificate { path, source })?;
    let path = files.key.display().to_string();
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Key { path, source })?;
    let path = files.client_ca.display().to_string();
    let authorities: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.client_ca)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::ClientCa { path, source })?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|source| TlsError::Root { source })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|source| TlsError::Authority { source })?;
    let mut configuration = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Configuration { source })?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Configuration { source })?;
    configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(configuration)
}

/// Whether it says that its holder is a proxy.
pub(crate) fn is_proxy(certificate: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|name| matches!(name, GeneralName::URI(uri) if *uri == PROXY_ROLE))
}

#[cfg(test)]
mod tests;
