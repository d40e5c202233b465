//! What the agent says of the sandbox: its layers and processes as series, and what accounts used of it as JSON.
//!
//! By account only in JSON: accounts are many, and their names are not the operator's to keep few.

use serde::Serialize;
use sonde_expo::{Kind, Labels, Number, Writer};
use sonde_host::{Account, Facts, Held, Share};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// Writes the sandbox's families.
pub(super) fn write(writer: &mut Writer<'_>, facts: &Facts, rejected_code: u64) {
    let none = Labels::new(&[]);
    let help = "Whether a layer of the runner's jail is in force on this machine.";
    let mut layers = writer.family("sonde_sandbox_layer", Kind::Gauge, help, "");
    for report in facts.layers().unwrap_or_default() {
        let in_force = Number::Unsigned(u64::from(report.fault.is_none()));
        layers.sample(&none, &[("layer", report.layer.as_str())], in_force);
    }
    let in_flight = facts.runs_in_flight.load(Ordering::Relaxed);
    writer.family("sonde_sandbox_runs_in_flight", Kind::Gauge, "Runs of sensors that are under way.", "").sample(
        &none,
        &[],
        Number::Unsigned(in_flight),
    );
    let counters = [
        ("sonde_sandbox_runners_started_total", "Runners started.", facts.runners_started.load(Ordering::Relaxed)),
        (
            "sonde_sandbox_runners_ended_total",
            "Runners that died or had to be ended.",
            facts.runners_ended.load(Ordering::Relaxed),
        ),
        ("sonde_sandbox_code_rejected_total", "Compiled code that was kept and not believed.", rejected_code),
    ];
    for (name, help, value) in counters {
        writer.family(name, Kind::Counter, help, "").sample(&none, &[], Number::Unsigned(value));
    }
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
