//! Sensors as tenants push them, and as those do who mean harm: limits, others' names and digests, broken and slow bodies, replays, secrets.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use sonde_inventory::{ArtifactDigest, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Ask, Heard, VERSIONS, Version, ask, connect, get};
use crate::house::{Credential, House, instance, name};

pub const BOTH: [Scope; 2] = [Scope::ReadMetrics, Scope::PushSensors];
const SECRET: &str = "correct-horse-battery";

/// A component that is one by its head and its manifest; what else it is, an agent would find out. `more` makes it another.
pub fn artifact(more: &str) -> Vec<u8> {
    let manifest = format!(
        "name = \"web\"\nversion = \"1.0.0\"\ninterval = \"15s\"\ndescription = \"{more}\"\n[capabilities]\ntcp = [\"$port\"]\nsecrets = [\"password\"]\n\
         [config.port]\ntype = \"port\"\ndefault = 80\n"
    );
    sonde_manifest::embed(b"\0asm\x0d\0\x01\0", &manifest).unwrap()
}

pub async fn send(
    house: &House,
    who: &Credential,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Heard {
    let asked = Ask { method: Some(method), path, headers, body, ..Ask::default() };
    ask(house, who, Version::One, &asked).await
}

pub fn json(heard: &Heard) -> Value {
    assert!(heard.status.is_success(), "{}: {}", heard.status, heard.text());
    serde_json::from_str(heard.text()).unwrap()
}

fn tag(heard: &Heard) -> String {
    heard.headers["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_sensor_is_pushed_seen_changed_rolled_out_and_removed() {
    let house = House::start(&[instance(1, "acme", json!({}))]).await;
    let acme = house.token("acme", &BOTH, None).await;
    assert_eq!(get(&house, &acme, "/v1/sensors").await.text().trim(), "[]");
    let (one, two) = (artifact("one"), artifact("two"));
    let created = send(&house, &acme, "PUT", "/v1/sensors/web", &[], &one).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
    let first = json(&created);
    assert_eq!(first["versions"][0]["sha256"], ArtifactDigest::of(&one).to_string());
    assert!(first["versions"][0]["pushed_by"].as_str().unwrap().starts_with("token "), "{first}");
    assert_eq!(first["versions"][0]["state"], "waiting");
    // Again: the same, and nothing has moved.
    let again = send(&house, &acme, "PUT", "/v1/sensors/web", &[], &one).await;
    assert_eq!((again.status, tag(&again)), (StatusCode::OK, tag(&created)));
    // Another one over it only by who says what is there.
    let unsaid = send(&house, &acme, "PUT", "/v1/sensors/web", &[], &two).await;
    assert_eq!(unsaid.status, StatusCode::PRECONDITION_REQUIRED);
    let wrong = send(&house, &acme, "PUT", "/v1/sensors/web", &[("if-match", "\"00\"")], &two).await;
    assert_eq!(wrong.status, StatusCode::PRECONDITION_FAILED);
    let taken = send(&house, &acme, "PUT", "/v1/sensors/web", &[("if-none-match", "*")], &two).await;
    assert_eq!(taken.status, StatusCode::PRECONDITION_FAILED);
    let beside = r#"{"percent": 10, "config": {"port": "81"}, "match": {"groups": ["web"]}}"#;
    let said = [("if-match", tag(&created)), ("x-sonde-push", beside.to_owned())];
    let said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let rolled = json(&send(&house, &acme, "PUT", "/v1/sensors/web", &said, &two).await);
    let percents: Vec<_> = rolled["versions"].as_array().unwrap().iter().map(|v| v["percent"].as_u64()).collect();
    assert_eq!(percents, [Some(90), Some(10)], "{rolled}");
    assert_eq!(rolled["versions"][1]["config"]["port"], "81");
    // A replay of the first push finds that it is not so any more.
    let replayed = send(&house, &acme, "PUT", "/v1/sensors/web", &[], &one).await;
    assert_eq!(replayed.status, StatusCode::PRECONDITION_REQUIRED, "{}", replayed.text());
    let put = |percent: u8| json!({ "percent": percent }).to_string();
    let half = json(&send(&house, &acme, "PUT", "/v1/sensors/web/rollout", &[], put(50).as_bytes()).await);
    assert_eq!(half["versions"][1]["percent"], 50);
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/web/rollout", &[], put(101).as_bytes()).await.status, 400);
    let whole = json(&send(&house, &acme, "PUT", "/v1/sensors/web/rollout", &[], put(100).as_bytes()).await);
    assert_eq!(whole["versions"].as_array().unwrap().len(), 1);
    assert_eq!(whole["versions"][0]["sha256"], ArtifactDigest::of(&two).to_string());
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/web/rollout", &[], put(5).as_bytes()).await.status, 409);
    assert_eq!(send(&house, &acme, "DELETE", "/v1/sensors/web/rollout", &[], b"").await.status, 200);
    // Settings are what the manifest allows.
    let wrong = send(&house, &acme, "PUT", "/v1/sensors/web/config", &[], br#"{"config": {"prot": "1"}}"#).await;
    assert!(wrong.status == 400 && wrong.text().contains("prot"), "{}", wrong.text());
    assert_eq!(
        send(&house, &acme, "PUT", "/v1/sensors/web/config", &[], br#"{"config": {"port": "8"}}"#).await.status,
        200
    );
    let config = json(&get(&house, &acme, "/v1/sensors/web/config").await);
    assert_eq!(config, json!({ "config": { "port": "8" }, "match": { "groups": ["web"] } }));
    let usage = json(&get(&house, &acme, "/v1/usage").await);
    assert_eq!(usage[0]["sensors_bytes"], two.len());
    assert_eq!(send(&house, &acme, "DELETE", "/v1/sensors/web", &[("if-match", "\"00\"")], b"").await.status, 412);
    assert_eq!(send(&house, &acme, "DELETE", "/v1/sensors/web", &[], b"").await.status, 200);
    assert_eq!(get(&house, &acme, "/v1/sensors/web").await.status, 404);
    house.proxy.stop().await;
}

#[tokio::test]
async fn a_credential_does_what_it_is_for() {
    let house = House::start(&[]).await;
    let pusher = house.token("acme", &[Scope::PushSensors], None).await;
    let reader = house.token("acme", &[], None).await;
    let of_group = house.token("acme", &BOTH, Some(&["web"])).await;
    let wasm = artifact("one");
    let cases = [(&Credential::default(), 401, 401), (&reader, 403, 200), (&of_group, 403, 403), (&pusher, 201, 200)];
    for (who, put, list) in cases {
        assert_eq!(send(&house, who, "PUT", "/v1/sensors/web", &[], &wasm).await.status, put);
        assert_eq!(get(&house, who, "/v1/sensors").await.status, list);
    }
    for (who, status) in [(&reader, 403), (&of_group, 403)] {
        for (method, path) in [
            ("DELETE", "/v1/sensors/web"),
            ("PUT", "/v1/sensors/web/config"),
            ("PUT", "/v1/sensors/web/secrets"),
            ("PUT", "/v1/sensors/web/secrets/a"),
            ("DELETE", "/v1/sensors/web/secrets/a"),
            ("PUT", "/v1/sensors/web/rollout"),
            ("DELETE", "/v1/sensors/web/rollout"),
        ] {
            assert_eq!(send(&house, who, method, path, &[], b"{}").await.status, status, "{method} {path}");
        }
    }
    for (method, path) in [
        ("POST", "/v1/sensors/web"),
        ("PATCH", "/v1/sensors/web"),
        ("PUT", "/v1/sensors"),
        ("PUT", "/v1/instances"),
        ("DELETE", "/v1/usage"),
        ("PUT", "/v1/sensorsx"),
    ] {
        assert_eq!(send(&house, &pusher, method, path, &[], b"").await.status, 405, "{method} {path}");
    }
    for path in [
        "/v1/sensors/web/",
        "/v1/sensors/web/x",
        "/v1/sensors//",
        "/v1/sensors/..%2fweb",
        "/v1/sensors/web/secrets/a/b",
        "/v1/sensors/Web",
    ] {
        assert_eq!(get(&house, &pusher, path).await.status, 404, "{path}");
    }
    house.proxy.stop().await;
}

#[tokio::test]
async fn anothers_sensors_do_not_exist_and_a_digest_tells_nothing() {
    let house = House::start(&[]).await;
    let (acme, rival) = (house.token("acme", &BOTH, None).await, house.token("rival", &BOTH, None).await);
    let wasm = artifact("one");
    let sha256 = ArtifactDigest::of(&wasm).to_string();
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/web", &[], &wasm).await.status, 201);
    let without_date = |heard: Heard| {
        let mut headers = heard.headers.clone();
        headers.remove("date");
        (heard.status, headers, heard.body)
    };
    for version in VERSIONS {
        for (method, rest, body) in [
            ("GET", "", &b""[..]),
            ("DELETE", "", b""),
            ("GET", "/config", b""),
            ("PUT", "/config", b"{}"),
            ("GET", "/secrets", b""),
            ("PUT", "/secrets", b"{}"),
            ("PUT", "/secrets/password", b"x"),
            ("DELETE", "/secrets/password", b""),
            ("GET", "/rollout", b""),
            ("PUT", "/rollout", br#"{"percent": 1}"#),
            ("DELETE", "/rollout", b""),
            ("GET", "/logs", b""),
        ] {
            let of = async |name: &str| {
                let path = format!("/v1/sensors/{name}{rest}");
                let asked = Ask { method: Some(method), path: &path, body, ..Ask::default() };
                without_date(ask(&house, &rival, version, &asked).await)
            };
            let (foreign, unknown) = (of("web").await, of("none").await);
            assert_eq!(foreign.0, 404, "{method} {rest}");
            assert_eq!(foreign, unknown, "{method} {rest} {version:?}");
        }
    }
    // Who knows the digest has nothing of it: not by what he says is there, not by sending less than all of it.
    for header in ["if-match"] {
        let heard = send(&house, &rival, "PUT", "/v1/sensors/web", &[(header, &sha256)], &wasm[..20]).await;
        assert_eq!(heard.status, 400, "{}", heard.text());
        let heard = send(&house, &rival, "PUT", "/v1/sensors/web", &[(header, &sha256)], &wasm).await;
        assert_eq!(heard.status, StatusCode::PRECONDITION_FAILED);
    }
    for path in
        [format!("/v1/artifacts/{sha256}"), format!("/v1/tier/artifacts/{sha256}"), format!("/v1/sensors/{sha256}")]
    {
        for who in [&rival, &acme] {
            assert_eq!(get(&house, who, &path).await.status, 404, "{path}");
        }
    }
    // The same bytes are new to him, and his own.
    let mine = send(&house, &rival, "PUT", "/v1/sensors/web", &[], &wasm).await;
    let theirs = send(&house, &acme, "PUT", "/v1/sensors/other", &[], &wasm).await;
    assert_eq!((mine.status, theirs.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(send(&house, &rival, "DELETE", "/v1/sensors/web", &[], b"").await.status, 200);
    assert!(get(&house, &acme, "/v1/sensors/web").await.text().contains(&sha256), "it is acme's still");
    house.proxy.stop().await;
}

#[tokio::test]
async fn what_is_broken_too_large_or_too_much_is_refused() {
    let house = House::start(&[]).await;
    let acme = house.token("acme", &BOTH, None).await;
    let wasm = artifact("one");
    for (body, said) in [
        (&b""[..], "not WebAssembly"),
        (b"\x7fELF\x02", "not WebAssembly"),
        (b"\0asm\x01\0\0\0", "not a component"),
        (&wasm[..wasm.len() - 3], "broken or cut off"),
        (b"\0asm\x0d\0\x01\0", "no manifest"),
    ] {
        let heard = send(&house, &acme, "PUT", "/v1/sensors/web", &[], body).await;
        assert!(heard.status == 400 && heard.text().contains(said), "{said}: {}", heard.text());
    }
    for settings in [
        "x",
        "{",
        r#"{"percent": 200}"#,
        r#"{"percent": 7}"#,
        r#"{"matches": {}}"#,
        r#"{"config": {"prot": "1"}}"#,
        r#"{"secrets": {"a b": "x"}}"#,
    ] {
        let heard = send(&house, &acme, "PUT", "/v1/sensors/web", &[("x-sonde-push", settings)], &wasm).await;
        assert_eq!(heard.status, 400, "{settings}: {}", heard.text());
    }
    assert_eq!(get(&house, &acme, "/v1/sensors").await.text().trim(), "[]", "nothing of that was kept");
    assert!(house.proxy.store().artifacts().await.unwrap().is_empty());
    // Limits: of one artifact, of all, of how many.
    let set = async |limits: Value| {
        let accounts = house.proxy.accounts();
        accounts.set_limits(&name("acme"), limits.as_object().unwrap()).await.unwrap();
    };
    set(json!({ "sensor_bytes": wasm.len() - 1 })).await;
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/web", &[], &wasm).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    set(json!({ "sensor_bytes": wasm.len(), "all_sensors_bytes": wasm.len() * 2 - 1 })).await;
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/web", &[], &wasm).await.status, 201);
    let second = send(&house, &acme, "PUT", "/v1/sensors/two", &[], &artifact("two")).await;
    assert_eq!(
        (second.status, second.reason()),
        (StatusCode::INSUFFICIENT_STORAGE, "over_quota; sensors"),
        "{}",
        second.text()
    );
    // The same under another name is another file on a node, and counts.
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/same", &[], &wasm).await.status, 507);
    set(json!({ "sensors": 2, "all_sensors_bytes": wasm.len() * 4 })).await;
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/same", &[], &wasm).await.status, 201);
    let third = send(&house, &acme, "PUT", "/v1/sensors/third", &[], &wasm).await;
    assert!(third.status == 507 && third.text().contains("has 2 sensors"), "{}", third.text());
    set(json!({ "sensors": 0 })).await;
    assert_eq!(send(&house, &acme, "DELETE", "/v1/sensors/same", &[], b"").await.status, 200, "less is always allowed");
    house.proxy.stop().await;
}

#[tokio::test]
async fn a_slow_upload_is_ended_and_holds_nobody_else_up() {
    let house = House::start(&[]).await;
    let (acme, rival) = (house.token("acme", &BOTH, None).await, house.token("rival", &BOTH, None).await);
    let mut stream = connect(&house, &Credential::default(), None, Version::One).await;
    let head = format!(
        "PUT /v1/sensors/web HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\nexpect: 100-continue\r\n\r\n\0asm",
        house.proxy.address(),
        acme.token.as_ref().unwrap()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // It is being read.
    let mut goes_on = [0; 25];
    stream.read_exact(&mut goes_on).await.unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    // While it is under way the account has no other, and others have theirs.
    let wasm = artifact("one");
    let busy = send(&house, &acme, "PUT", "/v1/sensors/other", &[], &wasm).await;
    assert_eq!(busy.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(send(&house, &rival, "PUT", "/v1/sensors/web", &[], &wasm).await.status, 201);
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut heard)).await;
    assert!(ended.is_ok(), "it is ended");
    assert!(heard.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&heard));
    assert_eq!(get(&house, &acme, "/v1/sensors/web").await.status, 404);
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/web", &[], &wasm).await.status, 201, "and it may again");
    house.proxy.stop().await;
}

#[tokio::test]
async fn secrets_are_seen_by_nobody_and_stay_with_their_bytes() {
    let house = House::start(&[]).await;
    let acme = house.token("acme", &BOTH, None).await;
    let (one, two) = (artifact("one"), artifact("two"));
    let settings = json!({ "secrets": { "password": SECRET } }).to_string();
    let pushed = send(&house, &acme, "PUT", "/v1/sensors/web", &[("x-sonde-push", &settings)], &one).await;
    assert_eq!(json(&pushed)["versions"][0]["secrets"], json!(["password"]));
    let bound = json(&get(&house, &acme, "/v1/sensors/web/secrets").await);
    assert_eq!(bound, json!([{ "name": "password", "sha256": ArtifactDigest::of(&one).to_string() }]));
    // A value cannot be asked for, and what is wrong is said without it.
    assert_eq!(get(&house, &acme, "/v1/sensors/web/secrets/password").await.status, 405);
    let broken = format!("{{\"password\": {SECRET:?}");
    let heard = send(&house, &acme, "PUT", "/v1/sensors/web/secrets", &[], broken.as_bytes()).await;
    assert!(heard.status == 400 && !heard.text().contains(SECRET), "{}", heard.text());
    let heard = send(&house, &acme, "PUT", "/v1/sensors/web", &[("x-sonde-push", &broken)], &one).await;
    assert!(heard.status == 400 && !heard.text().contains(SECRET), "{}", heard.text());
    let long = "x".repeat(4097);
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/web/secrets/long", &[], long.as_bytes()).await.status, 413);
    // Other bytes under the name have none of them; the first, pushed again, has not either.
    let next = json(&send(&house, &acme, "PUT", "/v1/sensors/web", &[("if-match", "*")], &two).await);
    assert_eq!(next["versions"][0]["secrets"], json!([]));
    let back = json(&send(&house, &acme, "PUT", "/v1/sensors/web", &[("if-match", "*")], &one).await);
    assert_eq!(back["versions"][0]["secrets"], json!([]));
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/web/secrets/token", &[], SECRET.as_bytes()).await.status, 200);
    let elsewhere = format!("/v1/sensors/web/secrets/token?sha256={}", ArtifactDigest::of(&two));
    assert_eq!(send(&house, &acme, "PUT", &elsewhere, &[], SECRET.as_bytes()).await.status, 409);
    let everything = [get(&house, &acme, "/v1/sensors").await, get(&house, &acme, "/v1/sensors/web").await, pushed];
    assert!(everything.iter().all(|heard| !heard.text().contains(SECRET)));
    house.proxy.stop().await;
    // Nothing of it lies in the folder: not in the inventory, and not in a file beside it.
    let mut files = vec![house.folder.path().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found, "{} has the secret", path.display());
    }
}

#[tokio::test]
async fn logs_are_of_ones_own_instances_and_artifacts() {
    let instances = [
        instance(1, "acme", json!({ "alias": "shop" })),
        instance(2, "rival", json!({})),
        instance(3, "acme", json!({})),
    ];
    let house = House::start(&instances).await;
    let acme = house.token("acme", &BOTH, None).await;
    let wasm = artifact("one");
    let settings = r#"{"match": {"instances": ["shop"]}}"#;
    assert_eq!(send(&house, &acme, "PUT", "/v1/sensors/web", &[("x-sonde-push", settings)], &wasm).await.status, 201);
    let row = |name: &str, digest: String| json!({ "name": name, "state": "running", "digest": digest, "log": [{ "level": "info", "message": name }] });
    let own = format!("sha256:{}", ArtifactDigest::of(&wasm));
    let says = |rows: Value| crate::agent::Says::Body(rows.to_string());
    let id = crate::house::id;
    house.agent.says(&id(1).to_string(), says(json!([row("other", own.clone()), row("web", own.clone())])));
    house
        .agent
        .says(&id(3).to_string(), says(json!([row("web", format!("sha256:{}", ArtifactDigest::of(b"operator's")))])));
    let all = json(&get(&house, &acme, "/v1/sensors/web/logs").await);
    assert_eq!(all.as_array().unwrap().len(), 1, "those that match: {all}");
    assert_eq!((&all[0]["name"], &all[0]["log"][0]["message"]), (&json!("shop"), &json!("web")));
    // An operator's sensor of the name is none of the tenant's.
    let third = json(&get(&house, &acme, &format!("/v1/sensors/web/logs?instance={}", id(3))).await);
    assert_eq!((&third[0]["state"], &third[0]["log"]), (&json!("absent"), &json!([])));
    for foreign in [id(2).to_string(), id(99).to_string(), "i2".to_owned()] {
        assert_eq!(get(&house, &acme, &format!("/v1/sensors/web/logs?instance={foreign}")).await.status, 404);
    }
    assert!(house.agent.heard(&id(2).to_string()).is_empty());
    house.proxy.stop().await;
}
