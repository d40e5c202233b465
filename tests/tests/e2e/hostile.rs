//! Sensors that mean harm: each is stopped within its limit and counted by its reason, and a good
//! sensor beside them does not notice.

use std::time::Duration;

use sonde_tests::{Container, Sonde, eventually};

const SOON: Duration = Duration::from_secs(30);
const AT_ONCE: Duration = Duration::from_secs(1);
/// What the honest guest's manifest promises, and one second for a machine with two cores.
const HONEST_INTERVAL_SECONDS: f64 = 1.0;
const SLACK_SECONDS: f64 = 1.0;

/// Each hostile guest and the reasons for which it may be stopped.
const HOSTILE: [(&str, &[&str]); 5] = [
    ("spin", &["fuel", "deadline"]),
    ("grow", &["memory", "trap"]),
    ("trap", &["trap"]),
    ("garbage", &["output"]),
    ("flood", &["output", "boundary"]),
];

/// The failures of a sensor that are counted for one of these reasons, and those for any other.
fn failures(sonde: &Sonde, instance: &str, sensor: &str, reasons: &[&str]) -> (f64, f64) {
    let exposition = sonde.scrape(instance);
    let (mut expected, mut other) = (0.0, 0.0);
    for sample in exposition.all("sonde_sensor_failures_total", &[("sensor", sensor)]) {
        match sample.labels.get("reason") {
            Some(reason) if reasons.contains(&reason.as_str()) => expected += sample.value,
            _ => other += sample.value,
        }
    }
    (expected, other)
}

fn assert_stopped(sonde: &Sonde, instance: &str, sensor: &str, reasons: &[&str]) {
    eventually(&format!("{sensor} stopped for {reasons:?}"), SOON, || {
        let (expected, other) = failures(sonde, instance, sensor, reasons);
        assert_eq!(other, 0.0, "{sensor} failed for another reason than {reasons:?}: {}", sonde.scrape_text(instance));
        if expected >= 1.0 { Ok(()) } else { Err("no failure is counted") }
    });
    let exposition = sonde.scrape(instance);
    assert_eq!(exposition.value("sonde_sensor_up", &[("sensor", sensor)]), Some(0.0));
}

#[test]
fn all_at_once_beside_an_honest_one() {
    let container = Container::named("besieged").run();
    let mut configured = Sonde::configure().sensor("honest.wasm", container.id(), "");
    for (guest, _) in HOSTILE {
        configured = configured.sensor(&format!("{guest}.wasm"), container.id(), "");
    }
    let sonde = configured.up();
    sonde.wait_for_instance(container.id());
    sonde.wait_for_value(container.id(), "sonde_sensor_up", &[("sensor", "honest")], SOON, |up| up == 1.0);

    // Until each has been stopped three times, every scrape is quick and the honest sensor on time.
    eventually("each stopped three times", SOON, || {
        let response = sonde.get(&format!("/v1/{}/metrics", container.id()));
        assert!(response.elapsed < AT_ONCE, "a scrape took {:?}", response.elapsed);
        let exposition = sonde_tests::Exposition::read(&response.text());
        let age = exposition.value("sonde_sensor_age_seconds", &[("sensor", "honest")]).expect("honest has an age");
        assert!(age <= HONEST_INTERVAL_SECONDS + SLACK_SECONDS, "honest is {age} s old");
        let slowest = HOSTILE.iter().map(|(guest, reasons)| failures(&sonde, container.id(), guest, reasons).0);
        let fewest = slowest.fold(f64::INFINITY, f64::min);
        if fewest >= 3.0 { Ok(()) } else { Err(format!("one has {fewest} failures")) }
    });

    for (guest, reasons) in HOSTILE {
        assert_stopped(&sonde, container.id(), guest, reasons);
    }
    let honest = [("sensor", "honest")];
    let exposition = sonde.scrape(container.id());
    assert_eq!(exposition.value("sonde_sensor_up", &honest), Some(1.0));
    assert_eq!(exposition.all("sonde_sensor_failures_total", &honest).map(|s| s.value).sum::<f64>(), 0.0);
}

fn alone(guest: &str) {
    let (_, reasons) = HOSTILE.into_iter().find(|(name, _)| *name == guest).expect("the guest is listed");
    let container = Container::named(guest).run();
    let sonde = Sonde::configure().sensor(&format!("{guest}.wasm"), container.id(), "").up();
    sonde.wait_for_instance(container.id());
    assert_stopped(&sonde, container.id(), guest, reasons);
    let entry = sonde.sensor_entry(container.id(), guest).expect("it is listed");
    assert!(entry.to_string().contains(' '), "its last error is told in words: {entry}");
}

#[test]
fn spin_alone() {
    alone("spin");
}

#[test]
fn grow_alone() {
    alone("grow");
}

#[test]
fn trap_alone() {
    alone("trap");
}

#[test]
fn garbage_alone() {
    alone("garbage");
}

#[test]
fn flood_alone() {
    alone("flood");
}
