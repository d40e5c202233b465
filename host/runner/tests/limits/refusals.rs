//! What is no sensor, or not one that may run here: refused before it is compiled where that can be seen, with a sentence that names the fault.
//!
//! Whole files are made from the guest `over` or from text; nothing here is a fixture whose making is forgotten.

use sonde_host::{MAX_SENSOR_BYTES, PrecheckError, Reserved, ShapeError, precheck};
use sonde_manifest::embed;
use sonde_runner::{LocalError, LocalLoader};

use crate::component;

const MANIFEST: &str = "name = \"t\"\nversion = \"0.1.0\"\ninterval = \"1s\"\n";
/// What a small sensor's file may have, and a medium one's.
const SMALL_BYTES: usize = 4 << 20;
const MEDIUM_BYTES: usize = 16 << 20;

/// A component in text, with a manifest.
fn wat(text: &str) -> Vec<u8> {
    embed(&wat::parse_str(text).expect("the text is a component"), MANIFEST).expect("it takes a manifest")
}

/// A component whose two exports are a core function without parameters, after whatever comes in `before`.
fn exporting(before: &str, function: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component {before}
            (core module $m (func (export "f") {function}))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (export "describe" (func $f))
            (export "collect" (func $f)))"#
    ))
}

/// `over.wasm` with a manifest of class `class`, made `bytes` long by a section that nobody reads.
fn padded(class: &str, bytes: usize) -> Vec<u8> {
    let mut file = embed(
        &component("over.wasm"),
        &format!("{MANIFEST}class = \"{class}\"\n[capabilities]\ntcp = [1]\nhttp = [1]\nstate = true\n"),
    )
    .expect("it takes a manifest");
    // A custom section: 0, its size in five bytes of LEB128, a name of no bytes, the rest.
    let size = bytes - file.len() - 6;
    file.push(0);
    file.extend((0..5).map(|at| ((size >> (7 * at)) & 0x7f) as u8 | if at < 4 { 0x80 } else { 0 }));
    file.resize(bytes, 0);
    file
}

fn refused(bytes: &[u8]) -> PrecheckError {
    precheck(bytes).expect_err("it should have been refused")
}

#[test]
fn what_is_no_component() {
    assert!(matches!(refused(b""), PrecheckError::Empty));
    assert!(matches!(refused(b"#!/bin/sh\necho 1\n"), PrecheckError::NotWasm));
    assert!(matches!(refused(&wat::parse_str("(module)").unwrap()), PrecheckError::CoreModule));
    let whole = component("over.wasm");
    for part in [8, 9, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let cut = refused(&whole[..part]);
        let named = matches!(cut, PrecheckError::Broken(_) | PrecheckError::NoManifest | PrecheckError::CoreModule);
        assert!(named, "{part} bytes: {cut}");
    }
    assert!(matches!(refused(&whole[..whole.len() / 2]), PrecheckError::Broken(_)));
}

#[test]
fn manifests() {
    let bare = wat::parse_str("(component)").unwrap();
    assert!(matches!(refused(&bare), PrecheckError::NoManifest));
    let broken = refused(&embed(&bare, "name = 1").unwrap());
    assert!(matches!(&broken, PrecheckError::Manifest(_)));
    assert!(broken.to_string().contains("name"), "{broken}");
}

#[test]
fn worlds() {
    let other = refused(&wat("(component)"));
    assert!(matches!(other, PrecheckError::MissingExport("describe")), "{other}");
    let half = wat(r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f"))) (export "describe" (func $f)))"#);
    assert!(matches!(refused(&half), PrecheckError::MissingExport("collect")));
    let foreign = refused(&wat(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#));
    assert!(
        matches!(&foreign, PrecheckError::ForeignImport(name) if name == "wasi:cli/environment@0.2.0"),
        "{foreign}"
    );
    let not_asked = refused(&embed(&component("over.wasm"), MANIFEST).unwrap());
    assert!(matches!(&not_asked, PrecheckError::NotAsked { .. }), "{not_asked}");
    assert!(not_asked.to_string().contains("[capabilities]"), "{not_asked}");
    let imports: String = (0..65).map(|at| format!("(import \"i{at}\" (func))")).collect();
    assert!(matches!(refused(&wat(&format!("(component {imports})"))), PrecheckError::TooManyNames));
}

#[test]
fn sizes_by_class() {
    for (class, most) in [("small", SMALL_BYTES), ("medium", MEDIUM_BYTES)] {
        precheck(&padded(class, most)).expect("as large as it may be");
        let refused = refused(&padded(class, most + 1));
        assert!(matches!(refused, PrecheckError::TooLarge { limit_bytes, .. } if limit_bytes == most), "{refused}");
    }
    let refused = refused(&vec![0; MAX_SENSOR_BYTES + 1]);
    assert!(matches!(refused, PrecheckError::TooLarge { limit_bytes: MAX_SENSOR_BYTES, .. }), "{refused}");
}

/// The shape's own bounds have their tests where they are; here it is only seen that they are asked, and by the manifest's class.
#[test]
fn shapes() {
    let hungry = |class: &str| {
        let text = r#"(component
            (core module $m (memory 1000) (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (export "describe" (func $f))
            (export "collect" (func $f)))"#;
        let component = wat::parse_str(text).expect("the text is a component");
        embed(&component, &format!("{MANIFEST}class = \"{class}\"\n")).expect("it takes a manifest")
    };
    let memory = refused(&hungry("small"));
    assert!(matches!(&memory, PrecheckError::Shape(ShapeError::Memory { .. })), "{memory}");
    precheck(&hungry("medium")).expect("a medium sensor may");
}

#[tokio::test]
async fn what_only_the_compiler_sees() {
    let loader = LocalLoader::new(Reserved::default());
    // The right names with other types; more memories than there are places for, each of which may be.
    let world = loader.load(&exporting("", "")).await.map(drop).unwrap_err();
    assert!(matches!(&world, LocalError::World(_)), "{world}");
    let invalid = loader.load(&exporting("(core module (func (result i32)))", "")).await.map(drop).unwrap_err();
    assert!(matches!(&invalid, LocalError::Compile(_)), "{invalid}");
    let memories = "(core module $h (memory 1)) ".to_owned() + &"(core instance (instantiate $h))".repeat(3);
    let many = loader.load(&exporting(&memories, "")).await.map(drop).unwrap_err();
    assert!(matches!(&many, LocalError::Compile(_)), "{many}");
}
