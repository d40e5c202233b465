//! What makes no sensor, and the sentence it is refused with. No compiler is needed.

use std::error::Error;
use std::path::Path;

use sonde_guest_build::{AssembleError, BuildError, NewError, Options, Toolchain, assemble, build, create};

/// The header of a core module without sections, and of such a component.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MANIFEST: &str = "name = \"a\"\nversion = \"0.1.0\"\ninterval = \"1s\"\n";

fn said(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said.push_str(&format!(": {error}"));
        source = error.source();
    }
    said
}

#[test]
fn files_that_are_no_sensors() {
    let refused = |wasm: &[u8], manifest: &str| assemble(wasm, manifest).unwrap_err();
    assert!(matches!(refused(MODULE, "name = 1"), AssembleError::Manifest(_)));
    assert!(matches!(refused(COMPONENT, MANIFEST), AssembleError::Export("describe")));
    assert!(matches!(refused(MODULE, MANIFEST), AssembleError::Export(_) | AssembleError::Encode(_)));
    assert!(matches!(refused(b"#!/bin/sh\n", MANIFEST), AssembleError::Encode(_)));
    assert!(matches!(refused(&[COMPONENT, b"\xff\xff"].concat(), MANIFEST), AssembleError::Invalid(_)));
}

#[test]
fn names_and_folders_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", "Probe", "1st", "a_b", "../x", "a/b", &"a".repeat(64)] {
        assert!(matches!(create(folder.path(), name), Err(NewError::Name(_))), "{name:?}");
    }
    assert!(matches!(create(folder.path(), "container-x"), Err(NewError::Taken(_, "container"))));
    std::fs::create_dir(folder.path().join("mine")).unwrap();
    std::fs::write(folder.path().join("mine/file"), "kept").unwrap();
    let error = create(folder.path(), "mine").unwrap_err();
    assert!(error.to_string().contains("is there already"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path().join("mine")).unwrap().count(), 1, "nothing was written");
}

#[test]
fn a_project_is_whole_and_names_nothing_of_the_template() {
    let folder = tempfile::tempdir().unwrap();
    let project = create(folder.path(), "my-probe").unwrap();
    for path in [
        "Cargo.toml",
        "sensor.toml",
        "src/lib.rs",
        "tests/probe.rs",
        "README.md",
        ".gitignore",
        "vendor/sonde-sensor/Cargo.toml",
        "vendor/sonde-sensor/src/lib.rs",
        "vendor/sonde-sensor/src/testing/world.rs",
        "vendor/sonde-sensor/wit/world.wit",
    ] {
        let text = std::fs::read_to_string(project.join(path)).unwrap();
        assert!(!text.contains("@NAME@") && !text.contains("@PREFIX@") && !text.contains("_VERSION@"), "{path}");
    }
    let manifest = std::fs::read_to_string(project.join("sensor.toml")).unwrap();
    assert_eq!(sonde_manifest::Manifest::parse(&manifest).unwrap().name, "my-probe");
}

#[test]
fn folders_that_hold_no_sensor() {
    let Ok(toolchain) = Toolchain::installed().or_else(|_| Toolchain::system()) else {
        // Without a compiler for wasm there is nothing to build with; `sensors.rs` says so loudly.
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let options = Options { target_dir: at.join("target"), out_dir: at.join("out"), progress: false };
    let refused = |at: &Path| build(&toolchain, at, &options).unwrap_err();
    assert!(matches!(refused(at), BuildError::Read { .. }));
    std::fs::write(
        at.join("Cargo.toml"),
        "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    )
    .unwrap();
    assert!(said(&refused(at)).contains("crate-type = [\"cdylib\", \"rlib\"]"));
    let manifest = std::fs::read_to_string(at.join("Cargo.toml")).unwrap();
    std::fs::write(at.join("Cargo.toml"), format!("{manifest}[lib]\ncrate-type = [\"cdylib\"]\n")).unwrap();
    assert!(said(&refused(at)).contains("sensor.toml"));
    std::fs::write(at.join("sensor.toml"), MANIFEST).unwrap();
    std::fs::create_dir(at.join("src")).unwrap();
    std::fs::write(at.join("src/lib.rs"), "pub fn f() -> u32 { \"no\" }").unwrap();
    let error = refused(at);
    assert!(matches!(error, BuildError::Cargo { .. }), "{error:?}");
    assert!(error.to_string().contains("mismatched types"), "the compiler's own words: {error}");
}
