//! What the tiers' authority revokes counts for its own certificates, and for no other authority's of the same name.

use rustls::pki_types::UnixTime;
use sonde_listen::tier::{End, NotCounted, TierAuthority, TierError};

use super::*;

/// An authority of the tiers, which all have one name; its certificate and its list are beside each other.
fn tier(folder: &Path) -> (IssuingAuthority, String, String) {
    let (authority, files) = IssuingAuthority::open_or_create(folder, AuthorityKind::Tier).unwrap();
    authority.revoke(&[], &tier_list(folder)).unwrap();
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    (authority, text(&files.certificate), text(&tier_list(folder)))
}

fn proxy_of(authority: &IssuingAuthority) -> CertificateDer<'static> {
    authority.issue_tier(TierRole::Proxy, &[], MONTH).unwrap().certificate
}

#[test]
fn a_list_of_another_key_with_the_same_name_is_refused_and_the_one_before_stays() {
    let folder = TempDir::new().unwrap();
    let (old, _, old_list) = tier(&folder.path().join("old"));
    let (new, ca, list) = tier(&folder.path().join("new"));
    let (ca_file, crl_file) = (folder.path().join("ca.pem"), folder.path().join("crl.pem"));
    std::fs::write(&ca_file, ca).unwrap();
    std::fs::write(&crl_file, &old_list).unwrap();
    assert!(matches!(TierAuthority::open(&ca_file, Some(&crl_file)), Err(TierError::Stranger { .. })));
    std::fs::write(&crl_file, list).unwrap();
    let authority = TierAuthority::open(&ca_file, Some(&crl_file)).unwrap();
    std::fs::write(&crl_file, old_list).unwrap();
    assert!(matches!(authority.renew(), Err(TierError::Stranger { .. })));
    assert_eq!(authority.faults(), 1);
    let check = |shown| authority.check(&[shown], End::Client, UnixTime::now());
    assert_eq!(check(proxy_of(&new)), Ok(()));
    assert!(matches!(check(proxy_of(&old)), Err(NotCounted::NotSigned { .. })));
}

#[test]
fn of_two_authorities_with_one_name_each_has_its_own_lists() {
    let folder = TempDir::new().unwrap();
    let (old_folder, new_folder) = (folder.path().join("old"), folder.path().join("new"));
    let (old, old_ca, old_empty) = tier(&old_folder);
    let (new, new_ca, new_empty) = tier(&new_folder);
    let [kept_by_old, gone_by_old] = [proxy_of(&old), proxy_of(&old)];
    let [kept_by_new, gone_by_new] = [proxy_of(&new), proxy_of(&new)];
    old.revoke(std::slice::from_ref(&gone_by_old), &tier_list(&old_folder)).unwrap();
    new.revoke(std::slice::from_ref(&gone_by_new), &tier_list(&new_folder)).unwrap();
    let list = |folder: &Path| std::fs::read_to_string(tier_list(folder)).unwrap();
    let (old_list, new_list) = (list(&old_folder), list(&new_folder));
    let (ca_file, crl_file) = (folder.path().join("ca.pem"), folder.path().join("crl.pem"));
    for ca in [[&*old_ca, &*new_ca], [&*new_ca, &*old_ca]] {
        std::fs::write(&ca_file, ca.concat()).unwrap();
        // Whatever their order is, and where an authority has two.
        let orders = [vec![&old_list, &new_list], vec![&new_empty, &new_list, &old_empty, &old_list]];
        for lists in orders {
            std::fs::write(&crl_file, lists.into_iter().map(String::as_str).collect::<String>()).unwrap();
            let authority = TierAuthority::open(&ca_file, Some(&crl_file)).unwrap();
            let check = |shown: &CertificateDer<'static>| {
                authority.check(std::slice::from_ref(shown), End::Server, UnixTime::now())
            };
            assert_eq!((check(&kept_by_old), check(&kept_by_new)), (Ok(()), Ok(())));
            let revoked = || Err(NotCounted::Revoked);
            assert_eq!((check(&gone_by_old), check(&gone_by_new)), (revoked(), revoked()));
        }
    }
}

#[test]
fn what_another_authority_issued_is_not_revoked_and_the_list_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let (own, other) = (folder.path().join("own"), folder.path().join("other"));
    let ((authority, _, before), (stranger, ..)) = (tier(&own), tier(&other));
    let (accounts, _) = IssuingAuthority::create(AuthorityKind::Accounts).unwrap();
    let terms = Terms { ttl: MONTH, ..Terms::default() };
    let tenant = accounts.issue_account(&ada().name, &terms).unwrap().0.certificate;
    for (certificate, name) in [(tenant, "CN=ada"), (proxy_of(&stranger), "sonde:role:proxy")] {
        // One that is ours does not take it along.
        let refused = authority.revoke(&[proxy_of(&authority), certificate], &tier_list(&own)).unwrap_err();
        assert!(matches!(&refused, IssueError::NotIssued { name: said } if said.contains(name)), "{refused}");
        assert_eq!(std::fs::read_to_string(tier_list(&own)).unwrap(), before);
    }
}

#[test]
fn a_file_with_several_lists_is_not_made_shorter() {
    let folder = TempDir::new().unwrap();
    let (authority, _, list) = tier(folder.path());
    let file = tier_list(folder.path());
    for (text, count) in [(list.repeat(2), 2), (String::new(), 0)] {
        std::fs::write(&file, &text).unwrap();
        let refused = authority.revoke(&[proxy_of(&authority)], &file).unwrap_err();
        assert!(matches!(refused, IssueError::Lists { lists, .. } if lists == count), "{refused}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
}
