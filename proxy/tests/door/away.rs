//! A node that is away and an agent that is slow are two things, told apart at once and to everybody: by who takes a connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use sonde_inventory::{Node, Write};
use sonde_proxy::identity::TierRole;
use sonde_proxy::issue::{AuthorityKind, IssuingAuthority, tier_list};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use uuid::Uuid;

use crate::agent::Agent;
use crate::client::{Ask, Heard, Version, ask};
use crate::house::{Credential, House, id, instance};

/// A node that the test is about.
const SUBJECT: Uuid = Uuid::from_u128(0xc);
/// What is known is said well within this; a connection's own second is longer, so that none that waits for one is as quick, however often it is asked.
const AT_ONCE: Duration = Duration::from_millis(700);
/// No connection is made to a queue that is full within this.
const FULL: Duration = Duration::from_secs(3);
/// A certificate that is to end is waited for as well.
const SOON: Duration = Duration::from_secs(90);
/// So long a certificate lasts that is to end while it is in use: on a busy machine it is to be in use before.
const BRIEF: Duration = Duration::from_secs(30);
/// Between two looks at the same thing.
const PAUSE: Duration = Duration::from_millis(10);

async fn house(address: SocketAddr) -> (House, Credential) {
    let many = "limits = { requests_per_second = 100000, request_burst = 100000 }";
    let house = House::configured(&[instance(1, "acme", json!({ "node": SUBJECT }))], many).await;
    let record = json!({ "id": SUBJECT, "url": format!("https://{address}") });
    let node: Node = serde_json::from_value(record).unwrap();
    house.proxy.store().write(vec![Write::put(None, node)]).await.unwrap();
    let acme = house.token("acme", &[], None).await;
    (house, acme)
}

/// One scrape by somebody who would wait ten seconds, and how long it took.
async fn scrape(house: &House, acme: &Credential) -> (Heard, Duration) {
    let path = format!("/v1/instances/{}/metrics", id(1));
    let began = Instant::now();
    let heard = ask(house, acme, Version::Two, &Ask { path: &path, ..Ask::default() }).await;
    (heard, began.elapsed())
}

/// Asks until the answer is this one, and takes any of `meanwhile` until then.
async fn until(house: &House, acme: &Credential, wanted: (u16, &str), meanwhile: &[(u16, &str)]) {
    let deadline = Instant::now() + SOON;
    loop {
        let (heard, _) = scrape(house, acme).await;
        let said = (heard.status.as_u16(), heard.reason());
        if said == wanted {
            return;
        }
        assert!(meanwhile.contains(&said) && Instant::now() < deadline, "{said:?} and not {wanted:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks until the answer, which is always this one, comes at once: whatever else the machine does, some are not held up by it.
async fn at_once(house: &House, acme: &Credential, wanted: (u16, &str)) -> Heard {
    let deadline = Instant::now() + SOON;
    loop {
        let (heard, took) = scrape(house, acme).await;
        assert_eq!((heard.status.as_u16(), heard.reason()), wanted);
        if took < AT_ONCE {
            return heard;
        }
        assert!(Instant::now() < deadline, "it takes {took:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The value of one of the proxy's own series without labels.
async fn own(house: &House, series: &str) -> f64 {
    let about = crate::outcomes::plain(house.proxy.admin_address(), "GET", "/metrics").await;
    let line = about.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("no {series}"));
    line.trim().parse().unwrap()
}

#[tokio::test]
async fn an_agent_that_takes_connections_and_does_not_speak_is_slow_at_once_until_it_speaks() {
    // As when it is stopped: the kernel takes connections for it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (house, acme) = house(listener.local_addr().unwrap()).await;
    let (first, _) = scrape(&house, &acme).await;
    assert_eq!((first.status, first.reason()), (StatusCode::GATEWAY_TIMEOUT, "agent_slow"));
    let second = at_once(&house, &acme, (504, "agent_slow")).await;
    assert!(second.text().contains("outcome=\"agent_slow\"} 1"), "{}", second.text());
    assert_eq!(own(&house, "sonde_proxy_nodes_slow").await, 1.0);
    assert_eq!(own(&house, "sonde_proxy_nodes_unreachable").await, 0.0);
    let tls = house.folder.path().join("tls");
    let (tier, files) = IssuingAuthority::open_or_create(&tls, AuthorityKind::Tier).unwrap();
    let issued = tier.issue_tier(TierRole::Node(SUBJECT), &["127.0.0.1".into()], SOON * 10).unwrap();
    let agent = Agent::at(listener, &issued.write(&tls, "subject").unwrap(), &files.certificate);
    until(&house, &acme, (200, ""), &[(504, "agent_slow")]).await;
    assert_eq!(own(&house, "sonde_proxy_nodes_slow").await, 0.0);
    drop(agent);
    // And when nobody listens there any more it is away.
    until(&house, &acme, (502, "node_unreachable"), &[(200, "")]).await;
    assert_eq!(own(&house, "sonde_proxy_nodes_unreachable").await, 1.0);
    house.proxy.stop().await;
}

#[tokio::test]
async fn a_node_that_takes_no_connection_and_says_nothing_is_away() {
    // A listener whose queue is full drops what comes, so that there is no reset and no error, as of a machine that is cut off.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(FULL, TcpStream::connect(address)).await {
        held.push(stream);
        assert!(held.len() < 64, "its queue has no end");
    }
    let (house, acme) = house(address).await;
    let (first, _) = scrape(&house, &acme).await;
    assert_eq!((first.status, first.reason()), (StatusCode::BAD_GATEWAY, "node_unreachable"));
    at_once(&house, &acme, (502, "node_unreachable")).await;
    assert_eq!(own(&house, "sonde_proxy_nodes_slow").await, 0.0);
    // The machine is back, and its agent is not: what is known follows.
    drop(held);
    let accepting = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((stream, _)) = full.accept().await {
            all.push(stream);
        }
    });
    until(&house, &acme, (504, "agent_slow"), &[(502, "node_unreachable")]).await;
    assert_eq!(own(&house, "sonde_proxy_nodes_unreachable").await, 0.0);
    accepting.abort();
    house.proxy.stop().await;
}

#[tokio::test]
async fn a_node_whose_certificate_ends_or_is_revoked_is_asked_no_more_on_the_connection_that_is_there() {
    for is_revoked in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (house, acme) = house(listener.local_addr().unwrap()).await;
        let tls = house.folder.path().join("tls");
        let (tier, files) = IssuingAuthority::open_or_create(&tls, AuthorityKind::Tier).unwrap();
        let own = if is_revoked {
            let issued = tier.issue_tier(TierRole::Node(SUBJECT), &["127.0.0.1".into()], SOON * 10).unwrap();
            issued.write(&tls, "subject").unwrap()
        } else {
            crate::brief::node(&tls, SUBJECT, BRIEF)
        };
        let agent = Agent::at(listener, &own, &files.certificate);
        until(&house, &acme, (200, ""), &[(504, "agent_slow")]).await;
        if is_revoked {
            let subject = CertificateDer::from_pem_file(&own.certificate).unwrap();
            tier.revoke(&[subject], &tier_list(&tls)).unwrap();
        }
        until(&house, &acme, (502, "node_unreachable"), &[(200, "")]).await;
        let heard = agent.heard(&id(1).to_string()).len();
        let (last, _) = scrape(&house, &acme).await;
        assert_eq!((last.status, last.reason()), (StatusCode::BAD_GATEWAY, "node_unreachable"));
        assert_eq!(agent.heard(&id(1).to_string()).len(), heard, "it is not asked");
        house.proxy.stop().await;
    }
}
