//! The figures, a line each: `NAME WHAT VALUE…`, as `cargo xtask bench door` reads them.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::prepare::read_ports;

const SECONDS: Duration = Duration::from_secs(5);
const WARM: Duration = Duration::from_secs(1);
/// Idle connections for the figure of memory.
const IDLE: usize = 1_000;

/// Asks whoever is named on standard input as `NAME PID` lines.
pub async fn measure(folder: &Path) {
    let [ours, _, _, nginx, haproxy] = read_ports(folder);
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let Some((name, pid)) = line.split_once(' ') else { continue };
        let port = match name {
            "sonde" => ours,
            "nginx" => nginx,
            _ => haproxy,
        };
        let is_ours = name == "sonde";
        let client = |is_http2| Client::new(folder, port, is_ours, is_http2);
        for (what, is_http2, connections) in
            [("http1", false, 1), ("http1", false, 32), ("http2", true, 1), ("http2", true, 32)]
        {
            scrapes(name, what, &client(is_http2), connections).await;
        }
        handshakes(name, &client(false)).await;
        idle(name, &client(false), pid.trim()).await;
    }
}

async fn scrapes(name: &str, what: &str, client: &Client, connections: usize) {
    run(client, connections, WARM).await;
    let began = Instant::now();
    let mut took = run(client, connections, SECONDS).await;
    let rate = took.len() as f64 / began.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    println!("{name} {what} {connections} {rate:.0} {:.0} {:.0}", at(0.5), at(0.99));
}

async fn run(client: &Client, connections: usize, within: Duration) -> Vec<Duration> {
    let until = Instant::now() + within;
    let all = (0..connections).map(|number| {
        let client = client.clone();
        tokio::spawn(async move { client.ask_until(number, until).await })
    });
    let all: Vec<_> = all.collect();
    let mut took = Vec::new();
    for one in all {
        took.extend(one.await.expect("it asks"));
    }
    took
}

/// New connections a second, four at a time, each closed when its handshake is done.
async fn handshakes(name: &str, client: &Client) {
    let until = Instant::now() + SECONDS;
    let began = Instant::now();
    let all: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut count = 0_u64;
                while Instant::now() < until {
                    drop(client.connect().await.expect("it connects"));
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for one in all {
        count += one.await.expect("it connects");
    }
    println!("{name} handshakes 4 {:.0}", count as f64 / began.elapsed().as_secs_f64());
}

/// Resident memory that a connection costs which has asked for nothing yet.
async fn idle(name: &str, client: &Client, pid: &str) {
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0").to_owned();
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let before = resident();
    let mut held = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        held.push(client.connect().await.expect("it connects"));
    }
    println!("{name} idle {IDLE} {:.1}", (resident() - before) / IDLE as f64);
}
