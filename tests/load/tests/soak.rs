//! The soak, in short: thousands of honest sensors and a hundred hostile ones, and none of the honest can feel them.
//!
//! The longer one is `cargo xtask soak`. Needs root, for runners' jails and the instances' network namespaces.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sonde_host::{Share, StandingRules};
use sonde_load::{Behaviour, Figures, Group, Node, Plan};

const COMPUTING: usize = 7_400;
const ASKING: usize = 2_500;
/// Each second, where honest ones run each quarter of a minute.
const HOSTILE: [(&str, &str); 5] =
    [("spin", "h-spin"), ("grow", "h-grow"), ("trap", "h-trap"), ("garbage", "h-garbage"), ("flood", "h-flood")];
const OF_EACH: usize = 20;
const INTERVAL: Duration = Duration::from_secs(15);
/// A machine with two cores that others use too; unoptimised code. A neighbour that could be felt would be late by far more.
const LATEST_P99_MS: f64 = 1_000.0;
/// What a tree of processes may grow by while it does the same thing again, in bytes: allocators keep some.
const GROWTH_BYTES: u64 = 48 << 20;

fn binary() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_sonde-load")).with_file_name("sonde");
    std::env::var_os("SONDE_BIN").map_or(built, PathBuf::from)
}

fn guest(file: &str) -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/sensors-out");
    let folder = std::env::var_os("SONDE_WASM_DIR").map_or(built, PathBuf::from);
    folder.join(format!("{file}.wasm"))
}

fn group(file: &str, name: &'static str, sensors: usize) -> Group {
    Group {
        file: guest(file),
        behaviour: Behaviour::Honest,
        sensors,
        accounts: 500,
        name,
        digests: 10,
        interval: INTERVAL,
        config: Vec::new(),
    }
}

fn plan() -> Plan {
    let hostile = HOSTILE.iter().map(|(file, name)| Group {
        behaviour: Behaviour::Hostile,
        accounts: 2,
        digests: 1,
        interval: Duration::from_secs(1),
        ..group(file, name, OF_EACH)
    });
    Plan {
        sonde: binary(),
        server: env!("CARGO_BIN_EXE_sonde-load").into(),
        groups: [group("pulse", "computing", COMPUTING), group("asker", "asking", ASKING)]
            .into_iter()
            .chain(hostile)
            .collect(),
        share: Share::DEFAULT,
        // Nothing is ever held against the hostile: they come each second.
        standing: StandingRules { quarantine_after: u32::MAX, longest_back_off: Duration::ZERO },
        servers: 10,
        warm_up: Duration::ZERO,
        measured: INTERVAL * 2,
    }
}

fn judge(figures: &Figures, least_runs: u64) {
    assert_eq!(figures.honest_failures, 0, "{figures:#?}");
    assert_eq!(figures.runners_ended, 0, "{figures:#?}");
    assert!(figures.honest_runs >= least_runs, "{figures:#?}");
    assert!(figures.lateness.p99_ms < LATEST_P99_MS, "{figures:#?}");
    for reason in ["fuel", "memory", "trap", "output", "boundary"] {
        assert!(figures.hostile_failures.iter().any(|(known, _)| known == reason), "{reason}: {figures:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hundred_hostile_among_ten_thousand_cannot_be_felt() {
    if !rustix::process::getuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plan = plan();
    let mut node = Node::start(plan.clone(), &folder.path().join("code")).await.unwrap();
    let mut parts = Vec::new();
    for group in &plan.groups {
        parts.push(node.place(group).await.unwrap());
    }
    // All first runs are due at once; the second ones, one interval and a half after those, find each its own time.
    tokio::time::sleep(INTERVAL * 2).await;
    let expected = (COMPUTING + ASKING) as u64;
    let first = node.measure(&parts).await;
    judge(&first, expected * 3 / 2);
    let second = node.measure(&parts).await;
    judge(&second, expected * 3 / 2);
    println!("{second:#?}");
    let (before, after) = (first.used.total(), second.used.total());
    assert!(after.proportional_bytes < before.proportional_bytes + GROWTH_BYTES, "{before:?} {after:?}");
    assert!(after.descriptors <= before.descriptors + 64, "{before:?} {after:?}");
    assert!(after.mappings <= before.mappings + 512, "{before:?} {after:?}");
    node.stop().await;
}
