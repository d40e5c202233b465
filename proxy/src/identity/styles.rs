//! The ways in which a certificate counts, in their order, and what of that is kept for a connection.

use std::sync::{Arc, Weak};

use sonde_inventory::{Account, AccountName, Catalogue};

use super::authority::Authority;
use super::certificate::{ClientCertificate, Validity};
use super::{BOUND_URI, Unauthorised, groups_of, seconds_of, triton};
use crate::caller::{Caller, Scopes};
use crate::tls::{Peer, Presented};

/// Of a certificate's fingerprint, so much tells it from an account's others.
const SHOWN_DIGITS: usize = 16;
/// A path that was valid is validated again after this: a list of revoked certificates may have run out meanwhile.
const PATH_HOLDS_SECS: i64 = 60;
/// One that was not, after this: it may have become valid, and whoever asks again and again must not cost a validation each time.
const REFUSAL_HOLDS_SECS: i64 = 5;

/// What was checked on a connection, and against what. Weak, so that a connection that idles keeps no old record in memory; what a weak one points to is
/// told apart from a newer one all the same, since its place is not given away.
#[derive(Default)]
pub(crate) struct Checked {
    keys: Option<(Weak<Account>, Result<(), Unauthorised>)>,
    path: Option<CheckedPath>,
}

struct CheckedPath {
    authority: Weak<Authority>,
    at: i64,
    outcome: Result<Validity, Unauthorised>,
}

/// Whose certificate the connection showed; `None` where it showed none.
pub(super) fn caller(peer: &Peer, catalogue: &Catalogue, now: i64) -> Result<Option<Caller>, Unauthorised> {
    let certificate = match peer.presented() {
        Presented::Nothing => return Ok(None),
        Presented::Unreadable => return Err(Unauthorised::Malformed),
        Presented::Tier(_) => return Err(Unauthorised::Tier),
        Presented::Tenant(certificate) => certificate,
    };
    certificate.validity.holds(now)?;
    if let Some(account) = catalogue.account_of_certificate(&certificate.sha256) {
        return bound(certificate, account, now).map(Some);
    }
    if certificate.uris.iter().any(|uri| uri.starts_with(BOUND_URI)) {
        return Err(Unauthorised::Revoked);
    }
    let account = match (by_key(peer, certificate, catalogue), peer.authority()) {
        (Ok(account), _) => account,
        (Err(reason), None) => return Err(reason),
        (Err(_), Some(authority)) => by_authority(peer, certificate, &authority, catalogue, now)?,
    };
    Ok(Some(Caller { account, scopes: Scopes::ALL, groups: None, credential: named(certificate) }))
}

/// Issued here.
fn bound(certificate: &ClientCertificate, account: Arc<Account>, now: i64) -> Result<Caller, Unauthorised> {
    let record = account.certificates.iter().find(|record| record.sha256 == certificate.sha256);
    let record = record.ok_or(Unauthorised::Revoked)?;
    if now > seconds_of(record.not_after) {
        return Err(Unauthorised::Expired);
    }
    if !certificate.usages.client {
        return Err(Unauthorised::Usage);
    }
    let (scopes, groups) = (Scopes::of(&record.scopes), groups_of(record.groups.as_deref()));
    Ok(Caller { account, scopes, groups, credential: named(certificate) })
}

fn named(certificate: &ClientCertificate) -> Arc<str> {
    let sha256 = &certificate.sha256;
    format!("certificate {}", sha256.get(..SHOWN_DIGITS).unwrap_or(sha256)).into()
}

/// By a key of the account that the subject's common name names.
fn by_key(peer: &Peer, certificate: &ClientCertificate, catalogue: &Catalogue) -> Result<Arc<Account>, Unauthorised> {
    let name = certificate.subject.as_deref().and_then(|name| AccountName::new(name).ok());
    let account = name.and_then(|name| catalogue.account(&name)).ok_or(Unauthorised::NoAccount)?;
    let mut checked = peer.checked();
    let outcome = match &checked.keys {
        Some((against, outcome)) if std::ptr::eq(against.as_ptr(), Arc::as_ptr(&account)) => *outcome,
        _ => {
            let outcome = triton::check(certificate, &account);
            checked.keys = Some((Arc::downgrade(&account), outcome));
            outcome
        }
    };
    outcome.map(|()| account)
}

/// By the operator's authority.
fn by_authority(
    peer: &Peer,
    certificate: &ClientCertificate,
    authority: &Arc<Authority>,
    catalogue: &Catalogue,
    now: i64,
) -> Result<Arc<Account>, Unauthorised> {
    let mut checked = peer.checked();
    let is_fresh = |path: &&CheckedPath| {
        let holds = if path.outcome.is_ok() { PATH_HOLDS_SECS } else { REFUSAL_HOLDS_SECS };
        // A clock that was set back makes nothing fresh.
        std::ptr::eq(path.authority.as_ptr(), Arc::as_ptr(authority)) && (0..holds).contains(&(now - path.at))
    };
    let outcome = match checked.path.as_ref().filter(is_fresh) {
        Some(path) => path.outcome,
        None => {
            let outcome = authority.check(certificate, now);
            checked.path = Some(CheckedPath { authority: Arc::downgrade(authority), at: now, outcome });
            outcome
        }
    };
    outcome?.holds(now)?;
    // Only what the authority has signed is asked for its account.
    let name = authority.account(certificate).ok_or(Unauthorised::NoAccount)?;
    catalogue.account(&name).ok_or(Unauthorised::NoAccount)
}
