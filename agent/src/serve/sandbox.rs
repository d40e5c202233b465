//! What the agent says of the sandbox: its layers and processes as series, and what accounts used of it as JSON.
//!
//! By account only in JSON: accounts are many, and their names are not the operator's to keep few.

use serde::Serialize;
use sonde_collect::Names;
#[cfg(test)]
use sonde_collect::described::families_of;
use sonde_collect::described::{Described, Out, Row, counter, gauge};
use sonde_expo::{Labels, Number, Writer};
use sonde_host::{Account, Facts, Held, Share};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

static LAYER: Described =
    gauge("sonde_sandbox_layer", "", "Whether a layer of the runner's jail is in force on this machine.")
        .by(&["layer"])
        .of("what a runner reports when it starts")
        .unless("none has started yet");

static FACTS: &[Row<Facts>] = &[
    Row {
        about: gauge("sonde_sandbox_runs_in_flight", "", "Runs of sensors that are under way.").of(SCHEDULE),
        value: |facts| Some(Number::Unsigned(facts.runs_in_flight.load(Ordering::Relaxed))),
    },
    Row {
        about: counter("sonde_sandbox_runners_started_total", "", "Runners started.").of(SCHEDULE),
        value: |facts| Some(Number::Unsigned(facts.runners_started.load(Ordering::Relaxed))),
    },
    Row {
        about: counter("sonde_sandbox_runners_ended_total", "", "Runners that died or had to be ended.").of(SCHEDULE),
        value: |facts| Some(Number::Unsigned(facts.runners_ended.load(Ordering::Relaxed))),
    },
];

const SCHEDULE: &str = "the schedule";

static REJECTED: Described =
    counter("sonde_sandbox_code_rejected_total", "", "Compiled code that was kept and not believed.")
        .of("the code cache");

/// The sandbox's families, as `docs/series.md` lists them.
#[cfg(test)]
pub(crate) fn families() -> impl Iterator<Item = &'static Described> {
    [&LAYER].into_iter().chain(families_of(FACTS)).chain([&REJECTED])
}

/// Writes the sandbox's families.
pub(super) fn write(writer: &mut Writer<'_>, facts: &Facts, rejected_code: u64) {
    let none = Labels::new(&[]);
    let out = &mut Out::new(writer, &none, Names::default());
    let truth = |holds: bool| Some(Number::Unsigned(u64::from(holds)));
    let layers = facts.layers().unwrap_or_default();
    out.labelled(&LAYER, layers.iter().map(|report| (report.layer.as_str(), truth(report.fault.is_none()))));
    out.rows(FACTS, facts);
    out.one(&REJECTED, Some(Number::Unsigned(rejected_code)));
}

/// One row of `GET /v1/usage`.
#[derive(Debug, Serialize)]
pub(super) struct UsageRow {
    account: String,
    weight: u32,
    /// Absent where the node alone bounds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_cores: Option<f64>,
    cpu_seconds: f64,
    runs: u64,
    failures: u64,
    series: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    series_allowed: Option<u64>,
    compilations: u64,
    /// How long its runs were held back, by why.
    held_seconds: BTreeMap<&'static str, f64>,
    /// The bound of CPU is used up now.
    held_by_cpu: bool,
}

impl UsageRow {
    pub(super) fn new(account: &Account) -> Self {
        let (usage, share): (_, Share) = (account.usage(), account.share());
        let held = Held::ALL.into_iter().zip(usage.held);
        Self {
            account: account.name.to_string(),
            weight: share.weight,
            cpu_cores: Some(share.cpu_cores).filter(|cores| cores.is_finite()),
            cpu_seconds: usage.cpu.as_secs_f64(),
            runs: usage.runs,
            failures: usage.failures,
            series: usage.series,
            series_allowed: Some(share.series).filter(|series| *series != u64::MAX),
            compilations: usage.compilations,
            held_seconds: held.map(|(why, time)| (why.as_str(), time.as_secs_f64())).collect(),
            held_by_cpu: account.held_until(std::time::Instant::now()).is_some(),
        }
    }
}
