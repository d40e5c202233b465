//! The list of an authority's revoked certificates: who is on it, and the list with more of them.
//!
//! A list names serial numbers alone, so only this authority's own certificates may come onto it: another's would look revoked and go on. A file is written anew as one list,
//! so one with several, as a door may be given, is refused and not made shorter.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::{AuthorityKind, IssueError, IssuingAuthority};
use crate::identity::ClientCertificate;
use crate::tls::TlsError;

/// Until the list wants another, as long as the authority itself lasts: ours do not look at it, and others may.
const LIST_TTL: Duration = Duration::from_secs(10 * 365 * 86_400);
const LIST_MODE: u32 = 0o644;
/// Of a stranger's certificate's name, for a person.
const NAME_CHARS: usize = 300;

impl IssuingAuthority {
    /// Writes a list with these certificates and all that are on it already, if it is there.
    ///
    /// # Errors
    /// A certificate is not this authority's, the file has not one list, a file cannot be read, or the list cannot be signed. Nothing is written then.
    pub fn revoke(&self, certificates: &[CertificateDer<'_>], list: &Path) -> Result<(), IssueError> {
        let mut serials = if list.exists() { on(list)? } else { BTreeSet::new() };
        for certificate in certificates {
            if !self.has_issued(certificate) {
                return Err(IssueError::NotIssued { name: name(certificate) });
            }
            serials.insert(serial(certificate, list)?);
        }
        super::files::write_whole(list, self.list_of(&serials)?.as_bytes(), LIST_MODE)
    }

    /// Whether this authority's key signed it.
    pub fn has_issued(&self, certificate: &CertificateDer<'_>) -> bool {
        sonde_listen::tier::has_issued(&self.certificate, certificate)
    }

    fn list_of(&self, serials: &BTreeSet<Vec<u8>>) -> Result<String, IssueError> {
        let now = SystemTime::now();
        let revoked = |serial: &Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let number = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + LIST_TTL).into(),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(super::pem("X509 CRL", params.signed_by(&self.issuer)?.der()))
    }
}

/// What the tiers' list is called beside its authority's files.
pub fn tier_list(folder: &Path) -> std::path::PathBuf {
    folder.join(format!("{}.crl", AuthorityKind::Tier.name()))
}

fn serial(certificate: &CertificateDer<'_>, list: &Path) -> Result<Vec<u8>, IssueError> {
    let read = ClientCertificate::read(std::slice::from_ref(certificate));
    let (_, parsed) = read
        .and_then(|_| x509_parser::parse_x509_certificate(certificate).ok())
        .ok_or_else(|| TlsError::Malformed { path: list.to_owned() })?;
    Ok(parsed.raw_serial().to_vec())
}

/// What a person may know a certificate by.
fn name(certificate: &CertificateDer<'_>) -> String {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok((_, read)) => {
            let said = format!("{:?}, serial number {}", read.subject().to_string(), read.raw_serial_as_string());
            said.chars().take(NAME_CHARS).collect()
        }
        Err(_) => "that cannot be read".to_owned(),
    }
}

fn on(list: &Path) -> Result<BTreeSet<Vec<u8>>, IssueError> {
    let malformed = || TlsError::Malformed { path: list.to_owned() };
    let lists = CertificateRevocationListDer::pem_file_iter(list).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let lists = lists.map_err(|_| malformed())?;
    let [der] = &*lists else { return Err(IssueError::Lists { path: list.to_owned(), lists: lists.len() }) };
    let (_, read) = CertificateRevocationList::from_der(der).map_err(|_| malformed())?;
    Ok(read.iter_revoked_certificates().map(|one| one.raw_serial().to_vec()).collect())
}
