//! The schedule with real components: who waits on a server holds back only their own, nothing runs twice at once, and a run that was
//! under way when its sensor was taken away is still recorded.

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sonde_host::{
    Broker, BrokerError, BrokerFuture, Grant, Kstat, Loader, Placement, Policy, Process, Reserved, Schedule, Sensor,
    Slot, TargetId,
};

/// Longer than any of these tests needs on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Accepts every connect and never finishes it; counts who is waiting.
#[derive(Default)]
struct Tarpit {
    waiting: AtomicUsize,
    most: AtomicUsize,
}

impl Broker for Tarpit {
    fn connect_tcp(&self, _: u16, _: Instant) -> BrokerFuture<'_, TcpStream> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        Box::pin(async {
            let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
            let _counted = Waiting(&self.waiting);
            self.most.fetch_max(waiting, Ordering::SeqCst);
            std::future::pending().await
        })
    }
    fn connect_unix<'a>(&'a self, _: &'a str, _: Instant) -> BrokerFuture<'a, UnixStream> {
        Box::pin(async { Err(BrokerError::Refused) })
    }
    fn open_file<'a>(&'a self, _: &'a str, _: Instant) -> BrokerFuture<'a, File> {
        Box::pin(async { Err(BrokerError::NotFound) })
    }
    fn kstats<'a>(&'a self, _: &'a str) -> BrokerFuture<'a, Vec<Kstat>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn processes(&self, _: usize) -> BrokerFuture<'_, Vec<Process>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn secret<'a>(&'a self, _: &'a str) -> BrokerFuture<'a, Option<String>> {
        Box::pin(async { Ok(None) })
    }
}

fn component(file: &str) -> Vec<u8> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sensors-out");
    let folder = std::env::var_os("SONDE_WASM_DIR").map_or(built, PathBuf::from);
    let path = folder.join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; `cargo xtask sensors` builds it", path.display()))
}

async fn load(loader: &Loader, file: &str) -> Arc<Sensor> {
    loader.load(component(file)).await.expect("the host takes it")
}

fn grant(sensor: &Sensor) -> Grant {
    let asked = sensor.manifest.resolve(&Default::default()).expect("it needs no configuration");
    Grant::decide(&sensor.manifest, asked, &Policy::default()).expect("the default policy allows it")
}

async fn place(
    schedule: &Schedule,
    target: u64,
    name: &str,
    sensor: &Arc<Sensor>,
    grant: Grant,
    broker: Arc<dyn Broker>,
) -> Arc<Slot> {
    let (sensor, grant) = (sensor.clone(), Arc::new(grant));
    let placement = Placement { target: TargetId(target), name: name.into(), sensor, grant, broker, state: Vec::new() };
    schedule.place(placement).await
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_waits_holds_back_only_their_own() {
    let loader = Loader::new(Reserved::default()).unwrap();
    let (redis, honest) = (load(&loader, "redis.wasm").await, load(&loader, "honest.wasm").await);
    let schedule = Schedule::start(1).unwrap();
    let tarpit = Arc::new(Tarpit::default());
    let mut slots = Vec::new();
    for number in 0..40 {
        let patient = Grant { interval: Duration::from_secs(60), ..grant(&redis) };
        slots.push(place(&schedule, 1, &format!("redis-{number}"), &redis, patient, tarpit.clone()).await);
    }
    let good = place(&schedule, 2, "honest", &honest, grant(&honest), tarpit.clone()).await;
    until("the neighbour's run", || good.totals().runs > 0).await;
    assert!(good.is_up(), "{:?}", good.last_failure());
    assert!(slots.iter().any(|slot| slot.totals().runs == 0), "the forty are still waiting, or this shows nothing");
    assert!(tarpit.most.load(Ordering::SeqCst) <= 4, "one target has more places than it may");
}

#[tokio::test]
async fn a_successor_waits_and_the_last_run_is_recorded() {
    let loader = Loader::new(Reserved::default()).unwrap();
    let redis = load(&loader, "redis.wasm").await;
    let schedule = Schedule::start(1).unwrap();
    let tarpit = Arc::new(Tarpit::default());
    let first = place(&schedule, 1, "redis", &redis, grant(&redis), tarpit.clone()).await;
    until("the first run", || tarpit.waiting.load(Ordering::SeqCst) == 1).await;
    schedule.remove(first.clone()).await;
    let second = place(&schedule, 1, "redis", &redis, grant(&redis), tarpit.clone()).await;
    until("the successor's run", || second.totals().runs == 1).await;
    assert_eq!(first.totals().runs, 1, "the run that was under way is recorded");
    assert_eq!(tarpit.most.load(Ordering::SeqCst), 1, "never twice at once");
    schedule.remove(second).await;
}

#[tokio::test]
async fn a_sensor_runs_just_ahead_of_the_next_scrape() {
    let loader = Loader::new(Reserved::default()).unwrap();
    let honest = load(&loader, "honest.wasm").await;
    let schedule = Schedule::start(1).unwrap();
    let quiet = Grant { interval: Duration::from_secs(3600), ..grant(&honest) };
    let slot = place(&schedule, 1, "honest", &honest, quiet, Arc::new(Tarpit::default())).await;
    until("the first run", || slot.totals().runs == 1).await;
    // A scraper every 1.2 s; from its third scrape on, what it gets is from a run made for it.
    let mut beat = tokio::time::interval(Duration::from_millis(1200));
    let mut ages = Vec::new();
    for _ in 0..6 {
        beat.tick().await;
        ages.push(slot.latest().expect("it has run").at.elapsed());
        schedule.scraped(TargetId(1), 7);
    }
    let learnt = &ages[2..];
    assert!(learnt.iter().all(|age| *age < Duration::from_secs(1)), "{ages:?}");
    assert!(slot.totals().runs <= 7, "no more runs than scrapes call for: {}", slot.totals().runs);
}
