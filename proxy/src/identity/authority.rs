//! An operator's own authority: which chains it accepts, and how a certificate of it names its account.
//!
//! Paths are validated by webpki (RFC 5280 §6: basic constraints, name constraints, usages, a bounded search), and what it says holds while
//! every certificate of the path is within its dates, the authority's own included. Where there is a list of revoked ones, it must cover the
//! whole path and be current, else nobody of this authority comes in.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use serde::{Deserialize, Serialize};
use sonde_inventory::AccountName;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use super::Unauthorised;
use super::algorithms::SUPPORTED;
use super::certificate::{ClientCertificate, Validity, parse};

/// How a certificate of an operator's authority says whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountRule {
    /// The one common name of its subject.
    SubjectCn,
    /// The one URI `sonde:account:NAME` of its subject alternative names.
    #[default]
    Uri,
}

/// What such a URI begins with.
pub const ACCOUNT_URI: &str = "sonde:account:";
/// A file of authorities has some.
const MOST_ANCHORS: usize = 64;

/// The files of an operator's authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityFiles {
    /// PEM: one certificate, or several.
    pub file: PathBuf,
    #[serde(default)]
    pub account: AccountRule,
    /// PEM: lists of what it has revoked; none means that nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<PathBuf>,
}

/// Why the files were not taken.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("the authority {path} cannot be read")]
    Read { path: PathBuf, source: pem::Error },
    #[error("the authority {path} has no certificate, or more than {MOST_ANCHORS}")]
    Count { path: PathBuf },
    #[error("a certificate of the authority {path} is not valid")]
    Certificate { path: PathBuf },
    #[error("the list of revoked certificates {path} is not valid")]
    Revoked { path: PathBuf, source: webpki::Error },
}

/// See the module.
pub struct Authority {
    anchors: Vec<(TrustAnchor<'static>, Validity)>,
    rule: AccountRule,
    revoked: Option<Vec<CertRevocationList<'static>>>,
}

impl Authority {
    pub fn load(files: &AuthorityFiles) -> Result<Self, AuthorityError> {
        let certificates: Vec<CertificateDer<'static>> = read(&files.file)?;
        if certificates.is_empty() || certificates.len() > MOST_ANCHORS {
            return Err(AuthorityError::Count { path: files.file.clone() });
        }
        let anchor = |certificate: &CertificateDer<'static>| {
            let validity = Validity::of(&parse(certificate)?);
            Some((anchor_from_trusted_cert(certificate).ok()?.to_owned(), validity))
        };
        let anchors = certificates.iter().map(anchor).collect::<Option<Vec<_>>>();
        let anchors = anchors.ok_or_else(|| AuthorityError::Certificate { path: files.file.clone() })?;
        let revoked = files.revoked.as_deref().map(lists).transpose()?;
        Ok(Self { anchors, rule: files.account, revoked })
    }

    /// The account that a certificate would be for, if it were one of ours.
    pub fn account(&self, certificate: &ClientCertificate) -> Option<AccountName> {
        let name = match self.rule {
            AccountRule::SubjectCn => certificate.subject.as_deref()?,
            AccountRule::Uri => only(certificate.uris.iter().filter_map(|uri| uri.strip_prefix(ACCOUNT_URI)))?,
        };
        AccountName::new(name).ok()
    }

    /// Validates the path as of now; what is returned is how long that will hold.
    pub fn check(&self, certificate: &ClientCertificate, now: i64) -> Result<Validity, Unauthorised> {
        let unix = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.try_into().unwrap_or_default()));
        let leaf = EndEntityCert::try_from(&certificate.der).map_err(|_| Unauthorised::Malformed)?;
        let current = |(_, validity): &&(TrustAnchor<'static>, Validity)| validity.holds(now).is_ok();
        let anchors: Vec<_> = self.anchors.iter().filter(current).map(|(anchor, _)| anchor.clone()).collect();
        let lists: Vec<&CertRevocationList<'_>> = self.revoked.iter().flatten().collect();
        let revocation = self.revoked.is_some().then(|| RevocationOptionsBuilder::new(&lists)).transpose();
        let revocation = revocation.map_err(|_| Unauthorised::Revoked)?.map(|options| {
            let options = options.with_depth(RevocationCheckDepth::Chain);
            let options = options.with_status_policy(UnknownStatusPolicy::Deny);
            options.with_expiration_policy(ExpirationPolicy::Enforce).build()
        });
        let (usage, others) = (KeyUsage::client_auth(), &certificate.intermediates);
        let path = leaf.verify_for_usage(SUPPORTED.all, &anchors, others, unix, usage, revocation, None);
        let path = path.map_err(reason)?;
        let used = self.anchors.iter().filter(|(anchor, _)| anchor == path.anchor()).map(|(_, validity)| *validity);
        let between =
            path.intermediate_certificates().filter_map(|one| parse(&one.der()).map(|one| Validity::of(&one)));
        Ok(used.chain(between).fold(certificate.validity, Validity::and))
    }
}

fn reason(error: webpki::Error) -> Unauthorised {
    match error {
        webpki::Error::CertExpired { .. } => Unauthorised::Expired,
        webpki::Error::CertNotValidYet { .. } => Unauthorised::NotYetValid,
        webpki::Error::RequiredEkuNotFoundContext(_) => Unauthorised::Usage,
        webpki::Error::CertRevoked | webpki::Error::CrlExpired { .. } | webpki::Error::UnknownRevocationStatus => {
            Unauthorised::Revoked
        }
        _ => Unauthorised::NotSigned,
    }
}

/// The one item; of several, none.
pub fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

fn lists(path: &Path) -> Result<Vec<CertRevocationList<'static>>, AuthorityError> {
    let lists: Vec<CertificateRevocationListDer<'static>> = read(path)?;
    let owned = lists.iter().map(|list| OwnedCertRevocationList::from_der(list).map(CertRevocationList::from));
    owned.collect::<Result<_, _>>().map_err(|source| AuthorityError::Revoked { path: path.to_owned(), source })
}

fn read<T: PemObject>(path: &Path) -> Result<Vec<T>, AuthorityError> {
    let items = T::pem_file_iter(path).and_then(Iterator::collect);
    items.map_err(|source| AuthorityError::Read { path: path.to_owned(), source })
}
