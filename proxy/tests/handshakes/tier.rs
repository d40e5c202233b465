//! The tier's door, and the proxy's end of a connection to an agent.

use std::slice::from_ref;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use sonde_proxy::identity::{TierRole, tier_role};
use sonde_proxy::issue::{AuthorityKind, Issued, IssuingAuthority, tier_list};
use sonde_proxy::tls::{Peer, TierSettings, TierTls, UpstreamTls, upstream_tls};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use super::doors::{DAY, Pki, client, listen};

const NODE: Uuid = Uuid::from_u128(0x5f0d_2bb6_7c3e_4e0a_9a44_61d3_0f8e_7a15);

fn settings(pki: &Pki, role: TierRole, file: &str) -> TierSettings {
    let own =
        pki.tier.issue_tier(role, &["127.0.0.1".into()], DAY).unwrap().write_over(pki.folder.path(), file).unwrap();
    TierSettings { own, ca: pki.path("tier-ca.pem"), crl: None }
}

/// One handshake with the tier's door.
async fn knock(tls: &TierTls, configuration: rustls::ClientConfig) -> std::io::Result<Peer> {
    let (listener, address) = listen().await;
    let connector = TlsConnector::from(Arc::new(configuration));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let client = async { connector.connect(name, TcpStream::connect(address).await?).await };
    let server = async { tls.accept(listener.accept().await?.0).await };
    let (server, client) = tokio::join!(server, client);
    let peer = server?.1;
    client?;
    Ok(peer)
}

fn shows(pki: &Pki, issued: Issued) -> rustls::ClientConfig {
    client(pki.tier.certificate(), Some((vec![issued.certificate], issued.key)), rustls::ALL_VERSIONS)
}

#[tokio::test]
async fn only_the_tiers_own_authority_and_its_roles_are_let_in() {
    let pki = Pki::new();
    let tls = TierTls::start(&settings(&pki, TierRole::Proxy, "proxy")).unwrap();
    for role in [TierRole::Node(NODE), TierRole::Proxy] {
        let issued = pki.tier.issue_tier(role, &[], DAY).unwrap();
        let peer = knock(&tls, shows(&pki, issued)).await.unwrap();
        assert_eq!(tier_role(&peer), Some(role));
    }
    // An account's, one of another tier's, one of ours without a role, and none.
    let (account, _) = pki.account("ada");
    let (theirs, _) = IssuingAuthority::create(AuthorityKind::Tier).unwrap();
    let theirs = theirs.issue_tier(TierRole::Proxy, &[], DAY).unwrap();
    let terms = sonde_proxy::issue::Terms { ttl: DAY, ..Default::default() };
    let (roleless, _) = pki.tier.issue_account(&sonde_inventory::AccountName::new("ada").unwrap(), &terms).unwrap();
    for (what, issued) in [("an account's", account), ("another tier's", theirs), ("no role", roleless)] {
        assert!(knock(&tls, shows(&pki, issued)).await.is_err(), "{what}");
    }
    assert!(knock(&tls, client(pki.tier.certificate(), None, rustls::ALL_VERSIONS)).await.is_err(), "no certificate");
    let issued = pki.tier.issue_tier(TierRole::Proxy, &[], DAY).unwrap();
    let older =
        client(pki.tier.certificate(), Some((vec![issued.certificate], issued.key)), &[&rustls::version::TLS12]);
    assert!(knock(&tls, older).await.is_err(), "TLS 1.2");
    assert_eq!(tls.handshakes().in_flight, 0);
}

#[tokio::test]
async fn the_proxy_speaks_only_with_the_node_that_it_means() {
    let pki = Pki::new();
    let upstream = UpstreamTls::start(&settings(&pki, TierRole::Proxy, "proxy")).unwrap();
    // At the agent's place: a door of the tier's with a node's certificate.
    let node = TierTls::start(&settings(&pki, TierRole::Node(NODE), "node")).unwrap();
    let peer = knock(&node, upstream_tls(&upstream, NODE)).await.unwrap();
    assert_eq!(tier_role(&peer), Some(TierRole::Proxy));
    assert!(knock(&node, upstream_tls(&upstream, Uuid::from_u128(7))).await.is_err(), "another node");
    let proxy = TierTls::start(&settings(&pki, TierRole::Proxy, "other")).unwrap();
    assert!(knock(&proxy, upstream_tls(&upstream, NODE)).await.is_err(), "a proxy is no node");
    let theirs = Pki::new();
    let forged = TierTls::start(&settings(&theirs, TierRole::Node(NODE), "node")).unwrap();
    assert!(knock(&forged, upstream_tls(&upstream, NODE)).await.is_err(), "another authority's node of this id");
    // A renewal that was taken.
    settings(&pki, TierRole::Proxy, "proxy");
    upstream.renew().unwrap();
    assert_eq!(upstream.faults(), 0);
    assert!(knock(&node, upstream_tls(&upstream, NODE)).await.is_ok());
}

#[tokio::test]
async fn a_list_of_revoked_certificates_counts_and_one_that_is_broken_or_anothers_is_refused() {
    let pki = Pki::new();
    let list = tier_list(pki.folder.path());
    let mut settings = settings(&pki, TierRole::Proxy, "proxy");
    settings.crl = Some(list.clone());
    assert!(TierTls::start(&settings).is_err(), "it is not there");
    pki.tier.revoke(&[], &list).unwrap();
    let tls = TierTls::start(&settings).unwrap();
    let [kept, lost, also_lost] = [(); 3].map(|()| pki.tier.issue_tier(TierRole::Node(NODE), &[], DAY).unwrap());
    pki.tier.revoke(from_ref(&lost.certificate), &list).unwrap();
    // Those who were on it stay on it.
    pki.tier.revoke(from_ref(&also_lost.certificate), &list).unwrap();
    tls.renew().unwrap();
    for (broken, why) in [(&b"no list"[..], "no list"), (b"", "empty")] {
        std::fs::write(&list, broken).unwrap();
        assert!(tls.renew().is_err(), "{why}");
    }
    // It bears the same name, and nobody is on it.
    let (theirs, _) = IssuingAuthority::create(AuthorityKind::Tier).unwrap();
    std::fs::remove_file(&list).unwrap();
    theirs.revoke(&[], &list).unwrap();
    assert!(tls.renew().is_err(), "another authority's");
    assert!(tls.faults() >= 3);
    for (issued, counts) in [(kept, true), (lost, false), (also_lost, false)] {
        assert_eq!(knock(&tls, shows(&pki, issued)).await.is_ok(), counts);
    }
}
