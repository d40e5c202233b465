//! Which signatures count, for handshakes and for certificates alike: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 and P-521, Ed25519.
//!
//! All but P-521 are ring's, as webpki wraps them. ring has no P-521, yet SSH keys on it are about (`ecdsa-sha2-nistp521`), so that one is the `p521`
//! crate's; only ever to verify, where nothing is secret. SHA-1 and MD5 never count: a certificate signed with them is refused, though cmon took it.

use p521::ecdsa::signature::hazmat::PrehashVerifier;
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest, Sha256, Sha384, Sha512};
use webpki::ring as known;

use super::der::{self, BIT_STRING, INTEGER, SEQUENCE};

/// The explicit tag of a certificate's version.
const VERSION: u8 = 0xa0;

/// Every algorithm, and what each scheme of TLS means by it; the first of a scheme is the one of TLS 1.3 (RFC 8446 §4.2.3).
pub static SUPPORTED: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        known::ED25519,
        known::ECDSA_P256_SHA256,
        known::ECDSA_P256_SHA384,
        known::ECDSA_P384_SHA256,
        known::ECDSA_P384_SHA384,
        &P521_SHA256,
        &P521_SHA384,
        &P521_SHA512,
        known::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        known::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        known::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        known::RSA_PKCS1_2048_8192_SHA256,
        known::RSA_PKCS1_2048_8192_SHA384,
        known::RSA_PKCS1_2048_8192_SHA512,
        known::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        known::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        known::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        (SignatureScheme::ED25519, &[known::ED25519]),
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[known::ECDSA_P256_SHA256, known::ECDSA_P384_SHA256, &P521_SHA256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[known::ECDSA_P384_SHA384, known::ECDSA_P256_SHA384, &P521_SHA384]),
        (SignatureScheme::ECDSA_NISTP521_SHA512, &[&P521_SHA512]),
        (SignatureScheme::RSA_PSS_SHA256, &[known::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[known::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA512, &[known::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[known::RSA_PKCS1_2048_8192_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[known::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[known::RSA_PKCS1_2048_8192_SHA512]),
    ],
};

static P521_SHA256: P521 = P521 { hash: Hash::Sha256, signature: alg_id::ECDSA_SHA256 };
static P521_SHA384: P521 = P521 { hash: Hash::Sha384, signature: alg_id::ECDSA_SHA384 };
static P521_SHA512: P521 = P521 { hash: Hash::Sha512, signature: alg_id::ECDSA_SHA512 };

/// Bytes of a number modulo the order of P-521's group.
const P521_BYTES: usize = 66;

#[derive(Debug)]
struct P521 {
    hash: Hash,
    signature: AlgorithmIdentifier,
}

#[derive(Debug, Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl SignatureVerificationAlgorithm for P521 {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = p521::ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        let mut hash = [0; P521_BYTES];
        let mut put = |digest: &[u8]| hash[P521_BYTES - digest.len()..].copy_from_slice(digest);
        // A hash is a number, shorter than the order (SEC 1 §4.1.4): leading zeros change nothing, and the crate wants them.
        match self.hash {
            Hash::Sha256 => put(&Sha256::digest(message)),
            Hash::Sha384 => put(&Sha384::digest(message)),
            Hash::Sha512 => put(&Sha512::digest(message)),
        }
        key.verify_prehash(&hash, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

/// A public key, as a certificate has it (RFC 5280 §4.1.2.7): two are the same key if and only if they are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The contents of its `AlgorithmIdentifier`.
    pub algorithm: Vec<u8>,
    /// The key: PKCS #1's for RSA, the point for the others.
    pub bits: Vec<u8>,
}

impl PublicKey {
    /// From a `SubjectPublicKeyInfo`.
    pub fn from_spki(spki: &[u8]) -> Option<Self> {
        let mut fields = der::only(spki, SEQUENCE)?.contents;
        let algorithm = der::take(&mut fields, SEQUENCE)?.contents;
        let bits = der::whole_bits(der::only(fields, BIT_STRING)?)?;
        Some(Self { algorithm: algorithm.to_vec(), bits: bits.to_vec() })
    }

    /// A certificate's, of which not more than that need be readable (RFC 5280 §4.1). What proves possession in a handshake and what is compared with
    /// an account's keys both come from here, so they are the same.
    pub fn of_certificate(certificate: &[u8]) -> Option<Self> {
        let mut outer = der::only(certificate, SEQUENCE)?.contents;
        let mut fields = der::take(&mut outer, SEQUENCE)?.contents;
        if fields.first() == Some(&VERSION) {
            der::take(&mut fields, VERSION)?;
        }
        der::take(&mut fields, INTEGER)?;
        // Signature, issuer, validity, subject.
        for _ in 0..4 {
            der::take(&mut fields, SEQUENCE)?;
        }
        Self::from_spki(der::take(&mut fields, SEQUENCE)?.whole)
    }

    /// Whether the certificate's signature is by this key.
    pub fn signed(&self, certificate: &Signed<'_>) -> bool {
        SUPPORTED.all.iter().any(|algorithm| {
            *algorithm.public_key_alg_id() == *self.algorithm
                && *algorithm.signature_alg_id() == *certificate.algorithm
                && algorithm.verify_signature(&self.bits, certificate.message, certificate.signature).is_ok()
        })
    }
}

/// What a certificate's signature stands over, and the signature (RFC 5280 §4.1.1).
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    message: &'a [u8],
    /// The contents of the outer `AlgorithmIdentifier`.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes a certificate apart; `None` where it is not DER of that shape to the byte.
    pub fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut fields = der::only(certificate, SEQUENCE)?.contents;
        let message = der::take(&mut fields, SEQUENCE)?.whole;
        let algorithm = der::take(&mut fields, SEQUENCE)?.contents;
        let signature = der::whole_bits(der::only(fields, BIT_STRING)?)?;
        Some(Self { message, algorithm, signature })
    }
}
