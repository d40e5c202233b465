//! The sandbox under load: isolation, fairness, density, the cost of a run over the process boundary, starting; and the soak.
//!
//! `tests/load` does the work, through the real broker and jailed runners; here are its arguments, what is made of its figures, and the bounds
//! that fail the command.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::Error;
use crate::sensors::{self, Which};
use crate::workspace::{Workspace, run, say, shown};

/// Issue 3: the honest sensors' 99th percentile with 100 hostile ones beside them, against without.
const MOST_TIMES_ALONE: f64 = 1.1;
/// Odd, so that there is a median.
const ISOLATION_ROUNDS: usize = 5;
/// Issue 3: 10,000 sensors at 15 s, of one core: those that compute, those that ask.
const COMPUTING_CORE: f64 = 0.05;
const ASKING_CORE: f64 = 0.15;
const MOST_BYTES: f64 = (1_u64 << 30) as f64;

/// What there is to measure.
pub(super) const NAMES: [&str; 5] = ["isolation", "fairness", "density", "cost", "start"];

/// The measuring program and what it measures, built for release.
struct Bench {
    program: PathBuf,
    sonde: PathBuf,
    guests: PathBuf,
}

impl Bench {
    fn build(workspace: &Workspace) -> Result<Self, Error> {
        sensors::build(workspace, Which::All)?;
        let packages = ["build", "--release", "--package", "sonde-cli", "--package", "sonde-load"];
        run("building Sonde and the load for release", &mut workspace.cargo(packages))?;
        let program = workspace.target.join("release/sonde-load");
        Ok(Self { program, sonde: workspace.sonde("release"), guests: sensors::out_dir(workspace) })
    }

    /// Runs one measurement and takes its figures.
    fn figures(&self, command: &str, arguments: &[&str]) -> Result<Value, Error> {
        let mut load = Command::new(&self.program);
        load.arg(command).arg("--sonde").arg(&self.sonde).arg("--guests").arg(&self.guests).args(arguments);
        say(&shown(&load));
        let started = |source| Error::Start { command: shown(&load), source };
        let output = Command::new(load.get_program())
            .args(load.get_args())
            .stderr(Stdio::inherit())
            .output()
            .map_err(started)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let (what, status) = ("measuring under load".to_owned(), output.status.to_string());
            return Err(Error::Failed { what, command: shown(&load), status });
        }
        serde_json::from_str(&said).map_err(|_| Error::Figure { tool: "sonde-load", figure: "figures", said })
    }
}

fn number(figures: &Value, path: &str) -> f64 {
    figures.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// CPU of all processes, in cores, and their memory.
fn used(figures: &Value) -> (f64, f64) {
    let sum = |key: &str| -> f64 {
        ["agent", "broker", "runners"].iter().map(|who| number(figures, &format!("/used/{who}/{key}"))).sum()
    };
    (sum("cpu_seconds") / number(figures, "/seconds"), sum("proportional_bytes"))
}

fn row(name: &str, figures: &Value) {
    let of = |what: &str| {
        let at = |key: &str| number(figures, &format!("/{what}/{key}"));
        format!("{:>8.1} {:>8.1} {:>8.1}", at("p50_ms"), at("p99_ms"), at("max_ms"))
    };
    let (cores, bytes) = used(figures);
    let (runs, failed) = (number(figures, "/honest_runs"), number(figures, "/honest_failures"));
    println!(
        "{name:<28} {} | {} | {:>6.1} % {:>7.0} MiB | {runs:.0} runs, {failed:.0} failed",
        of("lateness"),
        of("duration"),
        cores * 100.0,
        bytes / f64::from(1 << 20)
    );
}

fn heading(what: &str) {
    println!("\n{what}");
    println!(
        "{:<28} {:^26} | {:^26} | {:^8} {:^11} |",
        "", "late p50 p99 max ms", "took p50 p99 max ms", "of a core", "memory"
    );
}

/// Measures one thing, or all.
pub(super) fn bench(workspace: &Workspace, name: &str) -> Result<(), Error> {
    let bench = Bench::build(workspace)?;
    let mut missed = Vec::new();
    for known in NAMES.into_iter().filter(|known| name == "all" || name == *known) {
        match known {
            "isolation" => isolation(&bench, &mut missed)?,
            "fairness" => fairness(&bench, &mut missed)?,
            "density" => density(&bench, &mut missed)?,
            "cost" => cost(&bench)?,
            _ => start(&bench)?,
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(Error::Bound(missed.join("; "))) }
}

/// In turn alone, beside hostile sensors, and beside such that nothing is ever held against. One round tells little on a machine that does anything
/// else: what counts is the median of the rounds' ratios, each of figures that were taken within two minutes.
fn isolation(bench: &Bench, missed: &mut Vec<String>) -> Result<(), Error> {
    let load = ["--computing", "500", "--asking", "500", "--interval", "2", "--accounts", "100", "--digests", "20"];
    let with = |hostile: &str, more: &[&str]| {
        let hostile = ["--hostile", hostile, "--seconds", "30"];
        bench.figures("load", &[&load[..], &hostile, more].concat())
    };
    let (mut beside, mut unforgetting) = (Rounds::new("beside 100 hostile"), Rounds::new("and none ever held back"));
    heading("isolation: 1,000 honest sensors at 2 s");
    for _ in 0..ISOLATION_ROUNDS {
        let alone = with("0", &[])?;
        row("alone", &alone);
        beside.take(&alone, &with("100", &[])?);
        unforgetting.take(&alone, &with("100", &["--unforgetting"])?);
    }
    beside.judge(missed);
    // Told, not bounded: on a node what fails is held back.
    unforgetting.judge(&mut Vec::new());
    Ok(())
}

/// The honest sensors' 99th percentiles beside others, against alone, round by round.
struct Rounds {
    name: &'static str,
    lateness: Vec<f64>,
    duration: Vec<f64>,
}

impl Rounds {
    fn new(name: &'static str) -> Self {
        Self { name, lateness: Vec::new(), duration: Vec::new() }
    }

    fn take(&mut self, alone: &Value, beside: &Value) {
        row(self.name, beside);
        let times = |path: &str| number(beside, path) / number(alone, path);
        self.lateness.push(times("/lateness/p99_ms"));
        self.duration.push(times("/duration/p99_ms"));
    }

    fn judge(self, missed: &mut Vec<String>) {
        for (what, mut times) in [("lateness", self.lateness), ("duration", self.duration)] {
            times.sort_by(f64::total_cmp);
            let median = times[times.len() / 2];
            println!("{}: {what} p99 {median:.2} times (rounds {times:.2?})", self.name);
            if median > MOST_TIMES_ALONE {
                missed.push(format!("{}, {what} p99 is {median:.2} times, over {MOST_TIMES_ALONE}", self.name));
            }
        }
    }
}

fn fairness(bench: &Bench, missed: &mut Vec<String>) -> Result<(), Error> {
    let figures = bench.figures("fairness", &["--seconds", "30"])?;
    heading("fairness: one sensor each 100 ms, and another account of equal share with 1,000 that spin");
    let (alone, beside) = (&figures["alone"], &figures["beside_1000_that_spin"]);
    row("alone", alone);
    row("beside 1,000 that spin", beside);
    println!("the other account used {:.2} cores", number(beside, "/hostile_cpu_seconds") / number(beside, "/seconds"));
    let part = number(beside, "/honest_runs") / number(alone, "/honest_runs");
    println!("runs of the one: {:.1} % of those alone", part * 100.0);
    if part.is_nan() || part < 0.95 {
        missed.push(format!("one sensor has {:.0} % of its runs beside 1,000 that spin", part * 100.0));
    }
    Ok(())
}

fn density(bench: &Bench, missed: &mut Vec<String>) -> Result<(), Error> {
    heading("density: at 15 s, of 1,000 accounts and 200 digests");
    for (name, computing, asking, most) in [
        ("10,000 computing", "10000", "0", COMPUTING_CORE * 2.0),
        ("5,000 asking", "0", "5000", ASKING_CORE),
        ("5,000 and 5,000", "5000", "5000", COMPUTING_CORE + ASKING_CORE),
    ] {
        let load = ["--computing", computing, "--asking", asking, "--seconds", "60"];
        let figures = bench.figures("load", &load)?;
        row(name, &figures);
        let (cores, bytes) = used(&figures);
        if cores > most {
            missed.push(format!("{name} take {:.1} % of a core, over {:.0} %", cores * 100.0, most * 100.0));
        }
        if bytes > MOST_BYTES {
            missed.push(format!("{name} take {:.0} MiB, over 1 GiB", bytes / f64::from(1 << 20)));
        }
    }
    heading("growth, computing");
    for count in ["100", "1000", "50000"] {
        row(count, &bench.figures("load", &["--computing", count, "--seconds", "45"])?);
    }
    Ok(())
}

fn cost(bench: &Bench) -> Result<(), Error> {
    let figures = bench.figures("cost", &["--seconds", "10"])?;
    println!("\none run over the process boundary, us: one after the other, so each waits for the one before");
    println!("{:<28} {:>8} {:>8} {:>8} {:>8}", "", "wall", "agent", "broker", "runner");
    for (guest, name) in [("pulse", "computing"), ("asker", "asking a TCP server")] {
        let at = |key: &str| number(&figures, &format!("/{guest}/{key}"));
        let cpu = |who: &str| at(&format!("{who}_cpu_us"));
        println!(
            "{name:<28} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
            at("wall_us"),
            cpu("agent"),
            cpu("broker"),
            cpu("runner")
        );
    }
    Ok(())
}

fn start(bench: &Bench) -> Result<(), Error> {
    let figures = bench.figures("start", &["--digests", "1000"])?;
    let (cold, cached) = (number(&figures, "/cold/seconds"), number(&figures, "/cached/seconds"));
    let digests = number(&figures, "/cold/digests");
    println!("\nstart: {digests:.0} distinct digests");
    println!("  cold    {cold:>8.1} s, {:>8.2} ms each", cold * 1e3 / digests);
    println!("  cached  {cached:>8.1} s, {:>8.2} ms each", cached * 1e3 / digests);
    let back = number(&figures, "/all_back_after_a_kill_seconds");
    println!("  all runners killed: every one of {digests:.0} sensors has run again after {back:.2} s");
    Ok(())
}

/// The soak: 9,900 honest sensors and 100 hostile, for as many minutes.
pub(crate) fn soak(workspace: &Workspace, minutes: u64) -> Result<(), Error> {
    let bench = Bench::build(workspace)?;
    let seconds = (minutes * 60).to_string();
    let load = ["--computing", "4950", "--asking", "4950", "--hostile", "100", "--seconds", &seconds];
    let figures = bench.figures("load", &load)?;
    heading(&format!("soak: {minutes} minutes"));
    row("9,900 honest, 100 hostile", &figures);
    println!("{figures:#}");
    let failed = number(&figures, "/honest_failures");
    if failed > 0.0 {
        return Err(Error::Bound(format!("{failed:.0} runs of honest sensors failed: {}", figures["honest_fault"])));
    }
    if number(&figures, "/runners_ended") > 0.0 {
        return Err(Error::Bound("a runner died".into()));
    }
    Ok(())
}
