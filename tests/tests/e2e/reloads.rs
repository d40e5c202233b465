//! Edits of a running node: policy, owners, the floor and the sensors' folder take effect without a restart.

use std::fs;
use std::time::Duration;

use sonde_tests::{Container, Request, Sonde, eventually};

const SOON: Duration = Duration::from_secs(20);
const HONEST: [(&str, &str); 1] = [("sensor", "honest")];

/// A container with the honest sensor on it, running.
fn with_honest(what: &str, config: &str) -> (Container, Sonde) {
    let container = Container::named(what).run();
    let sonde = Sonde::configure().sensor("honest.wasm", container.id(), "").config(config).up();
    sonde.wait_for_instance(container.id());
    sonde.wait_for_value(container.id(), "sonde_sensor_up", &HONEST, SOON, |up| up == 1.0);
    (container, sonde)
}

/// Waits until nothing of the honest sensor is served.
#[track_caller]
fn assert_stops(sonde: &Sonde, instance: &str) {
    eventually("the sensor stopped", SOON, || {
        let exposition = sonde.scrape(instance);
        let left = exposition.all("honest_runs_total", &[]).chain(exposition.all("sonde_sensor_up", &HONEST)).count();
        if left == 0 { Ok(()) } else { Err(sonde.get(&format!("/v1/{instance}/sensors")).text()) }
    });
}

#[test]
fn narrower_policy_stops_a_sensor_and_a_wider_one_starts_it() {
    let (container, sonde) = with_honest("policed", "");
    let wide = sonde.config();

    sonde.reconfigure(&format!("{wide}\n[policy]\nstate = false\n"));
    assert_stops(&sonde, container.id());
    let entry = sonde.sensor_entry(container.id(), "honest").expect("it is listed, refused");
    assert_eq!(entry["state"], "refused", "{entry}");
    let sentence = entry["refused"].as_str().unwrap_or_default();
    assert!(sentence.contains("it asks for state, which the policy does not allow"), "{entry}");

    sonde.reconfigure(&wide);
    sonde.wait_for_value(container.id(), "sonde_sensor_up", &HONEST, SOON, |up| up == 1.0);
    let entry = sonde.sensor_entry(container.id(), "honest").expect("it is listed");
    assert_eq!((&entry["state"], entry.get("refused")), (&"running".into(), None), "{entry}");
}

#[test]
fn settings_that_are_not_valid_leave_the_sensor_running_and_are_said() {
    let (container, sonde) = with_honest("mistyped-setting", "");
    let before = sonde.scrape(container.id()).value("honest_runs_total", &[]).expect("it runs");
    let good = sonde.config();
    let entry = format!("match = {{ name = \"{}\" }}", container.id());
    assert!(good.contains(&entry), "{good}");
    sonde.reconfigure(&good.replace(&entry, &format!("{entry}\nconfig = {{ prt = 1 }}")));
    eventually("the fault being said", SOON, || {
        let listed = sonde.sensor_entry(container.id(), "honest").ok_or("it is not listed")?;
        let said = listed["refused"].as_str().unwrap_or_default().contains("prt");
        if said && listed["state"] == "running" { Ok(()) } else { Err("not said, or not running") }
    });
    sonde.wait_for_value(container.id(), "honest_runs_total", &[], SOON, |runs| runs > before);
}

#[test]
fn owner_rule_moves_an_instance_to_another_account() {
    let (container, sonde) = with_honest("sold", "");
    let path = format!("/v1/{}/metrics", container.id());
    let as_owner =
        |owner: &str| Request::get(&sonde.url(&path)).header("X-Sonde-Owner", owner).send().expect("it answers").status;
    assert_eq!([as_owner("operator"), as_owner("acme")], [200, 421]);

    let rule = format!("[[owner]]\naccount = \"acme\"\nmatch = {{ name = \"{}\" }}\n", container.id());
    sonde.reconfigure(&format!("{}\n{rule}", sonde.config()));
    assert_eq!([as_owner("operator"), as_owner("acme")], [421, 200]);
    let entry = sonde.wait_for_instance(container.id());
    assert_eq!(entry["owner"], "acme");
    // Its sensors go on under the new owner, with the state that they had.
    sonde.wait_for_value(container.id(), "honest_runs_total", &[], SOON, |runs| runs >= 2.0);
}

#[test]
fn floor_of_readings() {
    let (container, sonde) = with_honest("floored", "[reading]\nfloor = \"60s\"\n");
    let age = |seconds: f64| {
        sonde.wait_for_value(container.id(), "sonde_reading_age_seconds", &[], SOON, |age| age >= seconds)
    };
    // Older than the default floor of a second would ever let it be.
    age(1.5);
    let shorter = sonde.config().replace("60s", "50ms");
    sonde.reconfigure(&shorter);
    sonde.wait_for_value(container.id(), "sonde_reading_age_seconds", &[], SOON, |age| age < 0.5);
    for _ in 0..10 {
        let age = sonde.scrape(container.id()).value("sonde_reading_age_seconds", &[]).expect("it is always there");
        assert!(age < 1.0, "the reading is {age} s old and the floor 50 ms");
    }
}

#[test]
fn removed_file_stops_its_sensor() {
    let (container, sonde) = with_honest("bereft", "");
    let file = sonde.sensors_dir().join("honest.wasm");
    let kept = sonde.dir().join("honest.kept");
    fs::rename(&file, &kept).expect("one file system");
    sonde.refresh();
    assert_stops(&sonde, container.id());
    assert!(!sonde.scrape(container.id()).samples.is_empty(), "the native series stay");

    fs::rename(&kept, &file).expect("one file system");
    sonde.refresh();
    sonde.wait_for_value(container.id(), "sonde_sensor_up", &HONEST, SOON, |up| up == 1.0);
}
