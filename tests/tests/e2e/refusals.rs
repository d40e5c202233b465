//! Broken inputs: refused in a sentence that names the fault, and what ran before goes on.

use std::fs::{self, File};
use std::time::Duration;

use sonde_tests::{Container, Sonde, eventually, sensor_path};

const SOON: Duration = Duration::from_secs(20);
/// The header of a core module: magic, version 1. Nothing more is needed for a valid, empty one.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// The header of a component: magic, version 13, layer 1. A valid component that exports nothing.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// Larger than any sensor has reason to be.
const HUGE_BYTES: u64 = 100 << 20;

/// Waits until a sensor is refused on an instance; the sentence must have `fragment` in it.
#[track_caller]
fn assert_refused_with(sonde: &Sonde, instance: &str, sensor: &str, fragment: &str) {
    eventually(&format!("{sensor} refused"), SOON, || {
        let entry =
            sonde.sensor_entry(instance, sensor).ok_or_else(|| sonde.get(&format!("/v1/{instance}/sensors")).text())?;
        let sentence = entry["refused"].as_str().ok_or_else(|| entry.to_string())?;
        if sentence.contains(fragment) { Ok(()) } else { Err(format!("the sentence is {sentence:?}")) }
    });
    assert!(sonde.log().contains(sensor), "the log names it too: {}", sonde.log());
}

/// Puts a file of these bytes beside the honest sensor and waits for the refusal with `fragment` in its
/// sentence, which must leave the honest sensor running.
#[track_caller]
fn assert_refused(name: &str, fragment: &str, put: impl FnOnce(&std::path::Path)) {
    let container = Container::named(name).run();
    let sonde = Sonde::configure().sensor("honest.wasm", container.id(), "").up();
    let id = container.id();
    sonde.wait_for_instance(id);
    let honest = [("sensor", "honest")];
    sonde.wait_for_value(id, "sonde_sensor_up", &honest, SOON, |up| up == 1.0);

    // Written elsewhere and moved in, as an installer would: no half file is ever seen.
    let made = sonde.dir().join(format!("{name}.made"));
    put(&made);
    fs::rename(&made, sonde.sensors_dir().join(format!("{name}.wasm"))).expect("one file system");
    sonde.refresh();
    assert_refused_with(&sonde, id, name, fragment);

    let runs = sonde.scrape(id).value("sonde_sensor_runs_total", &honest).expect("honest has run");
    sonde.wait_for_value(id, "sonde_sensor_runs_total", &honest, SOON, |now| now > runs);
    assert_eq!(sonde.scrape(id).value("sonde_sensor_up", &honest), Some(1.0));
}

/// Starts with a policy that a sensor does not fit, beside one that asks for nothing.
#[track_caller]
fn assert_refused_by_policy(sensor: &str, policy: &str, fragments: &[&str]) {
    let container = Container::named(sensor).run();
    let id = container.id();
    let sonde = Sonde::configure()
        .sensor("pulse.wasm", id, "")
        .sensor(&format!("{sensor}.wasm"), id, "")
        .config(&format!("[policy]\n{policy}\n"))
        .up();
    sonde.wait_for_instance(id);
    for fragment in fragments {
        assert_refused_with(&sonde, id, sensor, fragment);
    }
    sonde.wait_for_value(id, "sonde_sensor_up", &[("sensor", "pulse")], SOON, |up| up == 1.0);
    let exposition = sonde.scrape(id);
    assert_eq!(exposition.all("sonde_sensor_runs_total", &[("sensor", sensor)]).count(), 0, "it has never run");
}

fn honest_bytes() -> Vec<u8> {
    fs::read(sensor_path("honest.wasm")).expect("the guest is built")
}

fn with_manifest(toml: &str) -> Vec<u8> {
    sonde_manifest::embed(&honest_bytes(), toml).expect("the honest guest takes a manifest")
}

#[test]
fn truncated() {
    assert_refused("truncated", "it is broken or cut off: ", |file| {
        let bytes = honest_bytes();
        fs::write(file, &bytes[..bytes.len() / 2]).expect("the data folder is writable");
    });
}

#[test]
fn not_wasm_at_all() {
    assert_refused("prose", "it is not WebAssembly: it does not begin with \\0asm", |file| {
        fs::write(file, "Once upon a time").expect("the data folder is writable");
    });
}

#[test]
fn hundred_mebibytes() {
    assert_refused("huge", "it is 104857600 bytes, and a sensor has at most 67108864", |file| {
        File::create(file).and_then(|f| f.set_len(HUGE_BYTES)).expect("the data folder is writable");
    });
}

#[test]
fn core_module() {
    assert_refused("core", "it is a core module and not a component; `sonde sensor build` makes", |file| {
        fs::write(file, CORE_MODULE).expect("the data folder is writable");
    });
}

#[test]
fn component_without_a_manifest() {
    assert_refused("stranger", "it has no manifest in its section \"sonde:manifest\"", |file| {
        fs::write(file, EMPTY_COMPONENT).expect("the data folder is writable");
    });
}

#[test]
fn component_of_another_world() {
    assert_refused("masked", "it is of another world: it does not export \"describe\"", |file| {
        let toml = "name = \"masked\"\nversion = \"0.1.0\"\ninterval = \"5s\"\n";
        let bytes = sonde_manifest::embed(EMPTY_COMPONENT, toml).expect("an empty component takes a manifest");
        fs::write(file, bytes).expect("the data folder is writable");
    });
}

#[test]
fn manifest_with_a_mistyped_key() {
    assert_refused("mistyped", "intervall", |file| {
        let toml = "name = \"mistyped\"\nversion = \"0.1.0\"\ninterval = \"5s\"\nintervall = \"5s\"\n";
        fs::write(file, with_manifest(toml)).expect("the data folder is writable");
    });
}

#[test]
fn class_over_the_default_policy() {
    let sentence = "it asks for class \"large\" (256 MiB) and the policy allows \"medium\" (64 MiB) at most";
    assert_refused("spacious", sentence, |file| {
        let toml = "name = \"spacious\"\nversion = \"0.1.0\"\ninterval = \"5s\"\nclass = \"large\"\n[capabilities]\nstate = true\n";
        fs::write(file, with_manifest(toml)).expect("the data folder is writable");
    });
}

#[test]
fn import_that_its_manifest_does_not_ask_for() {
    assert_refused("greedy", "and its manifest does not ask for `", |file| {
        fs::copy(sensor_path("greedy.wasm"), file).expect("the data folder is writable");
    });
}

#[test]
fn port_outside_the_policy() {
    let port = "it asks for TCP port 22, which the policy does not allow";
    assert_refused_by_policy("glutton", "class = \"large\"\ntcp = [80, \"6000-7000\"]", &[port]);
}

#[test]
fn every_wish_over_the_policy_is_named() {
    let class = "it asks for class \"large\" (256 MiB) and the policy allows \"small\" (16 MiB) at most";
    let port = "it asks for TCP port 22, which the policy does not allow";
    assert_refused_by_policy("glutton", "class = \"small\"\ntcp = [80]", &[class, port]);
}

#[test]
fn state_that_the_policy_forbids() {
    assert_refused_by_policy("honest", "state = false", &["it asks for state, which the policy does not allow"]);
}

#[test]
fn family_of_a_sensor_that_was_there_first() {
    let container = Container::named("contested").run();
    let id = container.id();
    let sonde = Sonde::configure()
        .sensor("honest.wasm", id, "name = \"first\"")
        .config(&format!("[[sensor]]\nfile = \"honest.wasm\"\nname = \"second\"\nmatch = {{ name = \"{id}\" }}\n"))
        .up();
    sonde.wait_for_instance(id);
    let sentence = "its family \"honest_runs_total\" belongs to the sensor \"first\" on this instance";
    assert_refused_with(&sonde, id, "second", sentence);
    sonde.wait_for_value(id, "sonde_sensor_up", &[("sensor", "first")], SOON, |up| up == 1.0);
    assert_eq!(sonde.scrape(id).all("honest_runs_total", &[]).count(), 1);
}
