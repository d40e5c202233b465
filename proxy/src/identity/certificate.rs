//! A client's certificate, read once for a connection.
//!
//! Whoever connects chooses these bytes, so what is read has bounds: sizes, extensions, names. What a certificate says of itself is no authority; the styles
//! beside this module say whether anybody who counts has signed it. Its dates are kept, to be looked at for each request.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, Oid, asn1_rs};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::algorithms::{PublicKey, Signed};
use crate::identity::Unauthorised;

/// An RSA key and a signature of 8192 bits take 2 KiB; a certificate that lists many names some more.
pub const LARGEST: usize = 16 << 10;
/// Certificates beside the client's own: as long as chains are.
pub const LONGEST_CHAIN: usize = 8;
/// All of them together.
pub const LARGEST_CHAIN: usize = 48 << 10;
/// Twice what the fullest real ones have.
const MOST_EXTENSIONS: usize = 32;
const MOST_NAMES: usize = 64;
/// A name in a subject or issuer (X.520: 64 characters); a fingerprint of SHA-256 has 50.
const LONGEST_NAME: usize = 128;
/// Of a URI of ours, the longest is an account's name after a prefix.
const LONGEST_URI: usize = 256;
/// What Triton's certificates for cmon are for (`joyentCmon`).
const TRITON_CMON: Oid<'static> = asn1_rs::oid!(1.3.6.1.4.1.38678.1.4.2);

/// See the module.
#[derive(Debug)]
pub struct ClientCertificate {
    pub der: CertificateDer<'static>,
    pub intermediates: Vec<CertificateDer<'static>>,
    /// SHA-256 over the DER, in lower-case hexadecimal.
    pub sha256: String,
    pub validity: Validity,
    /// The one common name of its subject; none where there are several.
    pub subject: Option<Box<str>>,
    pub issuer: Option<Box<str>>,
    pub is_self_issued: bool,
    pub usages: Usages,
    /// URIs of its subject alternative names.
    pub uris: Vec<Box<str>>,
    /// Its key, where it has the form of one.
    pub key: Option<PublicKey>,
}

/// From when until when, in seconds since 1970, both included (RFC 5280 §4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

impl Validity {
    pub fn holds(self, now: i64) -> Result<(), Unauthorised> {
        if now < self.not_before {
            Err(Unauthorised::NotYetValid)
        } else if now > self.not_after {
            Err(Unauthorised::Expired)
        } else {
            Ok(())
        }
    }

    /// While both hold.
    pub fn and(self, other: Self) -> Self {
        Self { not_before: self.not_before.max(other.not_before), not_after: self.not_after.min(other.not_after) }
    }

    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() }
    }
}

/// What it may be used for (extended key usage); without that extension, for anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usages {
    pub client: bool,
    /// `joyentCmon`: Triton's new style.
    pub triton: bool,
}

impl ClientCertificate {
    /// Reads a chain as a handshake brought it.
    pub fn read(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (leaf, rest) = chain.split_first()?;
        if !is_bounded(leaf, rest) {
            return None;
        }
        let parsed = parse(leaf)?;
        Some(Self {
            der: leaf.clone().into_owned(),
            intermediates: rest.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            sha256: hexadecimal(&Sha256::digest(leaf)),
            validity: Validity::of(&parsed),
            subject: common_name(parsed.subject()),
            issuer: common_name(parsed.issuer()),
            is_self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
            usages: usages(&parsed)?,
            uris: uris(&parsed)?,
            key: PublicKey::of_certificate(leaf),
        })
    }

    /// What its signature stands over.
    pub fn signed(&self) -> Option<Signed<'_>> {
        Signed::of(&self.der)
    }
}

/// Whether a chain is small enough to be looked at.
pub fn is_bounded(leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> bool {
    let all = rest.iter().fold(leaf.len(), |sum, certificate| sum.saturating_add(certificate.len()));
    leaf.len() <= LARGEST && rest.len() <= LONGEST_CHAIN && all <= LARGEST_CHAIN
}

/// Reads a certificate that is one to the last byte; `None` where it is none, or has more of something than it may.
pub fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (rest, parsed) = X509Certificate::from_der(der).ok()?;
    // The shape that signatures are checked on must be the one that was read.
    Signed::of(der)?;
    let inner = &parsed.tbs_certificate.signature;
    let is_whole = rest.is_empty() && *inner == parsed.signature_algorithm;
    let extensions = parsed.extensions();
    let are_known =
        extensions.iter().all(|extension| !extension.critical || is_understood(extension.parsed_extension()));
    (is_whole && extensions.len() <= MOST_EXTENSIONS && are_known && parsed.extensions_map().is_ok()).then_some(parsed)
}

/// RFC 5280 §4.2: a critical extension that is not understood makes the certificate one that is not.
fn is_understood(extension: &ParsedExtension<'_>) -> bool {
    matches!(
        extension,
        ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::NameConstraints(_)
    )
}

/// The one common name; two could be taken for different accounts by different readers.
fn common_name(name: &X509Name<'_>) -> Option<Box<str>> {
    let mut names = name.iter_by_oid(&OID_X509_COMMON_NAME);
    let (only, None) = (names.next()?, names.next()) else { return None };
    only.as_str().ok().filter(|name| name.len() <= LONGEST_NAME).map(Box::from)
}

fn usages(certificate: &X509Certificate<'_>) -> Option<Usages> {
    Some(match certificate.extended_key_usage().ok()? {
        None => Usages { client: true, triton: false },
        Some(usage) => Usages {
            client: usage.value.client_auth || usage.value.any,
            triton: usage.value.other.contains(&TRITON_CMON),
        },
    })
}

fn uris(certificate: &X509Certificate<'_>) -> Option<Vec<Box<str>>> {
    let Some(names) = certificate.subject_alternative_name().ok()? else { return Some(vec![]) };
    let names = &names.value.general_names;
    if names.len() > MOST_NAMES {
        return None;
    }
    let uris: Vec<&str> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    uris.iter().all(|uri| uri.len() <= LONGEST_URI).then(|| uris.into_iter().map(Box::from).collect())
}

/// In lower case.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
