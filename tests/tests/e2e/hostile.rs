//! Sensors that mean harm: each is stopped within its limit and counted by its reason, and a good
//! sensor beside them does not notice.

use std::time::Duration;

use sonde_tests::{Container, Exposition, Server, SilentServer, Sonde, eventually, unique_name};

const SOON: Duration = Duration::from_secs(30);
const AT_ONCE: Duration = Duration::from_secs(1);
/// What the honest guest's manifest promises, and one second for a machine with two cores.
const OLDEST_SECONDS: f64 = 1.0 + 1.0;
/// A machine that others use too may be late now and then; a neighbour that is held up would be late all the time.
const ON_TIME_SHARE: f64 = 0.95;

/// Each hostile guest and the reason for which it is stopped.
const HOSTILE: [(&str, &str); 6] = [
    ("spin", "fuel"),
    ("grow", "memory"),
    ("trap", "trap"),
    ("garbage", "output"),
    ("flood", "boundary"),
    ("liar", "output"),
];

/// The failures of a sensor that are counted for this reason, and those for any other.
fn failures(exposition: &Exposition, sensor: &str, reason: &str) -> (f64, f64) {
    let (mut expected, mut other) = (0.0, 0.0);
    for sample in exposition.all("sonde_sensor_failures_total", &[("sensor", sensor)]) {
        match sample.labels.get("reason") {
            Some(found) if found == reason => expected += sample.value,
            _ => other += sample.value,
        }
    }
    (expected, other)
}

#[track_caller]
fn assert_stopped(sonde: &Sonde, instance: &str, sensor: &str, reason: &str) {
    let exposition = eventually(&format!("{sensor} stopped for {reason}"), SOON, || {
        let exposition = sonde.scrape(instance);
        let (expected, other) = failures(&exposition, sensor, reason);
        assert_eq!(other, 0.0, "{sensor} failed for another reason than {reason}: {exposition:?}");
        if expected >= 1.0 { Ok(exposition) } else { Err("no failure is counted") }
    });
    assert_eq!(exposition.value("sonde_sensor_up", &[("sensor", sensor)]), Some(0.0));
}

/// Looks at an instance again and again: were the scrapes quick, and was the honest sensor on time?
#[derive(Default)]
struct Looks {
    count: usize,
    late: Vec<String>,
}

impl Looks {
    fn look(&mut self, sonde: &Sonde, instance: &str) -> Exposition {
        let response = sonde.get(&format!("/v1/{instance}/metrics"));
        let exposition = Exposition::read(&response.text());
        let age = exposition.value("sonde_sensor_age_seconds", &[("sensor", "honest")]).expect("honest has an age");
        self.count += 1;
        if response.elapsed > AT_ONCE || age > OLDEST_SECONDS {
            self.late.push(format!("{:?}, honest {age:.2} s old", response.elapsed));
        }
        exposition
    }

    #[track_caller]
    fn assert_on_time(&self) {
        let on_time = self.count - self.late.len();
        let share = on_time as f64 / self.count as f64;
        assert!(share >= ON_TIME_SHARE, "only {on_time} of {} looks were on time: {:#?}", self.count, self.late);
    }
}

#[track_caller]
fn assert_honest_never_failed(sonde: &Sonde, instance: &str) {
    let honest = [("sensor", "honest")];
    let exposition = sonde.scrape(instance);
    assert_eq!(exposition.value("sonde_sensor_up", &honest), Some(1.0));
    assert_eq!(exposition.all("sonde_sensor_failures_total", &honest).map(|s| s.value).sum::<f64>(), 0.0);
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

    let mut looks = Looks::default();
    eventually("each stopped three times", SOON, || {
        let exposition = looks.look(&sonde, container.id());
        let counts = HOSTILE.iter().map(|(guest, reason)| failures(&exposition, guest, reason).0);
        let fewest = counts.fold(f64::INFINITY, f64::min);
        if fewest >= 3.0 { Ok(()) } else { Err(format!("one has {fewest} failures")) }
    });
    looks.assert_on_time();

    for (guest, reason) in HOSTILE {
        assert_stopped(&sonde, container.id(), guest, reason);
    }
    assert_honest_never_failed(&sonde, container.id());
}

#[test]
fn hanging_probes_beside_an_honest_one() {
    let silent = SilentServer::start();
    let name = unique_name("hanging");
    let redis = format!("name = \"hang\"\nconfig = {{ port = {} }}\n", silent.port());
    let sonde = Sonde::configure()
        .process_group(&name, &format!("port = {}", silent.port()))
        .sensor("honest.wasm", &name, "")
        .sensor("redis.wasm", &name, &redis)
        .up();
    sonde.wait_for_instance(&name);
    sonde.wait_for_value(&name, "sonde_sensor_up", &[("sensor", "honest")], SOON, |up| up == 1.0);

    // A server that says nothing is a finding of the sensor's, or its deadline's: either way its run ends.
    let mut looks = Looks::default();
    eventually("a hanging run ended", SOON, || {
        let runs = looks.look(&sonde, &name).value("sonde_sensor_runs_total", &[("sensor", "hang")]);
        if runs >= Some(1.0) { Ok(()) } else { Err(format!("{runs:?} runs")) }
    });
    looks.assert_on_time();
    let exposition = sonde.scrape(&name);
    let (deadline, other) = failures(&exposition, "hang", "deadline");
    let down = exposition.value("redis_up", &[]) == Some(0.0);
    assert!(other == 0.0 && (down != (deadline > 0.0)), "down or cut off, one of the two: {exposition:?}");
    assert_honest_never_failed(&sonde, &name);
}

#[test]
fn reached_server_beside_a_hanging_one() {
    let (silent, redis) = (SilentServer::start(), Server::redis());
    let (stuck, well) = (unique_name("stuck"), unique_name("well"));
    let entry = |name: &str, port: u16| format!("name = \"{name}\"\nconfig = {{ port = {port} }}\n");
    let sonde = Sonde::configure()
        .process_group(&stuck, &format!("port = {}", silent.port()))
        .process_group(&well, &format!("port = {}", redis.port()))
        .sensor("redis.wasm", &stuck, &entry("cache-a", silent.port()))
        .sensor("redis.wasm", &well, &entry("cache-b", redis.port()))
        .up();
    // Two rules of one file, each with a name and a configuration of its own, and neither waits for the other.
    sonde.wait_for_instance(&well);
    sonde.wait_for_value(&well, "redis_up", &[], SOON, |up| up == 1.0);
    assert_eq!(sonde.scrape(&well).value("sonde_sensor_up", &[("sensor", "cache-b")]), Some(1.0));
    sonde.wait_for_value(&stuck, "sonde_sensor_runs_total", &[("sensor", "cache-a")], SOON, |runs| runs >= 1.0);
    let exposition = sonde.scrape(&stuck);
    assert_ne!(exposition.value("redis_up", &[]), Some(1.0), "{exposition:?}");
    for (instance, other) in [(&well, "cache-a"), (&stuck, "cache-b")] {
        assert!(sonde.sensor_entry(instance, other).is_none(), "{other} is not for {instance}");
    }
}

fn alone(guest: &str) {
    let (_, reason) = HOSTILE.into_iter().find(|(name, _)| *name == guest).expect("the guest is listed");
    let container = Container::named(guest).run();
    let sonde = Sonde::configure().sensor(&format!("{guest}.wasm"), container.id(), "").up();
    sonde.wait_for_instance(container.id());
    assert_stopped(&sonde, container.id(), guest, reason);
    let entry = sonde.sensor_entry(container.id(), guest).expect("it is listed");
    assert_eq!(entry["last_error"]["reason"], reason, "{entry}");
    assert!(entry["last_error"]["message"].as_str().is_some_and(|words| words.contains(' ')), "in words: {entry}");
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

#[test]
fn liar_alone() {
    alone("liar");
}
