//! Runs every test of the workspace, the end-to-end ones against the binary and the sensors just built.
//!
//! One `cargo build` with the whole workspace, all its tests and its binaries comes first: later steps ask for the
//! same packages and features, so nothing is compiled twice.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::sensors::{self, Which};
use crate::setup::{For, find_program, kernel, setup};
use crate::workspace::{FEATURES, Workspace, run, say, shown};

pub(crate) fn test(workspace: &Workspace, filter: Option<&str>) -> Result<(), Error> {
    setup(For::Test)?;
    kernel(workspace)?;
    sensors::build(workspace, Which::All)?;
    run("building Sonde and its tests", &mut workspace.cargo(["build", "--workspace", "--bins", "--tests", FEATURES]))?;
    if filter.is_none() {
        // First, so that the last lines of the output are those that count everything.
        let mut examples = workspace.cargo(["test", "--workspace", "--doc", "--quiet", FEATURES]);
        run("the examples in the documentation", with_built(workspace, &mut examples))?;
    }
    if find_program("cargo-nextest").is_some() {
        let mut nextest = workspace.cargo(["nextest", "run", "--workspace", FEATURES]);
        return run("testing", with_built(workspace, nextest.args(filter)));
    }
    let mut plain = workspace.cargo(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast", FEATURES]);
    run_and_count(with_built(workspace, plain.args(filter)))
}

/// Tells the tests what was built for them.
fn with_built<'c>(workspace: &Workspace, command: &'c mut Command) -> &'c mut Command {
    command.env("SONDE_BIN", workspace.sonde("debug")).env("SONDE_WASM_DIR", sensors::out_dir(workspace));
    // The servers were installed above: a test that finds none fails, and does not pass for want of one.
    command.env("SONDE_REAL_SERVERS", "1")
}

/// `cargo test` closes each binary with a count of its own; this ends the run with the sum.
fn run_and_count(command: &mut Command) -> Result<(), Error> {
    say("testing");
    let started = |source, command: &Command| Error::Start { command: shown(command), source };
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|source| started(source, command))?;
    let output = child.stdout.take().expect("stdout is piped");
    let mut sum = [0; 3];
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        println!("{line}");
        for (total, count) in sum.iter_mut().zip(counts(&line)) {
            *total += count;
        }
    }
    let status = child.wait().map_err(|source| started(source, command))?;
    let [passed, failed, skipped] = sum;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { what: "testing".to_owned(), command: shown(command), status: status.to_string() })
}

/// Passed, failed and ignored of a line `test result: ok. 3 passed; 0 failed; 1 ignored; …`; zeros for any other.
fn counts(line: &str) -> [u32; 3] {
    let Some(result) = line.strip_prefix("test result: ") else { return [0; 3] };
    ["passed", "failed", "ignored"].map(|what| {
        let count = result.split([';', '.']).find_map(|part| part.trim().strip_suffix(what));
        count.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn counts_closing_lines_and_nothing_else() {
        let line = "test result: FAILED. 12 passed; 1 failed; 3 ignored; 0 measured; 4 filtered out; finished in 0.24s";
        assert_eq!(counts(line), [12, 1, 3]);
        assert_eq!(counts("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured"), [0, 0, 0]);
        assert_eq!(counts("5 passed; 5 failed"), [0, 0, 0]);
    }
}
