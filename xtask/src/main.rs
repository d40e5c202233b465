//! `cargo xtask`: sets up, builds, tests and measures Sonde, for those who work on it.
//!
//! It installs what is missing by itself and says in one sentence what it cannot get. It never depends
//! on the sandbox or the agent: it must start at once, also when those do not compile.

mod bench;
mod docs;
mod error;
mod lint;
mod sensors;
mod setup;
mod test;
mod up;
mod workspace;

use std::process::ExitCode;

use error::Error;
use workspace::Workspace;

const HELP: &str = "\
cargo xtask: set up, build, run and test Sonde. Each command first installs what it lacks.

  cargo xtask up [--data-dir D]   build Sonde and its sensors, and run them on this machine; Ctrl-C ends it
  cargo xtask test [FILTER]       run every test, or those whose name contains FILTER
  cargo xtask bench [NAME]        measure; NAME is run, scrape, preemption, door, reading, thousand, births,
                                  isolation, fairness, density, cost, start or all (the default)
  cargo xtask soak [MINUTES]      9,900 honest sensors and 100 hostile ones for an hour, or so many minutes
  cargo xtask sensors             build every sensor and test guest to target/sensors-out/*.wasm
  cargo xtask docs                write docs/series.md and docs/openapi.json anew, out of the code
  cargo xtask lint                formatting, clippy, lengths and licences, with warnings as errors

  `up` serves on loopback, prints the URLs to scrape, and keeps its data in target/up: edit sonde.toml
  there while it runs, and drop sensors into sensors/ there.
  Needs a Rust toolchain and, for what is not installed yet, Debian's apt-get as root or by sudo.
";

/// How long a soak takes that is not told otherwise.
const SOAK_MINUTES: u64 = 60;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(source) = cause {
                eprintln!("  because: {source}");
                cause = source.source();
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Error> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["help" | "--help" | "-h", ..] | [_, "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        ["up"] => up::up(&Workspace::find()?, None),
        ["up", "--data-dir", dir] => up::up(&Workspace::find()?, Some(dir)),
        ["test"] => test::test(&Workspace::find()?, None),
        ["test", filter] if !filter.starts_with('-') => test::test(&Workspace::find()?, Some(filter)),
        ["bench"] => bench::bench(&Workspace::find()?, "all"),
        ["bench", name] => bench::bench(&Workspace::find()?, name),
        ["soak"] => bench::soak(&Workspace::find()?, SOAK_MINUTES),
        ["soak", minutes] => match minutes.parse() {
            Ok(minutes) => bench::soak(&Workspace::find()?, minutes),
            Err(_) => Err(Error::Usage(words.join(" "))),
        },
        ["sensors"] => {
            let workspace = Workspace::find()?;
            setup::setup(setup::For::Sensors)?;
            sensors::build(&workspace, sensors::Which::All).map(|_| ())
        }
        ["docs"] => docs::docs(&Workspace::find()?),
        ["lint"] => lint::lint(&Workspace::find()?),
        _ => Err(Error::Usage(words.join(" "))),
    }
}
