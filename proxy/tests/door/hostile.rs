//! Those who mean harm on a connection: slow, endless, doubled or thrown away; each with what must become of it, while others are served.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::agent::Says;
use crate::client::{Version, connect, get, raw};
use crate::house::{Credential, House, id, instance};

/// Past the pace's longest bound that is tried here, and the sweep's second.
const ENDED_WITHIN: Duration = Duration::from_secs(25);

async fn house() -> (House, Credential) {
    let house = House::start(&[instance(1, "acme", json!({}))]).await;
    let acme = house.token("acme", &[], None).await;
    (house, acme)
}

async fn assert_serves(house: &House, acme: &Credential) {
    let began = Instant::now();
    let heard = get(house, acme, &format!("/v1/instances/{}/metrics", id(1))).await;
    assert_eq!(heard.status, 200, "{}", heard.text());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// How many answers there are in what came back, and the first one's status.
fn answers(heard: &[u8]) -> (usize, u16) {
    let text = String::from_utf8_lossy(heard);
    let status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    (text.matches("HTTP/1.1 ").count(), status)
}

#[tokio::test]
async fn two_requests_in_one_are_one_at_most() {
    let (house, acme) = house().await;
    let hidden = "GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let length = hidden.len();
    let cases = [
        format!("GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\n\r\n{hidden}"),
        format!(
            "GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
        ),
        format!("GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: xchunked\r\n\r\n{hidden}"),
        format!("GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!(
            "GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\ncontent-length: {length}\r\n\r\n{hidden}"
        ),
        format!("GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: +{length}\r\n\r\n{hidden}"),
        "POST /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1\r\n\r\nx".to_owned(),
    ];
    for case in cases {
        let heard = raw(&house, case.as_bytes(), ENDED_WITHIN).await;
        let heard = heard.unwrap_or_else(|| panic!("{case:?} leaves the connection open"));
        let (count, status) = answers(&heard);
        assert!(count <= 1, "{case:?} has {count} answers: {}", String::from_utf8_lossy(&heard));
        assert!(status >= 400 || count == 0, "{case:?} is answered with {status}");
    }
    assert_serves(&house, &acme).await;
    house.proxy.stop().await;
}

#[tokio::test]
async fn a_head_that_is_no_head_is_refused() {
    let (house, acme) = house().await;
    let huge = format!("GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\nx: {}\r\n\r\n", "a".repeat(64 << 10));
    let many: String = (0..200).map(|number| format!("x{number}: 1\r\n")).collect();
    let many = format!("GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\n{many}\r\n");
    let long = format!("GET /{} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n", "a".repeat(8 << 10));
    let cases: [(&str, &[u16]); 9] = [
        (&huge, &[431, 0]),
        (&many, &[431, 400, 0]),
        (&long, &[414]),
        ("GET /_ping HTTP/1.1\r\nconnection: close\r\n\r\n", &[400]),
        ("GET /_ping HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n", &[400]),
        ("GET /_ping HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n", &[400]),
        ("CONNECT sonde.test:443 HTTP/1.1\r\nhost: sonde.test:443\r\nconnection: close\r\n\r\n", &[405, 400]),
        ("GET /_ping HTTP/1.1\nhost: 127.0.0.1\n\0\n\n", &[400, 0]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505, 0]),
    ];
    for (case, expected) in cases {
        let heard = raw(&house, case.as_bytes(), ENDED_WITHIN).await;
        let heard = heard.unwrap_or_else(|| panic!("{case:.60?} is not closed"));
        let (_, status) = answers(&heard);
        assert!(
            expected.contains(&status),
            "{case:.60?} is answered with {status}: {}",
            String::from_utf8_lossy(&heard)
        );
    }
    assert_serves(&house, &acme).await;
    house.proxy.stop().await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_ended() {
    let (house, acme) = house().await;
    let began = Instant::now();
    let mut stream = connect(&house, &Credential::default(), None, Version::One).await;
    stream.write_all(b"GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\n").await.unwrap();
    // A header now and then, without end.
    let mut beat = tokio::time::interval(Duration::from_millis(500));
    while stream.write_all(b"x: 1\r\n").await.is_ok() && stream.flush().await.is_ok() {
        assert!(began.elapsed() < ENDED_WITHIN, "it is still listened to");
        beat.tick().await;
    }
    assert!(began.elapsed() > Duration::from_secs(5), "an honest one has time");
    assert_serves(&house, &acme).await;
    house.proxy.stop().await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_not_kept() {
    let (house, acme) = house().await;
    house.agent.says(&id(1).to_string(), Says::Body("a_metric_of_some_length 1\n".repeat(400_000)));
    let mut stream = connect(&house, &acme, None, Version::One).await;
    let request = format!(
        "GET /v1/instances/{}/metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\nx-prometheus-scrape-timeout-seconds: 60\r\n\r\n",
        id(1),
        acme.token.as_ref().unwrap()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let ended = async {
        loop {
            let about = admin_metrics(&house).await;
            if about.contains("sonde_proxy_connections_ended_total{reason=\"slow_reader\"} 1") {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(ENDED_WITHIN, ended).await.expect("it is ended");
    // What was in buffers comes, and then the end.
    let mut rest = Vec::new();
    let read = tokio::time::timeout(ENDED_WITHIN, stream.read_to_end(&mut rest)).await;
    read.expect("the connection is closed").unwrap_err();
    house.agent.says(&id(1).to_string(), Says::Body("a 1\n".into()));
    assert_serves(&house, &acme).await;
    house.proxy.stop().await;
}

#[tokio::test]
async fn streams_that_are_thrown_away_cost_the_connection() {
    let (house, acme) = house().await;
    house.agent.says(&id(1).to_string(), Says::Nothing);
    let stream = TokioIo::new(connect(&house, &acme, None, Version::Two).await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let uri = format!("https://127.0.0.1/v1/instances/{}/metrics", id(1));
    let token = format!("Bearer {}", acme.token.as_ref().unwrap());
    let flood = async {
        loop {
            let request = Request::get(&uri).header("authorization", &token).body(Empty::<Bytes>::new()).unwrap();
            if sender.ready().await.is_err() {
                break;
            }
            let asked = sender.send_request(request);
            // Given up at once: a stream that is opened and reset.
            if tokio::time::timeout(Duration::from_millis(2), asked).await.is_ok_and(|asked| asked.is_err()) {
                break;
            }
        }
    };
    tokio::time::timeout(ENDED_WITHIN, flood).await.expect("the connection is ended");
    let _ = connection.await;
    house.agent.says(&id(1).to_string(), Says::Body("a 1\n".into()));
    assert_serves(&house, &acme).await;
    house.proxy.stop().await;
}

#[tokio::test]
async fn silent_connections_make_room_for_those_who_speak() {
    let more = "bounds = { connections = 16, connections_per_address = 8 }";
    let house = House::configured(&[instance(1, "acme", json!({}))], more).await;
    let acme = house.token("acme", &[], None).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(tokio::net::TcpStream::connect(house.proxy.address()).await.unwrap());
    }
    assert_serves(&house, &acme).await;
    let about = admin_metrics(&house).await;
    assert!(!about.contains("sonde_proxy_connections_displaced_total 0"), "{about}");
    drop(silent);
    house.proxy.stop().await;
}

pub async fn admin_metrics(house: &House) -> String {
    let address = house.proxy.admin_address();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    heard
}
