//! The one place where the corpus touches the sandbox: load, run, and what became of it in words.
//!
//! The table speaks of classes of outcome; what the sandbox calls them, and how it is reached (in this process, or in one of its
//! own), is only here.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sonde_expo::{Format, Labels, Negotiated, Writer};
use sonde_host::{Grant, Policy, Reserved, RunReport};
use sonde_hostile::{Defence, Peer};
use sonde_manifest::Class;
use sonde_runner::{LocalError, LocalLoader, LocalSensor, RunInput};

use crate::peer::Scripted;

/// A wall limit for runs whose fuel and CPU are off: long enough to be a computation, short enough to wait for.
const SHORT_WALL: Duration = Duration::from_millis(200);
/// One for runs whose wall is off, or that something slower than the wall is to end.
const LONG_WALL: Duration = Duration::from_secs(60);
/// A limit that is off. Signed, since some are carried as that.
const OFF: u64 = i64::MAX as u64;

/// The sandbox.
pub(crate) struct Sandbox(LocalLoader);

/// A guest that was let in.
#[derive(Clone)]
pub(crate) struct Guest(Arc<LocalSensor>);

/// Why it was not: the stage that refused, and its sentence.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) stage: &'static str,
    pub(crate) says: String,
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Nothing where it succeeded; else the reason's word.
    pub(crate) failed: Option<&'static str>,
    /// The sentence of a failure.
    pub(crate) says: String,
    pub(crate) wall_limit: Duration,
    pub(crate) cpu_limit: Duration,
    pub(crate) fuel_limit: u64,
    pub(crate) fuel: u64,
    pub(crate) cpu: Duration,
    pub(crate) sockets: u64,
    pub(crate) log_bytes: u64,
    pub(crate) log_lines: u64,
    pub(crate) logs: Vec<String>,
    pub(crate) logs_cut: bool,
    pub(crate) state: Option<Vec<u8>>,
    pub(crate) series: u64,
    pub(crate) dropped: u64,
    /// As it would be exposed, in each text format.
    pub(crate) expositions: Vec<String>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(LocalLoader::new(reserved()))
    }

    pub(crate) async fn load(&self, bytes: Vec<u8>) -> Result<Guest, Refused> {
        self.0.load(&bytes).await.map(|sensor| Guest(Arc::new(sensor))).map_err(|error| {
            let (stage, says) = match &error {
                LocalError::Precheck(fault) => ("precheck", fault.to_string()),
                LocalError::Compile(fault) => ("compile", fault.clone()),
                LocalError::World(fault) => ("world", fault.clone()),
                LocalError::Describe(failure) => ("describe", format!("{}: {failure}", failure.reason())),
                LocalError::Engine(_) | LocalError::Memory(_) => ("engine", sonde_host::chain(&error)),
            };
            Refused { stage, says }
        })
    }
}

/// The check before compiling alone.
pub(crate) fn precheck(bytes: &[u8]) -> Result<(), String> {
    sonde_host::precheck(bytes).map(drop).map_err(|fault| fault.to_string())
}

impl Guest {
    /// One run with what its manifest asks for, but for the defence that is off.
    pub(crate) async fn run(&self, peer: Peer, off: &[Defence], state: Vec<u8>) -> Outcome {
        let manifest = &self.0.sensor.manifest;
        let asked = manifest.resolve(&BTreeMap::new()).expect("every key of a guest has a default");
        let mut grant = Grant::decide(manifest, asked, &policy()).expect("the policy allows the guests all");
        switch_off(off, &mut grant);
        self.run_under(grant, peer, state).await
    }

    /// One run that must be done within `wall`.
    pub(crate) async fn run_within(&self, peer: Peer, wall: Duration) -> Outcome {
        let manifest = &self.0.sensor.manifest;
        let asked = manifest.resolve(&BTreeMap::new()).expect("every key of a guest has a default");
        let mut grant = Grant::decide(manifest, asked, &policy()).expect("the policy allows it");
        grant.limits.wall = wall;
        self.run_under(grant, peer, Vec::new()).await
    }

    async fn run_under(&self, grant: Grant, peer: Peer, state: Vec<u8>) -> Outcome {
        let grant = Arc::new(grant);
        let broker = Arc::new(Scripted(peer));
        let input = RunInput { grant: grant.clone(), broker, state: state.into(), account: 0 };
        outcome(self.0.run(input).await, &grant)
    }
}

/// The default one, and the large class beside.
fn policy() -> Policy {
    Policy { class: Class::Large, ..Policy::default() }
}

fn switch_off(off: &[Defence], grant: &mut Grant) {
    let is_off = |defence| off.contains(&defence);
    let limits = &mut grant.limits;
    for (defence, limit) in [
        (Defence::Fuel, &mut limits.fuel),
        (Defence::Cpu, &mut limits.cpu_ms),
        (Defence::HostCalls, &mut limits.host_calls),
        (Defence::Boundary, &mut limits.boundary_bytes),
        (Defence::ResultBytes, &mut limits.result_bytes),
        (Defence::Families, &mut limits.families),
        (Defence::Handles, &mut limits.handles),
        (Defence::Sockets, &mut limits.sockets),
        (Defence::LogBytes, &mut limits.log_bytes),
        (Defence::LogLines, &mut limits.log_lines),
        (Defence::Limiter, &mut grant.memory_bytes),
    ] {
        if is_off(defence) {
            *limit = OFF;
        }
    }
    if is_off(Defence::Fuel) && is_off(Defence::Cpu) {
        grant.limits.wall = SHORT_WALL;
    } else if [Defence::Fuel, Defence::Cpu, Defence::Wall].into_iter().any(is_off) {
        grant.limits.wall = LONG_WALL;
    }
    if is_off(Defence::Asking) {
        grant.tcp.clear();
    }
}

fn outcome(report: RunReport, grant: &Grant) -> Outcome {
    let usage = report.usage;
    let (failed, says, collected) = match report.result {
        Ok(collected) => (None, String::new(), Some(collected)),
        Err(failure) => (Some(failure.reason()), failure.to_string(), None),
    };
    let expositions = collected.as_ref().map_or_else(Vec::new, |collected| {
        [Format::Text004, Format::OpenMetrics100].map(|format| exposed(format, &collected.families)).into()
    });
    Outcome {
        failed,
        says,
        wall_limit: grant.limits.wall,
        cpu_limit: Duration::from_millis(grant.limits.cpu_ms),
        fuel_limit: grant.limits.fuel,
        fuel: usage.fuel,
        cpu: usage.cpu,
        sockets: usage.sockets,
        log_bytes: usage.log_bytes,
        log_lines: usage.log_lines,
        logs: report.logs.into_iter().map(|line| line.message).collect(),
        logs_cut: report.logs_cut,
        state: report.state,
        series: collected.as_ref().map_or(0, |collected| collected.series),
        dropped: collected.as_ref().map_or(0, |collected| collected.series_dropped),
        expositions,
    }
}

fn exposed(format: Format, families: &[sonde_expo::model::Family]) -> String {
    let mut out = Vec::new();
    let mut writer = Writer::new(Negotiated::new(format, None), &mut out);
    let base = Labels::new(&[("sensor", "hostile")]);
    for family in families {
        writer.write_family(&base, family);
    }
    String::from_utf8(out).expect("an exposition is text")
}

/// What an agent keeps to itself, as far as the guests try to claim it.
fn reserved() -> Reserved {
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<HashSet<_>>();
    Reserved {
        names: set(&["up"]),
        prefixes: ["sonde_", "container_", "scrape_", "ALERTS", "__"].map(str::to_owned).into(),
        labels: set(&["job", "instance", "account", "sensor", "le", "quantile"]),
    }
}
