//! Every sensor of this repository, shipped or hostile, built from source by one run of cargo; and a new project from
//! its first file to its component.
//!
//! These tests compile for wasm, so the first run takes a minute or two.

use std::path::{Path, PathBuf};
use std::process::Command;

use sonde_guest_build::{Options, Toolchain, build, build_many, create};
use sonde_manifest::{Manifest, extract};

/// The four shipped ones are small; the relay with its strict reader is the largest.
const MAX_COMPONENT_BYTES: usize = 256 * 1024;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn options(out: &Path) -> Options {
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sensors");
    Options { target_dir, out_dir: out.to_owned(), progress: false }
}

fn crates(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut crates: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("sensor.toml").is_file()).collect();
    crates.sort();
    crates
}

#[test]
fn every_sensor_of_the_repository_builds() {
    let toolchain = Toolchain::find().unwrap();
    let out = tempfile::tempdir().unwrap();
    let folders = [crates("sensors"), crates("tests/guests")].concat();
    assert!(folders.len() >= 13, "{folders:?}");
    let built = build_many(&toolchain, &folders, &options(out.path())).unwrap();
    for (sensor, folder) in built.iter().zip(&folders) {
        let file = std::fs::read(&sensor.path).unwrap();
        assert_eq!(file, sensor.component);
        assert!(file.len() < MAX_COMPONENT_BYTES, "{} has {} bytes", sensor.name, file.len());
        let manifest = extract(&file).unwrap().unwrap();
        assert_eq!(manifest, std::fs::read_to_string(folder.join("sensor.toml")).unwrap());
        assert_eq!(Manifest::parse(&manifest).unwrap().name, sensor.name);
        assert_eq!(sensor.remarks.is_empty(), sensor.name != "greedy", "{}: {:?}", sensor.name, sensor.remarks);
        let home = root().display().to_string();
        assert!(!file.windows(home.len()).any(|bytes| bytes == home.as_bytes()), "{} names this machine", sensor.name);
        println!("{}: {} bytes", sensor.name, file.len());
    }
    let greedy = built.iter().find(|sensor| sensor.name == "greedy").unwrap();
    assert!(greedy.remarks.iter().any(|remark| remark.contains("sonde:sensor/files@0.1.0")), "{:?}", greedy.remarks);
}

#[test]
fn a_new_project_builds_and_passes_its_tests_with_no_edit() {
    let toolchain = Toolchain::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let project = create(folder.path(), "my-probe").unwrap();
    let sensor = build(&toolchain, &project, &options(folder.path())).unwrap();
    assert_eq!(sensor.name, "my-probe");
    assert!(sensor.remarks.is_empty(), "{:?}", sensor.remarks);
    assert!(sensor.path.is_file());
    let output = Command::new("cargo")
        .arg("test")
        .current_dir(&project)
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("project"))
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("a_port_that_accepts_is_up ... ok"), "{said}");
}
