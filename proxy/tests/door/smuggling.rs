//! Requests hidden in requests, in both versions of HTTP: what is hidden is never answered, and never reaches an agent.

use std::time::Duration;

use serde_json::json;

use crate::client::raw;
use crate::frames::{Became, END_STREAM, Frames, get, request};
use crate::house::{Credential, House, SUFFIX, id, instance};
use crate::neighbour::beside;

/// Past what a refused connection is left open for.
const ENDED_WITHIN: Duration = Duration::from_secs(25);
const SOON: Duration = Duration::from_secs(10);

struct Scene {
    house: House,
    neighbour: Credential,
    /// A whole scrape of acme's, with acme's token: what an attacker would have others' connections say.
    hidden: String,
    token: String,
}

async fn scene() -> Scene {
    let house = House::start(&[instance(1, "acme", json!({})), instance(2, "rival", json!({}))]).await;
    let (acme, neighbour) = (house.token("acme", &[], None).await, house.token("rival", &[], None).await);
    let token = format!("Bearer {}", acme.token.unwrap());
    let hidden = format!(
        "GET /v1/instances/{}/metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {token}\r\nconnection: close\r\n\r\n",
        id(1)
    );
    Scene { house, neighbour, hidden, token }
}

/// What is sent, how many answers there may be, and what may be the first's status; 0 where none is needed.
type Case = (&'static str, String, usize, &'static [u16]);

/// Heads that two servers read in two ways, each before a hidden request.
fn heads(hidden: &str) -> Vec<Case> {
    let with =
        |fields: &str, body: &str| format!("GET /_ping HTTP/1.1\r\nhost: 127.0.0.1\r\n{fields}\r\n{body}{hidden}");
    let length = hidden.len();
    vec![
        ("TE and TE", with("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n"), 1, &[400]),
        ("TE in a list", with("transfer-encoding: identity, chunked\r\n", "0\r\n\r\n"), 1, &[400]),
        ("TE that is quoted", with("transfer-encoding: \"chunked\"\r\n", "0\r\n\r\n"), 1, &[400]),
        ("TE after a tab", with("transfer-encoding:\tchunked\r\n", "0\r\n\r\n"), 1, &[400]),
        (
            "TE, then CL",
            with(&format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n"), "0\r\n\r\n"),
            1,
            &[400],
        ),
        ("CL in a list", with(&format!("content-length: {length}, {length}\r\n"), ""), 1, &[400]),
        (
            "CL twice, the same",
            with(&format!("content-length: {length}\r\ncontent-length: {length}\r\n"), ""),
            1,
            &[400],
        ),
        ("CL in hexadecimal", with(&format!("content-length: {length:#x}\r\n"), ""), 1, &[400]),
        ("CL below nothing", with("content-length: -1\r\n", ""), 1, &[400]),
        ("CL past all numbers", with("content-length: 18446744073709551617\r\n", ""), 1, &[400]),
        ("a folded TE", with("x: 1\r\n transfer-encoding: chunked\r\n", "0\r\n\r\n"), 1, &[400]),
        ("a folded CL", with(&format!("content-length:\r\n {length}\r\n"), ""), 1, &[400]),
        ("a field without a name", with(": chunked\r\n", ""), 1, &[400]),
        ("a NUL in a name", with("transfer\0-encoding: chunked\r\n", "0\r\n\r\n"), 1, &[400]),
        ("a lone CR in a field", with("x: 1\rtransfer-encoding: chunked\r\n", "0\r\n\r\n"), 1, &[400]),
        (
            "an upgrade to HTTP/2",
            with(
                "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\ncontent-length: 1\r\n",
                "",
            ),
            1,
            &[400],
        ),
        ("a promise of more", with(&format!("expect: 100-continue\r\ncontent-length: {length}\r\n"), ""), 1, &[400]),
        ("a method that is none", format!("GET\t/_ping HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n{hidden}"), 1, &[400, 0]),
        ("a target with a space", format!("GET /_ping /x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n{hidden}"), 1, &[400, 0]),
        ("no version", format!("GET /_ping\r\n\r\n{hidden}"), 1, &[400, 0]),
    ]
}

#[tokio::test]
async fn what_is_hidden_in_a_head_or_a_body_is_not_asked() {
    let scene = scene().await;
    let attack = async {
        for (what, bytes, most, allowed) in heads(&scene.hidden) {
            let heard = raw(&scene.house, bytes.as_bytes(), ENDED_WITHIN).await;
            let heard = heard.unwrap_or_else(|| panic!("{what} leaves the connection open"));
            let text = String::from_utf8_lossy(&heard);
            let count = text.matches("HTTP/1.1 ").count();
            let status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
            assert!(count <= most && allowed.contains(&status), "{what}: {text}");
        }
    };
    beside(&scene.house, &scene.neighbour, &format!("/v1/instances/{}/metrics", id(2)), attack).await;
    assert_eq!(scene.house.agent.heard(&id(1).to_string()).len(), 0, "a hidden request reached the agent");
    // The same bytes, not hidden, are a scrape: the cases above would else show nothing.
    let heard = raw(&scene.house, scene.hidden.as_bytes(), ENDED_WITHIN).await.unwrap();
    assert!(heard.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&heard));
    scene.house.proxy.stop().await;
}

/// Lines that end in a line feed alone are read as lines (RFC 9112 §2.2 allows it): so are those of what follows, and each is answered for itself.
#[tokio::test]
async fn bare_line_feeds_make_no_request_that_is_not_counted() {
    let scene = scene().await;
    let bytes =
        "GET /_ping HTTP/1.1\nhost: 127.0.0.1\n\nGET /v1/instances HTTP/1.1\nhost: 127.0.0.1\nconnection: close\n\n";
    let heard = raw(&scene.house, bytes.as_bytes(), ENDED_WITHIN).await.expect("it is closed");
    let text = String::from_utf8_lossy(&heard);
    let statuses: Vec<&str> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert!(matches!(statuses[..], ["200", "401"] | ["400"] | []), "{text}");
    scene.house.proxy.stop().await;
}

/// What becomes of one request, whose fields may be anything.
async fn sent(scene: &Scene, flags: u8, fields: &[(&[u8], &[u8])]) -> Became {
    let mut frames = Frames::open(&scene.house).await;
    frames.send(&request(1, flags, fields)).await;
    frames.became(1, SOON).await.expect("something becomes of it")
}

/// Fields that a request of HTTP/2 may not have, or not beside those that it has.
fn extras(hidden: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let injected = format!("text/plain\r\nx-sonde-owner: rival\r\n\r\n{hidden}");
    let extra = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    vec![
        extra("transfer-encoding", b"chunked"),
        extra("connection", b"close"),
        extra("upgrade", b"h2c"),
        extra("te", b"chunked"),
        extra("content-length", b"5"),
        extra("accept", injected.as_bytes()),
        extra("x-a\r\nx-sonde-owner", b"rival"),
        extra("accept", b"a\0b"),
        extra(":path", b"/_ping"),
        extra(":authority", b"other.test"),
        extra(":protocol", b"websocket"),
        extra("host", b"other.test"),
        extra("host", SUFFIX.as_bytes()),
        extra("authorization", b"Bearer 0123456789abcdef0123456789abcdef"),
    ]
}

/// What a server that speaks HTTP/1.1 behind this one would read as more than one request, or as another's.
#[tokio::test]
async fn fields_of_http2_that_http1_would_read_otherwise_are_refused() {
    let scene = scene().await;
    let path = format!("/v1/instances/{}/metrics", id(1));
    let good = [get(&path, "127.0.0.1"), vec![(b"authorization", scene.token.as_bytes())]].concat();
    let (split, spaced) = (format!("{path}?a HTTP/1.1\r\nx: y"), format!("{path}?a b"));
    let upper = [good.clone(), vec![(&b"Accept"[..], &b"text/plain"[..])]].concat();
    let extras = extras(&scene.hidden);
    let refused = |became: Became| matches!(became, Became::Reset | Became::Ended | Became::Answered(400 | 401 | 421));
    for (name, value) in &extras {
        let fields = [good.clone(), vec![(&name[..], &value[..])]].concat();
        let became = sent(&scene, END_STREAM, &fields).await;
        assert!(refused(became), "{} is {became:?}", String::from_utf8_lossy(name));
    }
    for replaced in [&split, &spaced, "", "*", "no-slash"] {
        let mut fields = good.clone();
        fields[2].1 = replaced.as_bytes();
        let became = sent(&scene, END_STREAM, &fields).await;
        assert!(refused(became) || became == Became::Answered(404), "{replaced:?} is {became:?}");
    }
    for authority in ["rival@127.0.0.1", "127.0.0.1:1:2", "127.0.0.1\r\nhost: x", "", "127.0.0.1 "] {
        let mut fields = good.clone();
        fields[3].1 = authority.as_bytes();
        let became = sent(&scene, END_STREAM, &fields).await;
        assert!(refused(became), "{authority:?} is {became:?}");
    }
    assert!(refused(sent(&scene, END_STREAM, &upper).await), "an upper-case name");
    assert_eq!(scene.house.agent.heard(&id(1).to_string()).len(), 0, "one of them reached the agent");
    assert_eq!(sent(&scene, END_STREAM, &good).await, Became::Answered(200));
    // With a body that nobody asked for: it is one request, and nothing of the body goes on.
    let became = sent(&scene, 0, &good).await;
    assert!(matches!(became, Became::Answered(200 | 400)), "{became:?}");
    for heard in scene.house.agent.heard(&id(1).to_string()) {
        assert_eq!(
            (heard.path.as_str(), &heard.headers["x-sonde-owner"]),
            (&*format!("/v1/{}/metrics", id(1)), &"acme".parse().unwrap())
        );
    }
    scene.house.proxy.stop().await;
}
