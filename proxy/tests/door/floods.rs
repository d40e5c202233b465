//! Floods, each on the wire as an attacker makes it, while a neighbour's scrapes go on: what is bounded ends the connection, or costs it alone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::agent::Says;
use crate::client::{Version, connect, get as get_once};
use crate::frames::{
    Became, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, get, request,
};
use crate::house::{Credential, House, id, instance};
use crate::neighbour::beside;

const SOON: Duration = Duration::from_secs(10);
/// Past the pace's bound for a first request, and the sweep's second.
const ENDED_WITHIN: Duration = Duration::from_secs(25);
/// Far more than any connection may say before it is ended for it.
const MOST_SENT: usize = 64 << 20;
/// What a flood may make the process hold that it did not before: all buffers of one connection, many times over.
const MOST_GROWTH: usize = 48 << 20;

struct Scene {
    house: House,
    acme: Credential,
    rival: Credential,
    path: String,
    neighbours: String,
}

async fn scene(more: &str) -> Scene {
    let instances = [instance(1, "acme", json!({})), instance(2, "rival", json!({}))];
    let house = House::configured(&instances, more).await;
    let (acme, rival) = (house.token("acme", &[], None).await, house.token("rival", &[], None).await);
    let of = |number| format!("/v1/instances/{}/metrics", id(number));
    Scene { house, acme, rival, path: of(1), neighbours: of(2) }
}

impl Scene {
    async fn beside<T>(&self, attack: impl Future<Output = T>) -> T {
        beside(&self.house, &self.rival, &self.neighbours, attack).await
    }

    /// Sends the same again and again until the other side takes no more; how many bytes that were.
    async fn pour(&self, frames: &mut Frames, mut next: impl FnMut(u32) -> Vec<u8>) -> usize {
        let mut sent = 0;
        for round in 0.. {
            let bytes = next(round);
            sent += bytes.len();
            if sent > MOST_SENT || !frames.send(&bytes).await {
                return sent;
            }
        }
        sent
    }
}

/// What this process holds, bytes (proc_pid_statm(5)): the proxy runs in it.
fn held() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap();
    pages * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_of_endless_continuations_is_cut_off() {
    let scene = scene("").await;
    let before = held();
    let attack = async {
        // Fields that count, and frames of nothing at all.
        for payload in [block(&[(b"x-filler", &[b'a'; 4000])]), Vec::new()] {
            let mut frames = Frames::open(&scene.house).await;
            assert!(frames.send(&frame(HEADERS, END_STREAM, 1, &block(&get("/_ping", "127.0.0.1")))).await);
            let more = frame(CONTINUATION, 0, 1, &payload).repeat(64);
            let sent = scene.pour(&mut frames, |_| more.clone()).await;
            assert!(sent < MOST_SENT, "{sent} bytes of one head were taken");
        }
    };
    scene.beside(attack).await;
    assert!(held().saturating_sub(before) < MOST_GROWTH, "{before} became {}", held());
    scene.house.proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_large_are_refused_however_they_are_packed() {
    let scene = scene("").await;
    let many: Vec<(Vec<u8>, Vec<u8>)> = (0..3000).map(|n| (format!("x-{n}").into_bytes(), b"1".to_vec())).collect();
    let many: Vec<(&[u8], &[u8])> = many.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let plain = get("/_ping", "127.0.0.1");
    // One field that is kept (RFC 7541 §6.2.1), and then named by one byte each time: 4 KB become 16 MB.
    let value = vec![b'a'; 3900];
    let kept = block(&[(b"x-bomb", &value)]);
    let bomb = [&block(&plain)[..], &[0x40], &kept[1..], &[0xbe; 4096]].concat();
    let many = block(&[plain.clone(), many].concat());
    let before = held();
    let attack = async {
        for (what, head) in [("many fields", &many), ("a bomb", &bomb)] {
            let mut frames = Frames::open(&scene.house).await;
            let mut parts = head.chunks(16_000).peekable();
            let mut kind = (HEADERS, END_STREAM);
            while let Some(part) = parts.next() {
                let flags = kind.1 | if parts.peek().is_none() { END_HEADERS } else { 0 };
                frames.send(&frame(kind.0, flags, 1, part)).await;
                kind = (CONTINUATION, 0);
            }
            let became = frames.became(1, SOON).await.unwrap_or_else(|| panic!("nothing becomes of {what}"));
            assert!(matches!(became, Became::Answered(431) | Became::Reset | Became::Ended), "{what} is {became:?}");
        }
    };
    scene.beside(attack).await;
    assert!(held().saturating_sub(before) < MOST_GROWTH, "{before} became {}", held());
    scene.house.proxy.stop().await;
}

/// CVE-2023-44487: faster than a client library can, and for targets that an agent would be asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_opened_and_reset_in_one_write_end_the_connection() {
    let scene = scene("").await;
    scene.house.agent.says(&id(1).to_string(), Says::Nothing);
    let token = format!("Bearer {}", scene.acme.token.as_ref().unwrap());
    let fields = [get(&scene.path, "127.0.0.1"), vec![(&b"authorization"[..], token.as_bytes())]].concat();
    let attack = async {
        let mut frames = Frames::open(&scene.house).await;
        let (mut stream, mut opened) = (1, 0);
        let sent = scene
            .pour(&mut frames, |_| {
                let mut bytes = Vec::new();
                for _ in 0..100 {
                    bytes.extend(request(stream, END_STREAM, &fields));
                    bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
                    (stream, opened) = (stream + 2, opened + 1);
                }
                bytes
            })
            .await;
        (sent, opened)
    };
    let (sent, opened) = scene.beside(attack).await;
    assert!(sent < MOST_SENT, "{opened} streams were opened and reset");
    let asked = scene.house.agent.heard(&id(1).to_string()).len();
    assert!(asked <= 300, "the agent was asked {asked} times for what nobody waits for");
    scene.house.proxy.stop().await;
}

/// Frames that cost an answer or a change of state and carry nothing: they are taken or not, and nothing grows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_say_nothing_cost_nobody_else() {
    let scene = scene("").await;
    let floods: [(&str, Vec<u8>); 5] = [
        ("pings", frame(PING, 0, 0, &[0; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ("priorities", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16])),
        ("data of nothing", frame(DATA, 0, 1, &[])),
    ];
    let before = held();
    let attack = async {
        for (what, one) in &floods {
            let mut frames = Frames::open(&scene.house).await;
            if *what == "data of nothing" {
                // A request whose end never comes.
                frames.send(&request(1, 0, &get("/_ping", "127.0.0.1"))).await;
            }
            let began = Instant::now();
            let many = one.repeat(1000);
            // What nobody reads the answers of is blocked, and ended for it; the flood ends with the test's time for it.
            while began.elapsed() < Duration::from_secs(1) {
                let sent = tokio::time::timeout(Duration::from_millis(200), frames.send(&many)).await;
                if !matches!(sent, Ok(true)) {
                    break;
                }
            }
        }
    };
    scene.beside(attack).await;
    assert!(held().saturating_sub(before) < MOST_GROWTH, "{before} became {}", held());
    scene.house.proxy.stop().await;
}

/// Answers that are asked for and may not be sent: their places at the node are given back in the scraper's own time, and what waits of them holds up
/// nobody else's answers on the connections to the agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_may_not_be_sent_hold_nobody_up_and_no_place() {
    let scene = scene("").await;
    scene.house.agent.says(&id(1).to_string(), Says::Body("a_metric_of_some_length 1\n".repeat(100_000)));
    let token = format!("Bearer {}", scene.acme.token.as_ref().unwrap());
    let more: [(&[u8], &[u8]); 2] =
        [(b"authorization", token.as_bytes()), (b"x-prometheus-scrape-timeout-seconds", b"6")];
    let before = held();
    let attack = async {
        let mut frames = Frames::open(&scene.house).await;
        frames.close_windows().await;
        // As many as one connection to an agent has, less one: the neighbour's answer is to come over the same.
        for number in 0..15 {
            // Each another question, so that none is shared.
            let path = format!("{}?n={number}", scene.path);
            let fields = [get(&path, "127.0.0.1"), more.to_vec()].concat();
            assert!(frames.send(&request(1 + 2 * number, END_STREAM, &fields)).await);
        }
        let in_flight = "sonde_proxy_upstream_in_flight";
        wait_for(&scene.house, in_flight, |count| count >= 15.0).await;
        let began = Instant::now();
        for round in 0..20 {
            let neighbours = get_once(&scene.house, &scene.rival, &scene.neighbours).await;
            assert_eq!(neighbours.status, 200, "with all of theirs stuck");
            // Were it held up, then for as long as those are.
            assert!(began.elapsed() < Duration::from_secs(3), "round {round} after {:?}", began.elapsed());
        }
        wait_for(&scene.house, in_flight, |count| count < 2.0).await;
        // Its own connection is not ended for it yet.
        assert_eq!(frames.became(1, SOON).await, Some(Became::Answered(200)));
    };
    scene.beside(attack).await;
    assert!(held().saturating_sub(before) < MOST_GROWTH, "{before} became {}", held());
    scene.house.agent.says(&id(1).to_string(), Says::Body("a 1\n".into()));
    assert_eq!(get_once(&scene.house, &scene.acme, &scene.path).await.status, 200, "no place is lost");
    scene.house.proxy.stop().await;
}

/// Waits until one of the proxy's own figures is as it should be.
async fn wait_for(house: &House, series: &str, accept: impl Fn(f64) -> bool) {
    let began = Instant::now();
    loop {
        let about = crate::hostile::admin_metrics(house).await;
        let line = about.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value: f64 = line.unwrap_or_else(|| panic!("{series} is not in {about}")).parse().unwrap();
        if accept(value) {
            return;
        }
        assert!(began.elapsed() < SOON, "{series} is {value}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_of_http2_that_stops_in_the_middle_is_not_waited_for() {
    let scene = scene("").await;
    let attack = async {
        let mut frames = Frames::open(&scene.house).await;
        assert!(frames.send(&frame(HEADERS, END_STREAM, 1, &block(&get("/_ping", "127.0.0.1")))).await);
        let began = Instant::now();
        assert!(frames.ends(ENDED_WITHIN).await, "it is still waited for");
        assert!(began.elapsed() > SOON, "an honest one has time: {:?}", began.elapsed());
    };
    scene.beside(attack).await;
    scene.house.proxy.stop().await;
}

/// From one address too many handshakes, finished or not: another address is let in meanwhile, and the first again once it is quiet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_addresss_handshakes_keep_no_other_out() {
    // Of which one address has a quarter at once.
    let scene = scene("tls.handshakes = { in_flight = 16 }").await;
    let address = scene.house.proxy.address();
    let attack = async {
        let mut held = Vec::new();
        let mut refused = 0;
        // Half of them say nothing, half of them what is no TLS.
        for number in 0..200 {
            let mut stream = from("127.0.0.9", address).await;
            if number % 2 == 0 {
                // The door may have hung up already, which is what is tried here.
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\n\r\n").await;
            }
            let closed = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut [0; 64])).await;
            refused += usize::from(matches!(closed, Ok(Ok(0) | Err(_))));
            held.push(stream);
        }
        (held, refused)
    };
    let (held, refused) = scene.beside(attack).await;
    assert!(refused > 100, "of 200 handshakes {refused} were refused");
    drop(held);
    let again = async {
        loop {
            let stream = from("127.0.0.9", address).await;
            if crate::client::shake(&scene.house, stream).await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(ENDED_WITHIN, again).await.expect("it is let in again");
    // And so is a tenant: it panics where it is not.
    drop(connect(&scene.house, &scene.acme, None, Version::Two).await);
    scene.house.proxy.stop().await;
}

/// A connection from this address of the loopback's.
async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}
