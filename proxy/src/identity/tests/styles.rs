//! Certificates: bound ones, Triton's two styles and an operator's authority, with every algorithm.

use std::fs;

use sonde_inventory::{BoundCertificate, Change, Scope};
use tempfile::TempDir;

use super::forge::{ALGORITHMS, Algorithm, CLIENT_AUTH, Key, SERVER_AUTH, Says, TRITON_CMON, TRITON_DOCKER, extension};
use super::*;
use crate::identity::{AccountRule, AuthorityFiles, BOUND_URI, TierRole, tier_role};

const COLONS: fn(&Key) -> String = |key| {
    let base64 = key.ssh().md5();
    let Some(super::super::Fingerprint::Md5(hash)) = super::super::Fingerprint::parse(&base64) else {
        panic!("{base64}")
    };
    hash.map(|byte| format!("{byte:02x}")).join(":")
};

/// Triton's new style: the certificate of `fresh`, with the issuer's name that is given.
fn new_style(subject: &str, issuer: &str, fresh: &Key, signer: &Key) -> CertificateDer<'static> {
    Says::new(subject, issuer).for_usages(&[CLIENT_AUTH, TRITON_CMON]).signed(&fresh.public(), signer)
}

#[test]
fn old_style_is_signed_by_its_own_key_which_is_the_accounts() {
    for algorithm in ALGORITHMS {
        let (key, other) = (Key::new(algorithm), Key::new(algorithm));
        let catalogue = catalogue([with_keys("ada", &[other.ssh_key(), key.ssh_key()]), account("bob")]);
        let says = Says::new("ada", "ada");
        let is = |says: &Says, of: &Key, by: &Key| who(&peer(&[says.signed(&of.public(), by)]), &catalogue);
        assert_eq!(is(&says, &key, &key), Ok("ada".into()), "{algorithm:?}");
        assert_eq!(is(&Says { is_ca: true, ..says.clone() }, &key, &key), Ok("ada".into()), "openssl makes them so");
        assert_eq!(is(&says.clone().for_usages(&[CLIENT_AUTH]), &key, &key), Ok("ada".into()));
        assert_eq!(is(&says.clone().for_usages(&[TRITON_CMON]), &key, &key), Ok("ada".into()));
        let stranger = Key::new(algorithm);
        for (wrong, of, by, says) in [
            (Unauthorised::NotSigned, &key, &stranger, says.clone()),
            (Unauthorised::NotSigned, &key, &other, says.clone()),
            (Unauthorised::NotSigned, &stranger, &key, says.clone()),
            (Unauthorised::NotSigned, &stranger, &stranger, says.clone()),
            (Unauthorised::NotSigned, &key, &key, Says::new("bob", "bob")),
            (Unauthorised::NoAccount, &key, &key, Says::new("eve", "eve")),
            (Unauthorised::NoAccount, &key, &key, Says::new("Ada", "Ada")),
            (Unauthorised::NoAccount, &key, &key, Says::new("ada\0", "ada")),
            (Unauthorised::NoAccount, &key, &key, Says { subject: vec!["ada".into(), "bob".into()], ..says.clone() }),
            (Unauthorised::NoAccount, &key, &key, Says { subject: vec![], ..says.clone() }),
            (Unauthorised::Expired, &key, &key, Says { not_after: NOW - 1, ..says.clone() }),
            (Unauthorised::NotYetValid, &key, &key, Says { not_before: NOW + 1, ..says.clone() }),
            (Unauthorised::Usage, &key, &key, says.clone().for_usages(&[SERVER_AUTH])),
            (Unauthorised::Usage, &key, &key, says.clone().for_usages(&[TRITON_DOCKER])),
        ] {
            assert_eq!(is(&says, of, by), Err(wrong), "{algorithm:?} {:?}", says.subject);
        }
    }
}

#[test]
fn new_style_is_signed_by_the_accounts_key_whose_fingerprint_is_the_issuer() {
    for algorithm in ALGORITHMS {
        let (key, fresh, stranger) = (Key::new(algorithm), Key::new(Algorithm::P256), Key::new(algorithm));
        let catalogue = catalogue([with_keys("ada", &[key.ssh_key()]), with_keys("bob", &[stranger.ssh_key()])]);
        let issuers = [
            key.ssh().md5(),
            format!("{}==", key.ssh().md5()),
            COLONS(&key),
            format!("MD5:{}", COLONS(&key)),
            key.ssh().sha256(),
        ];
        let is = |certificate| who(&peer(&[certificate]), &catalogue);
        for issuer in &issuers {
            assert_eq!(is(new_style("ada", issuer, &fresh, &key)), Ok("ada".into()), "{algorithm:?} {issuer}");
            assert_eq!(is(new_style("ada", issuer, &fresh, &stranger)), Err(Unauthorised::NotSigned), "{issuer}");
            assert_eq!(is(new_style("bob", issuer, &fresh, &key)), Err(Unauthorised::NotSigned), "{issuer}");
            assert_eq!(is(new_style("ada", issuer, &fresh, &fresh)), Err(Unauthorised::NotSigned), "{issuer}");
        }
        for issuer in
            ["", "MD5:", "SHA256:", "SHA1:AAAA", &stranger.ssh().md5(), "ca of ada", &format!("{}:00", COLONS(&key))]
        {
            assert_eq!(is(new_style("ada", issuer, &fresh, &key)), Err(Unauthorised::NotSigned), "{issuer}");
        }
        let says = Says::new("ada", &issuers[0]);
        let of = |says: Says| is(says.signed(&fresh.public(), &key));
        // Without the usage it is old style, and the fresh key is none of the account's.
        assert_eq!(of(says.clone()), Err(Unauthorised::NotSigned));
        assert_eq!(of(says.clone().for_usages(&[CLIENT_AUTH, TRITON_DOCKER])), Err(Unauthorised::NotSigned));
        let says = says.for_usages(&[TRITON_CMON]);
        assert_eq!(of(says.clone()), Ok("ada".into()));
        assert_eq!(of(Says { not_after: NOW - 1, ..says.clone() }), Err(Unauthorised::Expired));
        assert_eq!(of(Says { not_before: NOW + 1, ..says }), Err(Unauthorised::NotYetValid));
    }
}

#[test]
fn a_key_that_was_taken_away_counts_at_once_and_so_does_one_that_comes() {
    let (key, fresh) = (Key::new(Algorithm::P256), Key::new(Algorithm::P256));
    let connections = [
        peer(&[Says::new("ada", "ada").signed(&key.public(), &key)]),
        peer(&[new_style("ada", &key.ssh().md5(), &fresh, &key)]),
    ];
    let with = with_keys("ada", &[key.ssh_key()]);
    let catalogue = catalogue([with.clone()]);
    for connection in &connections {
        assert_eq!((who(connection, &catalogue), who(connection, &catalogue)), (Ok("ada".into()), Ok("ada".into())));
        catalogue.apply([Change::Account(account("ada"))]);
        assert_eq!(who(connection, &catalogue), Err(Unauthorised::NotSigned));
        catalogue.apply([Change::Gone(sonde_inventory::Key::Account(with.name.clone()))]);
        assert_eq!(who(connection, &catalogue), Err(Unauthorised::NoAccount));
        catalogue.apply([Change::Account(with.clone())]);
        assert_eq!(who(connection, &catalogue), Ok("ada".into()));
        // Time goes on while the connection stays.
        assert_eq!(ask(connection, &catalogue, NOW + 1001).unwrap_err(), Unauthorised::Expired);
    }
}

#[test]
fn a_bound_certificate_is_its_accounts_until_it_is_taken_away() {
    let (authority, key) = (Key::new(Algorithm::P256), Key::new(Algorithm::P256));
    let says =
        Says { uris: vec![format!("{BOUND_URI}ada")], ..Says::new("ada", "accounts") }.for_usages(&[CLIENT_AUTH]);
    let certificate = says.signed(&key.public(), &authority);
    let connection = peer(std::slice::from_ref(&certificate));
    let bound = BoundCertificate {
        sha256: connection.fingerprint().unwrap().to_owned(),
        label: "prometheus".into(),
        not_after: (NOW + 500) as u64,
        scopes: vec![Scope::PushSensors],
        groups: Some(vec!["web".into()]),
    };
    let with = Account { certificates: vec![bound], ..account("ada") };
    let catalogue = catalogue([with.clone(), account("bob")]);
    let shown = ask(&connection, &catalogue, NOW).unwrap();
    assert_eq!(shown.account.name, with.name);
    assert!(shown.scopes.pushes_sensors && !shown.scopes.reads_metrics && shown.is_for_groups(&["web".into()]));
    assert_eq!(ask(&connection, &catalogue, NOW + 501).unwrap_err(), Unauthorised::Expired, "the record ends first");
    catalogue.apply([Change::Account(account("ada"))]);
    assert_eq!(who(&connection, &catalogue), Err(Unauthorised::Revoked));

    // Nor does an operator's authority that is the same bring it back to life.
    let folder = TempDir::new().unwrap();
    let root = Says { is_ca: true, ..Says::new("accounts", "accounts") }.signed(&authority.public(), &authority);
    for account in [AccountRule::SubjectCn, AccountRule::Uri] {
        let connection =
            peer_with(std::slice::from_ref(&certificate), trust(&folder, std::slice::from_ref(&root), account));
        assert_eq!(who(&connection, &catalogue), Err(Unauthorised::Revoked));
    }
}

/// An operator's authority of these certificates.
fn trust(folder: &TempDir, roots: &[CertificateDer<'_>], account: AccountRule) -> Arc<AuthorityCell> {
    let file = folder.path().join("ca.pem");
    let pem: String = roots.iter().map(|root| crate::issue::pem("CERTIFICATE", root)).collect();
    fs::write(&file, pem).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    AuthorityCell::of(AuthorityFiles { file, account, revoked: None })
}

#[test]
fn an_operators_authority_names_accounts_by_its_rule() {
    let folder = TempDir::new().unwrap();
    let (key, between) = (Key::new(Algorithm::P384), Key::new(Algorithm::P256));
    for algorithm in ALGORITHMS {
        let root = Key::new(algorithm);
        let anchor = Says { is_ca: true, ..Says::new("ours", "ours") }.signed(&root.public(), &root);
        let middle =
            Says { is_ca: true, not_after: NOW + 100, ..Says::new("middle", "ours") }.signed(&between.public(), &root);
        let catalogue = catalogue([account("ada"), account("bob")]);
        let says = Says { uris: vec!["sonde:account:ada".into(), "urn:x".into()], ..Says::new("bob", "ours") };
        let is = |rule, says: &Says, by: &Key, chain: &[CertificateDer<'static>]| {
            let chain = [&[says.signed(&key.public(), by)], chain].concat();
            who(&peer_with(&chain, trust(&folder, std::slice::from_ref(&anchor), rule)), &catalogue)
        };
        let uri = AccountRule::Uri;
        assert_eq!(is(uri, &says, &root, &[]), Ok("ada".into()), "{algorithm:?}");
        assert_eq!(is(AccountRule::SubjectCn, &says, &root, &[]), Ok("bob".into()));
        assert_eq!(is(uri, &says.clone().for_usages(&[CLIENT_AUTH]), &root, &[]), Ok("ada".into()));
        let below = Says { issuer: "middle".into(), ..says.clone() };
        assert_eq!(is(uri, &below, &between, std::slice::from_ref(&middle)), Ok("ada".into()));
        let two = vec!["sonde:account:ada".into(), "sonde:account:bob".into()];
        for (wrong, says, by, chain) in [
            (Unauthorised::NotSigned, says.clone(), &key, &[][..]),
            (Unauthorised::NotSigned, Says { issuer: "theirs".into(), ..says.clone() }, &root, &[]),
            (Unauthorised::NotSigned, below.clone(), &between, &[]),
            (Unauthorised::NotSigned, Says { is_ca: true, ..says.clone() }, &root, &[]),
            (Unauthorised::Usage, says.clone().for_usages(&[SERVER_AUTH]), &root, &[]),
            (Unauthorised::Expired, Says { not_after: NOW - 1, ..says.clone() }, &root, &[]),
            (Unauthorised::NotYetValid, Says { not_before: NOW + 1, ..says.clone() }, &root, &[]),
            (Unauthorised::NoAccount, Says { uris: two, ..says.clone() }, &root, &[]),
            (Unauthorised::NoAccount, Says { uris: vec![], ..says.clone() }, &root, &[]),
            (Unauthorised::NoAccount, Says { uris: vec!["sonde:account:eve".into()], ..says.clone() }, &root, &[]),
        ] {
            assert_eq!(is(uri, &says, by, chain), Err(wrong), "{algorithm:?} {:?}", says.uris);
        }
        // One that is below a certificate that may not sign.
        let middle = Says::new("middle", "ours").signed(&between.public(), &root);
        assert_eq!(is(uri, &below, &between, &[middle]), Err(Unauthorised::NotSigned));
    }
}

#[test]
fn a_path_holds_no_longer_than_its_shortest_certificate() {
    let folder = TempDir::new().unwrap();
    let (root, between, key) = (Key::new(Algorithm::P256), Key::new(Algorithm::Ed25519), Key::new(Algorithm::P256));
    let anchor = Says { is_ca: true, not_after: NOW + 30, ..Says::new("ours", "ours") }.signed(&root.public(), &root);
    let middle =
        Says { is_ca: true, not_after: NOW + 20, ..Says::new("middle", "ours") }.signed(&between.public(), &root);
    let says = Says { uris: vec!["sonde:account:ada".into()], ..Says::new("x", "middle") };
    let catalogue = catalogue([account("ada")]);
    let cell = trust(&folder, &[anchor], AccountRule::Uri);
    let connection = peer_with(&[says.signed(&key.public(), &between), middle], cell.clone());
    assert!(ask(&connection, &catalogue, NOW).is_ok() && ask(&connection, &catalogue, NOW + 20).is_ok());
    assert_eq!(ask(&connection, &catalogue, NOW + 21).unwrap_err(), Unauthorised::Expired);
    let direct = peer_with(&[Says { issuer: "ours".into(), ..says }.signed(&key.public(), &root)], cell);
    assert!(ask(&direct, &catalogue, NOW + 30).is_ok());
    assert!(ask(&direct, &catalogue, NOW + 31).is_err(), "the authority itself has ended");
}

#[test]
fn tenants_certificates_have_no_role_in_the_tier_and_the_tiers_have_no_account() {
    let key = Key::new(Algorithm::P256);
    let says = Says { uris: vec!["sonde:role:proxy".into()], ..Says::new("ada", "ada") };
    let certificate = says.signed(&key.public(), &key);
    let catalogue = catalogue([with_keys("ada", &[key.ssh_key()])]);
    let connection = peer(std::slice::from_ref(&certificate));
    assert_eq!((tier_role(&connection), who(&connection, &catalogue)), (None, Ok("ada".into())));
    let tier = Peer::showing(Presented::tier(Some(std::slice::from_ref(&certificate))), None);
    assert_eq!(who(&tier, &catalogue), Err(Unauthorised::Tier));
}

#[test]
fn a_role_is_exactly_one_and_ends_with_its_certificate() {
    let key = Key::new(Algorithm::P256);
    let now = crate::identity::seconds(SystemTime::now());
    let role = |uris: &[&str], not_after: i64| {
        let uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
        let says = Says { uris, not_before: now - 10, not_after, ..Says::new("x", "tier") };
        let chain = [says.signed(&key.public(), &key)];
        tier_role(&Peer::showing(Presented::tier(Some(&chain)), None))
    };
    let id = uuid::Uuid::from_u128(0x5f0d_2bb6_7c3e_4e0a_9a44_61d3_0f8e_7a15);
    let (node, later) = (format!("sonde:node:{id}"), now + 1000);
    assert_eq!(role(&[&node], later), Some(TierRole::Node(id)));
    assert_eq!(role(&["urn:x", "sonde:role:proxy"], later), Some(TierRole::Proxy));
    for wrong in [
        &[][..],
        &["sonde:role:proxy", &node],
        &[&node, &node],
        &["sonde:role:operator"],
        &["sonde:node:"],
        &["sonde:node:5F0D2BB6-7C3E-4E0A-9A44-61D30F8E7A15"],
        &["sonde:node:5f0d2bb67c3e4e0a9a4461d30f8e7a15"],
        &["sonde:role:proxy "],
        &["sonde:account:ada"],
    ] {
        assert_eq!(role(wrong, later), None, "{wrong:?}");
    }
    assert_eq!(role(&[&node], now - 1), None);
}

#[test]
fn what_is_larger_or_stranger_than_is_read_is_nobodys() {
    let key = Key::new(Algorithm::P256);
    let catalogue = catalogue([with_keys("ada", &[key.ssh_key()])]);
    let is = |says: Says| who(&peer(&[says.signed(&key.public(), &key)]), &catalogue);
    let says = Says::new("ada", "ada");
    let numbered = |number: u8| extension(&[0x2a, 3, number], false, &[5, 0]);
    let most = Says { more: (0..31).map(numbered).collect(), ..says.clone() };
    assert_eq!(is(most), Ok("ada".into()));
    for (what, says) in [
        ("extensions", Says { more: (0..32).map(numbered).collect(), ..says.clone() }),
        ("bytes", Says { more: vec![extension(&[0x2a, 3, 1], false, &vec![7; 16 << 10])], ..says.clone() }),
        ("names", Says { uris: (0..65).map(|number| format!("urn:{number}")).collect(), ..says.clone() }),
        ("a URI", Says { uris: vec!["u".repeat(257)], ..says.clone() }),
        ("a critical extension", Says { more: vec![extension(&[0x2a, 3, 1], true, &[5, 0])], ..says.clone() }),
        ("one extension twice", Says { more: vec![numbered(1), numbered(1)], ..says.clone() }),
    ] {
        assert_eq!(is(says), Err(Unauthorised::Malformed), "{what}");
    }
    let certificate = says.signed(&key.public(), &key);
    let many = vec![certificate.clone(); 10];
    assert_eq!(who(&peer(&many), &catalogue), Err(Unauthorised::Malformed), "a long chain");
    assert_eq!(who(&peer(&[vec![0x30, 0x80].into()]), &catalogue), Err(Unauthorised::Malformed));
    let trailing = CertificateDer::from([certificate.as_ref(), &[0]].concat());
    assert_eq!(who(&peer(&[trailing]), &catalogue), Err(Unauthorised::Malformed));
}
