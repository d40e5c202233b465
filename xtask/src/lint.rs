//! Formatting, clippy, what only another system compiles, and what may come into the build.

use std::process::Command;

use crate::error::Error;
use crate::setup::{For, find_program, setup, system_toolchain};
use crate::workspace::{FEATURES, Workspace, run, say};

/// The system whose collector is checked where it does not run.
const ILLUMOS: &str = "x86_64-unknown-illumos";
/// What runs there today: expositions and native collection.
const ON_ILLUMOS: [&str; 3] = ["sonde-expo", "sonde-kstat", "sonde-collect"];

pub(crate) fn lint(workspace: &Workspace) -> Result<(), Error> {
    setup(For::Lint)?;
    run("formatting", &mut workspace.cargo(["fmt", "--all", "--check"]))?;
    let mut clippy =
        workspace.cargo(["clippy", "--workspace", "--all-targets", FEATURES, "--locked", "--", "-D", "warnings"]);
    run("clippy", &mut clippy)?;
    // A packager may leave Cranelift out of the agent, and compile elsewhere.
    let without = ["clippy", "--package", "sonde-cli", "--no-default-features", "--locked", "--", "-D", "warnings"];
    run("clippy of a build without the compiler", &mut workspace.cargo(without))?;
    illumos(workspace)?;
    let Some(deny) = find_program("cargo-deny") else {
        say("licences, bans and sources: skipped, because cargo-deny is not installed (`cargo install cargo-deny`)");
        return Ok(());
    };
    let mut command = Command::new(deny);
    command.args(["--locked", "check", "bans", "licenses", "sources"]).current_dir(&workspace.root);
    run("licences, bans and sources", &mut command)
}

/// Type-checks what is for illumos, in a target folder of its own: another compiler's files beside ours would have both build anew each time.
fn illumos(workspace: &Workspace) -> Result<(), Error> {
    let mut command = system_toolchain()?.command();
    command.args(["check", "--locked", "-Zbuild-std=std", "--target", ILLUMOS]).current_dir(&workspace.root);
    command.arg("--target-dir").arg(workspace.target.join("illumos"));
    for package in ON_ILLUMOS {
        command.args(["--package", package]);
    }
    run(&format!("types of what is for {ILLUMOS}"), &mut command)
}
