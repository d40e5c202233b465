//! The figures: what a run of a sensor and what a scrape cost, as ratios within one run of this command.
//!
//! Ratios and not times, because machines differ and the one beside us is what we are measured against:
//! bare wasmtime and a forked shell for a run, nginx with the same bytes for a scrape.

mod fork;
mod scrape;
mod wrk;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::error::Error;
use crate::sensors::{self, Which};
use crate::setup::{For, setup};
use crate::workspace::{Workspace, run, say, shown};

/// The sensor that is run: one that asks a server nothing, so that the host is what is measured.
const MEASURED: &str = "pulse.wasm";
/// What `bench_run` prints before its figure for one whole run in the host, µs of CPU.
const RUN_FIGURE: &str = "cpu_us_per_run ";

pub(crate) fn bench(workspace: &Workspace, name: &str) -> Result<(), Error> {
    match name {
        "run" | "scrape" | "all" => setup(For::Bench)?,
        other => return Err(Error::Usage(format!("bench {other}"))),
    }
    if name != "scrape" {
        bench_run(workspace)?;
    }
    if name != "run" {
        run("building Sonde for release", &mut workspace.cargo(["build", "--release", "--bin", "sonde"]))?;
        scrape::bench_scrape(&workspace.sonde("release"))?;
    }
    Ok(())
}

/// The host's own benchmark, and beside it what a forked shell costs.
fn bench_run(workspace: &Workspace) -> Result<(), Error> {
    sensors::build(workspace, Which::All)?;
    let wasm = sensors::out_dir(workspace).join(MEASURED);
    let mut command = workspace.cargo([
        "run",
        "--release",
        "--package",
        "sonde-host",
        "--features",
        "bench",
        "--example",
        "bench_run",
        "--",
    ]);
    command.arg(wasm).stdout(Stdio::piped());
    say("one run of a sensor in the host");
    let started = |source| Error::Start { command: "cargo run --example bench_run".to_owned(), source };
    let mut child = command.spawn().map_err(started)?;
    let mut run_us = None;
    for line in BufReader::new(child.stdout.take().expect("stdout is piped")).lines().map_while(Result::ok) {
        println!("{line}");
        run_us = line.trim().strip_prefix(RUN_FIGURE).and_then(|figure| figure.trim().parse::<f64>().ok()).or(run_us);
    }
    let status = child.wait().map_err(started)?;
    if !status.success() {
        return Err(Error::Failed {
            what: "measuring a run".to_owned(),
            command: shown(&command),
            status: status.to_string(),
        });
    }
    say("one fork and exec of a shell that prints a number");
    let fork_us = fork::cpu_us_per_shell()?;
    println!("sh -c 'echo 1': {fork_us:.0} us of CPU");
    if let Some(run_us) = run_us {
        println!("a run in the host: {run_us:.1} us of CPU, {:.0} times cheaper", fork_us / run_us);
    }
    Ok(())
}
