//! What holds of all runs: nothing is left of them, none of them harms, all of them find their places.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use sonde_host::{RUNNER_MEMORY_BYTES, Reserved, places};
use sonde_manifest::Class;
use sonde_runner::{LocalLoader, RunInput};
use tokio::task::JoinSet;

use crate::peer::Peer;
use crate::{SOON, attempt, built, component, failed, granted, sandbox, seen};

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
        let sensor = loader.load(&component(file)).await.expect("harm shows only when it runs");
        let (grant, broker) = (Arc::new(granted(&sensor, &[])), Arc::new(Peer::Absent));
        let input = RunInput { grant, broker, state: Arc::from([]), account: 0 };
        assert_eq!(failed(&sensor.run(input).await).0, reason, "{file}");
    }
}

#[tokio::test]
async fn a_full_house_keeps_no_sensor_from_being_loaded() {
    let full_house = places(RUNNER_MEMORY_BYTES, Class::Small);
    // A sandbox of its own: its places are none of the other tests'.
    let loader = LocalLoader::new(Reserved::default());
    let sensor = Arc::new(loader.load(&component("over.wasm")).await.unwrap());
    let mut grant = granted(&sensor, &[("what", "wait".to_owned())]);
    grant.limits.wall = SOON;
    let grant = Arc::new(grant);
    let waiting = Arc::new(AtomicUsize::new(0));
    let mut runs = JoinSet::new();
    for _ in 0..full_house {
        let broker = Arc::new(Peer::Tarpit(waiting.clone()));
        let input = RunInput { grant: grant.clone(), broker, state: Arc::from([]), account: 0 };
        let sensor = sensor.clone();
        runs.spawn(async move { sensor.run(input).await.result.map(drop) });
    }
    let deadline = Instant::now() + SOON;
    while waiting.load(Ordering::SeqCst) < full_house {
        assert!(Instant::now() < deadline, "only {waiting:?} of {full_house} wait");
        if let Some(ended) = runs.try_join_next() {
            panic!("a run did not find its place: {ended:?}");
        }
        tokio::task::yield_now().await;
    }
    loader.load(&component("redis.wasm")).await.expect("describing has places of its own");
}

/// Asks for too little: the one that is there to be refused.
const GREEDY: &str = "greedy.wasm";

/// The precheck refuses none of what is shipped, nor of what tests need, and all of it describes itself.
#[tokio::test]
async fn every_built_sensor_loads() {
    let (loader, _) = sandbox().await;
    let files = std::fs::read_dir(built()).expect("`cargo xtask sensors` builds them");
    let mut loaded = 0;
    for file in files {
        let path = file.expect("the folder can be read").path();
        if path.extension().is_some_and(|extension| extension == "wasm") && !path.ends_with(GREEDY) {
            let bytes = std::fs::read(&path).expect("it can be read");
            loader.load(&bytes).await.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            loaded += 1;
        }
    }
    assert!(loaded >= 4, "{loaded} sensors in {}", built().display());
}
