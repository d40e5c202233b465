//! From what a client shows to whose request it is.
//!
//! A certificate counts in one of four ways, tried in this order: issued here, and bound to an account by its SHA-256; by an account's SSH key, in Triton's two
//! styles; by the operator's own authority. A bearer token counts beside it or alone; where both are shown they must be one account's, and what
//! either does not allow is not allowed. The question is put for each request, to the catalogue and the clock as they are then: what was taken away, or has
//! expired, counts for nothing from the next request on. Only the costly part, signatures, is kept for a connection, with what it was checked against.
//!
//! The client hears one sentence whatever was wrong ([`ANSWER`]).

mod algorithms;
mod authority;
mod bearer;
mod certificate;
pub(crate) mod der;
mod reason;
mod role;
mod ssh_key;
mod styles;
mod triton;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use sonde_inventory::Catalogue;

use crate::caller::{Caller, Scopes};
use crate::tls::Peer;

pub use authority::{ACCOUNT_URI, AccountRule, Authority, AuthorityError, AuthorityFiles};
pub use reason::{ANSWER, Unauthorised};
pub use role::{NODE_URI, PROXY_URI, TierRole, tier_role};
pub use ssh_key::{Fingerprint, SshKeyError, SshPublicKey};

pub(crate) use algorithms::{PublicKey, SUPPORTED};
pub(crate) use certificate::{ClientCertificate, hexadecimal};
pub(crate) use ssh_key::{take_number, take_string};
pub(crate) use styles::Checked;

/// What the URI of a certificate begins with that is good only while it is bound to an account: no authority's word makes up for that.
pub const BOUND_URI: &str = "sonde:bound:";

/// Whose request it is. To be asked for each, and cheap; of a certificate only what has changed is checked again.
pub fn caller(
    peer: Option<&Peer>,
    headers: &HeaderMap,
    catalogue: &Catalogue,
    now: SystemTime,
) -> Result<Caller, Unauthorised> {
    if !catalogue.is_synced() {
        return Err(Unauthorised::NotSynced);
    }
    let now = seconds(now);
    let by_certificate = peer.map(|peer| styles::caller(peer, catalogue, now)).transpose()?.flatten();
    let by_token = bearer::caller(headers, catalogue, now)?;
    match (by_certificate, by_token) {
        (Some(one), Some(other)) => both(one, other),
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (None, None) => Err(Unauthorised::Nothing),
    }
}

/// What both credentials allow, if they are one account's.
fn both(one: Caller, other: Caller) -> Result<Caller, Unauthorised> {
    if one.account.name != other.account.name {
        return Err(Unauthorised::Disagreement);
    }
    let scopes = Scopes {
        reads_metrics: one.scopes.reads_metrics && other.scopes.reads_metrics,
        pushes_sensors: one.scopes.pushes_sensors && other.scopes.pushes_sensors,
    };
    let groups = match (one.groups, other.groups) {
        (Some(one), Some(other)) => Some(one.iter().filter(|group| other.contains(group)).cloned().collect()),
        (groups, None) | (None, groups) => groups,
    };
    let credential = format!("{}, {}", one.credential, other.credential).into();
    Ok(Caller { account: one.account, scopes, groups, credential })
}

/// Since 1970; before that it is 1970.
fn seconds(now: SystemTime) -> i64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| seconds_of(since.as_secs()))
}

/// A record's seconds; later than any clock is never.
fn seconds_of(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// A list of groups as callers have it.
fn groups_of(groups: Option<&[String]>) -> Option<Arc<[String]>> {
    groups.map(Arc::from)
}
