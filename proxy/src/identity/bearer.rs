//! Tokens in `Authorization: Bearer …` (RFC 6750 §2.1).
//!
//! An account has the SHA-256 of a token alone, and it is found by that: how long the look-up takes says nothing of a token that one does not know already.
//! Two such headers, another scheme, or a token that no `sonde token new` makes are refused before anything is hashed.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use sonde_inventory::Catalogue;

use super::certificate::hexadecimal;
use super::{Unauthorised, seconds_of};
use crate::caller::{Caller, Scopes};

const SCHEME: &[u8] = b"bearer ";
/// Fewer could be guessed, more is no token of ours.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// Who has the request's token; `None` where it has none.
pub fn caller(headers: &HeaderMap, catalogue: &Catalogue, now: i64) -> Result<Option<Caller>, Unauthorised> {
    let Some(token) = token(headers)? else { return Ok(None) };
    let hash = hexadecimal(&Sha256::digest(token));
    let account = catalogue.account_of_token(&hash).ok_or(Unauthorised::Token)?;
    let record = account.tokens.iter().find(|token| token.sha256 == hash).ok_or(Unauthorised::Token)?;
    if record.not_after.is_some_and(|not_after| now > seconds_of(not_after)) {
        return Err(Unauthorised::TokenExpired);
    }
    let (scopes, groups) = (Scopes::of(&record.scopes), record.groups.as_deref().map(Arc::from));
    let credential = format!("token {}", record.id).into();
    Ok(Some(Caller { account, scopes, groups, credential }))
}

/// The token of the one header.
pub fn token(headers: &HeaderMap) -> Result<Option<&[u8]>, Unauthorised> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(header) = all.next() else { return Ok(None) };
    let value = header.as_bytes();
    let (scheme, rest) = value.split_at_checked(SCHEME.len()).ok_or(Unauthorised::Header)?;
    let token = rest.trim_ascii();
    // `b64token` of RFC 6750.
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let is_one = all.next().is_none() && scheme.eq_ignore_ascii_case(SCHEME);
    let is_ours = LENGTHS.contains(&token.len()) && token.iter().all(is_token);
    if is_one && is_ours { Ok(Some(token)) } else { Err(Unauthorised::Header) }
}
