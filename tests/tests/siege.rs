//! The whole corpus at once against a running node: nothing else on it notices.
//!
//! In a binary of its own, because it is about time and about what processes hold: it has the machine to itself. The corpus through the runner's own code,
//! guest by guest, is in `hostile/`; here it is about who is beside it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use sonde_hostile::{Expected, Guest, Peer};
use sonde_tests::{Container, Exposition, Footprint, Request, Sonde, eventually};

const SOON: Duration = Duration::from_secs(30);
/// How long it is looked at, at least: the worst is at the beginning, when all are compiled and none has been backed off.
const SIEGE: Duration = Duration::from_secs(30);
/// Until each has been compiled, one after the other, and has run.
const JUDGED: Duration = Duration::from_secs(180);
const EVERY: Duration = Duration::from_secs(1);
const AT_ONCE: Duration = Duration::from_secs(1);
/// What the honest guest's manifest promises, and one second.
const OLDEST_SECONDS: f64 = 1.0 + 1.0;
/// A machine that others use too may be late now and then; a neighbour that is held up would be late all the time.
const ON_TIME_SHARE: f64 = 0.95;
/// Pools of threads shrink when idle, and what nobody runs any more is let go of.
const SETTLED: Duration = Duration::from_secs(60);
/// What allocators keep of what they had, in all processes together.
const KEPT_KIB: u64 = 64 << 10;
/// What pools of threads keep: they are bounded, and grow to their bound where there is work.
const KEPT_TASKS: usize = 8;
const KEPT_DESCRIPTORS: usize = 8;
/// The honest ones are small and light; of the guests some are medium and some large, and of each class some are light and some heavy.
const MORE_ROOMS: usize = 5;
/// A runner of all accounts stays once its room has been asked for: one for each processor, with this much of its own.
const RUNNER_KIB: u64 = 48 << 10;
const RUNNER_TASKS: usize = 8;
const RUNNER_DESCRIPTORS: usize = 24;

const HONEST: [(&str, &str); 1] = [("sensor", "honest")];

/// A guest as it is installed.
struct Installed {
    /// Of its file and of its sensor.
    name: String,
    bytes: Vec<u8>,
    expected: Expected,
}

/// Those that need nothing which a plain container lacks: a peer that plays along, a guest that goes first, a secret.
fn corpus() -> Vec<Installed> {
    let needs_more =
        |guest: &Guest| guest.peer != Peer::Absent || guest.after.is_some() || guest.name.starts_with("30k");
    let guests = sonde_hostile::corpus().into_iter().filter(|guest| !needs_more(guest));
    let installed = guests.map(|guest| Installed {
        name: guest.name.replace('/', "."),
        bytes: guest.bytes(&[]).unwrap_or_else(|error| panic!("{} cannot be made: {error:?}", guest.name)),
        expected: guest.expected,
    });
    installed.collect()
}

/// What is seen of an instance once a second.
struct Looks<'a> {
    sonde: &'a Sonde,
    instance: &'a str,
    native: Vec<String>,
    count: usize,
    late: Vec<String>,
}

impl<'a> Looks<'a> {
    fn begin(sonde: &'a Sonde, instance: &'a str) -> Self {
        let samples = sonde.scrape(instance).samples;
        let native = samples.into_iter().filter(|sample| !sample.labels.contains_key("sensor"));
        Self { sonde, instance, native: native.map(|sample| sample.name).collect(), count: 0, late: Vec::new() }
    }

    fn look(&mut self) {
        let response = self.sonde.get(&format!("/v1/{}/metrics", self.instance));
        assert_eq!(response.status, 200, "{}", response.text());
        let exposition = Exposition::read(&response.text());
        let missing: Vec<_> = self.native.iter().filter(|name| exposition.all(name, &[]).next().is_none()).collect();
        assert!(missing.is_empty(), "{missing:?} of {} are not there", self.instance);
        let took = response.elapsed;
        assert!(took < AT_ONCE, "a scrape of {} took {took:?}", self.instance);
        let age = exposition.value("sonde_sensor_age_seconds", &HONEST).expect("honest has an age");
        self.count += 1;
        if age > OLDEST_SECONDS {
            self.late.push(format!("look {}: honest {age:.2} s old", self.count));
        }
    }

    #[track_caller]
    fn assert_on_time(&self) {
        let on_time = self.count - self.late.len();
        let share = on_time as f64 / self.count as f64;
        println!("{}: {on_time} of {} looks were on time", self.instance, self.count);
        assert!(share >= ON_TIME_SHARE, "{}: {on_time} of {} looks: {:#?}", self.instance, self.count, self.late);
    }
}

/// Whether it ended as the table says; a sentence while, or because, it has not.
fn judge(guest: &Installed, entries: &[Value], exposition: &Exposition) -> Result<(), String> {
    let entry = entries.iter().find(|entry| entry["name"] == guest.name.as_str()).ok_or("it is not listed")?;
    let refused = entry["refused"].as_str();
    let labels = [("sensor", guest.name.as_str())];
    let failed: Vec<_> = exposition
        .all("sonde_sensor_failures_total", &labels)
        .filter(|sample| sample.value > 0.0)
        .map(|sample| sample.labels["reason"].as_str())
        .collect();
    let is_right = match guest.expected {
        Expected::Refused { says, .. } => refused.is_some_and(|why| why.contains(says) && why.contains(' ')),
        Expected::Fails(reasons) => !failed.is_empty() && failed.iter().all(|reason| reasons.contains(reason)),
        Expected::Succeeds => failed.is_empty() && exposition.value("sonde_sensor_up", &labels) == Some(1.0),
        Expected::Either => refused.is_some() || entry["runs"].as_u64() > Some(0),
    };
    if is_right { Ok(()) } else { Err(format!("{}: expected {:?}: {entry}", guest.name, guest.expected)) }
}

fn unjudged(sonde: &Sonde, instance: &str, guests: &[Installed]) -> Vec<String> {
    let entries = sonde.get(&format!("/v1/{instance}/sensors")).json();
    let entries = entries.as_array().cloned().unwrap_or_default();
    let exposition = sonde.scrape(instance);
    guests.iter().filter_map(|guest| judge(guest, &entries, &exposition).err()).collect()
}

/// What a node's processes hold.
#[derive(Debug)]
struct Held {
    footprint: Footprint,
    resident_kib: u64,
    runners: usize,
}

impl Held {
    fn of(sonde: &Sonde) -> Self {
        let (footprint, resident_kib) = (sonde.footprint(), Footprint::resident_kib(sonde.pid()));
        Self { footprint, resident_kib, runners: sonde.workers("runner").len() }
    }

    /// An error where it is more than `before` explains, and `loaded` components that have come and gone: a runner keeps the code of those,
    /// with a descriptor for each, until it has no room for others.
    fn exceeds(&self, before: &Self, loaded: usize) -> Result<(), String> {
        let more = self.runners.saturating_sub(before.runners);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        if more > MORE_ROOMS * processors {
            return Err(format!("{more} runners more, for {MORE_ROOMS} more rooms"));
        }
        let most = Footprint {
            processes: before.footprint.processes + more,
            tasks: before.footprint.tasks + KEPT_TASKS + more * RUNNER_TASKS,
            descriptors: before.footprint.descriptors
                + KEPT_DESCRIPTORS
                + more * RUNNER_DESCRIPTORS
                + loaded * processors,
            // Each runner has one of its own.
            net_namespaces: before.footprint.net_namespaces + more,
        };
        let most_kib = before.resident_kib + KEPT_KIB + more as u64 * RUNNER_KIB;
        match self.footprint.exceeds(&most) {
            Some(what) => Err(what),
            None if self.resident_kib > most_kib => Err(format!("{} KiB, {most_kib} at most", self.resident_kib)),
            None => Ok(()),
        }
    }
}

/// Looks at both once a second, until the siege is over and `is_over`.
fn besiege(mut looks: [&mut Looks<'_>; 2], mut is_over: impl FnMut() -> Vec<String>) -> Vec<String> {
    let began = Instant::now();
    for round in 1.. {
        for instance in &mut looks {
            instance.look();
        }
        if began.elapsed() >= SIEGE {
            let open = is_over();
            if open.is_empty() || began.elapsed() >= JUDGED {
                return open;
            }
        }
        // The rhythm of a scraper, which is what is measured.
        std::thread::sleep((began + EVERY * round).saturating_duration_since(Instant::now()));
    }
    unreachable!("rounds do not end by themselves")
}

#[test]
fn corpus_at_once_beside_honest_ones() {
    let guests = corpus();
    let [besieged, neighbour] = ["besieged", "neighbour"].map(|what| Container::named(what).run());
    let mut sonde = Sonde::configure().config("[policy]\nclass = \"large\"");
    for instance in [&besieged, &neighbour] {
        sonde = sonde.sensor("honest.wasm", instance.id(), "");
    }
    for Installed { name, .. } in &guests {
        let id = besieged.id();
        sonde = sonde.config(&format!("[[sensor]]\nfile = \"{name}.wasm\"\nmatch = {{ name = \"{id}\" }}\n"));
    }
    let sonde = sonde.up();
    for instance in [&besieged, &neighbour] {
        sonde.wait_for_instance(instance.id());
        sonde.wait_for_value(instance.id(), "sonde_sensor_up", &HONEST, SOON, |up| up == 1.0);
    }
    let before = Held::of(&sonde);

    for guest in &guests {
        let half = sonde.dir().join(&guest.name);
        fs::write(&half, &guest.bytes).expect("the data folder is writable");
        fs::rename(&half, sonde.sensors_dir().join(format!("{}.wasm", guest.name))).expect("one file system");
    }
    println!("{} guests at once", guests.len());
    // It answers when all is compiled, or after a while; neither is waited for.
    let url = sonde.url("/v1/refresh");
    std::thread::spawn(move || drop(Request::post(&url).send()));
    let (mut here, mut beside) = (Looks::begin(&sonde, besieged.id()), Looks::begin(&sonde, neighbour.id()));
    let open = besiege([&mut here, &mut beside], || unjudged(&sonde, besieged.id(), &guests));
    here.assert_on_time();
    beside.assert_on_time();
    assert!(open.is_empty(), "{} did not end as they should:\n{}", open.len(), open.join("\n"));
    for instance in [&besieged, &neighbour] {
        let failures = sonde.scrape(instance.id());
        assert_eq!(failures.all("sonde_sensor_failures_total", &HONEST).map(|s| s.value).sum::<f64>(), 0.0);
    }
    let about = Exposition::read(&sonde.get("/metrics").text());
    assert_eq!(about.value("sonde_sandbox_runners_ended_total", &[]), Some(0.0), "a guest took its runner along");

    for guest in &guests {
        fs::remove_file(sonde.sensors_dir().join(format!("{}.wasm", guest.name))).expect("it is there");
    }
    sonde.refresh();
    eventually("what its processes held before", SETTLED, || {
        let now = Held::of(&sonde);
        now.exceeds(&before, guests.len())?;
        println!("before: {before:?}\nafter: {now:?}");
        Ok::<_, String>(())
    });
}
