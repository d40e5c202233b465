//! How long each hostile guest holds the thread that it runs on: the longest of its polls, and of the run's end, where its memory is given back.
//!
//! `cargo xtask bench preemption` prints it, of all guests; with an argument, of those whose names hold it. In one process and without a schedule, so what is seen is what a runner's other runs would
//! wait for. Each guest runs a few times, and its best time counts: an interruption of the machine's is not the guest's.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_host::{Grant, Policy, Reserved};
use sonde_hostile::{Guest, corpus};
use sonde_manifest::Class;
use sonde_runner::{LocalLoader, NoInstance, RunInput};

const ROUNDS: usize = 5;
/// Long enough for every preemption to be needed, short enough to wait for.
const WALL: Duration = Duration::from_millis(300);
/// So many are printed.
const SHOWN: usize = 15;

/// The longest that one poll of `work` took.
async fn longest_poll<T>(work: impl Future<Output = T>) -> Duration {
    let (mut work, mut longest) = (pin!(work), Duration::ZERO);
    poll_fn(|context| {
        let began = Instant::now();
        let polled = work.as_mut().poll(context);
        longest = longest.max(began.elapsed());
        polled
    })
    .await;
    longest
}

/// The least of the longest polls of some runs, with fuel and CPU that do not end it before it has been preempted often.
async fn hold(loader: &LocalLoader, guest: &Guest) -> Option<Duration> {
    let sensor = loader.load(&guest.bytes(&[]).ok()?).await.ok()?;
    let manifest = &sensor.sensor.manifest;
    let policy = Policy { class: Class::Large, ..Policy::default() };
    let mut grant = Grant::decide(manifest, manifest.resolve(&BTreeMap::new()).ok()?, &policy).ok()?;
    grant.limits.fuel = u64::MAX >> 1;
    grant.limits.cpu_ms = u64::MAX >> 1;
    grant.limits.wall = WALL;
    let grant = Arc::new(grant);
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let input = RunInput { grant: grant.clone(), broker: Arc::new(NoInstance), state: Arc::from([]), account: 0 };
        least = least.min(longest_poll(sensor.run(input)).await);
    }
    Some(least)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads can be started");
    let loader = LocalLoader::new(Reserved::default());
    let named = std::env::args().nth(1).unwrap_or_default();
    let mut holds: Vec<(Duration, String)> = corpus()
        .iter()
        .filter(|guest| guest.name.contains(&named))
        .filter_map(|guest| Some((runtime.block_on(hold(&loader, guest))?, guest.name.clone())))
        .collect();
    holds.sort();
    holds.reverse();
    println!("{} guests run; the longest that any holds its thread, in ms:", holds.len());
    for (longest, name) in holds.iter().take(SHOWN) {
        println!("{:>8.2}  {name}", longest.as_secs_f64() * 1e3);
    }
}
