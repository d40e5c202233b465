//! Certificates in Triton's new style, as `triton profile cmon-certgen` makes them: a fresh ECDSA key, signed by an account's SSH key, whose fingerprint is the issuer.

use std::time::Duration;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use rustls::SignatureScheme;
use sonde_inventory::AccountName;

use super::{IssueError, Issued, SshPrivateKey, checked, dated};

/// `joyentCmon`.
const TRITON_CMON: &[u64] = &[1, 3, 6, 1, 4, 1, 38678, 1, 4, 2];

/// What an SSH key signs with.
const SCHEMES: [(SignatureScheme, &SignatureAlgorithm); 4] = [
    (SignatureScheme::ED25519, &PKCS_ED25519),
    (SignatureScheme::ECDSA_NISTP256_SHA256, &PKCS_ECDSA_P256_SHA256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &PKCS_ECDSA_P384_SHA384),
    (SignatureScheme::RSA_PKCS1_SHA256, &PKCS_RSA_SHA256),
];

/// Makes one. It counts as soon as the key's public half is on the account, and as long.
pub fn issue_triton(account: &AccountName, signer: &SshPrivateKey, ttl: Duration) -> Result<Issued, IssueError> {
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = rcgen::DistinguishedName::new();
    issuer.distinguished_name.push(DnType::CommonName, signer.public().md5());
    let issuer = Issuer::new(issuer, Signing::of(signer)?);

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = dated(checked(ttl)?)?;
    params.distinguished_name.push(DnType::CommonName, account.as_str());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::Other(TRITON_CMON.to_vec())];
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Issued::new(&certificate, &key, params.not_after))
}

/// An SSH key as rcgen signs with one.
struct Signing<'a> {
    key: &'a SshPrivateKey,
    scheme: SignatureScheme,
    algorithm: &'static SignatureAlgorithm,
}

impl<'a> Signing<'a> {
    fn of(key: &'a SshPrivateKey) -> Result<Self, IssueError> {
        let known = SCHEMES.into_iter().find(|(scheme, _)| key.key().choose_scheme(&[*scheme]).is_some());
        let (scheme, algorithm) = known.ok_or(IssueError::Curve)?;
        Ok(Self { key, scheme, algorithm })
    }
}

impl PublicKeyData for Signing<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.key.public().key().bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl SigningKey for Signing<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signer = self.key.key().choose_scheme(&[self.scheme]).ok_or(rcgen::Error::RemoteKeyError)?;
        signer.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
