//! Keys and certificates of every kind, made by hand so that each field can be right or wrong.

use std::process::Command;

use p521::ecdsa::signature::Signer;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, alg_id};
use sonde_inventory::SshKey;

use crate::identity::algorithms::PublicKey;
use crate::identity::der::{BIT_STRING, INTEGER, SEQUENCE, element};
use crate::identity::ssh_key::SshPublicKey;

pub const CLIENT_AUTH: &[u8] = &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
pub const SERVER_AUTH: &[u8] = &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];
/// 1.3.6.1.4.1.38678.1.4.2, and its sibling for Docker, `….1.4.1`.
pub const TRITON_CMON: &[u8] = &[0x06, 11, 0x2b, 6, 1, 4, 1, 0x82, 0xae, 0x16, 1, 4, 2];
pub const TRITON_DOCKER: &[u8] = &[0x06, 11, 0x2b, 6, 1, 4, 1, 0x82, 0xae, 0x16, 1, 4, 1];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rsa(u32),
    P256,
    P384,
    P521,
    Ed25519,
}

pub const ALGORITHMS: [Algorithm; 6] =
    [Algorithm::Rsa(2048), Algorithm::Rsa(3072), Algorithm::P256, Algorithm::P384, Algorithm::P521, Algorithm::Ed25519];

pub enum Key {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair, Algorithm),
    P521(Box<p521::ecdsa::SigningKey>),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    pub fn new(algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        match algorithm {
            Algorithm::Rsa(bits) => {
                let bits = format!("rsa_keygen_bits:{bits}");
                let arguments = ["genpkey", "-algorithm", "RSA", "-pkeyopt", &bits];
                let made = Command::new("openssl").args(arguments).output().expect("openssl is installed");
                let der = PrivatePkcs8KeyDer::from_pem_slice(&made.stdout).expect("openssl makes keys");
                Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("openssl makes RSA keys")))
            }
            Algorithm::P256 | Algorithm::P384 => {
                let signing = match algorithm {
                    Algorithm::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
                    _ => &ECDSA_P384_SHA384_ASN1_SIGNING,
                };
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
                Self::Ecdsa(EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &random).unwrap(), algorithm)
            }
            Algorithm::P521 => {
                let mut scalar = [0; 66];
                ring::rand::SecureRandom::fill(&random, &mut scalar[1..]).unwrap();
                Self::P521(Box::new(p521::ecdsa::SigningKey::from_slice(&scalar).unwrap()))
            }
            Algorithm::Ed25519 => {
                let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
            }
        }
    }

    pub fn public(&self) -> PublicKey {
        let (algorithm, bits) = match self {
            Self::Rsa(key) => (alg_id::RSA_ENCRYPTION, key.public_key().as_ref().to_vec()),
            Self::Ecdsa(key, Algorithm::P256) => (alg_id::ECDSA_P256, key.public_key().as_ref().to_vec()),
            Self::Ecdsa(key, _) => (alg_id::ECDSA_P384, key.public_key().as_ref().to_vec()),
            Self::P521(key) => {
                let point = p521::ecdsa::VerifyingKey::from(key.as_ref()).to_encoded_point(false);
                (alg_id::ECDSA_P521, point.as_bytes().to_vec())
            }
            Self::Ed25519(key) => (alg_id::ED25519, key.public_key().as_ref().to_vec()),
        };
        PublicKey { algorithm: algorithm.to_vec(), bits }
    }

    pub fn ssh(&self) -> SshPublicKey {
        SshPublicKey::of(&self.public()).expect("SSH has such keys")
    }

    pub fn ssh_key(&self) -> SshKey {
        SshKey { name: "laptop".into(), line: self.ssh().line() }
    }

    fn signature_algorithm(&self) -> Vec<u8> {
        match self {
            Self::Rsa(_) => alg_id::RSA_PKCS1_SHA256.to_vec(),
            Self::Ecdsa(_, Algorithm::P256) => alg_id::ECDSA_SHA256.to_vec(),
            Self::Ecdsa(..) => alg_id::ECDSA_SHA384.to_vec(),
            Self::P521(_) => alg_id::ECDSA_SHA512.to_vec(),
            Self::Ed25519(_) => alg_id::ED25519.to_vec(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ecdsa(key, _) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::P521(key) => {
                let signature: p521::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

/// What a certificate says.
#[derive(Clone)]
pub struct Says {
    pub subject: Vec<String>,
    pub issuer: String,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// OIDs in DER; none: without the extension.
    pub usages: Option<Vec<&'static [u8]>>,
    pub uris: Vec<String>,
    pub is_ca: bool,
    /// Whole extensions in DER.
    pub more: Vec<Vec<u8>>,
}

impl Says {
    pub fn new(subject: &str, issuer: &str) -> Self {
        let (subject, issuer) = (vec![subject.to_owned()], issuer.to_owned());
        let (not_before, not_after) = (super::NOW - 1000, super::NOW + 1000);
        Self { subject, issuer, not_before, not_after, usages: None, uris: vec![], is_ca: false, more: vec![] }
    }

    pub fn for_usages(self, usages: &[&'static [u8]]) -> Self {
        Self { usages: Some(usages.to_vec()), ..self }
    }

    /// The certificate of `key`, by `signer`.
    pub fn signed(&self, key: &PublicKey, signer: &Key) -> CertificateDer<'static> {
        let algorithm = element(SEQUENCE, &signer.signature_algorithm());
        let tbs = self.tbs(key, &algorithm);
        let signature = element(BIT_STRING, &[vec![0], signer.sign(&tbs)].concat());
        element(SEQUENCE, &[tbs, algorithm, signature].concat()).into()
    }

    fn tbs(&self, key: &PublicKey, algorithm: &[u8]) -> Vec<u8> {
        let spki =
            [element(SEQUENCE, &key.algorithm), element(BIT_STRING, &[vec![0], key.bits.clone()].concat())].concat();
        let issuer: Vec<String> = self.issuer.split('\0').map(str::to_owned).collect();
        let fields = [
            element(0xa0, &element(INTEGER, &[2])),
            element(INTEGER, &[7]),
            algorithm.to_vec(),
            name(&issuer),
            element(SEQUENCE, &[time(self.not_before), time(self.not_after)].concat()),
            name(&self.subject),
            element(SEQUENCE, &spki),
            element(0xa3, &element(SEQUENCE, &self.extensions())),
        ];
        element(SEQUENCE, &fields.concat())
    }

    fn extensions(&self) -> Vec<u8> {
        const TRUE: &[u8] = &[0x01, 1, 0xff];
        // Critical, as sshpk and CAs make it.
        let mut all =
            vec![extension(&[0x55, 0x1d, 0x13], true, &element(SEQUENCE, if self.is_ca { TRUE } else { &[] }))];
        if let Some(usages) = &self.usages {
            all.push(extension(&[0x55, 0x1d, 0x25], true, &element(SEQUENCE, &usages.concat())));
        }
        if !self.uris.is_empty() {
            let names: Vec<u8> = self.uris.iter().flat_map(|uri| element(0x86, uri.as_bytes())).collect();
            all.push(extension(&[0x55, 0x1d, 0x11], false, &element(SEQUENCE, &names)));
        }
        all.extend(self.more.iter().cloned());
        all.concat()
    }
}

/// An extension of this OID.
pub fn extension(oid: &[u8], critical: bool, contents: &[u8]) -> Vec<u8> {
    let critical = if critical { vec![0x01, 1, 0xff] } else { vec![] };
    element(SEQUENCE, &[element(0x06, oid), critical, element(0x04, contents)].concat())
}

/// Common names, each a relative distinguished name of its own.
fn name(names: &[String]) -> Vec<u8> {
    let one = |name: &String| {
        let attribute = [element(0x06, &[0x55, 4, 3]), element(0x0c, name.as_bytes())].concat();
        element(0x31, &element(SEQUENCE, &attribute))
    };
    element(SEQUENCE, &names.iter().flat_map(one).collect::<Vec<_>>())
}

/// A `GeneralizedTime`.
fn time(seconds: i64) -> Vec<u8> {
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    let (date, clock) = (at.date(), at.time());
    let day = format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day());
    let text = format!("{day}{:02}{:02}{:02}Z", clock.hour(), clock.minute(), clock.second());
    element(0x18, text.as_bytes())
}
