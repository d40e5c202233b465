//! The bytes of one target: native series, its sensors' series, and series about the sensors.
//!
//! Everything is written straight from a reading and the slots into one buffer. A family belongs to one source: what two
//! dynamic sensors both bring goes to the one whose name comes first, and the other's is left out and counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

#[cfg(test)]
use sonde_collect::described::families_of;
use sonde_collect::described::{Described, Out, Row, counter, gauge};
use sonde_collect::triton::AgentCounts;
use sonde_collect::{Judgement, Names, families, node_families, triton};
use sonde_expo::name::sample_names;
use sonde_expo::{Family, Labels, Number, Writer};
use sonde_host::{RunFailure, Slot, Totals};

use super::query::Parts;
use crate::gate::Taken;
use crate::instance::{GoneInstance, Instance};
use crate::node::TakenNode;

/// How a scrape is answered.
pub(super) struct View<'p> {
    pub(super) names: Names,
    /// When it was asked for: a reading that began before that is not its own.
    pub(super) asked: Instant,
    pub(super) parts: &'p Parts,
}

/// An instance that lives.
pub(super) fn write_instance(writer: &mut Writer<'_>, instance: &Instance, taken: &Taken, view: &View<'_>) {
    let (now, reading) = (Instant::now(), &taken.reading);
    if view.parts.native() {
        families::write_reading(writer, &instance.base, reading, view.names);
        if view.names.triton {
            triton::write_instance(writer, reading, reading.taken_at < view.asked);
        }
        families::write_judgement(writer, &instance.base, &taken.judgement);
        families::write_age(writer, &instance.base, now.saturating_duration_since(reading.taken_at));
    }
    if !view.parts.sensors() {
        return;
    }
    let placed = instance.placed();
    let mut slots: Vec<&Slot> = placed.iter().filter_map(|placed| placed.slot.as_deref()).collect();
    // Who described a family owns it, whoever else comes to bring it; the sort is stable, so names decide among equals.
    slots.sort_by_key(|slot| slot.sensor.families().is_none());
    write_sensors(writer, &slots, view, now);
}

/// An instance that is stopped or gone: its state and nothing else.
pub(super) fn write_state(writer: &mut Writer<'_>, base: &Labels, judgement: &Judgement) {
    families::write_judgement(writer, base, judgement);
}

pub(super) fn write_gone(writer: &mut Writer<'_>, gone: &GoneInstance) {
    families::write_judgement(writer, &gone.base, &gone.judgement);
}

pub(super) fn write_node(
    writer: &mut Writer<'_>,
    taken: &TakenNode,
    (names, asked): (Names, Instant),
    counts: impl FnOnce() -> AgentCounts,
) {
    let none = Labels::new(&[]);
    node_families::write_node(writer, &none, &taken.reading, names);
    if names.triton {
        triton::write_node(writer, &taken.reading, taken.at < asked, &counts());
    }
    families::write_age(writer, &none, taken.at.elapsed());
}

/// What is written about one sensor.
struct Said {
    sensor: Arc<str>,
    totals: Totals,
    up: bool,
    quarantined: bool,
    series: u64,
    clashes: u64,
    last_success: Option<(Duration, Duration)>,
}

/// Writes what the wanted sensors brought. Claims are settled among all of them, so that a part has the same series as the whole.
fn write_sensors(writer: &mut Writer<'_>, slots: &[&Slot], view: &View<'_>, now: Instant) {
    let none = Labels::new(&[]);
    let mut claimed: HashMap<String, usize> = HashMap::new();
    let mut said = Vec::with_capacity(slots.len());
    let latest: Vec<_> = slots.iter().map(|slot| slot.fresh(now)).collect();
    let fits = fitting(
        &latest.iter().map(|l| l.as_ref().map_or(0, |l| l.collected.extent.boundary_bytes)).collect::<Vec<_>>(),
    );
    for (place, (slot, fresh)) in slots.iter().zip(latest).enumerate() {
        let is_wanted = view.parts.sensor(&slot.name);
        let mut clashes = 0;
        if !fits[place] {
            slot.note_clashes(fresh.as_ref().map_or(0, |fresh| fresh.collected.series));
            if is_wanted {
                said.push(say(slot, 0, now));
            }
            continue;
        }
        let families = fresh.iter().flat_map(|fresh| fresh.collected.families.iter().zip(&fresh.collected.lines));
        for (family, lines) in families {
            if is_native(family, view.names) || (slots.len() > 1 && !claim(&mut claimed, family, place)) {
                clashes += lines;
            } else if is_wanted {
                writer.write_family(&none, family);
            }
        }
        slot.note_clashes(clashes);
        if is_wanted {
            said.push(say(slot, fresh.map_or(0, |fresh| fresh.collected.series - clashes), now));
        }
    }
    write_about_sensors(writer, &said);
}

/// What the samples of all sensors in one exposition may weigh, as they crossed the boundary; written out they are some two or three
/// times that. More than a hundred ordinary sensors have, and less than a scraper turns away.
const SENSORS_BYTES: u64 = 8 << 20;

/// Which of so many sensors' results there is room for: the smaller ones first, so that one that floods leaves the others theirs.
fn fitting(bytes: &[u64]) -> Vec<bool> {
    let mut by_size: Vec<usize> = (0..bytes.len()).collect();
    by_size.sort_by_key(|place| bytes[*place]);
    let mut left = SENSORS_BYTES;
    let mut fits = vec![false; bytes.len()];
    for place in by_size {
        let Some(rest) = left.checked_sub(bytes[place]) else { break };
        left = rest;
        fits[place] = true;
    }
    fits
}

/// Whether a family is a native one by the names that are wanted: those can be asked for while a sensor runs that has it already.
fn is_native(family: &Family, names: Names) -> bool {
    names.triton && sample_names(&family.name, family.kind).iter().any(|name| triton::is_instance_family(name))
}

/// Whether all names of a family are this sensor's, or become so.
fn claim(claimed: &mut HashMap<String, usize>, family: &Family, place: usize) -> bool {
    let names = sample_names(&family.name, family.kind);
    if names.iter().any(|name| claimed.get(name).is_some_and(|owner| *owner != place)) {
        return false;
    }
    claimed.extend(names.into_iter().map(|name| (name, place)));
    true
}

fn say(slot: &Slot, series: u64, now: Instant) -> Said {
    Said {
        sensor: slot.name.clone(),
        totals: slot.totals(),
        up: slot.is_up(),
        quarantined: slot.standing().quarantine.is_some(),
        series,
        clashes: slot.clashes(),
        last_success: slot.latest().map(|latest| {
            let wall = latest.at_wall.duration_since(UNIX_EPOCH).unwrap_or_default();
            (wall, now.saturating_duration_since(latest.at))
        }),
    }
}

const RUNS: &str = "what came of its runs on this instance";

static ABOUT_SENSORS: &[Row<Said>] = &[
    Row {
        about: gauge("sonde_sensor_up", "", "Whether the sensor's last run succeeded.").by(&["sensor"]).of(RUNS),
        value: |s| truth(s.up),
    },
    Row {
        about: gauge(
            "sonde_sensor_last_success_timestamp_seconds",
            "seconds",
            "When the sensor last succeeded, in seconds since 1970.",
        )
        .by(&["sensor"])
        .of(RUNS)
        .unless("it has not yet"),
        value: |s| s.last_success.map(|(wall, _)| Number::Float(wall.as_secs_f64())),
    },
    Row {
        about: gauge(
            "sonde_sensor_age_seconds",
            "seconds",
            "How long ago the sensor's samples in this exposition were collected.",
        )
        .by(&["sensor"])
        .of(RUNS)
        .unless("there are none"),
        value: |s| s.last_success.map(|(_, age)| Number::Float(age.as_secs_f64())),
    },
    Row {
        about: counter("sonde_sensor_runs_total", "", "Runs of the sensor, failed ones among them.")
            .by(&["sensor"])
            .of(RUNS),
        value: |s| Some(Number::Unsigned(s.totals.runs)),
    },
    Row {
        about: counter("sonde_sensor_fuel_total", "", "Fuel that the sensor's runs were charged.")
            .by(&["sensor"])
            .of(RUNS),
        value: |s| Some(Number::Unsigned(s.totals.fuel)),
    },
    Row {
        about: counter("sonde_sensor_cpu_seconds_total", "seconds", "CPU time of the sensor's runs.")
            .by(&["sensor"])
            .of(RUNS),
        value: |s| Some(Number::Float(s.totals.cpu.as_secs_f64())),
    },
    Row {
        about: gauge("sonde_sensor_memory_peak_bytes", "bytes", "The most memory that one run of the sensor had.")
            .by(&["sensor"])
            .of(RUNS),
        value: |s| Some(Number::Unsigned(s.totals.memory_peak_bytes)),
    },
    Row {
        about: gauge("sonde_sensor_series", "", "Series of the sensor in this exposition.").by(&["sensor"]).of(RUNS),
        value: |s| Some(Number::Unsigned(s.series)),
    },
    Row {
        about: counter(
            "sonde_sensor_series_dropped_total",
            "",
            "Series left out: over a limit, there twice, or in a family of another sensor's.",
        )
        .by(&["sensor"])
        .of(RUNS),
        value: |s| Some(Number::Unsigned(s.totals.series_dropped + s.clashes)),
    },
    Row {
        about: counter("sonde_sensor_throttled_seconds_total", "seconds", "How long the sensor's runs were held back.")
            .by(&["sensor"])
            .of(RUNS),
        value: |s| Some(Number::Float(s.totals.throttled().as_secs_f64())),
    },
    Row {
        about: gauge("sonde_sensor_quarantined", "", "Whether the sensor is kept from running for its failures.")
            .by(&["sensor"])
            .of(RUNS),
        value: |s| truth(s.quarantined),
    },
];

static FAILURES: Described = counter("sonde_sensor_failures_total", "", "Failed runs of the sensor, by reason.")
    .by(&["sensor", "reason"])
    .of(RUNS)
    .unless("each reason that has not happened");

/// The families about sensors, as `docs/series.md` lists them.
#[cfg(test)]
pub(crate) fn about_sensors() -> impl Iterator<Item = &'static Described> {
    families_of(ABOUT_SENSORS).chain([&FAILURES])
}

fn truth(holds: bool) -> Option<Number> {
    Some(Number::Unsigned(u64::from(holds)))
}

fn write_about_sensors(writer: &mut Writer<'_>, said: &[Said]) {
    let none = Labels::new(&[]);
    let out = &mut Out::new(writer, &none, Names::default());
    out.each(ABOUT_SENSORS, said, |said| [&*said.sensor]);
    let Some((mut family, base)) = out.family(&FAILURES) else { return };
    for said in said {
        for (reason, count) in RunFailure::REASONS.iter().zip(said.totals.failures) {
            // Only the reasons that have happened: two dozen zeros a sensor would be most of the exposition.
            if count > 0 {
                let extra = [("sensor", &*said.sensor), ("reason", *reason)];
                family.sample(base, &extra, Number::Unsigned(count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sonde_expo::Kind;

    #[test]
    fn a_native_name_is_no_sensors_while_it_is_wanted() {
        let family = |name: &str, kind| Family {
            name: name.into(),
            kind,
            help: "".into(),
            unit: "".into(),
            label_names: Vec::new(),
            samples: Vec::new(),
        };
        let triton = Names { cadvisor: false, triton: true };
        let limit = family("mem_limit", Kind::Gauge);
        assert!(is_native(&limit, triton) && !is_native(&limit, Names::default()));
        // A summary's count is a name that it takes as well.
        assert!(is_native(&family("tcp_active_open", Kind::Summary), triton));
        assert!(!is_native(&family("redis_up", Kind::Gauge), triton));
    }

    #[test]
    fn a_flood_leaves_the_small_ones_theirs() {
        assert_eq!(fitting(&[10, SENSORS_BYTES, 20]), [true, false, true]);
        assert_eq!(fitting(&[SENSORS_BYTES]), [true], "one of the largest there can be, alone");
        assert_eq!(fitting(&[]), [true; 0]);
        let many = [SENSORS_BYTES / 4 + 1; 8];
        assert_eq!(fitting(&many).iter().filter(|fits| **fits).count(), 3);
    }
}
