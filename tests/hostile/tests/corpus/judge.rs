//! Whether what became of a guest is what the table says.

use std::time::Duration;

use sonde_hostile::{Expected, Fact};

use crate::outcome::{Outcome, Refused};

/// A run may take as long as its wall limit, and once more because the machine is busy, and this.
const SLACK: Duration = Duration::from_secs(1);
/// Code points that break or reorder a line, beside the control characters.
const REORDERING: [char; 14] = [
    '\u{061c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}',
    '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

pub(crate) type Verdict = Result<(), String>;

/// Whether a refusal is the one that is expected.
pub(crate) fn refused(refused: &Refused, expected: Expected) -> Verdict {
    let Refused { stage, says } = refused;
    match expected {
        _ if *stage == "engine" => Err(format!("the node is at fault: {says}")),
        Expected::Either => Ok(()),
        Expected::Refused { stage: wanted, says: part } if *stage == wanted && says.contains(part) => Ok(()),
        expected => Err(format!("refused by {stage} ({says}), and expected was {expected:?}")),
    }
}

/// Whether it was right to load it at all.
pub(crate) fn loaded(expected: Expected) -> Verdict {
    match expected {
        Expected::Refused { .. } => Err(format!("it was loaded, and expected was {expected:?}")),
        Expected::Fails(_) | Expected::Succeeds | Expected::Either => Ok(()),
    }
}

/// Whether a run ended as it should, and in time.
pub(crate) fn ran(outcome: &Outcome, took: Duration, expected: Expected) -> Verdict {
    let bound = 2 * outcome.wall_limit + SLACK;
    if took > bound {
        return Err(format!("took {took:?} of wall time, and at most {bound:?} is allowed"));
    }
    let bound = bound.min(outcome.cpu_limit.saturating_add(SLACK));
    if outcome.cpu > bound {
        return Err(format!("took {:?} of CPU, and at most {bound:?} is allowed", outcome.cpu));
    }
    match (expected, outcome.failed) {
        (Expected::Either, _) | (Expected::Succeeds, None) => Ok(()),
        (Expected::Fails(reasons), Some(reason)) if reasons.contains(&reason) => Ok(()),
        (expected, None) => Err(format!("it succeeded, and expected was {expected:?}")),
        (expected, Some(reason)) => {
            Err(format!("it failed by {reason} ({}), and expected was {expected:?}", outcome.says))
        }
    }
}

/// Whether all else holds too.
pub(crate) fn facts(outcome: &Outcome, facts: &[Fact]) -> Verdict {
    facts.iter().try_for_each(|fact| holds(outcome, *fact).map_err(|why| format!("{fact:?} does not hold: {why}")))
}

fn holds(outcome: &Outcome, fact: Fact) -> Verdict {
    let words = || outcome.logs.iter().chain([&outcome.says]);
    match fact {
        Fact::Found { least, most } => {
            let found = outcome.state.as_deref().and_then(|state| state.try_into().ok()).map(i64::from_le_bytes);
            let is_within = found.is_some_and(|found| (least..=most).contains(&found));
            verdict(is_within, || format!("it found {found:?}"))
        }
        Fact::Series(series) => verdict(outcome.series == series, || format!("{} series", outcome.series)),
        Fact::Dropped(dropped) => verdict(outcome.dropped == dropped, || format!("{} dropped", outcome.dropped)),
        Fact::LogsCut => verdict(outcome.logs_cut, || "nothing was cut".to_owned()),
        Fact::LogLines(lines) => verdict(outcome.log_lines == lines && outcome.logs.len() as u64 == lines, || {
            format!("{} lines, and {} are kept", outcome.log_lines, outcome.logs.len())
        }),
        Fact::LogBytesAtMost(most) => verdict(outcome.log_bytes <= most, || format!("{} bytes", outcome.log_bytes)),
        Fact::Plain => verdict(!words().any(|line| line.contains(char::is_control)), || format!("{:?}", outcome.logs)),
        Fact::NotReordered => verdict(!words().any(|line| line.contains(REORDERING)), || format!("{:?}", outcome.logs)),
        Fact::Sockets(sockets) => verdict(outcome.sockets == sockets, || format!("{} sockets", outcome.sockets)),
        Fact::BilledWhole => verdict(outcome.fuel == outcome.fuel_limit && outcome.cpu > Duration::ZERO, || {
            format!("{} fuel, {:?}", outcome.fuel, outcome.cpu)
        }),
        Fact::Lines(lines) => outcome.expositions.iter().try_for_each(|exposition| exposes(exposition, lines)),
    }
}

/// Every line is a comment of the exposition's own, or a sample that begins with a name the guest may have; so many of these.
fn exposes(exposition: &str, lines: usize) -> Verdict {
    let samples: Vec<&str> = exposition.lines().filter(|line| !is_metadata(line)).collect();
    let forged = samples.iter().any(|line| !line.contains("{sensor=\"hostile\"") || line.starts_with("up"));
    verdict(samples.len() == lines && !forged, || format!("it exposes {exposition}"))
}

fn is_metadata(line: &str) -> bool {
    ["# HELP ", "# TYPE ", "# UNIT "].iter().any(|begin| line.starts_with(begin)) && !line.contains(" up ")
}

fn verdict(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise()) }
}
