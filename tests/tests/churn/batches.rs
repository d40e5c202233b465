//! Batches of ten containers, each scraped and entered by a sensor while it lives.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{SETTLED, steady_footprint};
use sonde_tests::{Container, Rootfs, Sonde, eventually, unique_name};

const BATCH: usize = 10;
const BATCHES: usize = 10;
const NOTICED: Duration = Duration::from_secs(20);

/// Ten containers at once, each scraped while it lives, then none. Returns the instances that they were.
fn batch(sonde: &Sonde, rootfs: &std::sync::Arc<Rootfs>) -> Vec<String> {
    let living: Vec<Container> =
        (0..BATCH).map(|n| Container::named(&format!("churn{n}")).rootfs(rootfs).run()).collect();
    let ids: Vec<String> = living.iter().map(|container| container.id().to_owned()).collect();
    let mut born = Vec::new();
    for id in &ids {
        let entry = sonde.wait_to_notice(id);
        born.push(entry["id"].as_str().expect("an instance has an id").to_owned());
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
    born
}

/// Each birth was an instance of its own, and each is told to be dead, and why.
fn assert_all_told(sonde: &Sonde, born: &[String]) {
    let distinct: BTreeSet<&String> = born.iter().collect();
    assert_eq!(distinct.len(), born.len(), "each life has an id of its own");
    let listed = sonde.instances();
    for id in distinct {
        let entry = listed.iter().find(|entry| entry["id"] == id.as_str());
        let entry = entry.unwrap_or_else(|| panic!("{id} is forgotten"));
        assert_eq!((&entry["state"], &entry["reasons"]), (&"gone".into(), &vec!["removed"].into()), "{entry}");
        let response = sonde.get(&format!("/v1/{id}/metrics"));
        assert_eq!((response.status, response.header("x-sonde-reason")), (503, Some("gone; removed")));
    }
}

#[test]
fn hundred_containers_leave_no_trace() {
    let rootfs = Rootfs::with(&[]);
    let mine = unique_name("").trim_end_matches('-').rsplit_once('-').map(|(pid, _)| format!("{pid}-*"));
    let pattern = mine.expect("a unique name has a prefix and a number");
    let sonde = Sonde::configure().sensor("honest.wasm", &pattern, "").up();
    // The first batch fills pools and caches that live on by design.
    let mut born = batch(&sonde, &rootfs);
    let before = steady_footprint(&sonde);

    for _ in 0..BATCHES {
        born.extend(batch(&sonde, &rootfs));
    }
    assert_all_told(&sonde, &born);

    eventually("the footprint from before", SETTLED, || {
        let now = sonde.footprint();
        now.exceeds(&before).map_or(Ok(()), Err)
    });
    assert_eq!(sonde.footprint().net_namespaces, before.net_namespaces);
}
