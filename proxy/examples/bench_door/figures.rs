//! The figures, a line each: `NAME WHAT AT-ONCE VALUE…`, as `cargo xtask bench door` reads them.
//!
//! What a door can do is counted by its own CPU time, which neighbours on its core cannot lengthen: scrapes, or handshakes, for a second of it. Every
//! figure is taken in rounds in which all doors take turns, and is the median of its rounds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::prepare::read_ports;

const ROUNDS: usize = 5;
const SECONDS: Duration = Duration::from_secs(2);
const WARM: Duration = Duration::from_millis(300);
/// Idle connections for the figure of memory.
const IDLE: usize = 1_000;
/// Of HTTP's version, and connections at once.
const SHAPES: [(&str, bool, usize); 4] =
    [("http1", false, 1), ("http1", false, 32), ("http2", true, 1), ("http2", true, 32)];
/// Handshakes at once.
const SHAKING: usize = 4;

/// One of those that are asked.
struct Door {
    name: String,
    pid: String,
    port: u16,
}

impl Door {
    fn client(&self, folder: &Path, is_http2: bool) -> Client {
        Client::new(folder, self.port, &self.name, is_http2)
    }

    /// Its CPU time, user and system (`/proc/PID/stat`, in ticks of 10 ms), in seconds.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(self.proc("stat")).unwrap_or_default();
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
        fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    }

    fn resident_kib(&self) -> f64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0").to_owned();
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0.0)
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(&self.pid).join(file)
    }
}

/// Asks whoever is named on standard input as `NAME PID` lines, and the agent itself for what a door adds.
pub async fn measure(folder: &Path) {
    let [ours, _, agent, nginx, haproxy] = read_ports(folder);
    let doors: Vec<Door> = std::io::stdin()
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| {
            let (name, pid) = line.split_once(' ')?;
            let port = match name {
                "sonde" => ours,
                "nginx" => nginx,
                "haproxy" => haproxy,
                _ => agent,
            };
            Some(Door { name: name.to_owned(), pid: pid.trim().to_owned(), port })
        })
        .collect();
    // First, while none has memory left over from what it was asked before.
    for door in &doors {
        idle(door, &door.client(folder, false)).await;
    }
    for (what, is_http2, connections) in SHAPES {
        let mut of: Vec<[Vec<f64>; 3]> = doors.iter().map(|_| Default::default()).collect();
        for _ in 0..ROUNDS {
            for (door, figures) in doors.iter().zip(&mut of) {
                let scraped = scrapes(door, &door.client(folder, is_http2), connections).await;
                figures.iter_mut().zip(scraped).for_each(|(all, one)| all.push(one));
            }
        }
        for (door, [rate, p50, p99]) in doors.iter().zip(of) {
            println!("{} {what} {connections} {:.0} {:.0} {:.0}", door.name, median(rate), median(p50), median(p99));
        }
    }
    let mut of: Vec<Vec<f64>> = doors.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (door, rates) in doors.iter().zip(&mut of) {
            rates.push(handshakes(door, &door.client(folder, false)).await);
        }
    }
    for (door, rates) in doors.iter().zip(of) {
        println!("{} handshakes {SHAKING} {:.0}", door.name, median(rates));
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(0.0)
}

/// Scrapes for a second of the door's CPU time; and p50 and p99 of how long one took, in us.
async fn scrapes(door: &Door, client: &Client, connections: usize) -> [f64; 3] {
    run(client, connections, WARM).await;
    let before = door.cpu_seconds();
    let mut took = run(client, connections, SECONDS).await;
    let rate = took.len() as f64 / (door.cpu_seconds() - before);
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    [rate, at(0.5), at(0.99)]
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

/// New connections for a second of the door's CPU time, a few at once, each closed when its handshake is done.
async fn handshakes(door: &Door, client: &Client) -> f64 {
    let until = Instant::now() + SECONDS;
    let before = door.cpu_seconds();
    let all: Vec<_> = (0..SHAKING)
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
    count as f64 / (door.cpu_seconds() - before)
}

/// Resident memory that a connection costs which has asked for nothing yet; and one between two scrapes, as a Prometheus has one for each target.
async fn idle(door: &Door, client: &Client) {
    let each = |before: f64| (door.resident_kib() - before) / IDLE as f64;
    let before = door.resident_kib();
    let mut held = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        held.push(client.connect().await.expect("it connects"));
    }
    println!("{} idle {IDLE} {:.1}", door.name, each(before));
    let before = door.resident_kib();
    let mut held = Vec::with_capacity(IDLE);
    for number in 0..IDLE {
        held.push(client.asked_once(number).await);
    }
    println!("{} idle-between-scrapes {IDLE} {:.1}", door.name, each(before));
}
