//! Rates are true: what two Prometheus servers of different rhythm see is what the kernel counted.
//!
//! Beating is the fault this looks for. A value prepared on a rhythm of its own is up to that rhythm
//! old when scraped, so the rate over 5 s is off by up to 20 %, now up, now down. Here the test reads
//! the same cgroup file every 20 ms and holds every pair of neighbouring samples to it. In a binary of
//! its own, so that no other test competes for the machine's two cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sonde_tests::{Container, Prometheus, RawSeries, Sonde, eventually, read_cpu_usage_ns};

/// Between two looks of the test: by interpolation its own error stays well under a millisecond.
const WATCH_EVERY: Duration = Duration::from_millis(20);
/// Issue 2: every rate within 1 % of the kernel's.
const TOLERANCE: f64 = 0.01;
/// Issue 2: no sensor sample older than this at its scrape.
const OLDEST_SECONDS: f64 = 1.0;
/// The scheduler learns a scraper's rhythm from its first scrapes.
const LEARNING_SCRAPES: usize = 3;
const RHYTHMS_SECONDS: [u64; 2] = [5, 7];
/// Enough for six rates at the slower rhythm, and eight at the other.
const SAMPLES: usize = 7;
/// The burner's CPU, as Prometheus stores it.
const CPU: &str = "container_cpu_usage_seconds_total{cpu=\"total\"}";
const LONG_ENOUGH: Duration = Duration::from_secs(120);

/// The kernel's figure over time: seconds since the epoch, CPU seconds.
fn watch(cgroup: std::path::PathBuf, stop: Arc<AtomicBool>) -> thread::JoinHandle<Vec<(f64, f64)>> {
    thread::spawn(move || {
        let mut seen = Vec::new();
        loop {
            // One more look after the word to stop, so that what was scraped before it is watched.
            let last = stop.load(Ordering::SeqCst);
            let before = now_seconds();
            let used = read_cpu_usage_ns(&cgroup) as f64 / 1e9;
            seen.push((f64::midpoint(before, now_seconds()), used));
            if last {
                return seen;
            }
            thread::sleep(WATCH_EVERY);
        }
    })
}

fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs_f64()
}

/// The kernel's figure at a moment, between the two looks around it.
fn kernel_at(seen: &[(f64, f64)], at: f64) -> f64 {
    let after = seen.partition_point(|(time, _)| *time <= at);
    assert!(after > 0 && after < seen.len(), "{at} was not watched");
    let ((t0, v0), (t1, v1)) = (seen[after - 1], seen[after]);
    v0 + (v1 - v0) * (at - t0) / (t1 - t0)
}

fn one(mut series: Vec<RawSeries>, what: &str) -> Vec<(f64, f64)> {
    assert_eq!(series.len(), 1, "{what}: {series:?}");
    series.remove(0).samples
}

/// What one Prometheus server stored, sample by sample: seconds since the epoch, value.
struct Stored {
    rhythm_seconds: u64,
    cpu_seconds: Vec<(f64, f64)>,
    /// `irate()` as its query API computes it, at each stored sample but the first.
    irates: Vec<f64>,
    sensor_age_seconds: Vec<(f64, f64)>,
}

/// Lets a server of each rhythm scrape the instance until the slowest has enough.
fn scraped_by_each(sonde: &Sonde, instance: &str) -> [Stored; 2] {
    let servers = RHYTHMS_SECONDS.map(|seconds| {
        Prometheus::with_config(&format!(
            "global: {{scrape_interval: {seconds}s, scrape_timeout: {seconds}s}}\nscrape_configs:\n\
             - {{job_name: burner, metrics_path: /v1/{instance}/metrics, static_configs: [{{targets: ['{}']}}]}}\n",
            sonde.authority()
        ))
    });
    let irate = format!("irate({CPU}[1m])");
    let cpu = &format!("{CPU}[5m]");
    let age = "sonde_sensor_age_seconds{sensor=\"honest\"}[5m]";
    eventually("enough samples", LONG_ENOUGH, || {
        let fewest = servers.iter().map(|p| p.query(cpu).first().map_or(0, |s| s.samples.len())).min();
        if fewest >= Some(SAMPLES) { Ok(()) } else { Err(format!("{fewest:?}; {}", servers[1].targets())) }
    });
    let mut rhythms = RHYTHMS_SECONDS.into_iter();
    servers.each_ref().map(|prometheus| {
        let cpu_seconds = one(prometheus.query(cpu), "the burner's CPU");
        let at = |time| one(prometheus.query_at(&irate, time), "the burner's irate")[0].1;
        Stored {
            rhythm_seconds: rhythms.next().expect("a server a rhythm"),
            irates: cpu_seconds.iter().skip(1).map(|(time, _)| at(*time)).collect(),
            cpu_seconds,
            sensor_age_seconds: one(prometheus.query(age), "the honest sensor's age"),
        }
    })
}

/// Every rate that is not the kernel's, and every sample that was too old, in words.
fn faults(stored: &Stored, seen: &[(f64, f64)]) -> Vec<String> {
    let rhythm = stored.rhythm_seconds;
    let mut faults = Vec::new();
    // Nothing to look at is no pass.
    assert!(stored.cpu_seconds.len() >= SAMPLES, "only {} samples at {rhythm} s", stored.cpu_seconds.len());
    assert!(stored.sensor_age_seconds.len() >= SAMPLES - 1, "only {} ages", stored.sensor_age_seconds.len());
    for (pair, irate) in stored.cpu_seconds.windows(2).zip(&stored.irates) {
        let [(t0, v0), (t1, v1)] = pair else { unreachable!("windows of two") };
        let kernel = (kernel_at(seen, *t1) - kernel_at(seen, *t0)) / (t1 - t0);
        let rate = (v1 - v0) / (t1 - t0);
        let off = (irate - kernel) / kernel;
        if (irate - rate).abs() > rate * 1e-6 {
            faults.push(format!("irate() at {rhythm} s is {irate} and its samples' rate {rate}"));
        }
        eprintln!("every {rhythm} s: {rate:.4} CPU, the kernel {kernel:.4}, off by {:+.3} %", off * 100.0);
        if off.abs() > TOLERANCE {
            faults.push(format!("a rate at {rhythm} s is {rate:.4} and the kernel's {kernel:.4}"));
        }
    }
    for (at, age) in stored.sensor_age_seconds.iter().skip(LEARNING_SCRAPES) {
        eprintln!("every {rhythm} s: the sensor's sample is {age:.3} s old");
        if *age > OLDEST_SECONDS {
            faults.push(format!("at {at} the scrape every {rhythm} s got a sample {age} s old"));
        }
    }
    faults
}

#[test]
fn rates_are_the_kernels_and_samples_are_fresh() {
    // Half a CPU in slices of 10 ms: constant, and it leaves room for those who measure.
    let burner = Container::named("burner").cpu_percent(50).script("while :; do :; done").run();
    let sonde = Sonde::configure().sensor("honest.wasm", burner.id(), "").up();
    sonde.wait_for_instance(burner.id());
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = watch(burner.cgroup("cpuacct"), Arc::clone(&stop));

    let stored = scraped_by_each(&sonde, burner.id());

    stop.store(true, Ordering::SeqCst);
    let seen = watcher.join().expect("the watcher only reads");
    let found: Vec<String> = stored.iter().flat_map(|stored| faults(stored, &seen)).collect();
    assert!(found.is_empty(), "{found:#?}");
}
