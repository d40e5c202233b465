//! Certificates that Sonde issues: to accounts, to nodes and proxies, for its own listener; and the authorities that sign them.
//!
//! There are three authorities, because what one signs must never pass for another's: the tier's decides who is a node or a proxy, the server's whom tenants' clients
//! trust, and the accounts' decides nothing at all: a certificate of an account is good because its SHA-256 is bound to it in the inventory, and is marked so that it is good
//! in no other way. Keys are ECDSA P-256, written for this user alone; a private key of an account is made where it will be used, and never kept here.

mod files;
mod revocation;
mod ssh_private;
mod triton;

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use sonde_inventory::{AccountName, BoundCertificate, Scope};
use time::OffsetDateTime;

use crate::identity::{BOUND_URI, TierRole, hexadecimal};
use crate::tls::{CertificateFiles, TlsError};

pub use files::{pem, write_secret};
pub use revocation::tier_list;
pub use ssh_private::{SshPrivateKey, SshPrivateKeyError};
pub use triton::issue_triton;

/// An authority of ours lives as long as a machine does.
const AUTHORITY_TTL: Duration = Duration::from_secs(10 * 366 * 86_400);
/// Clocks differ by less.
const BACKDATED: Duration = Duration::from_secs(300);
/// The shortest and longest lives of what an authority signs: shorter is over before it is installed, longer is for what is never renewed.
pub const TTLS: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(10 * 366 * 86_400);

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("a certificate lives from a minute to ten years, and this one would {0:?}")]
    Ttl(Duration),
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Name(String),
    #[error("the certificate could not be made")]
    Make(#[from] rcgen::Error),
    #[error("the authority is not one that can sign")]
    Authority { source: rcgen::Error },
    #[error("the authority's files were not taken")]
    Files(#[from] TlsError),
    #[error("{path} could not be written")]
    Write { path: std::path::PathBuf, source: std::io::Error },
    #[error("{path} is there already; take it away first, or name another folder")]
    Exists { path: std::path::PathBuf },
    #[error("the certificate {name} was not issued by this authority, which cannot revoke it")]
    NotIssued { name: String },
    #[error(
        "{path} has {lists} lists of revoked certificates, and only to a file with one is added; take the others out, or the file away"
    )]
    Lists { path: std::path::PathBuf, lists: usize },
    #[error("keys on P-521 are not signed with here; use one that is RSA, ECDSA P-256 or P-384, or Ed25519")]
    Curve,
}

/// What an authority is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityKind {
    Accounts,
    Tier,
    Server,
}

impl AuthorityKind {
    pub const ALL: [Self; 3] = [Self::Accounts, Self::Tier, Self::Server];

    /// Also what its files are called, before `-ca.pem` and `-ca.key`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Tier => "tier",
            Self::Server => "server",
        }
    }
}

/// An authority that can sign.
pub struct IssuingAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// What an account's certificate is good for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    pub ttl: Duration,
    /// For people.
    pub label: String,
    /// None at all means reading metrics.
    pub scopes: Vec<Scope>,
    /// None means all.
    pub groups: Option<Vec<String>>,
}

/// A certificate with its key.
pub struct Issued {
    pub certificate: CertificateDer<'static>,
    /// PKCS #8.
    pub key: PrivateKeyDer<'static>,
    /// In seconds since 1970.
    pub not_after: u64,
}

impl Issued {
    /// SHA-256 over the certificate, in lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        hexadecimal(&Sha256::digest(&self.certificate))
    }

    fn new(certificate: &rcgen::Certificate, key: &KeyPair, not_after: OffsetDateTime) -> Self {
        Self {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            not_after: not_after.unix_timestamp().try_into().unwrap_or_default(),
        }
    }
}

impl IssuingAuthority {
    /// A new one; its key is nowhere else yet.
    pub fn create(kind: AuthorityKind) -> Result<(Self, Issued), IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = dated(AUTHORITY_TTL)?;
        params.distinguished_name.push(DnType::CommonName, format!("Sonde {}", kind.name()));
        // It signs leaves alone.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        let issued = Issued::new(&certificate, &key, params.not_after);
        Ok((Self { issuer: Issuer::new(params, key), certificate: issued.certificate.clone() }, issued))
    }

    /// One from its files.
    pub fn open(files: &CertificateFiles) -> Result<Self, IssueError> {
        let (chain, key) = (crate::tls::chain(&files.certificate)?, crate::tls::key(&files.key)?);
        let malformed = || TlsError::Malformed { path: files.certificate.clone() };
        let certificate = chain.into_iter().next().ok_or_else(malformed)?;
        let authority = |source| IssueError::Authority { source };
        let key = KeyPair::try_from(&key).map_err(authority)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(authority)?;
        Ok(Self { issuer, certificate })
    }

    /// The authority's own certificate: for those who are to trust it.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate for an account, and the record that binds it: without that in the inventory it is good for nothing.
    pub fn issue_account(
        &self,
        account: &AccountName,
        terms: &Terms,
    ) -> Result<(Issued, BoundCertificate), IssueError> {
        let mut params = dated(checked(terms.ttl)?)?;
        params.distinguished_name.push(DnType::CommonName, account.as_str());
        params.subject_alt_names = vec![uri(format!("{BOUND_URI}{account}"))?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issued = self.sign(params)?;
        let record = BoundCertificate {
            sha256: issued.sha256(),
            label: terms.label.clone(),
            not_after: issued.not_after,
            scopes: terms.scopes.clone(),
            groups: terms.groups.clone(),
        };
        Ok((issued, record))
    }

    /// A certificate for a node or a proxy; with the names and addresses that others may know it by.
    pub fn issue_tier(&self, role: TierRole, names: &[String], ttl: Duration) -> Result<Issued, IssueError> {
        let mut params = dated(checked(ttl)?)?;
        params.distinguished_name.push(DnType::CommonName, role.uri());
        params.subject_alt_names = vec![uri(role.uri())?];
        for name in names {
            params.subject_alt_names.push(named(name)?);
        }
        // Each is at either end: nodes report to proxies, and proxies ask nodes.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A certificate for a tenants' listener, of these DNS names (`*.` first is a wildcard) and addresses.
    pub fn issue_server(&self, names: &[String], ttl: Duration) -> Result<Issued, IssueError> {
        let mut params = dated(checked(ttl)?)?;
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.subject_alt_names = names.iter().map(|name| named(name)).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Issued, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued::new(&certificate, &key, params.not_after))
    }
}

fn checked(ttl: Duration) -> Result<Duration, IssueError> {
    if TTLS.contains(&ttl) { Ok(ttl) } else { Err(IssueError::Ttl(ttl)) }
}

/// From a little before now.
fn dated(ttl: Duration) -> Result<CertificateParams, IssueError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = |since: Duration| {
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IssueError::Ttl(ttl))
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = at(now.saturating_sub(BACKDATED))?;
    params.not_after = at(now + ttl)?;
    Ok(params)
}

fn uri(uri: String) -> Result<SanType, IssueError> {
    Ok(SanType::URI(uri.try_into()?))
}

fn named(name: &str) -> Result<SanType, IssueError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let rest = name.strip_prefix("*.").unwrap_or(name);
    if name.len() > 253 || !rest.split('.').all(is_label) {
        return Err(IssueError::Name(name.chars().take(254).collect()));
    }
    Ok(SanType::DnsName(name.try_into()?))
}

#[cfg(test)]
mod tests;
