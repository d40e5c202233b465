//! A rollout over real containers: another version reaches a part of them first, one that fails stays on its part, and what was pushed before comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use sonde_inventory::SensorName;
use sonde_inventory::sensor::is_among;
use sonde_tests::{CliOutput, Container, Rootfs, Sonde, eventually, sensor_path};

/// From a push to a value on every container: reports, the folder, the compiler and runs, on a busy machine.
const PUSHED: Duration = Duration::from_secs(90);
/// The sensor, and to how many of a hundred its next version goes first.
const SENSOR: &str = "probe";
const HALF: u8 = 50;
/// Who is among a half goes by a hash of its id: of so few all may be, or none, and then there are more until some are.
const FIRST: usize = 4;
const MOST: usize = 24;
/// Runs by which it is seen that a version goes on where it is: the interval of both is a second.
const MORE_RUNS: f64 = 5.0;

/// What the versions are known by.
const OLD: &str = "pulse_rate";
const NEW: &str = "honest_runs_total";

struct Shop {
    sonde: Sonde,
    containers: Vec<Container>,
    /// Those of them that are among the half.
    half: Ids,
    rootfs: std::sync::Arc<Rootfs>,
}

type Ids = BTreeSet<String>;

impl Shop {
    fn add(&mut self) {
        let container = Container::named("rollout").rootfs(&self.rootfs).run();
        let instance = self.sonde.wait_for_instance(container.id());
        let id = instance["id"].as_str().and_then(|id| id.parse().ok()).expect("it has an id");
        if is_among(HALF, &SensorName::new(SENSOR).expect("it is a name"), id) {
            self.half.insert(container.id().to_owned());
        }
        self.containers.push(container);
    }

    fn is_divided(&self) -> bool {
        !self.half.is_empty() && self.half.len() < self.containers.len()
    }

    fn push(&self, file: &str, percent: Option<&str>) {
        let path = sensor_path(file);
        let mut arguments = vec!["sensor".to_owned(), "push".into(), path.display().to_string()];
        arguments.extend(["--name".into(), SENSOR.into()]);
        for container in &self.containers {
            arguments.extend(["--match".into(), format!("instance={}", container.id())]);
        }
        arguments.extend(percent.into_iter().flat_map(|percent| ["--percent".into(), percent.to_owned()]));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let CliOutput { code, stderr, .. } = self.sonde.cli(&arguments);
        assert_eq!(code, Some(0), "{stderr}");
    }

    /// The versions as the tenant sees them, the current one first.
    fn versions(&self) -> Vec<Value> {
        let said = self.sonde.cli(&["sensor", "ls", "--json"]).stdout;
        let all: Value = serde_json::from_str(&said).expect("it is JSON");
        all[0]["versions"].as_array().expect("it is there").clone()
    }

    /// The containers that have a series.
    fn with(&self, family: &str) -> Ids {
        let has = |container: &&Container| {
            let text = self.sonde.scrape_text(container.id());
            text.lines().any(|line| line.starts_with(family))
        };
        self.containers.iter().filter(has).map(|container| container.id().to_owned()).collect()
    }

    fn all(&self) -> Ids {
        self.containers.iter().map(|container| container.id().to_owned()).collect()
    }

    /// Waits until exactly these have the new version's series, and the others the old one's.
    fn wait_for_new_on(&self, part: &Ids) {
        let others: Ids = self.all().difference(part).cloned().collect();
        eventually("each container with one version", PUSHED, || {
            let seen = (self.with(NEW), self.with(OLD));
            if seen == (part.clone(), others.clone()) { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// Waits until the tenant is told of versions with so many instances, and so many failing.
    fn wait_for_told(&self, expected: &[(&str, usize, usize)]) {
        eventually("what the tenant is told", PUSHED, || {
            let versions = self.versions();
            let is_so = |(version, (which, instances, failing)): (&Value, &(&str, usize, usize))| {
                version["version"] == *which && version["instances"] == *instances && version["failing"] == *failing
            };
            let all = versions.len() == expected.len() && versions.iter().zip(expected).all(is_so);
            if all { Ok(()) } else { Err(Value::from(versions).to_string()) }
        });
    }

    fn runs(&self, id: &str) -> f64 {
        self.sonde.wait_for_value(id, NEW, &[], PUSHED, |runs| runs > 0.0)
    }
}

#[test]
fn a_version_reaches_a_part_first_and_one_that_fails_goes_no_further_and_is_rolled_back() {
    let sonde = Sonde::configure().up();
    let mut shop = Shop { sonde, containers: Vec::new(), half: Ids::new(), rootfs: Rootfs::with(&[]) };
    while shop.containers.len() < FIRST || !shop.is_divided() {
        assert!(shop.containers.len() < MOST, "of {MOST} instances a half is {}", shop.half.len());
        shop.add();
    }
    shop.push("pulse.wasm", None);
    shop.wait_for_new_on(&Ids::new());

    // To a half: some have it, the others go on as before.
    shop.push("honest.wasm", Some(&HALF.to_string()));
    let part = shop.half.clone();
    shop.wait_for_new_on(&part);
    let others = shop.containers.len() - part.len();
    shop.wait_for_told(&[("current", others, 0), ("next", part.len(), 0)]);

    // To all.
    shop.push("honest.wasm", None);
    shop.wait_for_new_on(&shop.all());
    shop.wait_for_told(&[("current", shop.containers.len(), 0)]);

    // One that fails reaches the same part and stays there; the others do not notice.
    let one_of = |ids: &Ids| ids.first().expect("it is not empty").clone();
    let (spared, hit) = (one_of(&shop.all().difference(&part).cloned().collect()), one_of(&part));
    shop.push("trap.wasm", Some(&HALF.to_string()));
    shop.wait_for_told(&[("current", others, 0), ("next", part.len(), part.len())]);
    shop.sonde.wait_for_value(&hit, "sonde_sensor_up", &[("sensor", SENSOR)], PUSHED, |up| up == 0.0);
    let before = shop.runs(&spared);
    shop.sonde.wait_for_value(&spared, NEW, &[], PUSHED, |runs| runs >= before + MORE_RUNS);
    shop.wait_for_told(&[("current", others, 0), ("next", part.len(), part.len())]);
    let versions = shop.versions();
    assert_eq!((&versions[0]["percent"], &versions[1]["percent"]), (&HALF.into(), &HALF.into()), "{versions:?}");

    // The one before it, pushed again, is everybody's again.
    shop.push("honest.wasm", None);
    shop.wait_for_new_on(&shop.all());
    shop.wait_for_told(&[("current", shop.containers.len(), 0)]);
    let before = shop.runs(&hit);
    shop.sonde.wait_for_value(&hit, NEW, &[], PUSHED, |runs| runs >= before + MORE_RUNS);
}
