//! The rainy-day matrix: real containers brought into every state that [`table`] has, all side by side.
//!
//! Of each: a scrape answers at once, with the state and the reasons of the table; what it says of the container
//! lies between what the kernel said before and after; and the sensor that probes the service inside says what it saw.
//! The table is also the documentation, which a test holds to it.

mod document;
mod figures;
mod restarts;
mod table;
mod weather;

use std::thread;
use std::time::{Duration, Instant};

use sonde_tests::{Container, Exposition, Prometheus, Response, Sonde, eventually};

use figures::Agreement;
use table::{DAYS, Day, Sensor, Weather};
use weather::{Falling, Ground};

/// A scrape answers from memory, or from a reading of a tenth of a millisecond, whatever happens to what it measures.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Until a service inside a quarter of a CPU has started and been probed.
const WELL: Duration = Duration::from_secs(40);
/// Until the rain has reached the ground, the sensor has given up waiting, and all of it holds.
const TOLD: Duration = Duration::from_secs(40);
/// A verdict that holds for so long, over several readings, is no accident.
const HOLDS: Duration = Duration::from_millis(1500);
/// Below the rhythm of the Prometheus that scrapes as well: what it reads a moment before must hide nothing.
const FLOOR: &str = "[reading]\nfloor = \"250ms\"";
const SENSOR: (&str, &str) = ("sensor", "http");

#[test]
fn every_rainy_day_is_told_as_the_table_has_it() {
    let ground = Ground::make();
    let containers: Vec<(&Day, Container)> = DAYS.iter().map(|day| (day, day.start(&ground))).collect();
    let mut sonde = Sonde::configure().config(FLOOR);
    for (day, container) in &containers {
        sonde = sonde.sensor("http.wasm", container.id(), &format!("[sensor.config]\nurl = \"{}\"", day.service.url()));
    }
    let sonde = sonde.up();
    let _prometheus = prometheus(&sonde, containers.iter().map(|(_, container)| container.id()));
    for (_, container) in &containers {
        sonde.wait_to_notice(container.id());
        sonde.wait_for_value(container.id(), "http_up", &[], WELL, |up| up == 1.0);
    }
    let (sonde, ground) = (&sonde, &ground);
    let failed: Vec<&str> = thread::scope(|scope| {
        let mut days = Vec::new();
        for (day, container) in containers {
            let thread = thread::Builder::new().name(day.name.to_owned());
            let thread = thread.spawn_scoped(scope, move || live_through(sonde, day, ground, container));
            days.push((day.name, thread.expect("a thread can be made")));
        }
        days.into_iter().filter_map(|(name, day)| day.join().err().map(|_| name)).collect()
    });
    assert!(failed.is_empty(), "not told as the table has it: {failed:?}");
}

/// Whoever scrapes sets the pace of the sensors.
fn prometheus<'a>(sonde: &Sonde, instances: impl Iterator<Item = &'a str>) -> Prometheus {
    let mut yaml = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
    for id in instances {
        let target = sonde.authority();
        yaml += &format!(
            "- {{job_name: {id}, metrics_path: /v1/{id}/metrics, static_configs: [{{targets: ['{target}']}}]}}\n"
        );
    }
    Prometheus::with_config(&yaml)
}

/// One row from its beginning to its end.
fn live_through(sonde: &Sonde, day: &Day, ground: &Ground, container: Container) {
    let id = container.id().to_owned();
    let began = Instant::now();
    let (container, _falling) = match day.weather {
        Weather::Restarts => (Some(restarts::live_through(sonde, day, ground, container)), Falling::default()),
        weather => weather.begin(container),
    };
    let mut right_since = None;
    eventually(&format!("{}: the verdict", day.name), TOLD, || {
        let response = sonde.get(&format!("/v1/{id}/metrics"));
        if let Some(what) = wrong(day, &response) {
            right_since = None;
            return Err(what);
        }
        let since = right_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= HOLDS { Ok(()) } else { Err("not for long enough".to_owned()) }
    });
    let verdict = began.elapsed();
    if let Some(container) = container.as_ref().filter(|_| day.status == 200) {
        assert_agrees(sonde, container);
    }
    eventually(&format!("{}: the sensor", day.name), TOLD, || sensor_is_right(sonde, day, &id));
    println!("{}: verdict after {verdict:?}, all after {:?}", day.name, began.elapsed());
}

/// The words of a label whose samples are 1.
fn words(exposition: &Exposition, name: &str, label: &str) -> Vec<String> {
    let chosen = exposition.all(name, &[]).filter(|sample| sample.value == 1.0);
    chosen.map(|sample| sample.labels[label].clone()).collect()
}

/// In what an answer is not as the table has it. Panics where it is late, which no state excuses.
fn wrong(day: &Day, response: &Response) -> Option<String> {
    assert!(response.elapsed < AT_ONCE, "{}: a scrape took {:?}", day.name, response.elapsed);
    let text = response.text();
    if response.status != day.status {
        return Some(format!("status {}: {text}", response.status));
    }
    if response.status == 503 {
        let reasons: Vec<_> = day.reasons.iter().map(|(reason, _)| *reason).collect();
        let expected = format!("{}; {}", day.state, reasons.join(","));
        let header = response.header("x-sonde-reason");
        if header != Some(&expected) {
            return Some(format!("X-Sonde-Reason is {header:?}"));
        }
    }
    let exposition = Exposition::read(&text);
    assert_eq!(exposition.all("sonde_instance_state", &[]).count(), 5, "{text}");
    assert_eq!(exposition.all("sonde_instance_saturated", &[]).count(), 6, "{text}");
    let states = words(&exposition, "sonde_instance_state", "state");
    let reasons = words(&exposition, "sonde_instance_state_reason", "reason");
    let lacks = words(&exposition, "sonde_instance_saturated", "resource");
    let given = |reason: &str| reasons.iter().any(|given| given == reason);
    let lacking = |resource: &str| lacks.iter().any(|lack| lack == resource);
    let said: Vec<_> = day.reasons.iter().chain(day.besides).filter(|(reason, _)| given(reason)).collect();
    // A resource is lacking where, and only where, one of its reasons is given.
    let is_right = states == [day.state]
        && day.reasons.iter().all(|(reason, _)| given(reason))
        && reasons.len() == said.len()
        && said.iter().all(|(_, resource)| resource.is_empty() || lacking(resource))
        && lacks.iter().all(|lack| said.iter().any(|(_, resource)| resource == lack));
    (!is_right).then(|| format!("state {states:?}, reasons {reasons:?}, saturated {lacks:?}"))
}

/// Each figure lies between what the kernel said before and after.
#[track_caller]
fn assert_agrees(sonde: &Sonde, container: &Container) {
    let mut agreement = Agreement::of(container);
    eventually(&format!("{}: figures as the kernel's", container.id()), TOLD, || {
        let began = Instant::now();
        let exposition = sonde.scrape(container.id());
        agreement.compare(began, &exposition);
        agreement.open()
    });
}

fn sensor_is_right(sonde: &Sonde, day: &Day, id: &str) -> Result<(), String> {
    let entry = sonde.sensor_entry(id, SENSOR.1);
    let logs = |words: &str| {
        let log = entry.as_ref().map(|entry| entry["log"].to_string()).unwrap_or_default();
        if log.contains(words) { Ok(()) } else { Err(format!("it says {entry:?}")) }
    };
    let up = |expected: f64| {
        let exposition = sonde.scrape(id);
        let said = [exposition.value("http_up", &[]), exposition.value("sonde_sensor_up", &[SENSOR])];
        // A server that does not answer is a finding: the sensor itself did its job.
        if said == [Some(expected), Some(1.0)] { Ok(exposition) } else { Err(format!("{said:?}: {entry:?}")) }
    };
    match day.sensor {
        Sensor::Answered => up(1.0).map(drop),
        Sensor::Status(status) => {
            let said = up(0.0)?.value("http_status_code", &[]);
            if said == Some(status) { Ok(()) } else { Err(format!("status {said:?}: {entry:?}")) }
        }
        Sensor::Says(words) => up(0.0).and_then(|_| logs(words)),
        Sensor::Logs(words) => logs(words),
        Sensor::Removed if entry.is_none() => Ok(()),
        Sensor::Removed => Err(format!("there is one still: {entry:?}")),
    }
}
