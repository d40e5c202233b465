//! What does not exist and what is another's take the same: the same work, counted, and the same time, measured side by side.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{Version, connect};
use crate::house::{Credential, House, SUFFIX, id, instance};

/// Of each kind. One after the other by turns, and each first by turns, so that what else the machine does falls on all of them alike.
const ROUNDS: usize = 200;
/// By so much of the time itself they may differ. Asking an agent, or walking a list, is a multiple; what is allowed is noise.
const NOISE: f64 = 0.25;
/// All of them count: noise falls on either side of none and on few of them, and what tells the two apart is in the one in the middle too.
const ATTEMPTS: usize = 7;
const FOREIGN: u128 = 2;
const UNKNOWN: u128 = 99;

/// One request on a connection that stays; how long its answer took, and what it was.
async fn timed(stream: &mut TlsStream<TcpStream>, head: &str) -> (Duration, Vec<u8>) {
    let began = Instant::now();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut heard = vec![0; 4096];
    let length = stream.read(&mut heard).await.unwrap();
    let took = began.elapsed();
    heard.truncate(length);
    (took, heard)
}

fn without_date(heard: &[u8]) -> String {
    let text = String::from_utf8_lossy(heard);
    text.split("\r\n").filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\r\n")
}

/// What a quarter of them took at most: what else the machine does only adds to that.
fn lower_quartile(mut all: Vec<Duration>) -> f64 {
    all.sort_unstable();
    all[all.len() / 4].as_secs_f64()
}

/// How much longer the one takes than the other, as a part of the shorter time.
async fn difference(house: &House, what: &str, foreign: &str, unknown: &str) -> f64 {
    let mut stream = connect(house, &Credential::default(), None, Version::One).await;
    let (mut of_foreign, mut of_unknown) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let is_foreign_first = round % 2 == 0;
        let (first, second) = if is_foreign_first { (foreign, unknown) } else { (unknown, foreign) };
        let (took, heard) = timed(&mut stream, first).await;
        let (other, like) = timed(&mut stream, second).await;
        assert!(heard.starts_with(b"HTTP/1.1 404"), "{what}: {}", String::from_utf8_lossy(&heard));
        assert_eq!(without_date(&heard), without_date(&like), "{what}");
        // The first ones find caches cold.
        if round >= ROUNDS / 10 {
            of_foreign.push(if is_foreign_first { took } else { other });
            of_unknown.push(if is_foreign_first { other } else { took });
        }
    }
    let (foreign, unknown) = (lower_quartile(of_foreign), lower_quartile(of_unknown));
    (foreign - unknown) / foreign.min(unknown)
}

#[tokio::test]
async fn what_is_anothers_takes_as_long_as_what_is_not_there() {
    // Others have many, so that a walk over theirs would be seen.
    let own = instance(1, "acme", json!({}));
    let all: Vec<_> =
        [own].into_iter().chain((2..60).map(|n| instance(n, "rival", json!({ "groups": ["web"] })))).collect();
    let limits = "limits = { requests_per_second = 100000, request_burst = 100000 }";
    let house = House::configured(&all, limits).await;
    let acme = house.token("acme", &[], None).await.token.unwrap();
    let ask =
        |host: &str, path: &str| format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {acme}\r\n\r\n");
    let by_path = |number| ask("127.0.0.1", &format!("/v1/instances/{}/metrics", id(number)));
    let by_name = |label: &str| ask(&format!("{label}.{SUFFIX}"), "/metrics");
    let pairs = [
        ("by path", by_path(FOREIGN), by_path(UNKNOWN)),
        ("by name", by_name(&id(FOREIGN).to_string()), by_name(&id(UNKNOWN).to_string())),
        ("by alias", by_name("i2--rival"), by_name("i99--rival")),
    ];
    let mut asked = 0;
    for (what, foreign, unknown) in pairs {
        let mut differences = Vec::new();
        for _ in 0..ATTEMPTS {
            differences.push(difference(&house, what, &foreign, &unknown).await);
            asked += ROUNDS * 2;
        }
        differences.sort_unstable_by(f64::total_cmp);
        let median = differences[ATTEMPTS / 2];
        assert!(
            median.abs() < NOISE,
            "{what}: another's takes so much longer than what is not there: {differences:.2?}"
        );
    }
    // The same work: nobody was asked for either, and all that is counted is that there were so many answers.
    assert!((2..60).chain([UNKNOWN]).all(|number| house.agent.heard(&id(number).to_string()).is_empty()));
    let about = crate::hostile::admin_metrics(&house).await;
    let answered = format!("sonde_proxy_answers_total{{code=\"404\"}} {asked}");
    assert!(about.contains(&answered), "{about}");
    let asked = about.lines().filter(|line| line.starts_with("sonde_proxy_scrapes_total{") && !line.ends_with(" 0"));
    assert_eq!(asked.count(), 0, "{about}");
    house.proxy.stop().await;
}
