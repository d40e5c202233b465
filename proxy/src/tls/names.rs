//! Which of the listener's certificates a client gets: by the name that it asks for, and by what signatures it understands.
//!
//! Names are the DNS names of each certificate's subject alternative names, whole or with `*` for their first label (RFC 9525 §6.3). Who asks for no name, or for one that none
//! has, gets the first certificate: whether the name is ours is the request's question, and answered there.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CertificateFiles, TlsError, chain, key};

/// More is no longer one service's.
pub(super) const MOST_CERTIFICATES: usize = 256;

/// See the module.
pub(super) struct ByName {
    /// In the settings' order; there is one at least.
    all: Vec<Arc<CertifiedKey>>,
    /// Indices into `all`, by name in lower case.
    names: HashMap<String, Vec<usize>>,
}

impl ByName {
    pub fn load(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        if files.is_empty() || files.len() > MOST_CERTIFICATES {
            return Err(TlsError::Count { most: MOST_CERTIFICATES });
        }
        let (mut all, mut names) = (Vec::with_capacity(files.len()), HashMap::<_, Vec<_>>::new());
        for (index, file) in files.iter().enumerate() {
            let loaded = certified(file)?;
            for name in dns_names(loaded.cert.first().map_or(&[][..], |leaf| leaf.as_ref())) {
                names.entry(name).or_default().push(index);
            }
            all.push(Arc::new(loaded));
        }
        Ok(Self { all, names })
    }

    /// Those for a name, the better first.
    fn named(&self, name: &str) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let exact = self.names.get(&name).into_iter().flatten();
        let wild: Vec<usize> = wildcard.and_then(|name| self.names.get(&name)).cloned().unwrap_or_default();
        exact.copied().chain(wild).filter_map(|index| self.all.get(index))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named: Vec<_> = hello.server_name().map(|name| self.named(name).collect()).unwrap_or_default();
        let candidates = if named.is_empty() { self.all.iter().collect() } else { named };
        let understood = |one: &&&Arc<CertifiedKey>| one.key.choose_scheme(hello.signature_schemes()).is_some();
        candidates.iter().find(understood).or(candidates.first()).map(|one| Arc::clone(one))
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").field("names", &self.names).finish_non_exhaustive()
    }
}

/// A certificate with its key, which must be its.
pub(super) fn certified(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    let (chain, path) = (chain(&files.certificate)?, files.certificate.clone());
    if chain.is_empty() {
        return Err(TlsError::Malformed { path });
    }
    let pair = |source| TlsError::Pair { path: path.clone(), source };
    let certified = CertifiedKey::new(chain, any_supported_type(&key(&files.key)?).map_err(pair)?);
    certified.keys_match().map_err(pair)?;
    Ok(certified)
}

/// In lower case.
fn dns_names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return vec![] };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return vec![] };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}
