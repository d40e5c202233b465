//! Why a command could not go on: one sentence each, with the next step in it.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no command `{0}`; `cargo xtask --help` lists them")]
    Usage(String),
    #[error("{what} missing here, and {why}; {next}")]
    Missing { what: String, why: &'static str, next: String },
    #[error(
        "Debian's compiler for WebAssembly does not work here ({0}); `rustup target add wasm32-unknown-unknown` is the other way"
    )]
    Toolchain(String),
    #[error("{} has no folder with a sensor.toml, so there is nothing to build", .0.display())]
    NoGuests(PathBuf),
    #[error("building the sensors failed")]
    Sensors(#[source] sonde_guest_build::BuildError),
    #[error("{what} failed ({status}); the command was `{command}`")]
    Failed { what: String, command: String, status: String },
    #[error("`{command}` cannot be started")]
    Start { command: String, source: std::io::Error },
    #[error("{} cannot be {verb}", path.display())]
    File { verb: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cargo's description of the workspace cannot be read: {0}")]
    Metadata(&'static str),
    #[error("files of more than {most} lines are cut by what they are responsible for: {}", .files.join(", "))]
    Long { most: usize, files: Vec<String> },
    #[error("a bound is missed: {0}")]
    Bound(String),
    #[error("{tool} printed no {figure}; it said: {said}")]
    Figure { tool: &'static str, figure: &'static str, said: String },
}

impl Error {
    /// 2 for wrong usage, 1 for the rest.
    pub(crate) fn exit_code(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }
}
