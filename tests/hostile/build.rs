//! Makes a constant of every file in `corpus/`, for the table to name.
//!
//! The table is then held to the folder by the compiler: a row that names no file does not compile, and a file that no
//! row names is a constant that nothing uses, which `dead_code` is denied for.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

const FOLDER: &str = "corpus";

fn main() {
    println!("cargo::rerun-if-changed={FOLDER}");
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = Path::new(&root).join(FOLDER);
    let listed = fs::read_dir(&folder).expect("the corpus is part of the crate");
    let mut names: Vec<String> = listed
        .map(|entry| entry.expect("the folder can be listed").file_name().to_string_lossy().into_owned())
        .filter_map(|file| file.strip_suffix(".wat").map(str::to_owned))
        .collect();
    names.sort();
    let mut out = String::new();
    for name in names {
        let constant = format!("G{}", name.to_uppercase().replace('-', "_"));
        let path = folder.join(format!("{name}.wat"));
        writeln!(
            out,
            "pub(super) const {constant}: File = File {{ name: {name:?}, text: include_str!({:?}) }};",
            path.display().to_string()
        )
        .expect("a string takes what is written");
    }
    let target = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("files.rs");
    fs::write(target, out).expect("the output folder can be written");
}
