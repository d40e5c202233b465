//! Lists the SDK's sources and the world for `src/new.rs`, which writes them into new sensor projects: so
//! a project builds on any machine, with the very SDK and world that this `sonde` knows.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut list =
        String::from("/// Path in the vendored crate, and content.\npub(crate) static FILES: &[(&str, &str)] = &[\n");
    for (folder, name) in [(here.join("../rust/src"), "src"), (here.join("../../wit"), "wit")] {
        println!("cargo::rerun-if-changed={}", folder.display());
        add(&folder, name, &mut list);
    }
    list.push_str("];\n");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    std::fs::write(out.join("sdk_files.rs"), list).expect("OUT_DIR can be written to");

    let root = here.join("../../Cargo.toml");
    println!("cargo::rerun-if-changed={}", root.display());
    let root = std::fs::read_to_string(root).expect("the workspace has a manifest");
    for (key, variable) in [
        ("wit-bindgen", "WIT_BINDGEN"),
        ("edition", "EDITION"),
        ("rust-version", "RUST_VERSION"),
        ("version", "VERSION"),
    ] {
        println!("cargo::rustc-env=SDK_{variable}={}", first_text(&root, key));
    }
}

/// The first text in quotes on the line of a key: a version, also inside an inline table.
fn first_text<'a>(manifest: &'a str, key: &str) -> &'a str {
    let line = manifest.lines().find(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = ")));
    line.and_then(|line| line.split('"').nth(1)).expect("the workspace's manifest has the key")
}

fn add(folder: &Path, name: &str, list: &mut String) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the SDK lies beside this crate")
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    entries.sort();
    for path in entries {
        let inner = format!("{name}/{}", path.file_name().expect("an entry has a name").to_string_lossy());
        if path.is_dir() {
            add(&path, &inner, list);
        } else {
            writeln!(list, "    ({inner:?}, include_str!({:?})),", path.display().to_string()).expect("memory");
        }
    }
}
