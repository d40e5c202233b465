//! Every limit of a run has a test that goes over it, with a real component and the path that the product takes: loader, grant, run.
//!
//! The guest `over` does what its configuration says; each test chooses the limits of its grant, so that none waits for the real ones. What
//! a sensor is refused for before it ever runs is in `refusals`.

mod peer;
mod refusals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sonde_expo::model::{Number, Value};
use sonde_host::{Collected, Grant, LOG_LINE_BYTES, Loader, Policy, Reserved, RunInput, RunReport, Sensor};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use peer::Peer;

/// Enough for whatever is not about fuel.
const MUCH_FUEL: u64 = 2_000_000_000;
/// Longer than any of these tests takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// Long enough for a guest to get where it waits, short enough to wait for.
const SHORT_WALL: Duration = Duration::from_millis(200);

/// The bytes of a built sensor. Without it there is nothing to test, so its absence is a failure.
fn component(file: &str) -> Vec<u8> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sensors-out");
    let folder = std::env::var_os("SONDE_WASM_DIR").map_or(built, PathBuf::from);
    let path = folder.join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; `cargo xtask sensors` builds it", path.display()))
}

/// The sandbox of all tests and the guest in it, compiled once.
async fn sandbox() -> &'static (Loader, Arc<Sensor>) {
    static SANDBOX: OnceCell<(Loader, Arc<Sensor>)> = OnceCell::const_new();
    let load = || async {
        let loader = Loader::new(Reserved::default()).expect("the sandbox can be set up");
        let over = loader.load(component("over.wasm")).await.expect("the host takes it");
        (loader, over)
    };
    SANDBOX.get_or_init(load).await
}

/// One run that does `what`, under limits as `limit` leaves them.
struct Attempt {
    what: &'static str,
    amount: usize,
    peer: Peer,
    state: &'static [u8],
}

fn attempt(what: &'static str, amount: usize) -> Attempt {
    Attempt { what, amount, peer: Peer::Absent, state: &[] }
}

impl Attempt {
    fn with(self, peer: Peer) -> Self {
        Self { peer, ..self }
    }

    async fn under(self, limit: impl FnOnce(&mut Grant)) -> RunReport {
        let (_, sensor) = sandbox().await;
        let given = [("what", self.what.to_owned()), ("amount", self.amount.to_string())];
        let given: BTreeMap<String, String> = given.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let asked = sensor.manifest.resolve(&given).expect("the guest declares both keys");
        let mut grant = Grant::decide(&sensor.manifest, asked, &Policy::default()).expect("the policy allows it");
        limit(&mut grant);
        let state = Arc::from(self.state);
        sensor.run(RunInput { grant: Arc::new(grant), broker: Arc::new(self.peer), state }).await
    }

    /// Under the defaults.
    async fn run(self) -> RunReport {
        self.under(|_| {}).await
    }
}

#[track_caller]
fn collected(report: &RunReport) -> &Collected {
    report.result.as_ref().unwrap_or_else(|failure| panic!("it failed ({}): {failure}", failure.reason()))
}

/// What the guest says that it saw.
#[track_caller]
fn seen(report: &RunReport) -> f64 {
    let families = &collected(report).families;
    match families.first().map(|family| &family.samples[0].value) {
        Some(Value::Number { value: Number::Float(value), .. }) => *value,
        other => panic!("not a number: {other:?}"),
    }
}

/// The reason and the sentence of a run that failed.
#[track_caller]
fn failed(report: &RunReport) -> (&'static str, String) {
    let failure = report.result.as_ref().expect_err("it should have failed");
    (failure.reason(), failure.to_string())
}

#[tokio::test]
async fn fuel() {
    let report = attempt("spin", 0).under(|grant| grant.limits.fuel = 1_000_000).await;
    assert_eq!(failed(&report), ("fuel", "used up its 1000000 fuel".into()));
    assert_eq!(report.usage.fuel, 1_000_000);
}

#[tokio::test]
async fn wall_while_waiting() {
    let waiting = |grant: &mut Grant| {
        grant.limits.wall = SHORT_WALL;
        grant.limits.host_calls = 1_000_000;
        grant.limits.fuel = u64::MAX;
    };
    let report = attempt("wait", 0).with(Peer::Silent).under(waiting).await;
    assert_eq!(failed(&report), ("deadline", "was not done within 200ms".into()));
    assert!(report.usage.wall >= SHORT_WALL, "{:?}", report.usage);
}

#[tokio::test]
async fn wall_while_computing() {
    let spinning = |grant: &mut Grant| {
        grant.limits.wall = SHORT_WALL;
        grant.limits.fuel = u64::MAX;
    };
    let report = attempt("spin", 0).under(spinning).await;
    assert_eq!(failed(&report).0, "deadline");
    assert!(report.usage.cpu > Duration::ZERO, "the time on the CPU is told though it was cut off");
}

#[tokio::test]
async fn memory() {
    let report = attempt("grow", 0).under(|grant| grant.limits.fuel = MUCH_FUEL).await;
    let (reason, _) = failed(&report);
    assert_eq!(reason, "memory");
    let limit = 16 << 20;
    assert!((limit - (2 << 20)..=limit).contains(&report.usage.memory_peak_bytes), "{:?}", report.usage);

    let report = attempt("grow", 0).under(|grant| grant.memory_bytes = 4 << 20).await;
    assert_eq!(failed(&report), ("memory", "asked for more than its 4194304 bytes of memory".into()));
}

#[tokio::test]
async fn a_refusal_of_memory_that_is_survived_is_not_the_failure() {
    assert_eq!(seen(&attempt("refused", 0).run().await), 1.0);
    for what in ["refused_then_called_then_panicked", "refused_then_grown_then_panicked"] {
        assert_eq!(failed(&attempt(what, 0).run().await).0, "trap", "{what}");
    }
}

#[tokio::test]
async fn stack() {
    let report = attempt("recurse", 1_000).run().await;
    assert!(report.result.is_ok(), "{:?}", report.result);
    let report = attempt("recurse", 10_000_000).under(|grant| grant.limits.fuel = MUCH_FUEL).await;
    assert_eq!(failed(&report).0, "stack");
}

#[tokio::test]
async fn boundary_bytes() {
    // In a call of the node, and in what is returned.
    for what in ["log_line", "label_value"] {
        let report = attempt(what, 300 << 10).under(|grant| grant.limits.fuel = MUCH_FUEL).await;
        assert_eq!(failed(&report).0, "boundary", "{what}");
    }
}

#[tokio::test]
async fn host_calls() {
    // Three are the guest's questions for its configuration.
    assert_eq!(seen(&attempt("calls", 97).under(|grant| grant.limits.host_calls = 100).await), 97.0);
    let report = attempt("calls", 98).under(|grant| grant.limits.host_calls = 100).await;
    assert_eq!(failed(&report), ("host_calls", "made more than 100 host calls".into()));
}

#[tokio::test]
async fn series() {
    let report = attempt("series", 25).under(|grant| grant.limits.series = 10).await;
    let collected = collected(&report);
    assert_eq!((collected.series, collected.series_dropped), (10, 15));
    assert_eq!(collected.lines, [10]);
}

#[tokio::test]
async fn labels() {
    for (what, most) in [("labels", 16), ("label_name", 64), ("label_value", 256)] {
        assert_eq!(seen(&attempt(what, most).run().await), 1.0, "{what}");
        let (reason, sentence) = failed(&attempt(what, most + 1).run().await);
        assert_eq!(reason, "output", "{what}");
        assert!(sentence.contains("over_labelled"), "{sentence}");
    }
}

#[tokio::test]
async fn log_bytes() {
    let report = attempt("log_lines", 1_000).run().await;
    assert!(report.result.is_ok() && report.logs_cut);
    assert_eq!(report.logs.len(), 512, "8 KiB of 16 bytes");
    assert_eq!(report.usage.log_bytes, 8 << 10);

    let report = attempt("log_line", 4 * LOG_LINE_BYTES).run().await;
    assert!(report.logs_cut);
    assert_eq!(report.logs.iter().map(|line| line.message.len()).collect::<Vec<_>>(), [LOG_LINE_BYTES]);
}

#[tokio::test]
async fn sockets() {
    let report = attempt("sockets", 10).with(Peer::Silent).run().await;
    assert_eq!(seen(&report), 4.0);
    assert_eq!(report.usage.sockets, 4);
    // One that is refused counts: else a sensor could scan ports.
    let report = attempt("sockets", 10).run().await;
    assert_eq!(report.usage.sockets, 4);
}

#[tokio::test]
async fn state_bytes() {
    let report = attempt("state", 4 << 10).run().await;
    assert_eq!(seen(&report), 1.0);
    assert_eq!(report.state, Some(vec![7; 4 << 10]));

    let report = attempt("state", (4 << 10) + 1).run().await;
    assert_eq!(seen(&report), 0.0, "the guest is told");
    assert_eq!(report.state, None);

    let report = attempt("state_then_fail", 1).run().await;
    assert_eq!(failed(&report), ("other", "other: stored".into()));
    assert_eq!(report.state, None, "a run that fails leaves the state as it was");

    let loaded = Attempt { state: b"kept", ..attempt("state_loaded", 0) };
    assert_eq!(seen(&loaded.run().await), 4.0);
}

#[tokio::test]
async fn state_that_is_not_granted() {
    let report = attempt("state", 1).under(|grant| grant.state = false).await;
    assert_eq!((seen(&report), report.state), (0.0, None));
}

#[tokio::test]
async fn bytes_in() {
    let peer = Peer::Speaks(vec![b'x'; 10_000]);
    let report = attempt("receive", 300).with(peer).under(|grant| grant.limits.bytes_in = 1_000).await;
    assert_eq!(seen(&report), 1_000.0);
    assert_eq!(report.usage.bytes_in, 1_000);
}

#[tokio::test]
async fn bytes_out() {
    let limit = |grant: &mut Grant| grant.limits.bytes_out = 1_000;
    let report = attempt("send", 1_000).with(Peer::Silent).under(limit).await;
    assert_eq!((seen(&report), report.usage.bytes_out), (1.0, 1_000));
    let report = attempt("send", 1_001).with(Peer::Silent).under(limit).await;
    assert_eq!((seen(&report), report.usage.bytes_out), (0.0, 0), "refused whole, before a byte is sent");
}

/// A response of a hundred bytes of body.
fn response() -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: 100\r\nserver: test\r\n\r\n{}", "b".repeat(100))
}

#[tokio::test]
async fn http_is_counted_as_the_socket_has_it() {
    let peer = Peer::answers(&response());
    let received = peer.received();
    let report = attempt("fetch", 1_000).with(peer).run().await;
    assert_eq!(seen(&report), 100.0);
    assert!(report.logs.is_empty(), "the whole body came");
    assert_eq!(report.usage.bytes_in, response().len() as u64);
    assert_eq!(report.usage.bytes_out, received.get().len() as u64, "{:?}", received.get());
}

#[tokio::test]
async fn http_over_its_limits() {
    let cut = attempt("fetch", 10).with(Peer::answers(&response())).run().await;
    assert_eq!((seen(&cut), cut.logs.len()), (10.0, 1), "max_body_bytes, and the guest is told");

    let head = response().len() - 100;
    let limit = |grant: &mut Grant| grant.limits.bytes_in = head as u64 + 60;
    let cut = attempt("fetch", 1_000).with(Peer::answers(&response())).under(limit).await;
    assert_eq!((seen(&cut), cut.logs.len()), (60.0, 1), "bytes_in within the body");
    assert_eq!(cut.usage.bytes_in, head as u64 + 60);

    let report =
        attempt("fetch", 1_000).with(Peer::answers(&response())).under(|grant| grant.limits.bytes_in = 20).await;
    let (reason, sentence) = failed(&report);
    assert_eq!(reason, "denied");
    assert!(sentence.contains("20 bytes received"), "{sentence}");

    let report = attempt("fetch", 1_000).with(Peer::Silent).under(|grant| grant.limits.bytes_out = 20).await;
    assert_eq!((failed(&report).0, report.usage.sockets), ("denied", 0));
}

#[tokio::test]
async fn http_that_breaks_off_is_counted_too() {
    let half = response()[..response().len() - 50].to_owned();
    let report = attempt("fetch", 1_000).with(Peer::answers(&half)).run().await;
    assert_eq!(failed(&report).0, "protocol");
    assert_eq!(report.usage.bytes_in, half.len() as u64);

    let peer = Peer::Stalls(half.clone().into_bytes());
    let report = attempt("fetch", 1_000).with(peer).under(|grant| grant.limits.wall = SHORT_WALL).await;
    assert!(["deadline", "timeout"].contains(&failed(&report).0), "{:?}", report.result);
    assert_eq!(report.usage.bytes_in, half.len() as u64, "told though it was cut off");
}

#[tokio::test]
async fn http_to_no_other_authority() {
    for what in ["fetch_from_user", "fetch_from_long_host"] {
        let report = attempt(what, 0).with(Peer::Silent).run().await;
        assert_eq!((failed(&report).0, report.usage.sockets), ("misconfigured", 0), "{what}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_denied() {
    let report = attempt("wait", 0).with(Peer::Silent).under(|grant| grant.tcp.clear()).await;
    assert_eq!((failed(&report).0, report.usage.sockets), ("denied", 0));
    let report = attempt("fetch", 1).with(Peer::Silent).under(|grant| grant.http.clear()).await;
    assert_eq!((failed(&report).0, report.usage.sockets), ("denied", 0));
}

#[tokio::test]
async fn nothing_of_a_run_is_left_for_the_next() {
    for _ in 0..3 {
        assert_eq!(seen(&attempt("count", 0).run().await), 0.0, "a static of the guest begins anew");
    }
    // Nor after one that was cut off in the middle.
    assert!(attempt("grow", 0).run().await.result.is_err());
    let report = attempt("nothing", 0).run().await;
    assert!(report.usage.memory_peak_bytes < 2 << 20, "{:?}", report.usage);
}

/// Guests that mean harm, and why each is stopped.
const HOSTILE: [(&str, &str); 5] = [
    ("spin.wasm", "fuel"),
    ("grow.wasm", "memory"),
    ("trap.wasm", "trap"),
    ("garbage.wasm", "output"),
    ("flood.wasm", "boundary"),
];

#[tokio::test]
async fn guests_that_mean_harm() {
    let (loader, _) = sandbox().await;
    for (file, reason) in HOSTILE {
        let sensor = loader.load(component(file)).await.expect("harm shows only when it runs");
        let asked = sensor.manifest.resolve(&BTreeMap::new()).expect("it needs no configuration");
        let grant = Grant::decide(&sensor.manifest, asked, &Policy::default()).expect("the policy allows it");
        let input = RunInput { grant: Arc::new(grant), broker: Arc::new(Peer::Absent), state: Arc::from([]) };
        assert_eq!(failed(&sensor.run(input).await).0, reason, "{file}");
    }
}

/// As many as an engine has places for runs.
const FULL_HOUSE: usize = 256;

#[tokio::test]
async fn a_full_house_keeps_no_sensor_from_being_loaded() {
    // A sandbox of its own: its places are none of the other tests'.
    let loader = Loader::new(Reserved::default()).unwrap();
    let sensor = loader.load(component("over.wasm")).await.unwrap();
    let given = BTreeMap::from([("what".to_owned(), "wait".to_owned())]);
    let asked = sensor.manifest.resolve(&given).unwrap();
    let mut grant = Grant::decide(&sensor.manifest, asked, &Policy::default()).unwrap();
    grant.limits.wall = SOON;
    let waiting = Arc::new(AtomicUsize::new(0));
    let mut runs = JoinSet::new();
    for _ in 0..FULL_HOUSE {
        let broker = Arc::new(Peer::Tarpit(waiting.clone()));
        let input = RunInput { grant: Arc::new(grant.clone()), broker, state: Arc::from([]) };
        let sensor = sensor.clone();
        runs.spawn(async move { sensor.run(input).await.result.map(drop) });
    }
    let deadline = Instant::now() + SOON;
    while waiting.load(Ordering::SeqCst) < FULL_HOUSE {
        assert!(Instant::now() < deadline, "only {waiting:?} of {FULL_HOUSE} wait");
        if let Some(ended) = runs.try_join_next() {
            panic!("a run did not find its place: {ended:?}");
        }
        tokio::task::yield_now().await;
    }
    loader.load(component("redis.wasm")).await.expect("describing has places of its own");
}
