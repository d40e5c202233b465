//! Builds every guest there is to components: the sensors we ship, and those that only tests run.

use std::path::{Path, PathBuf};

use sonde_guest_build::{Options, build_many};

use crate::error::Error;
use crate::setup::toolchain;
use crate::workspace::{Workspace, say};

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
    say(&format!("building the sensors with {toolchain}"));
    let mut crates = Vec::new();
    for folder in folders {
        crates.extend(crates_in(&workspace.root.join(folder))?);
    }
    let options = Options { target_dir: workspace.target.join("sensors"), out_dir: out_dir(workspace), progress: true };
    let built = build_many(&toolchain, &crates, &options).map_err(Error::Sensors)?;
    for remark in built.iter().flat_map(|built| &built.remarks) {
        say(&format!("note: {remark}"));
    }
    Ok(built.into_iter().map(|built| built.path).collect())
}

/// The folders below `folder` that hold a sensor: a manifest beside a crate.
fn crates_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries =
        std::fs::read_dir(folder).map_err(|source| Error::File { verb: "read", path: folder.to_owned(), source })?;
    let mut crates: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join("sensor.toml").is_file()).collect();
    crates.sort();
    if crates.is_empty() { Err(Error::NoGuests(folder.to_owned())) } else { Ok(crates) }
}
