//! What becomes of a scrape: passed on, shared, in time, over quota, or why not; each by status, reason and series.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;
use sonde_inventory::Limits;

use crate::agent::Says;
use crate::client::{Ask, VERSIONS, Version, ask, get};
use crate::hostile::admin_metrics;
use crate::house::{AWAY, Credential, House, NODE, id, instance, name};

/// Between two looks at the same thing.
const PAUSE: Duration = Duration::from_millis(10);

fn metrics(number: u128) -> String {
    format!("/v1/instances/{}/metrics", id(number))
}

/// An account's own counts, from its own target.
async fn account_value(house: &House, credential: &Credential, line: &str) -> f64 {
    let heard = get(house, credential, "/v1/account/metrics").await;
    let found = heard.text().lines().find_map(|found| found.strip_prefix(line));
    found.unwrap_or_else(|| panic!("{line} is not in {}", heard.text())).trim().parse().unwrap()
}

#[tokio::test]
async fn what_the_agent_says_passes_and_what_it_says_of_itself_does_not() {
    let house = House::start(&[instance(1, "acme", json!({}))]).await;
    let acme = house.token("acme", &[], None).await;
    let path = format!("{}?collect[]=native", metrics(1));
    let headers = [
        ("accept-encoding", "gzip"),
        ("x-prometheus-scrape-timeout-seconds", "5"),
        ("x-sonde-owner", "forged"),
        ("cookie", "a=b"),
    ];
    let heard = ask(&house, &acme, Version::Two, &Ask { path: &path, headers: &headers, ..Ask::default() }).await;
    assert_eq!((heard.status, heard.text()), (StatusCode::OK, &*format!("of_target{{target=\"{}\"}} 1\n", id(1))));
    assert_eq!(heard.headers["content-type"], "text/plain; version=0.0.4");
    assert!(!heard.headers.contains_key("x-of-the-agent"));
    let asked = &house.agent.heard(&id(1).to_string())[0];
    assert_eq!(asked.path, format!("/v1/{}/metrics?collect[]=native", id(1)));
    assert_eq!(asked.headers["x-sonde-owner"], "acme");
    assert_eq!(asked.headers["accept-encoding"], "gzip");
    let left: f64 = asked.headers["x-prometheus-scrape-timeout-seconds"].to_str().unwrap().parse().unwrap();
    assert!(left > 3.0 && left < 5.0, "{left}");
    assert!(!asked.headers.contains_key("authorization") && !asked.headers.contains_key("cookie"));
    house.proxy.stop().await;
}

#[tokio::test]
async fn each_way_not_to_be_answered_is_told_apart() {
    let ended = json!({ "state": "stopped", "reasons": ["exited"], "node": AWAY, "ended_at_ms": crate::house::ago(5) });
    let instances = [
        instance(1, "acme", json!({ "node": AWAY })),
        instance(2, "acme", json!({})),
        instance(3, "acme", json!({})),
        instance(4, "acme", ended),
        instance(5, "acme", json!({})),
        instance(6, "acme", json!({})),
        instance(7, "acme", json!({})),
    ];
    let house = House::start(&instances).await;
    house.agent.says(&id(2).to_string(), Says::Nothing);
    house.agent.says(&id(3).to_string(), Says::Status(StatusCode::SERVICE_UNAVAILABLE, Some("gone; removed")));
    house.agent.says(&id(5).to_string(), Says::Status(StatusCode::INTERNAL_SERVER_ERROR, None));
    house.agent.says(&id(6).to_string(), Says::Status(StatusCode::MISDIRECTED_REQUEST, None));
    house.agent.says(&id(7).to_string(), Says::Status(StatusCode::BAD_REQUEST, None));
    let acme = house.token("acme", &[], None).await;
    let expected = [
        (1, 502, "node_unreachable", "outcome=\"node_unreachable\"} 1"),
        (2, 504, "agent_slow", "outcome=\"agent_slow\"} 1"),
        (3, 503, "gone; removed", "the agent's own words"),
        (4, 503, "stopped; exited", "state=\"stopped\"} 1"),
        (5, 502, "agent_refused", "outcome=\"agent_refused\"} 1"),
        (6, 404, "", "there is no such thing here"),
        (7, 400, "", "the agent's own words"),
    ];
    for (number, status, reason, body) in expected {
        let path = metrics(number);
        let began = Instant::now();
        let asked = Ask { path: &path, headers: &[("x-prometheus-scrape-timeout-seconds", "1")], ..Ask::default() };
        let heard = ask(&house, &acme, Version::Two, &asked).await;
        assert_eq!((heard.status.as_u16(), heard.reason()), (status, reason), "{number}: {}", heard.text());
        assert!(heard.text().contains(body), "{number}: {}", heard.text());
        assert!(began.elapsed() < Duration::from_secs(3), "{number} took {:?}", began.elapsed());
    }
    let last = get(&house, &acme, "/v1/account/metrics").await;
    let line =
        format!("sonde_instance_last_outcome{{instance_id=\"{}\",name=\"i1\",outcome=\"node_unreachable\"}} 1", id(1));
    assert!(last.text().contains(&line), "{}", last.text());
    house.proxy.stop().await;
}

#[tokio::test]
async fn one_node_that_is_away_or_slow_costs_nobody_elses_time() {
    let mut all = vec![instance(1, "acme", json!({})), instance(2, "rival", json!({}))];
    all.extend((10..50).map(|number| instance(number, "acme", json!({ "node": AWAY }))));
    let house = House::start(&all).await;
    house.agent.says(&id(1).to_string(), Says::Nothing);
    let (acme, rival) = (house.token("acme", &[], None).await, house.token("rival", &[], None).await);
    let (own, others) = (metrics(1), metrics(2));
    let stuck = Ask { path: &own, headers: &[("x-prometheus-scrape-timeout-seconds", "8")], ..Ask::default() };
    let stuck = ask(&house, &acme, Version::Two, &stuck);
    let meanwhile = async {
        for number in 10..50 {
            assert_eq!(get(&house, &acme, &metrics(number)).await.status, StatusCode::BAD_GATEWAY);
        }
        let began = Instant::now();
        assert_eq!(get(&house, &rival, &others).await.status, StatusCode::OK);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    };
    let (stuck, ()) = tokio::join!(stuck, meanwhile);
    assert_eq!(stuck.status, StatusCode::GATEWAY_TIMEOUT);
    house.proxy.stop().await;
}

#[tokio::test]
async fn two_replicas_cost_one_request_and_other_questions_another() {
    let house = House::start(&[instance(1, "acme", json!({}))]).await;
    let slow = |body: &str| Says::After(Duration::from_millis(400), body.to_owned());
    house.agent.says(&id(1).to_string(), slow("a 1\n"));
    let acme = house.token("acme", &[], None).await;
    let path = metrics(1);
    let plain = Ask { path: &path, ..Ask::default() };
    let openmetrics = Ask { headers: &[("accept", "application/openmetrics-text;version=1.0.0")], ..plain.clone() };
    let (one, other, third) = tokio::join!(
        ask(&house, &acme, Version::One, &plain),
        ask(&house, &acme, Version::Two, &plain),
        ask(&house, &acme, Version::Two, &openmetrics),
    );
    assert_eq!((one.text(), other.text(), third.text()), ("a 1\n", "a 1\n", "a 1\n"));
    assert_eq!(house.agent.heard(&id(1).to_string()).len(), 2);
    assert_eq!(account_value(&house, &acme, "sonde_account_shared_total").await, 1.0);
    house.proxy.stop().await;
}

#[tokio::test]
async fn what_is_too_large_to_share_comes_to_each_whole() {
    let house = House::start(&[instance(1, "acme", json!({}))]).await;
    let large = "a_metric_of_some_length 1\n".repeat(100_000);
    house.agent.says(&id(1).to_string(), Says::After(Duration::from_millis(200), large.clone()));
    let acme = house.token("acme", &[], None).await;
    let path = metrics(1);
    let asked = Ask { path: &path, ..Ask::default() };
    let (one, other) = tokio::join!(ask(&house, &acme, Version::One, &asked), ask(&house, &acme, Version::Two, &asked));
    assert!(one.text() == large && other.text() == large);
    house.proxy.stop().await;
}

#[tokio::test]
async fn over_quota_gets_the_last_bytes_or_when_to_come_again_and_a_change_counts_at_once() {
    let house = House::start(&[instance(1, "acme", json!({})), instance(2, "acme", json!({}))]).await;
    let acme = house.token("acme", &[], None).await;
    let few = json!({ "requests_per_second": 1, "request_burst": 1 });
    let accounts = house.proxy.accounts();
    accounts.set_limits(&name("acme"), few.as_object().unwrap()).await.unwrap();
    assert_eq!(get(&house, &acme, &metrics(1)).await.status, StatusCode::OK);
    let again = get(&house, &acme, &metrics(1)).await;
    assert_eq!(again.status, StatusCode::OK, "the bytes of this second are there");
    let refused = get(&house, &acme, &metrics(2)).await;
    assert_eq!((refused.status, refused.reason()), (StatusCode::TOO_MANY_REQUESTS, "over_quota; requests"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.text().contains("outcome=\"over_quota\"} 1"));
    let discovery = get(&house, &acme, "/v1/discover").await;
    assert_eq!(discovery.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(serde_json::from_slice::<serde_json::Value>(&discovery.body).is_err(), "never JSON");
    assert_eq!(house.agent.heard(&id(1).to_string()).len(), 1);
    assert_eq!(get(&house, &Credential::default(), "/_ping").await.status, StatusCode::OK);
    let none = json!({ "requests_per_second": null, "request_burst": null });
    accounts.set_limits(&name("acme"), none.as_object().unwrap()).await.unwrap();
    assert_eq!(accounts.get(&name("acme")).unwrap().limits, Limits::default());
    assert_eq!(get(&house, &acme, &metrics(2)).await.status, StatusCode::OK);
    house.proxy.stop().await;
}

#[tokio::test]
async fn an_account_sees_how_its_sensors_stand() {
    let house = House::start(&[instance(1, "acme", json!({})), instance(2, "acme", json!({ "node": AWAY }))]).await;
    let rows = json!([{ "name": "redis", "state": "running", "up": true }, { "name": "old", "state": "refused" }]);
    house.agent.says(&id(1).to_string(), Says::Body(rows.to_string()));
    let acme = house.token("acme", &[], None).await;
    let base = format!("instance_id=\"{}\",name=\"i1\",sensor", id(1));
    assert_eq!(account_value(&house, &acme, &format!("sonde_instance_sensor_up{{{base}=\"redis\"}}")).await, 1.0);
    let refused = format!("sonde_instance_sensor_state{{{base}=\"old\",state=\"refused\"}}");
    assert_eq!(account_value(&house, &acme, &refused).await, 1.0);
    assert_eq!(house.agent.heard(&id(1).to_string()).len(), 1, "it is not asked again so soon");
    house.proxy.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_is_being_asked_and_takes_nobody_more() {
    let house = House::start(&[instance(1, "acme", json!({}))]).await;
    house.agent.says(&id(1).to_string(), Says::After(Duration::from_millis(800), "late 1\n".into()));
    let acme = house.token("acme", &[], None).await;
    let path = metrics(1);
    let mut stream = crate::client::connect(&house, &acme, None, Version::One).await;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\n\r\n",
        acme.token.as_ref().unwrap()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while house.agent.heard(&id(1).to_string()).is_empty() {
        assert!(Instant::now() < deadline, "the agent is not asked");
        tokio::time::sleep(PAUSE).await;
    }
    let address = house.proxy.address();
    house.proxy.stop().await;
    let mut heard = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut heard).await;
    assert!(String::from_utf8_lossy(&heard).contains("late 1"), "{}", String::from_utf8_lossy(&heard));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn who_has_said_nothing_does_not_hold_up_a_stop() {
    let house = House::start(&[]).await;
    let nobody = Credential::default();
    let tier = house.proxy.tier_address().unwrap();
    let silent = tokio::net::TcpStream::connect(house.proxy.address()).await.unwrap();
    let at_the_tier = tokio::net::TcpStream::connect(tier).await.unwrap();
    let mut shaken = Vec::new();
    for version in VERSIONS {
        shaken.push(crate::client::connect(&house, &nobody, None, version).await);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while !admin_metrics(&house).await.contains("\nsonde_proxy_connections 3\n") {
        assert!(Instant::now() < deadline, "they are not let in");
        tokio::time::sleep(PAUSE).await;
    }
    let began = Instant::now();
    house.proxy.stop().await;
    // A handshake would have 10 s, and an answer 15.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop((silent, at_the_tier, shaken));
}

#[tokio::test]
async fn the_operator_is_told_how_it_is_and_reloads_it() {
    let house = House::start(&[instance(1, "acme", json!({}))]).await;
    let acme = house.token("acme", &[], None).await;
    get(&house, &acme, &metrics(1)).await;
    get(&house, &acme, &format!("/v1/instances/{NODE}/metrics")).await;
    let admin = house.proxy.admin_address();
    let ready = plain(admin, "GET", "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let about = plain(admin, "GET", "/metrics").await;
    for line in [
        "sonde_proxy_scrapes_total{class=\"tenant\",outcome=\"answered\"} 1",
        "sonde_proxy_answers_total{code=\"404\"} 1",
        "sonde_proxy_records{kind=\"instance\"} 1",
    ] {
        assert!(about.contains(line), "{line} is not in {about}");
    }
    assert!(!about.contains("acme"));
    let path = house.folder.path().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("hosts = [\"other.test\"]\n{config}")).unwrap();
    let other = Ask { host: Some("other.test"), path: "/_ping", ..Ask::default() };
    assert_eq!(ask(&house, &acme, Version::One, &other).await.status, StatusCode::MISDIRECTED_REQUEST);
    let reloaded = plain(admin, "POST", "/v1/reload").await;
    assert!(reloaded.starts_with("HTTP/1.1 200"), "{reloaded}");
    assert_eq!(ask(&house, &acme, Version::One, &other).await.status, StatusCode::OK);
    std::fs::write(&path, "colour = 1").unwrap();
    assert!(plain(admin, "POST", "/v1/reload").await.starts_with("HTTP/1.1 422"));
    assert_eq!(ask(&house, &acme, Version::One, &other).await.status, StatusCode::OK, "what was there stays");
    house.proxy.stop().await;
}

/// One request to the admin routes.
pub async fn plain(address: std::net::SocketAddr, method: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut heard = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut heard).await.unwrap();
    heard
}
