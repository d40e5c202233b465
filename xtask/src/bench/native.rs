//! Native collection: what a reading costs beside bare reads of the same files, what a thousand instances cost a node, and how soon
//! births and deaths are served (issue 4).
//!
//! The instances are a [`sonde_tests::Fleet`]: cgroups that look like docker's, with a process and a network namespace each. One real
//! container of runc is read beside them. Like the tests with containers, this needs root.

mod births;
mod thousand;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use sonde_tests::{Container, Fleet};

use crate::error::Error;
use crate::workspace::{Workspace, run, say, shown};

/// What there is to measure.
pub(super) const NAMES: [&str; 3] = ["reading", "thousand", "births"];

/// A `sonde` to be measured instead of the one that is built.
const OTHER_SONDE: &str = "SONDE_BENCH_BIN";

/// Issue 4: a reading against a loop of bare `pread` on the same files, kept open.
const MOST_TIMES_BARE: f64 = 1.25;
/// Of so many instances, one after the other.
const COUNTS: [usize; 3] = [10, 100, 1000];

pub(super) fn bench(workspace: &Workspace, name: &str) -> Result<(), Error> {
    let wanted = |known| name == "all" || name == known;
    let mut missed = Vec::new();
    if wanted("reading") {
        reading(workspace, &mut missed)?;
    }
    if wanted("thousand") || wanted("births") {
        let sonde = sonde(workspace)?;
        if wanted("thousand") {
            thousand::bench(&sonde)?;
        }
        if wanted("births") {
            births::bench(&sonde);
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(Error::Bound(missed.join("; "))) }
}

/// The one that is measured: built now, or the one of before that somebody wants to compare with.
fn sonde(workspace: &Workspace) -> Result<PathBuf, Error> {
    if let Some(other) = std::env::var_os(OTHER_SONDE) {
        return Ok(other.into());
    }
    run("building Sonde for release", &mut workspace.cargo(["build", "--release", "--bin", "sonde"]))?;
    Ok(workspace.sonde("release"))
}

fn reading(workspace: &Workspace, missed: &mut Vec<String>) -> Result<(), Error> {
    let example = ["build", "--release", "--package", "sonde-collect", "--example", "reading_cost"];
    run("building what measures a reading, for release", &mut workspace.cargo(example))?;
    println!("one reading, us, beside reads of the same files and nothing done with them");
    println!(
        "{:<18} {:>5} {:>6} {:>9} {:>12} {:>9} {:>9} {:>6}",
        "", "files", "kept", "kept open", "by directory", "by path", "a reading", "times"
    );
    let mut measure = |name: &str, (prefix, count): (&str, usize), kept: &str| {
        let figures = figures(workspace, prefix, kept, count)?;
        let at = |key: &str| {
            figures.iter().map(|part| part[key].as_f64().unwrap_or(f64::NAN)).sum::<f64>() / figures.len() as f64
        };
        let times = at("reading_us") / at("bare_us");
        println!(
            "{name:<18} {:>5.0} {:>6.1} {:>9.1} {:>12.1} {:>9.1} {:>9.1} {times:>6.2}",
            at("files_each"),
            at("kept_each"),
            at("bare_us"),
            at("by_directory_us"),
            at("by_path_us"),
            at("reading_us"),
        );
        if kept == ALL_KEPT && (times.is_nan() || times > MOST_TIMES_BARE) {
            missed.push(format!("a reading of {name} takes {times:.2} times bare reads, over {MOST_TIMES_BARE}"));
        }
        Ok::<_, Error>(())
    };
    let container = Container::named("reading").run();
    measure("a runc container", (&format!("/{}", container.id()), 1), ALL_KEPT)?;
    drop(container);
    for count in COUNTS {
        let fleet = Fleet::of(count);
        measure(&format!("{count} instances"), (&fleet.prefix(), count), ALL_KEPT)?;
        if count == 100 {
            measure("100, none kept", (&fleet.prefix(), count), "0")?;
        }
    }
    Ok(())
}

/// Descriptors for one instance where both sides of the comparison keep its files and directories open, rounded up.
const DESCRIPTORS_EACH: usize = 72;
/// As many files as readers may keep open, so that nothing is left out.
const ALL_KEPT: &str = "1000000";

/// The figures of all instances, in as many parts as it takes for want of descriptors, one after the other.
fn figures(workspace: &Workspace, prefix: &str, kept: &str, count: usize) -> Result<Vec<Value>, Error> {
    let program = workspace.target.join("release/examples/reading_cost");
    let parts = (count * DESCRIPTORS_EACH).div_ceil(Fleet::descriptors()).max(1);
    let mut figures = Vec::new();
    for part in 0..parts {
        let mut command = Command::new(&program);
        command.args([prefix, kept, &part.to_string(), &parts.to_string()]).stderr(Stdio::inherit());
        say(&shown(&command));
        let output = command.output().map_err(|source| Error::Start { command: shown(&command), source })?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let (what, status) = ("measuring a reading".to_owned(), output.status.to_string());
            return Err(Error::Failed { what, command: shown(&command), status });
        }
        let read = serde_json::from_str(&said);
        figures.push(read.map_err(|_| Error::Figure { tool: "reading_cost", figure: "figures", said })?);
    }
    Ok(figures)
}
