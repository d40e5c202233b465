//! SSH public keys, as `ssh-*.pub` files and accounts have them, and their fingerprints.
//!
//! A line is `TYPE BASE64 [COMMENT]`, where the base64 is RFC 4253 §6.6's encoding (RFC 5656 §3.1 for ECDSA, RFC 8709 §4 for Ed25519). Taken are
//! `ssh-rsa` of 2048 to 8192 bits, `ecdsa-sha2-nistp256`, `-384`, `-521` and `ssh-ed25519`; DSA, security keys (`sk-…`), whose signatures are over something
//! else, and SSH's own certificates are refused. MD5 is in here because fingerprints in certificates of Triton's are; a key is trusted for its signature only.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use md5::Md5;
use rustls::pki_types::{AlgorithmIdentifier, alg_id};
use sha2::{Digest, Sha256};

use super::algorithms::PublicKey;
use super::der::{self, INTEGER, SEQUENCE};

/// The line of an RSA key of 8192 bits has 1,400 bytes of base64.
const LONGEST_LINE: usize = 4096;
/// What ring verifies with, and what is believed today.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Public exponents are small; ring takes no longer ones.
const LONGEST_EXPONENT: usize = 5;

/// Why a line is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshKeyError {
    #[error("it is not a line `TYPE BASE64 [COMMENT]`, as ssh-*.pub files have")]
    Line,
    #[error("keys of type {0:?} are not taken: ssh-rsa, ecdsa-sha2-nistp256, -384, -521 and ssh-ed25519 are")]
    Type(String),
    #[error("what follows {0} is not the key that it says")]
    Encoding(&'static str),
    #[error("an RSA key has 2048 to 8192 bits, and this has {0}")]
    Size(usize),
}

/// An SSH public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshPublicKey {
    kind: Kind,
    /// As RFC 4253 §6.6 encodes it.
    wire: Vec<u8>,
    key: PublicKey,
    comment: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Rsa, Self::P256, Self::P384, Self::P521, Self::Ed25519];

    fn name(self) -> &'static str {
        match self {
            Self::Rsa => "ssh-rsa",
            Self::P256 => "ecdsa-sha2-nistp256",
            Self::P384 => "ecdsa-sha2-nistp384",
            Self::P521 => "ecdsa-sha2-nistp521",
            Self::Ed25519 => "ssh-ed25519",
        }
    }

    fn algorithm(self) -> AlgorithmIdentifier {
        match self {
            Self::Rsa => alg_id::RSA_ENCRYPTION,
            Self::P256 => alg_id::ECDSA_P256,
            Self::P384 => alg_id::ECDSA_P384,
            Self::P521 => alg_id::ECDSA_P521,
            Self::Ed25519 => alg_id::ED25519,
        }
    }

    /// Bytes of a coordinate.
    fn coordinate(self) -> usize {
        match self {
            Self::P256 | Self::Ed25519 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
            Self::Rsa => 0,
        }
    }
}

impl SshPublicKey {
    /// Reads a line of an `ssh-*.pub` file, or of an account.
    pub fn parse(line: &str) -> Result<Self, SshKeyError> {
        let line = line.trim();
        if line.len() > LONGEST_LINE || line.contains('\n') {
            return Err(SshKeyError::Line);
        }
        let mut words = line.splitn(3, [' ', '\t']);
        let (Some(name), Some(encoded)) = (words.next(), words.next()) else { return Err(SshKeyError::Line) };
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) else {
            return Err(SshKeyError::Type(name.chars().take(64).collect()));
        };
        let wrong = || SshKeyError::Encoding(kind.name());
        let wire = STANDARD.decode(encoded).map_err(|_| wrong())?;
        let key = key_of(kind, &wire)?.ok_or_else(wrong)?;
        Ok(Self { kind, wire, key, comment: words.next().unwrap_or_default().trim().to_owned() })
    }

    /// From a certificate's key, where SSH has such keys.
    pub fn of(key: &PublicKey) -> Option<Self> {
        let kind = Kind::ALL.into_iter().find(|kind| *kind.algorithm() == *key.algorithm)?;
        let mut wire = string(kind.name().as_bytes());
        match kind {
            Kind::Rsa => {
                let mut fields = der::only(&key.bits, SEQUENCE)?.contents;
                let modulus = der::take(&mut fields, INTEGER)?.contents;
                let exponent = der::only(fields, INTEGER)?.contents;
                wire.extend([string(exponent), string(modulus)].concat());
            }
            Kind::P256 => wire.extend([string(b"nistp256"), string(&key.bits)].concat()),
            Kind::P384 => wire.extend([string(b"nistp384"), string(&key.bits)].concat()),
            Kind::P521 => wire.extend([string(b"nistp521"), string(&key.bits)].concat()),
            Kind::Ed25519 => wire.extend(string(&key.bits)),
        }
        // What is not to be read back is none of SSH's: a compressed point, a number with a sign, an RSA key that is too short.
        let same = key_of(kind, &wire).ok().flatten()? == *key;
        same.then(|| Self { kind, wire, key: key.clone(), comment: String::new() })
    }

    /// As a certificate has it.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// What followed the key on its line.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// `TYPE BASE64`, as accounts keep it.
    pub fn line(&self) -> String {
        format!("{} {}", self.kind.name(), STANDARD.encode(&self.wire))
    }

    pub fn has(&self, fingerprint: &Fingerprint) -> bool {
        match fingerprint {
            Fingerprint::Md5(hash) => Md5::digest(&self.wire).as_slice() == hash,
            Fingerprint::Sha256(hash) => Sha256::digest(&self.wire).as_slice() == hash,
        }
    }

    /// `SHA256:BASE64`, as `ssh-keygen -l` says it.
    pub fn sha256(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.wire)))
    }

    /// `MD5:BASE64`, as `triton profile cmon-certgen` names an issuer.
    pub fn md5(&self) -> String {
        format!("MD5:{}", STANDARD_NO_PAD.encode(Md5::digest(&self.wire)))
    }
}

/// A fingerprint of an SSH key: a hash over its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fingerprint {
    Md5([u8; 16]),
    Sha256([u8; 32]),
}

impl Fingerprint {
    /// Reads `MD5:BASE64`, `SHA256:BASE64` (each with or without padding), `aa:bb:…` of 16 bytes, and that after `MD5:`, as `ssh-keygen -E md5` says it.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("SHA256:") {
            return decode(rest).map(Self::Sha256);
        }
        let rest = text.strip_prefix("MD5:").unwrap_or(text);
        colons(rest).or_else(|| if rest.len() < text.len() { decode(rest) } else { None }).map(Self::Md5)
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?.try_into().ok()
}

/// Sixteen bytes of hexadecimal, colons between.
fn colons(text: &str) -> Option<[u8; 16]> {
    let mut hash = [0; 16];
    let mut parts = text.split(':');
    for byte in &mut hash {
        let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(hash)
}

/// The key of this encoding; `None` where it is not one of its type, to the byte.
fn key_of(kind: Kind, wire: &[u8]) -> Result<Option<PublicKey>, SshKeyError> {
    let mut rest = wire;
    if take_string(&mut rest) != Some(kind.name().as_bytes()) {
        return Ok(None);
    }
    let bits = match kind {
        Kind::Rsa => {
            let (Some(exponent), Some(modulus)) = (take_number(&mut rest), take_number(&mut rest)) else {
                return Ok(None);
            };
            let digits = modulus.strip_prefix(&[0]).unwrap_or(modulus);
            let size = digits.first().map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize);
            if !RSA_BITS.contains(&size) {
                return Err(SshKeyError::Size(size));
            }
            if exponent.len() > LONGEST_EXPONENT {
                return Ok(None);
            }
            let numbers = [der::element(INTEGER, modulus), der::element(INTEGER, exponent)].concat();
            Some(der::element(SEQUENCE, &numbers))
        }
        Kind::Ed25519 => take_string(&mut rest).filter(|key| key.len() == kind.coordinate()).map(<[u8]>::to_vec),
        Kind::P256 | Kind::P384 | Kind::P521 => {
            let curve = kind.name().trim_start_matches("ecdsa-sha2-");
            let is_curve = take_string(&mut rest) == Some(curve.as_bytes());
            // Not compressed (SEC 1 §2.3.3): SSH has no other. Whether it is on the curve, the verification finds.
            let is_point = |point: &&[u8]| point.len() == 1 + 2 * kind.coordinate() && point[0] == 4;
            take_string(&mut rest).filter(|point| is_curve && is_point(point)).map(<[u8]>::to_vec)
        }
    };
    let algorithm = kind.algorithm().to_vec();
    Ok(bits.filter(|_| rest.is_empty()).map(|bits| PublicKey { algorithm, bits }))
}

/// A string of RFC 4251 §5.
pub(crate) fn take_string<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = input.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let (string, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(string)
}

/// A positive `mpint` of RFC 4251 §5, which is the contents of DER's INTEGER to the byte: shortest form, and a zero before a high first bit.
pub(crate) fn take_number<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let number = take_string(input)?;
    match number {
        [first, ..] if *first & 0x80 != 0 => None,
        [0, second, ..] if *second & 0x80 == 0 => None,
        [] | [0] => None,
        _ => Some(number),
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    // Parts of a key are some hundred bytes.
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}
