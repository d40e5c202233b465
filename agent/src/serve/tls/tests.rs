//! What is renewed while something beside it is broken.

use std::time::Duration;

use sonde_proxy::identity::TierRole;
use sonde_proxy::issue::{AuthorityKind, IssuingAuthority, tier_list};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_broken_list_of_revoked_certificates_does_not_keep_a_new_certificate_back() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, ca) = IssuingAuthority::open_or_create(folder.path(), AuthorityKind::Tier).unwrap();
    let crl = tier_list(folder.path());
    authority.revoke(&[], &crl).unwrap();
    let issue = || authority.issue_tier(TierRole::Proxy, &["127.0.0.1".into()], DAY).unwrap();
    let own = issue().write(folder.path(), "listener").unwrap();
    let files = TlsFiles::load(Tls {
        certificate: own.certificate.clone(),
        key: own.key.clone(),
        client_ca: ca.certificate,
        crl: Some(crl.clone()),
    });
    let files = files.unwrap_or_else(|error| panic!("{}", crate::chain(&error)));
    let before = files.configuration();
    std::fs::write(&crl, "no list").unwrap();
    issue().write_over(folder.path(), "listener").unwrap();
    assert!(matches!(files.renew(), Err(TlsError::Tier { .. })));
    assert_eq!(files.faults(), 1);
    let after = files.configuration();
    assert!(!Arc::ptr_eq(&before, &after), "the new certificate is shown");

    // A certificate that is broken too: one renewal, one fault, and what there was is shown.
    std::fs::write(&own.certificate, "no certificate").unwrap();
    assert!(files.renew().is_err());
    assert_eq!(files.faults(), 2);
    assert!(Arc::ptr_eq(&after, &files.configuration()));
    issue().write_over(folder.path(), "listener").unwrap();
    std::fs::remove_file(&crl).unwrap();
    authority.revoke(&[], &crl).unwrap();
    assert!(files.renew().is_ok());
    assert_eq!(files.faults(), 2);
}
