//! SSH private keys, to sign a certificate with: PEM (PKCS #1, SEC 1, PKCS #8) and OpenSSH's own format, without a passphrase.
//!
//! OpenSSH's format (its PROTOCOL.key) is taken apart by hand and made into what ring reads, which is less code than a crate that reads all of SSH. A
//! key that is encrypted is refused: its passphrase is not ours to ask for.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, alg_id};
use rustls::sign::SigningKey;

use crate::identity::der::{BIT_STRING, INTEGER, OCTET_STRING, SEQUENCE, element};
use crate::identity::{PublicKey, SshPublicKey, take_number, take_string};

/// An RSA key of 8192 bits takes 7 KiB.
const LARGEST: u64 = 32 << 10;
const OPENSSH_BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const OPENSSH_END: &str = "-----END OPENSSH PRIVATE KEY-----";
const OPENSSH_MAGIC: &[u8] = b"openssh-key-v1\0";

/// Why a file is not a key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SshPrivateKeyError {
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a private key of SSH, in PEM or OpenSSH's format")]
    Format { path: PathBuf },
    #[error(
        "{path} has a passphrase; make a copy without one (`ssh-keygen -p -N '' -f COPY`) and take it away afterwards"
    )]
    Encrypted { path: PathBuf },
    #[error("{path} is not of a type to sign with: RSA from 2048 bits, ECDSA P-256 or P-384, Ed25519 are")]
    Type { path: PathBuf },
}

/// Why a text is none, before it is known which file it is from.
enum Wrong {
    Format,
    Encrypted,
    Type,
}

/// A key to sign with.
pub struct SshPrivateKey {
    key: Arc<dyn SigningKey>,
    public: SshPublicKey,
}

impl SshPrivateKey {
    pub fn read(path: &Path) -> Result<Self, SshPrivateKeyError> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
        read.map_err(|source| SshPrivateKeyError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|wrong| {
            let path = path.to_owned();
            match wrong {
                Wrong::Format => SshPrivateKeyError::Format { path },
                Wrong::Encrypted => SshPrivateKeyError::Encrypted { path },
                Wrong::Type => SshPrivateKeyError::Type { path },
            }
        })
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        let der = if text.contains(OPENSSH_BEGIN) {
            openssh(text)?
        } else if text.contains("ENCRYPTED") {
            return Err(Wrong::Encrypted);
        } else {
            PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| Wrong::Format)?
        };
        let key = any_supported_type(&der).map_err(|_| Wrong::Type)?;
        let public = key.public_key().and_then(|spki| SshPublicKey::of(&PublicKey::from_spki(&spki)?));
        Ok(Self { public: public.ok_or(Wrong::Type)?, key })
    }

    pub fn public(&self) -> &SshPublicKey {
        &self.public
    }

    pub(super) fn key(&self) -> &dyn SigningKey {
        self.key.as_ref()
    }
}

fn openssh(text: &str) -> Result<PrivateKeyDer<'static>, Wrong> {
    let body = text.split_once(OPENSSH_BEGIN).and_then(|(_, rest)| rest.split_once(OPENSSH_END));
    let encoded: String = body.ok_or(Wrong::Format)?.0.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(encoded).map_err(|_| Wrong::Format)?;
    let mut rest = bytes.strip_prefix(OPENSSH_MAGIC).ok_or(Wrong::Format)?;
    let mut string = || take_string(&mut rest).ok_or(Wrong::Format);
    let (cipher, _kdf, _options) = (string()?, string()?, string()?);
    if cipher != b"none" {
        return Err(Wrong::Encrypted);
    }
    let mut rest = rest.strip_prefix(&1u32.to_be_bytes()).ok_or(Wrong::Format)?;
    let _public = take_string(&mut rest).ok_or(Wrong::Format)?;
    let private = take_string(&mut rest).ok_or(Wrong::Format)?;
    // Two numbers that are equal where the passphrase was right.
    let (checks, mut fields) = private.split_at_checked(8).ok_or(Wrong::Format)?;
    if checks[..4] != checks[4..] {
        return Err(Wrong::Format);
    }
    match take_string(&mut fields).ok_or(Wrong::Format)? {
        b"ssh-ed25519" => ed25519(fields).ok_or(Wrong::Format),
        b"ecdsa-sha2-nistp256" => ecdsa(fields, &alg_id::ECDSA_P256, 32).ok_or(Wrong::Format),
        b"ecdsa-sha2-nistp384" => ecdsa(fields, &alg_id::ECDSA_P384, 48).ok_or(Wrong::Format),
        b"ssh-rsa" => rsa(fields).ok_or(Wrong::Format),
        _ => Err(Wrong::Type),
    }
}

fn pkcs8(algorithm: &[u8], key: &[u8]) -> PrivateKeyDer<'static> {
    let fields = [element(INTEGER, &[0]), element(SEQUENCE, algorithm), element(OCTET_STRING, key)].concat();
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(element(SEQUENCE, &fields)))
}

/// RFC 8410 §7.
fn ed25519(mut fields: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let _public = take_string(&mut fields)?;
    // The seed, then the public key again.
    let seed = take_string(&mut fields)?.get(..32)?;
    Some(pkcs8(&alg_id::ED25519, &element(OCTET_STRING, seed)))
}

/// RFC 5915 §3.
fn ecdsa(mut fields: &[u8], algorithm: &[u8], size: usize) -> Option<PrivateKeyDer<'static>> {
    let _curve = take_string(&mut fields)?;
    let point = take_string(&mut fields)?;
    let number = unsigned(take_number(&mut fields)?);
    let scalar = [vec![0; size.checked_sub(number.len())?], number.to_vec()].concat();
    let public = element(0xa1, &element(BIT_STRING, &[&[0], point].concat()));
    let key = [element(INTEGER, &[1]), element(OCTET_STRING, &scalar), public].concat();
    Some(pkcs8(algorithm, &element(SEQUENCE, &key)))
}

/// RFC 8017 §A.1.2, whose exponents for the primes OpenSSH leaves out.
fn rsa(mut fields: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let mut number = || take_number(&mut fields);
    let (n, e, d, inverse, p, q) = (number()?, number()?, number()?, number()?, number()?, number()?);
    let exponent = |prime: &[u8]| {
        let mut less_one = unsigned(prime).to_vec();
        // Primes are odd.
        *less_one.last_mut()? &= !1;
        Some(signed(&remainder(unsigned(d), &less_one)))
    };
    let (of_p, of_q) = (exponent(p)?, exponent(q)?);
    let numbers = [&[0], n, e, d, p, q, &of_p, &of_q, inverse].map(|number| element(INTEGER, number));
    Some(PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(element(SEQUENCE, &numbers.concat()))))
}

/// Without the zero that keeps a number positive.
fn unsigned(number: &[u8]) -> &[u8] {
    number.strip_prefix(&[0]).unwrap_or(number)
}

/// The contents of a positive INTEGER.
fn signed(number: &[u8]) -> Vec<u8> {
    let digits = &number[number.iter().take_while(|byte| **byte == 0).count().min(number.len().saturating_sub(1))..];
    let sign = digits.first().is_none_or(|first| first & 0x80 != 0);
    [if sign { vec![0] } else { vec![] }, digits.to_vec()].concat()
}

/// `number mod modulus`, both big-endian, bit by bit: it is done twice in a command's life.
fn remainder(number: &[u8], modulus: &[u8]) -> Vec<u8> {
    // One byte more, for what is shifted out.
    let modulus = [&[0], modulus].concat();
    let mut rest = vec![0u8; modulus.len()];
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        if rest >= modulus {
            let mut borrow = false;
            for (byte, less) in rest.iter_mut().zip(&modulus).rev() {
                let (first, one) = byte.overflowing_sub(*less);
                let (second, other) = first.overflowing_sub(u8::from(borrow));
                (*byte, borrow) = (second, one || other);
            }
        }
    }
    rest
}
