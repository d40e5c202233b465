//! Where things are, and running commands there.
//!
//! The target folder is cargo's own answer, so that `CARGO_TARGET_DIR` and any configuration of it hold.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::Error;

/// What needs more than a C compiler to build, and is tested all the same: the inventory in etcd.
pub(crate) const FEATURES: &str = "--features=sonde-cli/etcd";

pub(crate) struct Workspace {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self, Error> {
        // xtask is built from this checkout, in its folder `xtask`.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the checkout");
        let described = metadata(&root.join("Cargo.toml"))?;
        let target = described["target_directory"].as_str().ok_or(Error::Metadata("it names no target folder"))?;
        Ok(Self { root: root.to_owned(), target: target.into() })
    }

    /// A cargo command at the root.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = cargo();
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// `sonde` as built by a profile's folder, `debug` or `release`.
    pub(crate) fn sonde(&self, profile: &str) -> PathBuf {
        self.target.join(profile).join("sonde")
    }
}

/// The cargo that runs us.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// `cargo metadata` of the workspace of this manifest, without dependencies.
pub(crate) fn metadata(manifest: &Path) -> Result<Value, Error> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(manifest);
    command.stderr(Stdio::inherit());
    let output = command.output().map_err(|source| Error::Start { command: shown(&command), source })?;
    if !output.status.success() {
        return Err(failed("describing the workspace", &command, output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|_| Error::Metadata("it is not JSON"))
}

/// Says what is done, does it, and is an error unless it exits with 0.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<(), Error> {
    say(what);
    let status = command.status().map_err(|source| Error::Start { command: shown(command), source })?;
    if status.success() { Ok(()) } else { Err(failed(what, command, status)) }
}

/// Whether a command can be started and exits with 0; silent.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// A line of progress.
pub(crate) fn say(what: &str) {
    eprintln!("==> {what}");
}

fn failed(what: &str, command: &Command, status: std::process::ExitStatus) -> Error {
    Error::Failed { what: what.to_owned(), command: shown(command), status: status.to_string() }
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
