//! Certificates by an account's SSH key, as Triton's clients make them for cmon; the account is the subject's common name.
//!
//! Old style: the certificate's own key is one of the account's, and it is signed by that key. New style (extended key usage `joyentCmon`): its key is a fresh one,
//! and the issuer's common name is the fingerprint of the account's key that signed it; or it is signed by itself, as in the old style. cmon ignored
//! the dates of the old style; here they hold for both. Taking the key from the account is the revocation.

use sonde_inventory::Account;

use super::Unauthorised;
use super::algorithms::PublicKey;
use super::certificate::ClientCertificate;
use super::ssh_key::{Fingerprint, SshPublicKey};

/// Of an account, so many keys are looked at.
pub const MOST_KEYS: usize = 256;

/// Which key of the account must have signed.
enum Signer {
    /// The certificate's own.
    Itself(PublicKey),
    Of(Fingerprint),
}

/// Whether one of the account's keys signed this.
pub fn check(certificate: &ClientCertificate, account: &Account) -> Result<(), Unauthorised> {
    let signer = signer(certificate)?;
    let signed = certificate.signed().ok_or(Unauthorised::Malformed)?;
    let mut keys = account.keys.iter().take(MOST_KEYS).filter_map(|key| SshPublicKey::parse(&key.line).ok());
    let key = keys.find(|key| match &signer {
        Signer::Itself(own) => key.key() == own,
        Signer::Of(fingerprint) => key.has(fingerprint),
    });
    match key {
        Some(key) if key.key().signed(&signed) => Ok(()),
        _ => Err(Unauthorised::NotSigned),
    }
}

fn signer(certificate: &ClientCertificate) -> Result<Signer, Unauthorised> {
    if certificate.usages.triton && !certificate.is_self_issued {
        let issuer = certificate.issuer.as_deref().and_then(Fingerprint::parse);
        return issuer.map(Signer::Of).ok_or(Unauthorised::NotSigned);
    }
    if !certificate.usages.client && !certificate.usages.triton {
        return Err(Unauthorised::Usage);
    }
    certificate.key.clone().map(Signer::Itself).ok_or(Unauthorised::NotSigned)
}
