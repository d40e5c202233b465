//! Bearer tokens, alone and beside a certificate.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use sonde_inventory::{Change, Scope, Token};

use super::forge::{Algorithm, Key, Says};
use super::*;
use crate::identity::certificate::hexadecimal;

const TOKEN: &str = "sonde_0123456789abcdefghij";

fn token(text: &str, scopes: &[Scope], groups: Option<&[&str]>) -> Token {
    let groups = groups.map(|groups| groups.iter().map(|group| (*group).to_owned()).collect());
    Token {
        id: "t".into(),
        sha256: hexadecimal(&Sha256::digest(text)),
        scopes: scopes.to_vec(),
        groups,
        not_after: None,
    }
}

fn with_token(name: &str, token: Token) -> Account {
    Account { tokens: vec![token], ..account(name) }
}

fn headers(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
}

fn asks(values: &[&str], peer: Option<&Peer>, catalogue: &Catalogue) -> Result<String, Unauthorised> {
    caller(peer, &headers(values), catalogue, at(NOW)).map(|caller| caller.account.name.to_string())
}

#[test]
fn a_token_is_its_accounts_until_it_ends_or_is_taken_away() {
    let record = token(TOKEN, &[], None);
    let catalogue = catalogue([with_token("ada", record.clone())]);
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(asks(&[&bearer], None, &catalogue), Ok("ada".into()));
    assert_eq!(asks(&[&bearer.replace("Bearer", "bEARER")], None, &catalogue), Ok("ada".into()));
    assert_eq!(asks(&[], None, &catalogue), Err(Unauthorised::Nothing));
    assert_eq!(asks(&["Bearer sonde_0123456789abcdefghiJ"], None, &catalogue), Err(Unauthorised::Token));
    let ends = |not_after: i64| {
        let record = Token { not_after: Some(not_after as u64), ..record.clone() };
        catalogue.apply([Change::Account(with_token("ada", record))]);
        asks(&[&bearer], None, &catalogue)
    };
    assert_eq!((ends(NOW), ends(NOW - 1)), (Ok("ada".into()), Err(Unauthorised::TokenExpired)));
    assert_eq!(ends(-1), Ok("ada".into()), "later than any clock");
    catalogue.apply([Change::Account(account("ada"))]);
    assert_eq!(asks(&[&bearer], None, &catalogue), Err(Unauthorised::Token));
}

#[test]
fn a_header_that_is_not_one_token_is_refused() {
    let catalogue = catalogue([with_token("ada", token(TOKEN, &[], None))]);
    let bearer = format!("Bearer {TOKEN}");
    let long = format!("Bearer {}", "a".repeat(257));
    for wrong in [
        &[bearer.as_str(), &bearer][..],
        &[&bearer, "Basic YTpi"],
        &["Basic YWRhOnNvbmRlXzAxMjM0NTY3ODlhYmNkZWZnaGlq"],
        &["Bearer"],
        &["Bearer "],
        &[""],
        &[TOKEN],
        &["Bearer short"],
        &[&long],
        &[&format!("{bearer}, {bearer}")],
        &[&format!("{bearer} x")],
        &[&format!("Bearer \"{TOKEN}\"")],
    ] {
        assert_eq!(asks(wrong, None, &catalogue), Err(Unauthorised::Header), "{wrong:?}");
    }
}

#[test]
fn certificate_and_token_must_be_one_accounts_and_allow_what_both_allow() {
    let (key, other) = (Key::new(Algorithm::Ed25519), "sonde_of_bob_0123456789");
    let both = [Scope::ReadMetrics, Scope::PushSensors];
    let ada = Account {
        tokens: vec![token(TOKEN, &[Scope::ReadMetrics], Some(&["web"]))],
        ..with_keys("ada", &[key.ssh_key()])
    };
    let catalogue = catalogue([ada, with_token("bob", token(other, &both, None))]);
    let connection = peer(&[Says::new("ada", "ada").signed(&key.public(), &key)]);
    let bearer = format!("Bearer {TOKEN}");
    let shown = caller(Some(&connection), &headers(&[&bearer]), &catalogue, at(NOW)).unwrap();
    assert!(shown.scopes.reads_metrics && !shown.scopes.pushes_sensors);
    assert!(shown.is_for_groups(&["web".into()]) && !shown.is_for_groups(&["db".into()]));
    assert!(ask(&connection, &catalogue, NOW).unwrap().scopes.pushes_sensors, "the key alone may all");
    let refused = |values: &[&str]| asks(values, Some(&connection), &catalogue).unwrap_err();
    assert_eq!(refused(&[&format!("Bearer {other}")]), Unauthorised::Disagreement);
    assert_eq!(refused(&["Bearer sonde_nobodys_0123456789"]), Unauthorised::Token);
    assert_eq!(refused(&["Basic YTpi"]), Unauthorised::Header);
    // A token does not make up for a certificate that is nobody's.
    let stranger = Key::new(Algorithm::Ed25519);
    let connection = peer(&[Says::new("ada", "ada").signed(&stranger.public(), &stranger)]);
    assert_eq!(asks(&[&bearer], Some(&connection), &catalogue), Err(Unauthorised::NotSigned));
    let nothing = Peer::showing(Presented::tenant(None), None);
    assert_eq!(asks(&[&bearer], Some(&nothing), &catalogue), Ok("ada".into()));
}

#[test]
fn groups_of_two_credentials_are_those_of_both() {
    let of = |groups: Option<&[&str]>| {
        let groups = groups.map(|groups| groups.iter().map(|group| (*group).to_owned()).collect());
        Caller { account: Arc::new(account("ada")), scopes: crate::caller::Scopes::ALL, groups, credential: "".into() }
    };
    let both = super::super::both(of(Some(&["a", "b"])), of(Some(&["b", "c"]))).unwrap();
    assert_eq!(both.groups.as_deref(), Some(&["b".to_owned()][..]));
    let none = super::super::both(of(Some(&["a"])), of(Some(&["b"]))).unwrap();
    assert!(!none.is_for_groups(&["a".into()]) && !none.is_for_groups(&["b".into()]) && !none.is_for_groups(&[]));
}

#[test]
fn before_the_inventory_is_here_nobody_is_refused_for_their_own_doing() {
    let catalogue = Catalogue::default();
    assert_eq!(asks(&[&format!("Bearer {TOKEN}")], None, &catalogue), Err(Unauthorised::NotSynced));
}

#[test]
fn what_is_said_of_a_reason_names_no_secret_and_each_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = Unauthorised::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Unauthorised::ALL.len());
}
