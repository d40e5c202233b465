//! The JSON of instances and sensors: what a person or a program asks to know why something is as it is.

use std::time::{Instant, UNIX_EPOCH};

use serde::Serialize;
use sonde_collect::{Found, Judgement};
use sonde_host::{RunFailure, Slot};

use super::explain::explain;
use crate::instance::Placed;

/// One row of `GET /v1/instances`.
#[derive(Debug, Serialize)]
pub(super) struct InstanceRow {
    id: String,
    runtime: &'static str,
    runtime_id: String,
    name: String,
    image: Option<String>,
    owner: String,
    state: &'static str,
    saturated: Vec<&'static str>,
    reasons: Vec<&'static str>,
    metrics: String,
}

impl InstanceRow {
    pub(super) fn new(found: &Found, owner: &str, judgement: Option<&Judgement>, base_url: &str) -> Self {
        let name = &found.name;
        Self {
            id: name.uuid.to_string(),
            runtime: name.runtime.as_str(),
            runtime_id: name.runtime_id.clone(),
            name: name.name.clone().unwrap_or_else(|| name.runtime_id.clone()),
            image: name.image.clone(),
            owner: owner.to_owned(),
            state: judgement.map_or("unknown", |judgement| judgement.state.as_str()),
            saturated: judgement.map(|j| j.saturated.iter().map(|r| r.as_str()).collect()).unwrap_or_default(),
            reasons: judgement.map(|j| j.reasons.iter().map(|r| r.as_str()).collect()).unwrap_or_default(),
            metrics: format!("{base_url}/v1/{}/metrics", name.uuid),
        }
    }
}

/// The last failure of a sensor.
#[derive(Debug, Serialize)]
struct FailureRow {
    reason: &'static str,
    message: String,
    at_seconds: f64,
}

#[derive(Debug, Serialize)]
struct LogRow {
    level: &'static str,
    message: String,
}

/// One row of `GET /v1/{instance}/sensors`.
#[derive(Debug, Serialize)]
pub(super) struct SensorRow {
    name: String,
    /// `running`, `backed-off`, `quarantined`, or `refused` where no version of it runs.
    state: &'static str,
    /// Why that is so, for a person.
    explanation: String,
    /// Why the newest version or configuration does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    #[serde(flatten)]
    running: Option<RunningRow>,
}

#[derive(Debug, Serialize)]
struct RunningRow {
    version: String,
    digest: String,
    account: String,
    up: bool,
    runs: u64,
    failures: u64,
    last_success_seconds: Option<f64>,
    last_error: Option<FailureRow>,
    log: Vec<LogRow>,
}

impl SensorRow {
    pub(super) fn new(placed: &Placed) -> Self {
        Self {
            name: placed.name.to_string(),
            state: placed.slot.as_deref().map_or("refused", state),
            explanation: explain(placed),
            refused: placed.fault.as_deref().map(str::to_owned),
            running: placed.slot.as_deref().map(running),
        }
    }
}

fn state(slot: &Slot) -> &'static str {
    let standing = slot.standing();
    let waits = standing.not_before.is_some_and(|at| at > Instant::now());
    match standing.quarantine {
        Some(_) => "quarantined",
        None if waits => "backed-off",
        None => "running",
    }
}

fn running(slot: &Slot) -> RunningRow {
    let seconds = |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let totals = slot.totals();
    RunningRow {
        version: slot.sensor.manifest.version.clone(),
        digest: format!("{:?}", slot.sensor.digest),
        account: slot.account.name.to_string(),
        up: slot.is_up(),
        runs: totals.runs,
        failures: totals.failures.iter().sum(),
        last_success_seconds: slot.latest().map(|latest| seconds(latest.at_wall)),
        last_error: slot.last_failure().map(|last| FailureRow {
            reason: RunFailure::reason(&last.failure),
            message: last.failure.to_string(),
            at_seconds: seconds(last.at_wall),
        }),
        log: slot.logs().into_iter().map(|line| LogRow { level: line.level.as_str(), message: line.message }).collect(),
    }
}
