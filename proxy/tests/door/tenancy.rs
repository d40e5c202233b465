//! Who sees what: each kind of identity at each route, of what is its own, another's, unknown, gone and forgotten.

use http::StatusCode;
use serde_json::{Value, json};
use sonde_inventory::{Instance, Scope};

use crate::client::{Ask, VERSIONS, Version, ask, get};
use crate::house::{Credential, House, NODE, SUFFIX, ago, id, instance};

/// The instances of the house, by number.
const OWN: u128 = 1;
const OF_GROUP: u128 = 2;
const FOREIGN: u128 = 3;
const GONE: u128 = 4;
const FORGOTTEN: u128 = 5;
const OPERATORS: u128 = 6;
const UNKNOWN: u128 = 99;

fn instances() -> Vec<Instance> {
    let gone = |seconds| json!({ "state": "gone", "reasons": ["removed"], "ended_at_ms": ago(seconds), "node": crate::house::AWAY });
    vec![
        instance(OWN, "acme", json!({ "alias": "Web 1" })),
        instance(OF_GROUP, "acme", json!({ "groups": ["web"] })),
        instance(FOREIGN, "rival", json!({ "groups": ["web"] })),
        instance(GONE, "acme", gone(60)),
        instance(FORGOTTEN, "acme", gone(1000)),
        instance(OPERATORS, "operator", json!({})),
    ]
}

/// Of the targets in order, the status that each kind gets.
const TARGETS: [u128; 7] = [OWN, OF_GROUP, FOREIGN, GONE, FORGOTTEN, OPERATORS, UNKNOWN];

struct Kind {
    name: &'static str,
    credential: Credential,
    targets: [u16; 7],
    node: u16,
    lists: u16,
}

async fn kinds(house: &House) -> Vec<Kind> {
    let tokens = house.proxy.accounts();
    let revoked = house.token("acme", &[], None).await;
    let account = tokens.get(&crate::house::name("acme")).unwrap();
    tokens.remove_token(&account.name, &account.tokens[0].id).await.unwrap();
    let owner = [200, 200, 404, 503, 404, 404, 404];
    let kind = |name, credential, targets, node, lists| Kind { name, credential, targets, node, lists };
    let push = [Scope::PushSensors];
    vec![
        kind("nobody", Credential::default(), [401; 7], 401, 401),
        kind("revoked token", revoked, [401; 7], 401, 401),
        kind("made-up token", Credential { token: Some("x".repeat(43)), certificate: None }, [401; 7], 401, 401),
        kind("token", house.token("acme", &[], None).await, owner, 404, 200),
        kind("certificate", house.certificate("acme").await, owner, 404, 200),
        kind(
            "token of a group",
            house.token("acme", &[], Some(&["web"])).await,
            [404, 200, 404, 404, 404, 404, 404],
            404,
            200,
        ),
        kind("token to push", house.token("acme", &push, None).await, [403; 7], 403, 403),
        kind("rival's", house.certificate("rival").await, [404, 404, 200, 404, 404, 404, 404], 404, 200),
        kind("operator's", house.token("operator", &[], None).await, [404, 404, 404, 404, 404, 200, 404], 200, 200),
        kind("operator's of a group", house.token("operator", &[], Some(&["web"])).await, [404; 7], 404, 200),
    ]
}

#[tokio::test]
async fn each_identity_sees_its_own_at_each_route() {
    let house = House::start(&instances()).await;
    for kind in kinds(&house).await {
        for version in VERSIONS {
            for (number, expected) in TARGETS.into_iter().zip(kind.targets) {
                let uuid = id(number);
                let path = format!("/v1/instances/{uuid}/metrics");
                let by_path = ask(&house, &kind.credential, version, &Ask { path: &path, ..Ask::default() }).await;
                assert_eq!(by_path.status, expected, "{} {version:?} {number} by path", kind.name);
                let host = format!("{uuid}.{SUFFIX}");
                let named = Ask { server_name: Some(&host), host: Some(&host), path: "/metrics", ..Ask::default() };
                let by_name = ask(&house, &kind.credential, version, &named).await;
                // By name a route is none where the credential is not for it.
                assert_eq!(by_name.status, expected, "{} {version:?} {number} by name", kind.name);
                if expected == 404 {
                    assert_same_as_unknown(&house, &kind, version, &by_path).await;
                }
            }
            let path = format!("/v1/instances/{NODE}/metrics");
            let node = ask(&house, &kind.credential, version, &Ask { path: &path, ..Ask::default() }).await;
            assert_eq!(node.status, kind.node, "{} {version:?} the node", kind.name);
            for path in ["/v1/instances", "/v1/usage", "/v1/account/metrics", "/v1/discover", "/v1/sd/http"] {
                let list = ask(&house, &kind.credential, version, &Ask { path, ..Ask::default() }).await;
                assert_eq!(list.status, kind.lists, "{} {version:?} {path}", kind.name);
            }
        }
    }
    // Nobody asked an agent for what was not his.
    for heard in house.agent.heard(&id(FOREIGN).to_string()) {
        assert_eq!(heard.headers["x-sonde-owner"], "rival");
    }
    house.proxy.stop().await;
}

/// What may not be seen is, to the byte, what does not exist.
async fn assert_same_as_unknown(house: &House, kind: &Kind, version: Version, heard: &crate::client::Heard) {
    let path = format!("/v1/instances/{}/metrics", id(UNKNOWN + 1));
    let unknown = ask(house, &kind.credential, version, &Ask { path: &path, ..Ask::default() }).await;
    let without_date = |heard: &crate::client::Heard| {
        let mut headers = heard.headers.clone();
        headers.remove("date");
        (heard.status, headers, heard.body.clone())
    };
    assert_eq!(without_date(heard), without_date(&unknown), "{}", kind.name);
}

#[tokio::test]
async fn lists_have_nothing_of_anybody_else() {
    let house = House::start(&instances()).await;
    let (acme, rival) = (house.token("acme", &[], None).await, house.token("rival", &[], None).await);
    let operator = house.token("operator", &[], None).await;
    for path in ["/v1/instances", "/v1/account/metrics", "/v1/usage", "/v1/discover", "/v1/sd/http"] {
        let of_acme = get(&house, &acme, path).await;
        let of_rival = get(&house, &rival, path).await;
        let of_operator = get(&house, &operator, path).await;
        for (heard, not) in [
            (&of_acme, [FOREIGN, OPERATORS, FORGOTTEN]),
            (&of_rival, [OWN, OF_GROUP, GONE]),
            (&of_operator, [OWN, FOREIGN, GONE]),
        ] {
            for number in not {
                assert!(!heard.text().contains(&id(number).to_string()), "{path} has {number}: {}", heard.text());
            }
        }
        assert!(!of_rival.text().contains("acme") && !of_acme.text().contains("rival"), "{path}");
    }
    let list: Value = serde_json::from_str(get(&house, &acme, "/v1/instances").await.text()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 3);
    let account = get(&house, &acme, "/v1/account/metrics").await;
    let gone = format!("sonde_instance_state{{instance_id=\"{}\",name=\"i4\",state=\"gone\"}} 1", id(GONE));
    assert!(account.text().contains(&gone), "{}", account.text());
    assert_eq!(get(&house, &acme, "/v1/nodes").await.status, StatusCode::NOT_FOUND);
    assert!(get(&house, &operator, "/v1/nodes").await.text().contains(&NODE.to_string()));
    house.proxy.stop().await;
}

#[tokio::test]
async fn what_moves_or_is_taken_away_is_so_from_the_next_request_on() {
    let house = House::start(&instances()).await;
    let (acme, rival) = (house.certificate("acme").await, house.token("rival", &[], None).await);
    let path = format!("/v1/instances/{}/metrics", id(OWN));
    assert_eq!(get(&house, &acme, &path).await.status, StatusCode::OK);
    assert_eq!(get(&house, &rival, &path).await.status, StatusCode::NOT_FOUND);
    let was = instances()[0].clone();
    let mut moved = was.clone();
    moved.owner = crate::house::name("rival");
    moved.owner_epoch += 1;
    house.put(Some(was), moved).await;
    assert_eq!(get(&house, &acme, &path).await.status, StatusCode::NOT_FOUND);
    // And not with what its former owner had just got.
    let heard = get(&house, &rival, &path).await;
    assert_eq!(heard.status, StatusCode::OK);
    assert_eq!(house.agent.heard(&id(OWN).to_string()).len(), 2);
    assert_eq!(house.agent.heard(&id(OWN).to_string())[1].headers["x-sonde-owner"], "rival");
    house.proxy.accounts().remove(&crate::house::name("rival")).await.unwrap();
    assert_eq!(get(&house, &rival, &path).await.status, StatusCode::UNAUTHORIZED);
    house.proxy.stop().await;
}
