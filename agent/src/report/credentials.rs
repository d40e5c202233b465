//! What this node shows to proxies, and by what it knows them: one for all connections, so that what the authority's files said last outlives each of them.
//!
//! Certificate, key and authority are read for each connection. The list of revoked certificates is looked at each second once it was good: while it is broken or away the one before
//! counts, and the node reports on. Until it was good once nobody is told, because it could not be known who is asked. Files are read where nobody else waits for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sonde_listen::tier::TierAuthority;
use tokio::sync::OnceCell;

use crate::config::ReportTls;

/// See the module.
pub(crate) struct Credentials {
    files: ReportTls,
    authority: OnceCell<Arc<TierAuthority>>,
    /// How often the authority was not taken before it was for the first time.
    refused: AtomicU64,
}

impl Credentials {
    pub(crate) fn new(files: ReportTls) -> Self {
        Self { files, authority: OnceCell::new(), refused: AtomicU64::new(0) }
    }

    /// How often the authority, or its list of revoked certificates, was refused.
    pub(crate) fn faults(&self) -> u64 {
        self.refused.load(Ordering::Relaxed) + self.authority.get().map_or(0, |authority| authority.faults())
    }

    /// Who the proxies' certificates must be of.
    pub(super) async fn authority(&self) -> Result<Arc<TierAuthority>, String> {
        let (ca, crl) = (self.files.ca.clone(), self.files.crl.clone());
        let open = || async move {
            let opened = tokio::task::spawn_blocking(move || TierAuthority::open(&ca, crl.as_deref())).await;
            opened.map_err(|error| error.to_string())?.map_err(|error| crate::chain(&error))
        };
        let opened = self.authority.get_or_try_init(open).await.cloned();
        opened.inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// For one connection.
    pub(super) async fn configuration(&self) -> Result<ClientConfig, String> {
        let files = self.files.clone();
        let made = tokio::task::spawn_blocking(move || configuration(&files)).await;
        made.map_err(|error| error.to_string())?
    }
}

fn configuration(files: &ReportTls) -> Result<ClientConfig, String> {
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| unreadable(&files.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unreadable(&files.key, &error))?;
    let authorities = CertificateDer::pem_file_iter(&files.ca).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    for authority in authorities.map_err(|error| unreadable(&files.ca, &error))? {
        roots.add(authority).map_err(|error| unreadable(&files.ca, &error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let configuration = versions.map_err(|error| error.to_string())?.with_root_certificates(roots);
    configuration.with_client_auth_cert(chain, key).map_err(|error| error.to_string())
}
