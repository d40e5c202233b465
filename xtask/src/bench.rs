//! The figures: what a run of a sensor and what a scrape cost, as ratios within one run of this command.
//!
//! Ratios and not times, because machines differ and the one beside us is what we are measured against:
//! bare wasmtime and a forked shell for a run, nginx with the same bytes for a scrape. Where a run misses its bound,
//! the command fails.

mod door;
mod fork;
mod load;
mod native;
mod scrape;
mod wrk;

pub(crate) use load::soak;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::sensors::{self, Which};
use crate::setup::{For, setup};
use crate::workspace::{Workspace, run, say, shown};

/// The sensor that is run: one that asks a server nothing, so that the host is what is measured.
const MEASURED: &str = "pulse.wasm";
/// How `bench_run`'s row for one whole run in one process begins: instantiate, collect, judge, drop. Its figures
/// are wall µs, CPU µs, and both as ratios to bare wasmtime. What the process boundary adds is `bench cost`'s to say.
const RUN_ROW: &str = "a run ";
/// Issue 2: a whole run takes at most this many times what bare wasmtime takes.
const MOST_TIMES_BARE: f64 = 1.5;
/// Issue 2: and a shell that prints one number at least this many times the CPU of a run.
const LEAST_TIMES_CHEAPER: f64 = 50.0;
/// The shells that plugins elsewhere are written for: Debian's `sh`, and the one the bound is about.
const SHELLS: [&str; 2] = ["sh", "bash"];

pub(crate) fn bench(workspace: &Workspace, name: &str) -> Result<(), Error> {
    match name {
        "run" | "scrape" | "all" => setup(For::Bench)?,
        known if load::NAMES.contains(&known) => {
            setup(For::Bench)?;
            return load::bench(workspace, known);
        }
        known if native::NAMES.contains(&known) => {
            setup(For::Bench)?;
            return native::bench(workspace, known);
        }
        "door" => {
            setup(For::Bench)?;
            return door::bench_door(workspace);
        }
        "preemption" => return preemption(workspace),
        other => return Err(Error::Usage(format!("bench {other}"))),
    }
    if name != "scrape" {
        bench_run(workspace)?;
    }
    if name != "run" {
        run("building Sonde for release", &mut workspace.cargo(["build", "--release", "--bin", "sonde"]))?;
        scrape::bench_scrape(&workspace.sonde("release"))?;
    }
    if name != "all" {
        return Ok(());
    }
    preemption(workspace)?;
    native::bench(workspace, name)?;
    load::bench(workspace, name)
}

/// How long hostile guests hold the thread that they run on.
fn preemption(workspace: &Workspace) -> Result<(), Error> {
    let example = ["run", "--release", "--package", "sonde-hostile", "--example", "longest_hold"];
    run("the longest that hostile guests run without a break", &mut workspace.cargo(example))
}

/// The host's own benchmark, and beside it what a forked shell costs.
fn bench_run(workspace: &Workspace) -> Result<(), Error> {
    sensors::build(workspace, Which::All)?;
    let wasm = sensors::out_dir(workspace).join(MEASURED);
    let mut command = workspace.cargo([
        "run",
        "--release",
        "--package",
        "sonde-runner",
        "--features",
        "bench",
        "--example",
        "bench_run",
        "--",
    ]);
    command.arg(wasm);
    let run = measured_run(&mut command)?;
    say("one fork and exec of a shell that prints a number");
    println!("a run in the host: {:.1} us of CPU, {:.2} times bare wasmtime", run.cpu_us, run.wall_ratio);
    let mut missed = Vec::new();
    if run.wall_ratio > MOST_TIMES_BARE {
        missed.push(format!("a run takes {:.2} times bare wasmtime, over {MOST_TIMES_BARE}", run.wall_ratio));
    }
    for shell in SHELLS {
        let cpu_us = fork::cpu_us_per_shell(shell)?;
        let times = cpu_us / run.cpu_us;
        println!("{shell} -c 'echo 1': {cpu_us:.0} us of CPU, {times:.0} times a run");
        if shell == "bash" && times < LEAST_TIMES_CHEAPER {
            missed.push(format!("bash costs {times:.0} times a run, under {LEAST_TIMES_CHEAPER}"));
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(Error::Bound(missed.join("; "))) }
}

/// What one run costs.
#[derive(Clone, Copy)]
struct Run {
    cpu_us: f64,
    /// Wall time against bare wasmtime's.
    wall_ratio: f64,
}

/// Runs `bench_run`, shows what it prints and takes its figures.
fn measured_run(command: &mut Command) -> Result<Run, Error> {
    say("one run of a sensor in the host");
    let started = |source| Error::Start { command: "cargo run --example bench_run".to_owned(), source };
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(started)?;
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().expect("stdout is piped")).lines().map_while(Result::ok) {
        println!("{line}");
        said.push_str(&line);
        said.push('\n');
    }
    let status = child.wait().map_err(started)?;
    if !status.success() {
        return Err(Error::Failed {
            what: "measuring a run".to_owned(),
            command: shown(command),
            status: status.to_string(),
        });
    }
    said.lines().find_map(run_row).ok_or(Error::Figure { tool: "bench_run", figure: "row of a run", said })
}

fn run_row(line: &str) -> Option<Run> {
    let figures: Vec<f64> =
        line.strip_prefix(RUN_ROW)?.split_whitespace().map_while(|figure| figure.parse().ok()).collect();
    let [_, cpu_us, wall_ratio, _] = figures[..] else { return None };
    Some(Run { cpu_us, wall_ratio })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_row_of_a_run_and_no_other() {
        let run = run_row("a run                                   19.1      19.4       1.31      1.34").unwrap();
        assert_eq!((run.cpu_us, run.wall_ratio), (19.4, 1.31));
        assert!(run_row("bare wasmtime                           17.0      17.0       1.00      1.00").is_none());
        assert!(run_row("a run for tomorrow").is_none());
    }
}
