//! The tenants' verifier: whoever shows a certificate must have its key, and nothing more is asked here.
//!
//! Of the chain nothing is verified: whose a certificate is depends on the inventory, and is asked for each request. But a certificate is public,
//! and only the signature over this very handshake shows that its holder is at the other end; that is verified here as in any TLS, and a
//! handshake without it fails. So does one with a certificate in which no key can be found: there is nothing to verify with.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme};

use crate::identity::{PublicKey, SUPPORTED};

/// See the module.
#[derive(Debug)]
pub(super) struct Possession;

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        // Tokens come without.
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // None: a client that was told of authorities would keep back a certificate that is signed by a key of its account.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        key_of(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // In TLS 1.2 a scheme names the hash, and the curve is the key's (RFC 8422 §5.10).
        verify(message, certificate, signed, usize::MAX)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let is_older =
            [SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::RSA_PKCS1_SHA384, SignatureScheme::RSA_PKCS1_SHA512]
                .contains(&signed.scheme);
        if is_older {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        // In TLS 1.3 it names both (RFC 8446 §4.2.3): the first is the one.
        verify(message, certificate, signed, 1)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SUPPORTED.supported_schemes()
    }
}

/// Verifies with one of the first so many algorithms of the scheme.
fn verify(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    most: usize,
) -> Result<HandshakeSignatureValid, Error> {
    let key = key_of(certificate)?;
    let scheme = SUPPORTED.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let (_, algorithms) = scheme.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let is_valid = algorithms.iter().take(most).any(|algorithm| {
        *algorithm.public_key_alg_id() == *key.algorithm
            && algorithm.verify_signature(&key.bits, message, signed.signature()).is_ok()
    });
    if is_valid { Ok(HandshakeSignatureValid::assertion()) } else { Err(CertificateError::BadSignature.into()) }
}

fn key_of(certificate: &[u8]) -> Result<PublicKey, Error> {
    PublicKey::of_certificate(certificate).ok_or_else(|| CertificateError::BadEncoding.into())
}
