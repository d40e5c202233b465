use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sonde_inventory::{Account, AccountName, Change, Instance, Key, Node, Snapshot};
use uuid::Uuid;

use super::*;
use crate::access::REMEMBERED;
use crate::caller::Scopes;

fn name(name: &str) -> AccountName {
    AccountName::new(name).unwrap()
}

fn record(id: u128, owner: &str, more: Value) -> Instance {
    let mut json = json!({ "id": Uuid::from_u128(id), "node": Uuid::from_u128(1), "owner": owner, "state": "running" });
    json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json).unwrap()
}

fn ms_ago(ago: Duration) -> u64 {
    u64::try_from((SystemTime::now() - ago).duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Two accounts and the operator, on one node.
fn catalogue() -> Catalogue {
    let catalogue = Catalogue::default();
    let node = json!({ "id": Uuid::from_u128(1), "hostname": "n1.example", "url": "https://10.0.0.1:9164" });
    catalogue.replace(Snapshot {
        accounts: ["a", "b", "operator"].map(|account| Account::new(name(account))).into(),
        nodes: vec![serde_json::from_value::<Node>(node).unwrap()],
        instances: vec![
            record(
                0x11,
                "a",
                json!({ "name": "web-1", "image": "nginx:1", "runtime": "runc", "groups": ["web", "eu"], "labels": { "tier": "front", "a.b/c": "d" } }),
            ),
            record(0x12, "a", json!({ "name": "x", "alias": "back", "groups": ["db"] })),
            record(0x13, "b", json!({ "name": "secret-of-b", "groups": ["web"] })),
        ],
        ..Snapshot::default()
    });
    catalogue
}

fn caller(catalogue: &Catalogue, account: &str, groups: Option<&[&str]>) -> Caller {
    let groups = groups.map(|groups| groups.iter().map(|group| (*group).to_owned()).collect());
    Caller { account: catalogue.account(&name(account)).unwrap(), scopes: Scopes::ALL, groups, credential: "".into() }
}

fn settings() -> Settings {
    Settings::new("sonde.test:9163".into(), Some("sonde.test".into()), "here".into())
}

/// Asks what needs no waiting.
async fn ask(catalogue: &Catalogue, caller: &Caller, path_and_query: &str) -> Response<Bytes> {
    let (path, query) = path_and_query.split_once('?').map_or((path_and_query, None), |(p, q)| (p, Some(q)));
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("10.0.0.9:9163"))]);
    answer(path, query, &headers, caller, catalogue, &settings()).await.expect("it is a route")
}

async fn list(catalogue: &Catalogue, caller: &Caller, path_and_query: &str) -> Value {
    let response = ask(catalogue, caller, path_and_query).await;
    assert_eq!(response.status(), 200, "{path_and_query}: {:?}", response.body());
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    serde_json::from_slice(response.body()).unwrap()
}

/// The last bytes of the ids in a list of `triton_sd`.
fn ids(list: &Value) -> Vec<String> {
    let all = list["containers"].as_array().unwrap();
    all.iter().map(|one| one["vm_uuid"].as_str().unwrap()[34..].to_owned()).collect()
}

#[tokio::test]
async fn triton_gets_the_fields_it_reads_and_no_other() {
    let catalogue = catalogue();
    let a = caller(&catalogue, "a", None);
    assert_eq!(
        list(&catalogue, &a, "/v1/discover").await,
        json!({ "containers": [
            { "groups": ["web", "eu"], "server_uuid": Uuid::from_u128(1), "vm_alias": "web-1", "vm_brand": "runc",
              "vm_image_uuid": "nginx:1", "vm_uuid": Uuid::from_u128(0x11) },
            { "groups": ["db"], "server_uuid": Uuid::from_u128(1), "vm_alias": "back", "vm_brand": "",
              "vm_image_uuid": "", "vm_uuid": Uuid::from_u128(0x12) },
        ] })
    );
    for (query, expected) in [
        ("groups=web", vec!["11"]),
        ("groups=web%2Cdb", vec!["11", "12"]),
        ("groups=none", vec![]),
        ("match=tier=front", vec!["11"]),
        ("whatever=x", vec!["11", "12"]),
    ] {
        assert_eq!(ids(&list(&catalogue, &a, &format!("/v1/discover?{query}")).await), expected, "{query}");
    }
}

#[tokio::test]
async fn a_credential_for_groups_lists_those_alone_whatever_it_asks() {
    let catalogue = catalogue();
    let part = caller(&catalogue, "a", Some(&["db"]));
    assert_eq!(ids(&list(&catalogue, &part, "/v1/discover").await), ["12"]);
    assert_eq!(ids(&list(&catalogue, &part, "/v1/discover?groups=web").await), [""; 0]);
    let pusher = Caller { scopes: Scopes { reads_metrics: false, pushes_sensors: true }, ..part };
    assert_eq!(ask(&catalogue, &pusher, "/v1/discover").await.status(), 403);
}

#[tokio::test]
async fn nodes_are_the_operators_and_nobody_elses() {
    let catalogue = catalogue();
    let node = json!({ "server_uuid": Uuid::from_u128(1), "server_hostname": "n1.example" });
    let operator = caller(&catalogue, "operator", None);
    assert_eq!(list(&catalogue, &operator, "/v1/gz/discover").await, json!({ "cns": [node] }));
    assert_eq!(list(&catalogue, &operator, "/v1/sd/http?role=node").await.as_array().unwrap().len(), 1);
    let some_groups = caller(&catalogue, "operator", Some(&["web"]));
    for who in [caller(&catalogue, "a", None), some_groups] {
        assert_eq!(list(&catalogue, &who, "/v1/gz/discover?groups=a,a").await, json!({ "cns": [] }));
        assert_eq!(list(&catalogue, &who, "/v1/sd/http?role=node").await, json!([]));
        assert_eq!(list(&catalogue, &who, "/v1/health/service/sonde-node").await, json!([]));
        assert!(list(&catalogue, &who, "/v1/catalog/services").await.get("sonde-node").is_none());
    }
}

#[tokio::test]
async fn what_has_ended_is_listed_a_quarter_of_an_hour() {
    let catalogue = catalogue();
    let ended = |state: &str, ago| record(0x11, "a", json!({ "state": state, "ended_at_ms": ms_ago(ago) }));
    let a = caller(&catalogue, "a", None);
    for (state, ago, expected) in [
        ("gone", REMEMBERED - Duration::from_secs(5), vec!["11", "12"]),
        ("gone", REMEMBERED, vec!["12"]),
        ("stopped", REMEMBERED, vec!["12"]),
        // It lives again, whatever was noted of its end.
        ("running", REMEMBERED, vec!["11", "12"]),
    ] {
        catalogue.apply([Change::Instance(ended(state, ago))]);
        assert_eq!(ids(&list(&catalogue, &a, "/v1/discover").await), expected, "{state} {ago:?} ago");
    }
}

#[tokio::test]
async fn http_sd_leads_back_to_where_the_caller_came_in() {
    let catalogue = catalogue();
    let a = caller(&catalogue, "a", None);
    let groups = list(&catalogue, &a, "/v1/sd/http?match=tier=front").await;
    let id = Uuid::from_u128(0x11).to_string();
    assert_eq!(
        groups,
        json!([{ "targets": ["10.0.0.9:9163"], "labels": {
            "__scheme__": "https", "__metrics_path__": format!("/v1/instances/{id}/metrics"), "instance": id, "alias": "web-1",
            "__meta_sonde_instance_id": id, "__meta_sonde_alias": "web-1", "__meta_sonde_name": "web-1", "__meta_sonde_image": "nginx:1",
            "__meta_sonde_runtime": "runc", "__meta_sonde_state": "running", "__meta_sonde_node_id": Uuid::from_u128(1),
            "__meta_sonde_groups": ",web,eu,", "__meta_sonde_label_tier": "front", "__meta_sonde_label_a_b_c": "d",
        } }])
    );
    let account = list(&catalogue, &a, "/v1/sd/http?role=account").await;
    assert_eq!(account[0]["labels"]["__metrics_path__"], "/v1/account/metrics");
    // A typing error is not taken for no restriction.
    assert_eq!(ask(&catalogue, &a, "/v1/sd/http?group=web").await.status(), 400);
}

#[tokio::test]
async fn shards_make_up_the_whole_list() {
    let catalogue = catalogue();
    catalogue.apply((0x100..0x200).map(|id| Change::Instance(record(id, "a", json!({})))));
    let a = caller(&catalogue, "a", None);
    let mut parts = Vec::new();
    for shard in 0..3 {
        parts.push(list(&catalogue, &a, &format!("/v1/sd/http?shard={shard}/3")).await.as_array().unwrap().clone());
    }
    assert!(parts.iter().all(|part| part.len() > 60), "{:?}", parts.iter().map(Vec::len).collect::<Vec<_>>());
    let mut together = parts.concat();
    together.sort_by_key(|group| group["labels"]["instance"].as_str().unwrap().to_owned());
    assert_eq!(Value::from(together), list(&catalogue, &a, "/v1/sd/http").await);
}

#[tokio::test]
async fn no_error_can_be_read_as_a_list() {
    let unsynced = Catalogue::default();
    let synced = catalogue();
    let a = caller(&synced, "a", None);
    for path in [
        "/v1/discover",
        "/v1/gz/discover",
        "/v1/sd/http",
        "/v1/agent/self",
        "/v1/catalog/services",
        "/v1/health/service/sonde",
    ] {
        assert!(is_route(path));
        let response = ask(&unsynced, &a, path).await;
        assert_eq!(response.status(), 503, "{path}");
        assert!(serde_json::from_slice::<Value>(response.body()).is_err(), "{path}: {:?}", response.body());
    }
    for path in [
        "/v1/discover?groups=",
        "/v1/sd/http?role=x",
        "/v1/sd/http?%7B%7D=1",
        "/v1/catalog/services?filter=%7B%7D",
        "/v1/catalog/services?dc=%22%22",
        "/v1/health/service/sonde?index=x",
        "/v1/health/service/sonde?wait=5",
        "/v1/health/service/sonde?node-meta=x",
    ] {
        let response = ask(&synced, &a, path).await;
        assert_eq!(response.status(), 400, "{path}");
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert!(serde_json::from_slice::<Value>(response.body()).is_err(), "{path}: {:?}", response.body());
    }
    for sentence in ["{}", "null", "[]", "{\"code\":\"x\"}", "1"] {
        let body = refusal(StatusCode::UNAUTHORIZED, sentence).into_body();
        assert!(serde_json::from_slice::<Value>(&body).is_err(), "{body:?}");
    }
    let headers = HeaderMap::new();
    assert!(answer("/v1/instances", None, &headers, &a, &synced, &settings()).await.is_none());
    assert!(!is_route("/v1/discoverx") && !is_route("/v1/health/service"));
}

fn index(response: &Response<Bytes>) -> u64 {
    let index = response.headers()["x-consul-index"].to_str().unwrap().parse().unwrap();
    assert!(index > 0 && index <= i64::MAX as u64);
    index
}

#[tokio::test]
async fn consuls_index_moves_with_the_callers_view_and_with_nothing_else() {
    let catalogue = catalogue();
    let a = caller(&catalogue, "a", None);
    let path = "/v1/health/service/sonde";
    let first = index(&ask(&catalogue, &a, path).await);
    catalogue
        .apply([Change::Instance(record(0x14, "b", json!({}))), Change::Gone(Key::Instance(Uuid::from_u128(0x13)))]);
    assert_eq!(index(&ask(&catalogue, &a, path).await), first, "another account's instances moved it");
    catalogue.apply([Change::Instance(record(0x12, "a", json!({ "name": "x", "state": "saturated" })))]);
    let second = index(&ask(&catalogue, &a, path).await);
    assert_ne!(second, first);
    let other_service = index(&ask(&catalogue, &a, "/v1/catalog/services").await);
    assert_ne!(other_service, second);
}

#[tokio::test]
async fn consul_is_told_what_its_clients_read() {
    let catalogue = catalogue();
    catalogue.apply([Change::Instance(record(0x15, "a", json!({ "state": "gone", "groups": ["web"] })))]);
    let a = caller(&catalogue, "a", None);
    assert_eq!(list(&catalogue, &a, "/v1/agent/self").await["Config"]["Datacenter"], "here");
    assert_eq!(
        list(&catalogue, &a, "/v1/catalog/services?dc=here&stale=&wait=1ms").await,
        json!({ "sonde": ["db", "eu", "web"] })
    );
    let id = Uuid::from_u128(0x11).to_string();
    let one =
        list(&catalogue, &a, "/v1/health/service/sonde?tag=web&tag=eu&node-meta=tier:front&node-meta=shard:0/1").await;
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert_eq!(one[0]["Node"]["Meta"]["tier"], "front");
    assert_eq!(one[0]["Service"]["Address"], format!("{id}.sonde.test"));
    assert_eq!(one[0]["Service"]["Port"], 9163);
    assert_eq!(one[0]["Service"]["Tags"], json!(["web", "eu"]));
    assert_eq!(one[0]["Checks"], json!([{ "CheckID": "sonde:state", "Status": "passing" }]));
    let count = |list: Value| list.as_array().unwrap().len();
    assert_eq!(count(list(&catalogue, &a, "/v1/health/service/sonde?tag=web").await), 2);
    assert_eq!(count(list(&catalogue, &a, "/v1/health/service/sonde?tag=web&passing=1").await), 1);
    assert_eq!(count(list(&catalogue, &a, "/v1/health/service/other").await), 0);
}

#[tokio::test(start_paused = true)]
async fn a_blocking_question_is_answered_when_its_view_changes_and_not_before() {
    let catalogue = Arc::new(catalogue());
    let a = caller(&catalogue, "a", None);
    let now = index(&ask(&catalogue, &a, "/v1/health/service/sonde").await);
    let question = format!("/v1/health/service/sonde?index={now}&wait=60s");
    let (theirs, who) = (Arc::clone(&catalogue), a.clone());
    let waiting = tokio::spawn(async move { ask(&theirs, &who, &question).await });
    for id in 0x20..0x24 {
        catalogue.apply([Change::Instance(record(id, "b", json!({})))]);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(!waiting.is_finished(), "it was woken by what it does not see");
    }
    // As a store does after a reconnect: all anew, and nothing another.
    catalogue.apply([Change::Instance((*catalogue.instance(Uuid::from_u128(0x11)).unwrap()).clone())]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!waiting.is_finished());
    catalogue.apply([Change::Instance(record(0x30, "a", json!({})))]);
    let answer = tokio::time::timeout(Duration::from_secs(2), waiting).await.unwrap().unwrap();
    assert_ne!(index(&answer), now);
    assert_eq!(serde_json::from_slice::<Value>(answer.body()).unwrap().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_blocking_question_ends_with_its_patience_and_the_same_index() {
    let catalogue = catalogue();
    let a = caller(&catalogue, "a", None);
    let now = index(&ask(&catalogue, &a, "/v1/catalog/services").await);
    let asked = Instant::now();
    let answer = ask(&catalogue, &a, &format!("/v1/catalog/services?index={now}&wait=200ms")).await;
    assert!(asked.elapsed() >= Duration::from_millis(200));
    assert_eq!(index(&answer), now);
    // An index that is not ours, also a greater one, is answered at once.
    let asked = Instant::now();
    for other in [1, u64::MAX] {
        ask(&catalogue, &a, &format!("/v1/catalog/services?index={other}&wait=60s")).await;
    }
    assert!(asked.elapsed() < Duration::from_secs(5));
}

/// Starts a waiter and comes back when it waits, or has been answered.
async fn waiter(catalogue: &Arc<Catalogue>, settings: &Arc<Settings>, who: &Caller) -> tokio::task::JoinHandle<u16> {
    let now = index(&ask(catalogue, who, "/v1/catalog/services").await);
    let (catalogue, settings, who) = (Arc::clone(catalogue), Arc::clone(settings), who.clone());
    let waiting = tokio::spawn(async move {
        let (query, headers) = (format!("index={now}&wait=60s"), HeaderMap::new());
        let answer = answer("/v1/catalog/services", Some(&query), &headers, &who, &catalogue, &settings);
        answer.await.unwrap().status().as_u16()
    });
    tokio::task::yield_now().await;
    waiting
}

#[tokio::test(start_paused = true)]
async fn waiters_are_bounded_by_account_and_let_go_when_we_stop() {
    let catalogue = Arc::new(catalogue());
    let settings = Arc::new(settings());
    let (a, b) = (caller(&catalogue, "a", None), caller(&catalogue, "b", None));
    let mut waiting = Vec::new();
    let refused = loop {
        let one = waiter(&catalogue, &settings, &a).await;
        if one.is_finished() {
            break one.await.unwrap();
        }
        waiting.push(one);
        assert!(waiting.len() < 1000, "nobody is one too many");
    };
    assert_eq!(refused, 429);
    let others = waiter(&catalogue, &settings, &b).await;
    assert!(!others.is_finished(), "one account's waiters cost another its place");
    // One leaves, one may come.
    waiting.pop().unwrap().abort();
    tokio::task::yield_now().await;
    waiting.push(waiter(&catalogue, &settings, &a).await);
    assert!(!waiting.last().unwrap().is_finished());
    settings.end_waiting();
    for one in waiting.into_iter().chain([others]) {
        assert_eq!(one.await.unwrap(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_account_changed_learns_nothing_new() {
    let catalogue = Arc::new(catalogue());
    let a = caller(&catalogue, "a", None);
    let first = ask(&catalogue, &a, "/v1/health/service/sonde").await;
    let question = format!("/v1/health/service/sonde?index={}&wait=60s", index(&first));
    let (theirs, who) = (Arc::clone(&catalogue), a.clone());
    let waiting = tokio::spawn(async move { ask(&theirs, &who, &question).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    catalogue.apply([Change::Gone(Key::Account(name("a"))), Change::Instance(record(0x30, "a", json!({})))]);
    let answer = tokio::time::timeout(Duration::from_secs(2), waiting).await.unwrap().unwrap();
    assert_eq!(answer.body(), first.body());
}

#[tokio::test]
async fn an_account_is_told_its_own_name_in_dns() {
    let catalogue = catalogue();
    let (all, part) = (caller(&catalogue, "a", None), caller(&catalogue, "a", Some(&["db"])));
    assert_eq!(ask(&catalogue, &all, "/v1/sd/dns").await.status(), 404);
    let key = ListKey::new(&[1; 32]).unwrap();
    let settings = settings().with_lists(Some(key.clone()));
    let told = answer("/v1/sd/dns", None, &HeaderMap::new(), &all, &catalogue, &settings).await.unwrap();
    assert_eq!(told.body(), &format!("{}.sonde.test\n", key.label(&name("a"))));
    let refused = answer("/v1/sd/dns", None, &HeaderMap::new(), &part, &catalogue, &settings).await.unwrap();
    assert_eq!(refused.status(), 403);
}
