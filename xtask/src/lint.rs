//! Formatting, clippy, what only another system compiles, and what may come into the build.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::setup::{For, find_program, setup, system_toolchain};
use crate::workspace::{FEATURES, Workspace, run, say};

/// What only tests and benchmarks link: tables of cases among it, a row a case.
const OF_TESTS: [&str; 3] = ["sonde-tests", "sonde-hostile", "sonde-load"];
/// Lines of a file.
const MOST_LINES: usize = 400;
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
    lengths(workspace)?;
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

/// What is too long to be read at once (CONTRIBUTING.md). Functions are clippy's to count, by `clippy.toml`, and of what is shipped alone: a test tells its story
/// from the beginning to the end.
fn lengths(workspace: &Workspace) -> Result<(), Error> {
    let long = long_files(&workspace.root).map_err(|(path, source)| Error::File { verb: "read", path, source })?;
    if !long.is_empty() {
        return Err(Error::Long { most: MOST_LINES, files: long });
    }
    let only = ["--", "-A", "warnings", "-D", "clippy::too_many_lines"];
    let mut clippy = workspace.cargo(["clippy", "--workspace", "--lib", "--bins", FEATURES, "--locked"]);
    for package in OF_TESTS {
        clippy.args(["--exclude", package]);
    }
    run("lengths of functions", clippy.args(only))
}

/// Rust files under a folder that have more than [`MOST_LINES`], each with how many it has. What is built, and hidden, is not looked at.
fn long_files(folder: &Path) -> Result<Vec<String>, (PathBuf, io::Error)> {
    let (mut long, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let failed = |source| (folder.clone(), source);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() && name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
                let lines = std::fs::read_to_string(&path).map_err(|source| (path.clone(), source))?.lines().count();
                if lines > MOST_LINES {
                    long.push(format!("{} ({lines})", path.display()));
                }
            }
        }
    }
    long.sort();
    Ok(long)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_found_wherever_they_are_but_in_what_is_built() {
        let folder = tempfile::tempdir().unwrap();
        for (name, lines) in [("a", MOST_LINES), ("b/src", MOST_LINES + 1), ("target", 1000), (".git", 1000)] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("x.rs"), "//\n".repeat(lines)).unwrap();
            std::fs::write(folder.path().join(name).join("x.txt"), "\n".repeat(1000)).unwrap();
        }
        let long = long_files(folder.path()).unwrap();
        assert_eq!(long, [format!("{} (401)", folder.path().join("b/src/x.rs").display())]);
    }
}
