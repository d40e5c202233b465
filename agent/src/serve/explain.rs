//! Why a sensor is as it is, in a sentence or two: for a person who asks.

use std::time::{Duration, Instant};

use sonde_host::{Held, Slot};

use crate::instance::Placed;

/// Held back for less in all is not worth a word.
const WORTH_SAYING: Duration = Duration::from_secs(1);

/// What is to be said of a sensor on an instance.
pub(super) fn explain(placed: &Placed) -> String {
    let refused = placed.fault.as_deref();
    match (placed.slot.as_deref(), refused) {
        (None, Some(fault)) => format!("It does not run: {fault}."),
        (None, None) => "It does not run.".into(),
        (Some(slot), None) => running(slot),
        (Some(slot), Some(fault)) => format!("{} A newer version or setting was refused: {fault}.", running(slot)),
    }
}

fn running(slot: &Slot) -> String {
    let mut said = standing(slot);
    if let Some(held) = held(slot) {
        said.push(' ');
        said.push_str(&held);
    }
    said
}

fn standing(slot: &Slot) -> String {
    let standing = slot.standing();
    let last = slot.last_failure().map(|last| last.failure.to_string()).unwrap_or_default();
    if let Some(quarantine) = standing.quarantine {
        let why = quarantine.why;
        return format!("It is quarantined: {why}. A new version, or `sonde sensor release`, lets it run again.");
    }
    let now = Instant::now();
    if let Some(wait) = standing.not_before.and_then(|at| at.checked_duration_since(now)) {
        let (count, seconds) = (standing.misbehaved, wait.as_secs());
        return format!(
            "It failed {count} times in a row and waits {seconds} s for its next run; the last time it {last}."
        );
    }
    match slot.latest() {
        None if slot.totals().runs == 0 => "Its first run is not over.".into(),
        None => format!("It has never succeeded: {last}."),
        Some(_) if !slot.is_up() => format!("Its last run failed: {last}."),
        Some(latest) => format!("It runs; its samples are {:.1} s old.", latest.at.elapsed().as_secs_f64()),
    }
}

fn held(slot: &Slot) -> Option<String> {
    let totals = slot.totals();
    let words = |why: Held| match why {
        Held::Place => "because all places of its runner were taken",
        Held::Share => "because its account or its instance had all the places that it may",
        Held::Cpu => "because its account had used up its part of the CPU",
    };
    let mut reasons: Vec<String> = Held::ALL
        .into_iter()
        .zip(totals.held)
        .filter(|(_, time)| *time >= WORTH_SAYING)
        .map(|(why, time)| format!("{:.0} s {}", time.as_secs_f64(), words(why)))
        .collect();
    if totals.backed_off >= WORTH_SAYING {
        reasons.push(format!("{:.0} s because it had failed", totals.backed_off.as_secs_f64()));
    }
    (!reasons.is_empty()).then(|| format!("In all its runs were held back {}.", reasons.join(", ")))
}
