//! Whether an authority made a certificate, or a list of revoked ones: its name is on it *and* its key has signed it.
//!
//! Every authority of a kind has the same name, so the name alone says nothing of whose a thing is. Dates are not asked for: what is past its date was made by somebody too.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::prelude::{AlgorithmIdentifier, CertificateRevocationList, FromDer, X509Certificate};

/// The tag of an object identifier, and of lengths the greatest that is one byte.
const OBJECT_IDENTIFIER: u8 = 6;
const SHORT_LENGTH: usize = 127;

/// Whether the authority made this certificate, in DER.
pub fn has_issued(authority: &CertificateDer<'_>, certificate: &[u8]) -> bool {
    let Ok((_, read)) = X509Certificate::from_der(certificate) else { return false };
    let signed = (read.tbs_certificate.as_ref(), &*read.signature_value.data);
    is_named(authority, read.issuer().as_raw()) && has_signed(authority, &read.signature_algorithm, signed)
}

/// Whether the authority made this list, in DER.
pub(super) fn has_listed(authority: &CertificateDer<'_>, list: &[u8]) -> bool {
    let Ok((_, read)) = CertificateRevocationList::from_der(list) else { return false };
    let signed = (read.tbs_cert_list.as_ref(), &*read.signature_value.data);
    is_named(authority, read.issuer().as_raw()) && has_signed(authority, &read.signature_algorithm, signed)
}

fn is_named(authority: &CertificateDer<'_>, issuer: &[u8]) -> bool {
    X509Certificate::from_der(authority).is_ok_and(|(_, read)| read.subject().as_raw() == issuer)
}

/// Of what was signed and the signature; by the algorithm that it names, because that is what it will be judged by at each handshake.
fn has_signed(authority: &CertificateDer<'_>, by: &AlgorithmIdentifier<'_>, signed: (&[u8], &[u8])) -> bool {
    let Ok(authority) = EndEntityCert::try_from(authority) else { return false };
    let oid = by.algorithm.as_bytes();
    let Some(length) = u8::try_from(oid.len()).ok().filter(|_| oid.len() <= SHORT_LENGTH) else { return false };
    let head = [&[OBJECT_IDENTIFIER, length], oid].concat();
    let named = webpki::ALL_VERIFICATION_ALGS.iter().filter(|known| known.signature_alg_id().starts_with(&head));
    named.into_iter().any(|known| authority.verify_signature(*known, signed.0, signed.1).is_ok())
}
