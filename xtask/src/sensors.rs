//! Builds every guest there is to components: the sensors we ship, and those that only tests run.

use std::path::{Path, PathBuf};

use sonde_guest_build::build_many;

use crate::error::Error;
use crate::setup::toolchain;
use crate::workspace::{Workspace, metadata, say};

/// The folders that guests live in.
const SHIPPED: &str = "sensors";
const FOR_TESTS: &str = "tests/guests";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// What a user may want to run.
    Shipped,
    /// Those, and the honest and hostile guests of the tests.
    All,
}

/// The folder that the components end up in, `NAME.wasm` each.
pub(crate) fn out_dir(workspace: &Workspace) -> PathBuf {
    workspace.target.join("sensors-out")
}

/// Builds them; returns the files.
pub(crate) fn build(workspace: &Workspace, which: Which) -> Result<Vec<PathBuf>, Error> {
    let folders: &[&str] = if which == Which::All { &[SHIPPED, FOR_TESTS] } else { &[SHIPPED] };
    let toolchain = toolchain()?;
    let mut built = Vec::new();
    for folder in folders {
        // A folder of guests is a workspace of its own, or part of ours.
        let own = workspace.root.join(folder);
        let root = if own.join("Cargo.toml").is_file() { own.as_path() } else { &workspace.root };
        let packages = packages_in(root, &own)?;
        if packages.is_empty() {
            return Err(Error::NoGuests(own));
        }
        let names: Vec<&str> = packages.iter().map(String::as_str).collect();
        say(&format!("building {} to WebAssembly: {}", folder, names.join(" ")));
        let files = build_many(&toolchain, root, &names, &out_dir(workspace)).map_err(Error::Sensors)?;
        built.extend(files);
    }
    Ok(built)
}

/// The packages under `folder` that make a library to be loaded, by name.
fn packages_in(root: &Path, folder: &Path) -> Result<Vec<String>, Error> {
    let described = metadata(&root.join("Cargo.toml"))?;
    let packages = described["packages"].as_array().ok_or(Error::Metadata("it lists no packages"))?;
    let loaded = packages.iter().filter(|package| {
        let inside = package["manifest_path"].as_str().is_some_and(|path| Path::new(path).starts_with(folder));
        let mut kinds =
            package["targets"].as_array().into_iter().flatten().flat_map(|t| t["kind"].as_array()).flatten();
        inside && kinds.any(|kind| kind == "cdylib")
    });
    Ok(loaded.filter_map(|package| package["name"].as_str().map(str::to_owned)).collect())
}
