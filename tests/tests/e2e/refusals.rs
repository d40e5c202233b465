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

/// Puts a file of these bytes beside the honest sensor and waits for the refusal; it must contain one
/// of `words`, be a sentence, and leave the honest sensor running.
fn assert_refused(name: &str, words: &[&str], put: impl FnOnce(&std::path::Path)) {
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

    let sentence = eventually(&format!("{name}.wasm refused"), SOON, || {
        let entry = sonde.sensor_entry(id, name).ok_or_else(|| sonde.get(&format!("/v1/{id}/sensors")).text())?;
        let text = entry.to_string();
        if words.iter().any(|word| text.contains(word)) { Ok(text) } else { Err(text) }
    });
    assert!(sentence.split(' ').count() >= 5, "a sentence, not a code: {sentence}");
    assert!(sonde.log().contains(name), "the log names the file too: {}", sonde.log());

    let runs = sonde.scrape(id).value("sonde_sensor_runs_total", &honest).expect("honest has run");
    sonde.wait_for_value(id, "sonde_sensor_runs_total", &honest, SOON, |now| now > runs);
    assert_eq!(sonde.scrape(id).value("sonde_sensor_up", &honest), Some(1.0));
}

fn honest_bytes() -> Vec<u8> {
    fs::read(sensor_path("honest.wasm")).expect("the guest is built")
}

fn with_manifest(toml: &str) -> Vec<u8> {
    sonde_manifest::embed(&honest_bytes(), toml).expect("the honest guest takes a manifest")
}

#[test]
fn truncated() {
    assert_refused("truncated", &["cut off", "does not parse", "end"], |file| {
        let bytes = honest_bytes();
        fs::write(file, &bytes[..bytes.len() / 2]).expect("the data folder is writable");
    });
}

#[test]
fn hundred_mebibytes() {
    assert_refused("huge", &["104857600", "MiB", "bytes"], |file| {
        File::create(file).and_then(|f| f.set_len(HUGE_BYTES)).expect("the data folder is writable");
    });
}

#[test]
fn core_module() {
    assert_refused("core", &["core module"], |file| {
        fs::write(file, CORE_MODULE).expect("the data folder is writable");
    });
}

#[test]
fn component_of_another_world() {
    assert_refused("stranger", &["manifest", "world", "export"], |file| {
        fs::write(file, EMPTY_COMPONENT).expect("the data folder is writable");
    });
}

#[test]
fn component_of_another_world_with_a_manifest() {
    assert_refused("masked", &["world", "export", "describe", "collect"], |file| {
        let toml = "name = \"masked\"\nversion = \"0.1.0\"\ninterval = \"5s\"\n";
        let bytes = sonde_manifest::embed(EMPTY_COMPONENT, toml).expect("an empty component takes a manifest");
        fs::write(file, bytes).expect("the data folder is writable");
    });
}

#[test]
fn manifest_with_a_mistyped_key() {
    assert_refused("mistyped", &["intervall"], |file| {
        let toml = "name = \"mistyped\"\nversion = \"0.1.0\"\ninterval = \"5s\"\nintervall = \"5s\"\n";
        fs::write(file, with_manifest(toml)).expect("the data folder is writable");
    });
}

#[test]
fn manifest_asking_for_what_policy_forbids() {
    // Large memory needs a policy that allows it (design §5.6); the default one does not.
    assert_refused("greedy", &["large", "256 MiB", "policy"], |file| {
        let toml = "name = \"greedy\"\nversion = \"0.1.0\"\ninterval = \"5s\"\nclass = \"large\"\n[capabilities]\nstate = true\n";
        fs::write(file, with_manifest(toml)).expect("the data folder is writable");
    });
}
