//! `POST /v1/tier/report`: what is taken, what is refused and how, and that it ends up in the store.

use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};
use sonde_inventory::report::{MOST_BODY_BYTES, Taken};
use sonde_inventory::{Catalogue, Embedded, State, Store};
use sonde_proxy::reports::{Reports, Settings, answer};
use tokio::sync::watch;
use uuid::Uuid;

use crate::world::World;

const A: Uuid = Uuid::from_u128(0xa);
const B: Uuid = Uuid::from_u128(0xb);
const X: Uuid = Uuid::from_u128(7);

fn reports(world: &World) -> Reports {
    Reports::new(world.store.clone(), world.catalogue.clone(), Settings::default())
}

fn claim(id: Uuid, owner: &str, state: &str) -> Value {
    json!({ "id": id, "owner": owner, "state": state, "name": "web-1", "groups": ["web"], "labels": { "a": "b" } })
}

fn report(node: Uuid, sequence: u64, instances: &[Value]) -> Value {
    json!({ "node": node, "session": Uuid::from_u128(1), "sequence": sequence, "instances": instances })
}

fn full(node: Uuid, sequence: u64, instances: &[Value]) -> Value {
    let mut full = report(node, sequence, instances);
    full["full"] = json!({ "hostname": "node-1", "url": "https://node-1:9164" });
    full
}

async fn send(reports: &Reports, node: Uuid, body: impl ToString) -> (StatusCode, String) {
    let request = Request::post("/v1/tier/report").body(Full::new(Bytes::from(body.to_string()))).unwrap();
    let response = answer(reports, node, request).await;
    (response.status(), String::from_utf8(response.into_body().to_vec()).unwrap())
}

async fn taken(reports: &Reports, node: Uuid, body: Value) -> Taken {
    let (status, text) = send(reports, node, &body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_full_list_then_diffs_and_it_is_there_after_a_restart() {
    let world = World::new().await;
    let reports = reports(&world);
    assert_eq!(taken(&reports, A, full(A, 1, &[claim(X, "acme", "running")])).await.lease_ms, 10_000);
    let known = world.catalogue.instance(X).unwrap();
    assert_eq!((known.node, known.name.as_str(), known.labels.get("a")), (A, "web-1", Some("b")));
    assert!(world.catalogue.is_reachable(A));
    taken(&reports, A, report(A, 2, &[claim(X, "acme", "frozen")])).await;
    let mut ends = report(A, 3, &[]);
    ends["ended"] = json!([{ "id": X, "reason": "oom_killed" }]);
    taken(&reports, A, ends).await;
    assert_eq!(reports.figures().taken, 3);
    world.store.close().await;
    let store = Store::Embedded(Embedded::open(&world.folder.path().join("inventory.redb")).unwrap());
    let catalogue = std::sync::Arc::new(Catalogue::default());
    store.follow(catalogue.clone()).await.unwrap();
    let known = catalogue.instance(X).unwrap();
    assert_eq!((known.state, known.reasons.as_slice()), (State::Gone, ["oom_killed".to_owned()].as_slice()));
    assert_eq!(catalogue.node(A).unwrap().hostname, "node-1");
}

#[tokio::test]
async fn what_is_missing_is_asked_for_again() {
    let world = World::new().await;
    let reports = reports(&world);
    assert_eq!(send(&reports, A, report(A, 1, &[])).await.0, StatusCode::CONFLICT, "nothing was said before");
    taken(&reports, A, full(A, 2, &[claim(X, "acme", "running")])).await;
    assert_eq!(send(&reports, A, report(A, 4, &[])).await.0, StatusCode::CONFLICT, "3 is missing");
    assert_eq!(send(&reports, A, report(A, 5, &[])).await.0, StatusCode::CONFLICT, "it still is");
    taken(&reports, A, full(A, 6, &[])).await;
    assert_eq!(world.catalogue.instance(X).unwrap().state, State::Gone, "what is not in a full list is not there");
    assert_eq!(reports.figures().asked_again, 3);
    // Another proxy has not heard the node.
    let other = Reports::new(world.store.clone(), world.catalogue.clone(), Settings::default());
    assert_eq!(send(&other, A, report(A, 7, &[])).await.0, StatusCode::CONFLICT);
    taken(&other, A, full(A, 8, &[])).await;
}

#[tokio::test]
async fn a_node_speaks_for_itself_alone_and_within_bounds() {
    let world = World::new().await;
    let reports = reports(&world);
    let (status, text) = send(&reports, A, full(B, 1, &[])).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains(&A.to_string()) && text.contains(&B.to_string()), "{text}");
    let mut plain = full(A, 1, &[]);
    plain["full"]["url"] = "http://10.0.0.1:9164".into();
    let mut path = full(A, 1, &[]);
    path["full"]["url"] = "https://node-1:9164/v1/x?y".into();
    for wrong in [
        plain.to_string(),
        path.to_string(),
        "{".into(),
        "[]".into(),
        full(A, 1, &[claim(X, "a/b", "running")]).to_string(),
        full(A, 1, &[claim(X, "acme", "walking")]).to_string(),
        full(A, 1, &[json!({ "id": X, "owner": "acme", "name": "x".repeat(1000) })]).to_string(),
    ] {
        let (status, text) = send(&reports, A, &wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {text}");
    }
    let (status, _) = send(&reports, A, " ".repeat(MOST_BODY_BYTES + 1)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let request = Request::get("/v1/tier/report").body(Full::new(Bytes::new())).unwrap();
    assert_eq!(answer(&reports, A, request).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(world.catalogue.counts(), (0, 0, 0));
    let mut limited = 0;
    for _ in 0..100 {
        limited += usize::from(send(&reports, B, "{").await.0 == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(limited > 30, "{limited}: a node cannot speak without end");
}

#[tokio::test]
async fn two_live_claims_alarm_and_one_that_moves_is_right_at_once() {
    let world = World::new().await;
    let reports = reports(&world);
    taken(&reports, A, full(A, 1, &[claim(X, "acme", "running")])).await;
    let refused = taken(&reports, B, full(B, 1, &[claim(X, "bank", "running")])).await.refused;
    assert_eq!(refused.iter().map(|refused| refused.id).collect::<Vec<_>>(), [X]);
    assert!(world.catalogue.instance(X).unwrap().is_claimed_twice());
    assert_eq!((reports.figures().claimed_twice, reports.figures().claimed_twice_now), (1, 1));
    taken(&reports, B, report(B, 2, &[])).await;
    assert_eq!(reports.figures().claimed_twice, 1, "once");
    let mut ends = report(A, 2, &[]);
    ends["ended"] = json!([{ "id": X, "reason": "removed" }]);
    taken(&reports, A, ends).await;
    let known = world.catalogue.instance(X).unwrap();
    assert_eq!((known.node, known.owner.as_str(), known.is_claimed_twice()), (B, "bank", false));
    assert_eq!(reports.figures().claimed_twice_now, 0);
}

#[tokio::test]
async fn many_nodes_at_once_with_full_lists() {
    let world = World::new().await;
    let reports = std::sync::Arc::new(reports(&world));
    let tasks = (0..8_u128).map(|n| {
        let reports = reports.clone();
        tokio::spawn(async move {
            let node = Uuid::from_u128(100 + n);
            let all: Vec<Value> = (0..250).map(|i| claim(Uuid::from_u128(n * 1000 + i), "acme", "running")).collect();
            taken(&reports, node, full(node, 1, &all)).await;
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(world.catalogue.counts(), (0, 8, 2000));
}

#[tokio::test]
async fn a_node_that_falls_silent_is_unreachable_and_its_instances_are_known() {
    let world = World::new().await;
    let reports = std::sync::Arc::new(reports(&world));
    let (stop, stopped) = watch::channel(false);
    let keeping = tokio::spawn({
        let reports = reports.clone();
        async move { reports.keep(stopped).await }
    });
    taken(&reports, A, full(A, 1, &[claim(X, "acme", "running")])).await;
    world.until("it is marked silent", |catalogue| catalogue.node(A).unwrap().silent_since_ms.is_some()).await;
    assert!(!world.catalogue.is_reachable(A));
    assert_eq!(world.catalogue.instance(X).unwrap().state, State::Running);
    // Its claims may have ended meanwhile: everything has to be said again.
    assert_eq!(send(&reports, A, report(A, 2, &[])).await.0, StatusCode::CONFLICT);
    taken(&reports, A, full(A, 3, &[claim(X, "acme", "running")])).await;
    assert!(world.catalogue.is_reachable(A) && world.catalogue.node(A).unwrap().silent_since_ms.is_none());
    stop.send(true).unwrap();
    keeping.await.unwrap();
}
