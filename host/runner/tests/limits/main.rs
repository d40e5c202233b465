//! Every limit of a run has a test that goes over it and one that does not, with a real component and the path that the product takes: loader, grant, run.
//!
//! The guest `over` does what its configuration says; each test chooses the limits of its grant, so that none waits for the real ones.
//! `every` has one case for each limit there is, and does not compile without; the other files have what one case cannot say. What
//! a sensor is refused for before it ever runs is in `refusals`, and in the precheck's own tests.

mod budgets;
mod every;
mod http;
mod output;
mod peer;
mod prices;
mod refusals;
mod whole;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sonde_expo::model::{Number, Value};
use sonde_host::{Churn, Collected, Grant, Policy, Reserved, RunReport};
use sonde_runner::{LocalLoader, LocalSensor, RunInput};
use tokio::sync::OnceCell;

use peer::Peer;

/// Enough for whatever is not about fuel.
const MUCH_FUEL: u64 = 2_000_000_000;
/// Longer than any of these tests takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// Long enough for a guest to get where it waits, short enough to wait for.
const SHORT_WALL: Duration = Duration::from_millis(200);

/// Where the built sensors are.
fn built() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/sensors-out");
    std::env::var_os("SONDE_WASM_DIR").map_or(here, PathBuf::from)
}

/// The bytes of a built sensor. Without it there is nothing to test, so its absence is a failure.
fn component(file: &str) -> Vec<u8> {
    let path = built().join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; `cargo xtask sensors` builds it", path.display()))
}

/// The sandbox of all tests and the guest in it, compiled once.
async fn sandbox() -> &'static (LocalLoader, LocalSensor) {
    static SANDBOX: OnceCell<(LocalLoader, LocalSensor)> = OnceCell::const_new();
    let load = || async {
        let loader = LocalLoader::new(Reserved::default());
        let over = loader.load(&component("over.wasm")).await.expect("the host takes it");
        (loader, over)
    };
    SANDBOX.get_or_init(load).await
}

/// What a sensor's manifest asks for, with this configuration.
fn granted(sensor: &LocalSensor, given: &[(&str, String)]) -> Grant {
    let given: BTreeMap<String, String> = given.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let manifest = &sensor.sensor.manifest;
    let asked = manifest.resolve(&given).expect("the manifest declares what is given");
    Grant::decide(manifest, asked, &Policy::default()).expect("the policy allows it")
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
        self.under_after(limit, &mut Churn::default()).await
    }

    /// The same, after runs that `churn` knows of.
    async fn under_after(self, limit: impl FnOnce(&mut Grant), churn: &mut Churn) -> RunReport {
        let (_, sensor) = sandbox().await;
        let mut grant = granted(sensor, &[("what", self.what.to_owned()), ("amount", self.amount.to_string())]);
        limit(&mut grant);
        let (broker, state) = (Arc::new(self.peer), Arc::from(self.state));
        sensor.run_after(RunInput { grant: Arc::new(grant), broker, state, account: 0 }, churn).await
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
