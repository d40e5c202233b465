//! What a node is told to run: of accounts that have something on it, and never what is another node's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use sonde_inventory::assignment::Assignments;
use sonde_inventory::report::Taken;
use sonde_inventory::{ArtifactDigest, Scope};
use sonde_proxy::identity::TierRole;
use sonde_proxy::issue::{AuthorityKind, IssuingAuthority};
use uuid::Uuid;

use crate::client::get;
use crate::house::{AWAY, House, NODE, id, instance, name};
use crate::sensors::{artifact, send};

const BOTH: [Scope; 2] = [Scope::ReadMetrics, Scope::PushSensors];

/// A request at the tier's listener, under a certificate of the tier's authority.
async fn tier(house: &House, role: TierRole, method: &str, path: &str, body: Vec<u8>) -> (u16, Bytes) {
    let tls = house.folder.path().join("tls");
    let (authority, files) = IssuingAuthority::open_or_create(&tls, AuthorityKind::Tier).unwrap();
    let issued = authority.issue_tier(role, &[], Duration::from_secs(600)).unwrap();
    let own = issued.write_over(&tls, "some-node").unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(&own.certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&own.key).unwrap(),
        )
        .unwrap();
    let stream = tokio::net::TcpStream::connect(house.proxy.tier_address().unwrap()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request =
        http::Request::builder().method(method).uri(path).header("host", "tier").body(Full::new(Bytes::from(body)));
    let response = sender.send_request(request.unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

async fn assigned(house: &House, node: Uuid) -> Assignments {
    let (status, body) = tier(house, TierRole::Node(node), "GET", "/v1/tier/sensors", vec![]).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_node_gets_what_is_its_own_with_secrets_open_and_nothing_else() {
    let instances = [instance(1, "acme", json!({})), instance(2, "rival", json!({ "node": AWAY }))];
    let house = House::start(&instances).await;
    let (acme, rival) = (house.token("acme", &BOTH, None).await, house.token("rival", &BOTH, None).await);
    let (ones, others) = (artifact("acme's"), artifact("rival's"));
    allow(&house, NODE, "acme").await;
    let secrets = |secret: &str| json!({ "secrets": { "password": secret } }).to_string();
    send(&house, &acme, "PUT", "/v1/sensors/web", &[("x-sonde-push", &secrets("s3cret"))], &ones).await;
    send(&house, &rival, "PUT", "/v1/sensors/web", &[("x-sonde-push", &secrets("r1val"))], &others).await;
    let own = assigned(&house, NODE).await;
    assert_eq!(own.accounts.len(), 1);
    assert_eq!(own.accounts[0].account, name("acme"));
    assert_eq!(own.accounts[0].sensors[0].current.secrets["password"], "s3cret");
    assert_eq!(own.accounts[0].sensors[0].current.sha256, ArtifactDigest::of(&ones));
    assert!(!format!("{own:?}").contains("s3cret"));
    let path = |wasm: &[u8]| format!("/v1/tier/artifacts/{}", ArtifactDigest::of(wasm));
    for (node, wasm, status) in
        [(NODE, &ones, 200), (NODE, &others, 404), (AWAY, &others, 200), (AWAY, &ones, 404), (id(77), &ones, 404)]
    {
        let (heard, body) = tier(&house, TierRole::Node(node), "GET", &path(wasm), vec![]).await;
        assert_eq!(heard, status, "{node}");
        assert!(status != 200 || body == wasm[..]);
    }
    let foreign = tier(&house, TierRole::Node(NODE), "GET", &path(&others), vec![]).await;
    assert_eq!(foreign, tier(&house, TierRole::Node(NODE), "GET", &path(b"nowhere"), vec![]).await);
    for path in
        ["/v1/tier/artifacts/", "/v1/tier/artifacts/../sensors", "/v1/tier/sensors/", "/v1/sensors", "/v1/sensors/web"]
    {
        assert_eq!(tier(&house, TierRole::Node(NODE), "GET", path, vec![]).await.0, 404, "{path}");
    }
    // A proxy is no node.
    assert_eq!(tier(&house, TierRole::Proxy, "GET", "/v1/tier/sensors", vec![]).await.0, 403);
    // A node that claims what lives elsewhere is told nothing of its owner.
    let report = json!({
        "node": NODE, "session": id(7), "sequence": 1, "full": { "hostname": "n", "url": "https://127.0.0.1:1" },
        "instances": [{ "id": id(1), "owner": "acme", "state": "running" }, { "id": id(2), "owner": "rival", "state": "running" }],
    });
    let away = json!({
        "node": AWAY, "session": id(8), "sequence": 1, "full": { "hostname": "a", "url": "https://127.0.0.1:1" },
        "instances": [{ "id": id(2), "owner": "rival", "state": "running" }],
    });
    assert_eq!(report_of(&house, AWAY, &away).await.refused.len(), 0);
    report_of(&house, NODE, &report).await;
    assert!(assigned(&house, NODE).await.accounts.iter().all(|of| of.account == name("acme")));
    house.proxy.stop().await;
}

#[tokio::test]
async fn an_invented_instance_brings_a_node_nothing_that_is_meant_for_others() {
    let house = House::start(&[instance(1, "acme", json!({ "node": AWAY, "groups": ["db"] }))]).await;
    let acme = house.token("acme", &BOTH, None).await;
    let wasm = artifact("one");
    allow(&house, AWAY, "acme").await;
    let settings = json!({ "match": { "groups": ["db"] }, "secrets": { "password": "s3cret" } }).to_string();
    send(&house, &acme, "PUT", "/v1/sensors/db", &[("x-sonde-push", &settings)], &wasm).await;
    let report = |sequence: u64, groups: Value| {
        let about = json!({ "hostname": "n", "url": "https://127.0.0.1:1" });
        let instances = json!([{ "id": id(9), "owner": "acme", "state": "running", "groups": groups }]);
        json!({ "node": NODE, "session": id(7), "sequence": sequence, "full": about, "instances": instances })
    };
    let path = format!("/v1/tier/artifacts/{}", ArtifactDigest::of(&wasm));
    let first = report_of(&house, NODE, &report(1, json!([]))).await.assignments;
    assert!(assigned(&house, NODE).await.accounts.is_empty());
    assert_eq!(tier(&house, TierRole::Node(NODE), "GET", &path, vec![]).await.0, 404);
    assert_eq!(assigned(&house, AWAY).await.accounts[0].sensors[0].current.secrets["password"], "s3cret");
    // One that is meant has it, and the mark tells the node so.
    let second = report_of(&house, NODE, &report(2, json!(["db"]))).await.assignments;
    assert_ne!(first, second);
    let own = assigned(&house, NODE).await;
    assert_eq!((Some(&own.mark), own.accounts.len()), (second.as_ref(), 1));
    // Not its secret, until the operator names the account for the node.
    assert!(own.accounts[0].sensors[0].current.secrets.is_empty(), "{own:?}");
    allow(&house, NODE, "acme").await;
    let named = assigned(&house, NODE).await;
    assert_eq!(named.accounts[0].sensors[0].current.secrets["password"], "s3cret");
    assert_ne!(named.mark, own.mark);
    assert_eq!(tier(&house, TierRole::Node(NODE), "GET", &path, vec![]).await.0, 200);
    house.proxy.stop().await;
}

#[tokio::test]
async fn an_operator_may_have_secrets_on_any_node() {
    let instances = [instance(1, "acme", json!({}))];
    let house = House::configured(&instances, "sensors = { secrets_on_any_node = true }").await;
    let acme = house.token("acme", &BOTH, None).await;
    let settings = json!({ "secrets": { "password": "s3cret" } }).to_string();
    send(&house, &acme, "PUT", "/v1/sensors/web", &[("x-sonde-push", &settings)], &artifact("one")).await;
    let own = assigned(&house, NODE).await;
    assert_eq!(own.accounts[0].sensors[0].current.secrets["password"], "s3cret");
    house.proxy.stop().await;
}

#[tokio::test]
async fn a_tenant_is_told_where_its_secrets_do_not_get_to_and_why() {
    let gone = json!({ "node": AWAY, "state": "gone" });
    let away = instance(2, "acme", json!({ "node": AWAY }));
    let mut house = House::start(&[instance(1, "acme", json!({})), away, instance(3, "acme", gone)]).await;
    let acme = house.token("acme", &BOTH, None).await;
    let settings = json!({ "secrets": { "password": "s3cret" } }).to_string();
    send(&house, &acme, "PUT", "/v1/sensors/web", &[("x-sonde-push", &settings)], &artifact("one")).await;
    let withheld = async |house: &House| {
        let shown: Value = serde_json::from_str(get(house, &acme, "/v1/sensors/web").await.text()).unwrap();
        let listed: Value = serde_json::from_str(get(house, &acme, "/v1/sensors").await.text()).unwrap();
        assert_eq!(shown, listed[0]);
        let mut rows = shown["versions"][0]["secrets_withheld"].as_array().unwrap().clone();
        for row in &mut rows {
            let why = row.as_object_mut().unwrap().remove("why").unwrap();
            let words = if row["reason"] == "node_not_allowed" { "sonde node allow" } else { "no key that opens" };
            assert!(why.as_str().unwrap().contains(words), "{why}");
        }
        rows
    };
    let row = |reason: &str, instances: &[Uuid]| {
        let count = instances.len();
        json!({ "reason": reason, "instances": instances, "count": count, "nodes": count })
    };
    assert_eq!(withheld(&house).await, [row("node_not_allowed", &[id(1), id(2)])]);
    allow(&house, NODE, "acme").await;
    assert_eq!(withheld(&house).await, [row("node_not_allowed", &[id(2)])]);
    // A proxy that has another key than the one they were sealed with.
    let key = house.folder.path().join("secrets.key");
    house.proxy.stop().await;
    std::fs::write(&key, "ab".repeat(32)).unwrap();
    house.proxy = sonde_proxy::Proxy::start(house.folder.path().join("proxy.toml")).await.unwrap();
    assert_eq!(withheld(&house).await, [row("node_not_allowed", &[id(2)]), row("cannot_be_opened", &[id(1)])]);
    // What has no secrets lacks none.
    send(&house, &acme, "DELETE", "/v1/sensors/web/secrets/password", &[], b"").await;
    assert!(withheld(&house).await.is_empty());
    house.proxy.stop().await;
}

async fn allow(house: &House, node: Uuid, account: &str) {
    house.proxy.accounts().allow(node, Some(&[name(account)])).await.unwrap();
}

async fn report_of(house: &House, node: Uuid, report: &Value) -> Taken {
    let (status, body) =
        tier(house, TierRole::Node(node), "POST", "/v1/tier/report", report.to_string().into_bytes()).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_report_brings_the_mark_and_what_a_node_says_reaches_the_tenant() {
    let house = House::start(&[]).await;
    let acme = house.token("acme", &BOTH, None).await;
    let wasm = artifact("one");
    send(&house, &acme, "PUT", "/v1/sensors/web", &[], &wasm).await;
    let report = |sequence: u64, more: Value| {
        let mut report = json!({ "node": NODE, "session": id(7), "sequence": sequence });
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        report
    };
    let about = json!({ "hostname": "n", "url": "https://127.0.0.1:1" });
    let owned = json!([{ "id": id(1), "owner": "acme", "state": "running" }]);
    let standing = |account: &str, more: Value| {
        let mut standing =
            json!({ "account": account, "name": "web", "sha256": ArtifactDigest::of(&wasm).to_string() });
        standing.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        standing
    };
    let first = report_of(&house, NODE, &report(1, json!({ "full": about, "instances": [] }))).await;
    assert_eq!(first.assignments.as_deref(), Some(""), "it has nothing of anybody");
    let refused = json!([
        standing("acme", json!({ "refused": "it imports too much" })),
        standing("rival", json!({ "refused": "lies" }))
    ]);
    let second = report_of(&house, NODE, &report(2, json!({ "instances": owned, "sensors": refused }))).await;
    let mark = second.assignments.unwrap();
    assert_eq!(mark, assigned(&house, NODE).await.mark);
    let shown: Value = serde_json::from_str(get(&house, &acme, "/v1/sensors/web").await.text()).unwrap();
    assert_eq!(shown["versions"][0]["state"], "refused");
    assert_eq!(shown["versions"][0]["refused"], json!([{ "why": "it imports too much", "nodes": 1 }]));
    // Of accounts that have nothing there a node has nothing to say.
    let rival = house.token("rival", &BOTH, None).await;
    send(&house, &rival, "PUT", "/v1/sensors/web", &[], &wasm).await;
    let theirs = get(&house, &rival, "/v1/sensors/web").await;
    assert!(theirs.text().contains("waiting") && !theirs.text().contains("lies"), "{}", theirs.text());
    let running = json!([standing("acme", json!({ "running": 3, "failing": 1 }))]);
    let third = report_of(&house, NODE, &report(3, json!({ "sensors": running }))).await;
    assert_eq!(third.assignments.as_deref(), Some(mark.as_str()));
    let shown: Value = serde_json::from_str(get(&house, &acme, "/v1/sensors/web").await.text()).unwrap();
    let version = &shown["versions"][0];
    assert_eq!(
        (&version["state"], &version["instances"], &version["failing"]),
        (&json!("accepted"), &json!(3), &json!(1))
    );
    // Another setting is another mark; and an account that is removed takes all with it.
    send(&house, &acme, "PUT", "/v1/sensors/web/config", &[], br#"{"config": {"port": "9"}}"#).await;
    let fourth = report_of(&house, NODE, &report(4, json!({}))).await.assignments.unwrap();
    assert_ne!(fourth, mark);
    house.proxy.accounts().remove(&name("acme")).await.unwrap();
    assert_eq!(report_of(&house, NODE, &report(5, json!({}))).await.assignments.as_deref(), Some(""));
    // Whoever has the name next finds nothing.
    let next = house.token("acme", &BOTH, None).await;
    assert_eq!(get(&house, &next, "/v1/sensors").await.text().trim(), "[]");
    house.proxy.stop().await;
}
