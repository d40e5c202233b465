//! Names that a request says in several places: they agree, or nothing is answered for any of them.

use serde_json::json;

use crate::client::{Ask, VERSIONS, Version, ask};
use crate::house::{Credential, House, SUFFIX, id, instance};

#[tokio::test]
async fn forged_names_open_nothing() {
    let house = House::start(&[instance(1, "acme", json!({})), instance(2, "rival", json!({}))]).await;
    let acme = house.certificate("acme").await;
    let (own, other) = (format!("{}.{SUFFIX}", id(1)), format!("{}.{SUFFIX}", id(2)));
    let upper = own.to_uppercase();
    let with_port = format!("{own}:9163");
    let named = |server_name, host, authority| Ask {
        server_name,
        host,
        authority,
        path: "/metrics",
        headers: &[],
        method: None,
        body: &[],
    };
    let (one, some) = (own.as_str(), Some(own.as_str()));
    let cases = [
        (named(some, some, None), 200),
        (named(some, Some(&upper), None), 200),
        (named(some, Some(&with_port), None), 200),
        (named(None, some, None), 200),
        (named(some, Some(&other), None), 421),
        (named(Some(&other), some, None), 421),
        (named(some, some, Some(&other)), 421),
        (named(some, Some(&other), some), 421),
        (named(some, Some("127.0.0.1"), None), 421),
        (named(Some(SUFFIX), Some(SUFFIX), None), 404),
        (named(None, None, None), 404),
        (named(None, Some("evil.test"), None), 421),
        (named(None, Some(&other), None), 404),
    ];
    for version in VERSIONS {
        for (case, expected) in &cases {
            let heard = ask(&house, &acme, version, case).await;
            let said = (case.server_name, case.host, case.authority);
            assert_eq!(heard.status, *expected, "{version:?} {said:?} for {one}");
        }
    }
    assert!(house.agent.heard(&id(2).to_string()).is_empty());
    house.proxy.stop().await;
}

#[tokio::test]
async fn an_alias_is_a_name_too_and_ping_needs_nobody() {
    let house = House::start(&[instance(1, "acme", json!({ "alias": "Web_1" }))]).await;
    let acme = house.token("acme", &[], None).await;
    let rival = house.token("rival", &[], None).await;
    let alias = format!("web-1--acme.{SUFFIX}");
    let named = Ask { server_name: Some(&alias), host: Some(&alias), path: "/metrics", ..Ask::default() };
    assert_eq!(ask(&house, &acme, Version::Two, &named).await.status, 200);
    assert_eq!(ask(&house, &rival, Version::Two, &named).await.status, 404);
    for version in VERSIONS {
        let list = ask(&house, &acme, version, &Ask { path: "/v1/instances", ..Ask::default() }).await;
        let own = format!("\"https://{}/v1/instances/{}/metrics\"", house.proxy.address(), id(1));
        assert!(list.text().contains(&own), "{version:?}: {}", list.text());
        let ping = ask(&house, &Credential::default(), version, &Ask { path: "/_ping", ..Ask::default() }).await;
        assert_eq!((ping.status.as_u16(), ping.text()), (200, "OK"));
    }
    let post = Ask { method: Some("POST"), path: "/v1/instances", ..Ask::default() };
    assert_eq!(ask(&house, &acme, Version::One, &post).await.status, 405);
    house.proxy.stop().await;
}
