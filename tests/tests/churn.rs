//! Births and deaths leave nothing behind: descriptors, tasks, network namespaces.
//!
//! In a binary of its own, because Sonde watches every container of the machine: those of other tests
//! would be in the count.

use std::time::Duration;

use sonde_tests::{Container, Rootfs, Sonde, eventually, unique_name};

const BATCH: usize = 10;
const BATCHES: usize = 10;
/// Pools that shrink when idle (tokio's blocking threads: 10 s) get time to do so.
const SETTLED: Duration = Duration::from_secs(60);
const NOTICED: Duration = Duration::from_secs(20);

/// Ten containers at once, each scraped while it lives, then none.
fn batch(sonde: &Sonde, rootfs: &std::sync::Arc<Rootfs>) {
    let living: Vec<Container> =
        (0..BATCH).map(|n| Container::named(&format!("churn{n}")).rootfs(rootfs).run()).collect();
    let ids: Vec<String> = living.iter().map(|container| container.id().to_owned()).collect();
    for id in &ids {
        sonde.wait_to_notice(id);
        let used = sonde.scrape(id);
        assert!(used.all("container_memory_usage_bytes", &[]).next().is_some(), "{id} has no memory");
    }
    // The honest sensor has entered each of them at least once.
    for id in &ids {
        sonde.wait_for_value(id, "sonde_sensor_runs_total", &[("sensor", "honest")], NOTICED, |runs| runs >= 1.0);
    }
    drop(living);
    eventually("the batch gone", NOTICED, || {
        let alive = sonde.instances().into_iter().filter(|i| i["state"] != "gone");
        let ours: Vec<_> = alive.filter(|i| ids.iter().any(|id| i["name"] == id.as_str())).collect();
        if ours.is_empty() { Ok(()) } else { Err(format!("{} still alive", ours.len())) }
    });
}

#[test]
fn hundred_containers_leave_no_trace() {
    let rootfs = Rootfs::with(&[]);
    let mine = unique_name("").trim_end_matches('-').rsplit_once('-').map(|(pid, _)| format!("{pid}-*"));
    let pattern = mine.expect("a unique name has a prefix and a number");
    let sonde = Sonde::configure().sensor("honest.wasm", &pattern, "").up();
    // The first batch fills pools and caches that live on by design.
    batch(&sonde, &rootfs);
    let mut before = sonde.footprint();
    eventually("a steady footprint", SETTLED, || {
        let now = sonde.footprint();
        let steady = now == before;
        let last = std::mem::replace(&mut before, now);
        if steady { Ok(()) } else { Err(format!("{last:?}")) }
    });

    for _ in 0..BATCHES {
        batch(&sonde, &rootfs);
    }

    eventually("the footprint from before", SETTLED, || {
        let now = sonde.footprint();
        now.exceeds(&before).map_or(Ok(()), Err)
    });
    assert_eq!(sonde.footprint().net_namespaces, before.net_namespaces);
}
