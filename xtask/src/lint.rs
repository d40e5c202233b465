//! Formatting, clippy, and what may come into the build.

use std::process::Command;

use crate::error::Error;
use crate::setup::{For, find_program, setup};
use crate::workspace::{FEATURES, Workspace, run, say};

pub(crate) fn lint(workspace: &Workspace) -> Result<(), Error> {
    setup(For::Lint)?;
    run("formatting", &mut workspace.cargo(["fmt", "--all", "--check"]))?;
    let mut clippy =
        workspace.cargo(["clippy", "--workspace", "--all-targets", FEATURES, "--locked", "--", "-D", "warnings"]);
    run("clippy", &mut clippy)?;
    // A packager may leave Cranelift out of the agent, and compile elsewhere.
    let without = ["clippy", "--package", "sonde-cli", "--no-default-features", "--locked", "--", "-D", "warnings"];
    run("clippy of a build without the compiler", &mut workspace.cargo(without))?;
    let Some(deny) = find_program("cargo-deny") else {
        say("licences, bans and sources: skipped, because cargo-deny is not installed (`cargo install cargo-deny`)");
        return Ok(());
    };
    let mut command = Command::new(deny);
    command.args(["--locked", "check", "bans", "licenses", "sources"]).current_dir(&workspace.root);
    run("licences, bans and sources", &mut command)
}
