//! Requests at random over every route, the same at each run: whatever is asked, the answer is one that is documented, in time, never an error of the proxy's own
//! making, never JSON where discovery refuses, and never another's.
//!
//! The routes are those of `docs/operators.md`, which is held to this table. `SONDE_REQUESTS=100000` asks for longer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::agent::Says;
use crate::client::{VERSIONS, Version, connect, get, raw};
use crate::house::{AWAY, Credential, House, NODE, ago, id, instance};

const REQUESTS: usize = 1000;
const HEADS: usize = 150;
/// No wait that is asked for is longer than a second; the rest is a busy machine's.
const IN_TIME: Duration = Duration::from_secs(8);
/// Of another's, which nothing may name.
const FOREIGN: u128 = 3;

/// A route as the documentation has it, and what is put in place of its parameter.
struct Route {
    documented: &'static str,
    path: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Target,
    Discovery,
    Other,
}

const fn route(documented: &'static str, path: &'static str, kind: Kind) -> Route {
    Route { documented, path, kind }
}

const ROUTES: [Route; 13] = [
    route("`GET /v1/instances/{id}/metrics`", "/v1/instances/{}/metrics", Kind::Target),
    route("`…/sensors`", "/v1/instances/{}/sensors", Kind::Target),
    route("`GET /v1/account/metrics`", "/v1/account/metrics", Kind::Other),
    route("`GET /v1/instances`", "/v1/instances", Kind::Other),
    route("`/v1/usage`", "/v1/usage", Kind::Other),
    route("`/v1/nodes`", "/v1/nodes", Kind::Other),
    route("`GET /_ping`", "/_ping", Kind::Other),
    route("`/v1/discover[?groups=a,b]`", "/v1/discover", Kind::Discovery),
    route("`/v1/gz/discover`", "/v1/gz/discover", Kind::Discovery),
    route("`/v1/sd/http`", "/v1/sd/http", Kind::Discovery),
    route("`/v1/sd/dns`", "/v1/sd/dns", Kind::Discovery),
    route("`/v1/agent/self`, `/v1/catalog/services`", "/v1/catalog/services", Kind::Discovery),
    route("`/v1/health/service/NAME`", "/v1/health/service/{}", Kind::Discovery),
];

/// Statuses that any request may get, by `docs/operators.md`.
const REFUSALS: [u16; 10] = [400, 401, 403, 404, 405, 408, 414, 421, 429, 431];
/// And that a scrape may get besides, each with its reason.
const OUTCOMES: [u16; 3] = [502, 503, 504];

/// Parameters of some route, and of none.
const NAMES: [&str; 16] = [
    "groups",
    "match",
    "role",
    "shard",
    "collect[]",
    "tag",
    "node-meta",
    "dc",
    "passing",
    "index",
    "wait",
    "filter",
    "stale",
    "x",
    "",
    "groups%00",
];
/// What one of them means, or nobody does.
const VALUES: [&str; 16] = [
    "web",
    "a,b",
    "web,web",
    "node",
    "account",
    "0/3",
    "3/3",
    "1/0",
    "tier=front",
    "=",
    "native",
    "sensor/x",
    "50ms",
    "-1",
    "18446744073709551616",
    "%F0%9F%98%80",
];

/// SplitMix64: the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.roll(all.len())]
    }

    /// Characters that mean something to some reader of URLs, and some that mean nothing.
    fn garbage(&mut self, most: usize) -> String {
        const PARTS: [&str; 24] = [
            "%", "%00", "%0d%0a", "%2e%2e", "%2f", "..", "/", "//", ".", "a", "Z", "0", "-", "_", "~", "+", "&", "=",
            ",", ";", ":", "@", "%ff", "%c3%28",
        ];
        (0..self.roll(most.max(1))).map(|_| self.pick(&PARTS)).collect()
    }

    fn target(&mut self) -> String {
        match self.roll(8) {
            number @ 0..=3 => id(number as u128 + 1).to_string(),
            4 => id(FOREIGN).to_string().to_uppercase(),
            5 => NODE.to_string(),
            6 => {
                self.pick(&["sonde", "sonde-node", "node", "gz", "", "00000000-0000-0000-0000-000000000000"]).to_owned()
            }
            _ => self.garbage(12),
        }
    }

    fn query(&mut self) -> String {
        let of = |dice: &mut Self| {
            let name = dice.pick(&NAMES);
            // A wait that is meant would be two minutes.
            let value = match name {
                "wait" => dice.pick(&["1ms", "1s", "50ms", "-1s", "1e9s", ""]).to_owned(),
                _ if dice.roll(4) == 0 => dice.garbage(20),
                _ => dice.pick(&VALUES).to_owned(),
            };
            format!("{name}={value}")
        };
        match self.roll(10) {
            0 => format!("?{}", "a=b&".repeat(self.roll(1500))),
            1..=3 => String::new(),
            _ => format!("?{}", (0..=self.roll(3)).map(|_| of(self)).collect::<Vec<_>>().join("&")),
        }
    }

    fn headers(&mut self) -> Vec<(&'static str, String)> {
        const NAMES: [&str; 9] = [
            "accept",
            "accept-encoding",
            "x-prometheus-scrape-timeout-seconds",
            "range",
            "if-none-match",
            "x-sonde-owner",
            "x-consul-token",
            "expect",
            "x-forwarded-host",
        ];
        const VALUES: [&str; 12] = [
            "*/*",
            "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
            "application/json",
            "gzip;q=0, zstd",
            "1",
            "0.001",
            "1e99",
            "NaN",
            "rival",
            "bytes=0-1",
            ",,;;q=",
            "\"x\"",
        ];
        (0..self.roll(4)).map(|_| (self.pick(&NAMES), self.pick(&VALUES).to_owned())).collect()
    }
}

impl Dice {
    /// A request, and of what kind its route is; none where no client could send it.
    fn request(&mut self, version: Version, token: Option<&str>) -> Option<(Kind, Request<Empty<Bytes>>)> {
        const METHODS: [&str; 12] =
            ["GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"];
        let route = &ROUTES[self.roll(ROUTES.len())];
        let mut path = route.path.replace("{}", &self.target());
        if self.roll(12) == 0 {
            path.insert_str(self.roll(path.len() + 1), &self.garbage(3));
        }
        // A path that became another is judged as any.
        let is_route = path.starts_with(route.path.split("{}").next().unwrap_or_default());
        let uri: Uri = format!("https://127.0.0.1{path}{}", self.query()).parse().ok()?;
        let mut request = Request::builder().method(self.pick(&METHODS));
        request = match version {
            Version::One => request.header("host", "127.0.0.1").uri(uri.path_and_query()?.as_str()),
            Version::Two => request.uri(uri),
        };
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Some((if is_route { route.kind } else { Kind::Other }, request.body(Empty::new()).ok()?))
    }
}

/// A connection that is made again when it has been closed.
enum Line {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

impl Line {
    async fn open(house: &House, version: Version) -> Self {
        let stream = TokioIo::new(connect(house, &Credential::default(), None, version).await);
        match version {
            Version::One => {
                let (sender, connection) = http1::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                Self::One(sender)
            }
            Version::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
                tokio::spawn(connection);
                Self::Two(sender)
            }
        }
    }

    async fn ask(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<(http::response::Parts, Bytes)> {
        let response = match self {
            Self::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (parts, body) = response.into_parts();
        Ok((parts, body.collect().await?.to_bytes()))
    }
}

async fn house() -> House {
    let gone = json!({ "state": "gone", "reasons": ["removed"], "ended_at_ms": ago(60), "node": AWAY });
    let instances = [
        instance(1, "acme", json!({ "groups": ["web"], "labels": { "tier": "front" } })),
        instance(2, "acme", json!({ "node": AWAY })),
        instance(FOREIGN, "rival", json!({ "groups": ["web"], "name": "a-rival-of-acmes" })),
        instance(4, "acme", gone),
    ];
    let limits = "limits = { requests_per_second = 100000, request_burst = 100000 }";
    let house = House::configured(&instances, limits).await;
    house.agent.says(&id(1).to_string(), Says::Body("a 1\n".into()));
    house
}

/// What may be said against an answer; none where it is right.
fn fault(kind: Kind, method: &Method, status: u16, parts: &http::response::Parts, body: &[u8]) -> Option<&'static str> {
    let is_json = serde_json::from_slice::<Value>(body).is_ok();
    let is_outcome = kind == Kind::Target && OUTCOMES.contains(&status);
    if status != 200 && !REFUSALS.contains(&status) && !is_outcome {
        return Some("a status that is not documented");
    }
    if is_outcome && !parts.headers.contains_key("x-sonde-reason") {
        return Some("an outcome without its reason");
    }
    if kind == Kind::Discovery && status != 200 && is_json {
        return Some("an error that is JSON");
    }
    if !parts.headers.contains_key("content-type") {
        return Some("no content type");
    }
    if *method == Method::HEAD && !body.is_empty() {
        return Some("a body for HEAD");
    }
    let text = String::from_utf8_lossy(body);
    let is_foreign = text.contains(&id(FOREIGN).to_string()) || text.contains("rival");
    is_foreign.then_some("something of another's")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_request_gets_a_documented_answer_in_time() {
    let house = house().await;
    let (acme, push) =
        (house.token("acme", &[], None).await, house.token("acme", &[sonde_inventory::Scope::PushSensors], None).await);
    let rounds = std::env::var("SONDE_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(REQUESTS);
    let mut lines = Vec::new();
    for version in VERSIONS {
        lines.push(Line::open(&house, version).await);
    }
    let (mut dice, mut asked, mut good) = (Dice(0x00d0_0b5e), 0, 0);
    for round in 0..rounds {
        let version = round % 2;
        let credential = match dice.roll(8) {
            0 => None,
            1 => push.token.as_deref(),
            _ => acme.token.as_deref(),
        };
        let Some((kind, request)) = dice.request(VERSIONS[version], credential) else { continue };
        let (method, url) = (request.method().clone(), request.uri().to_string());
        let began = Instant::now();
        let heard = tokio::time::timeout(IN_TIME, lines[version].ask(request)).await;
        let heard = heard.unwrap_or_else(|_| panic!("{round}: {method} {url} is not answered in time"));
        let Ok((parts, body)) = heard else {
            // A refusal of what has a body ends HTTP/1.1's connection; the next request has a new one.
            lines[version] = Line::open(&house, VERSIONS[version]).await;
            continue;
        };
        (asked, good) = (asked + 1, good + usize::from(parts.status == 200));
        if let Some(fault) = fault(kind, &method, parts.status.as_u16(), &parts, &body) {
            panic!(
                "{round}: {method} {url} has {fault}: {} {:?} {}",
                parts.status,
                parts.headers,
                String::from_utf8_lossy(&body)
            );
        }
        assert!(began.elapsed() < IN_TIME, "{round}: {method} {url} took {:?}", began.elapsed());
    }
    assert!(asked > rounds / 2 && good > rounds / 10, "of {rounds} {asked} were answered, {good} with 200");
    assert!(house.agent.heard(&id(FOREIGN).to_string()).is_empty());
    assert_eq!(get(&house, &acme, &format!("/v1/instances/{}/metrics", id(1))).await.status, 200);
    house.proxy.stop().await;
}

/// Heads with bytes changed, cut, doubled and moved: refused or answered, never with more than was asked, and the door stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_for_a_head_are_refused_or_answered() {
    let house = house().await;
    let acme = house.token("acme", &[], None).await;
    let path = format!("/v1/instances/{}/metrics", id(1));
    let seed = format!(
        "GET {path}?collect[]=native HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\naccept: */*\r\n\
         accept-encoding: gzip\r\nconnection: close\r\n\r\n",
        acme.token.as_ref().unwrap()
    );
    let mut dice = Dice(0xbad_5eed);
    for round in 0..HEADS {
        let mut bytes = seed.clone().into_bytes();
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(bytes.len());
            match dice.roll(6) {
                0 => bytes[at] ^= 1 << dice.roll(8),
                1 => bytes[at] = dice.roll(256) as u8,
                2 => bytes.insert(at, [b'\r', b'\n', 0, b' ', b':', b'\t', 0xff][dice.roll(7)]),
                3 => drop(bytes.remove(at)),
                4 => bytes.extend_from_within(at..),
                _ => bytes.splice(at..at, *b"\r\nhost: other\r\n").for_each(drop),
            }
        }
        // It may be half a head now, which is waited for: what is sent then ends it.
        bytes.extend_from_slice(b"\r\n\r\n");
        let heard = raw(&house, &bytes, Duration::from_millis(400)).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&heard);
        let shown = String::from_utf8_lossy(&bytes);
        for (at, _) in text.match_indices("HTTP/1.1 ") {
            let status: u16 = text[at + 9..].get(..3).and_then(|status| status.parse().ok()).unwrap_or(0);
            assert!(status == 200 || REFUSALS.contains(&status), "{round}: {shown:?} is answered with {status}");
        }
        assert!(!text.contains("rival"), "{round}: {shown:?} is answered with {text}");
    }
    assert_eq!(get(&house, &acme, &path).await.status, 200);
    house.proxy.stop().await;
}

#[test]
fn each_route_is_documented() {
    let text = std::fs::read_to_string(sonde_tests::repository("docs/operators.md")).unwrap();
    for route in &ROUTES {
        assert!(text.contains(route.documented), "{} is not in docs/operators.md", route.documented);
    }
}
