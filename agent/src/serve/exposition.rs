//! The bytes of one target: native series, its sensors' series, and series about the sensors.
//!
//! Everything is written straight from a reading and the slots into one buffer. A family belongs to one source: what two
//! dynamic sensors both bring goes to the one whose name comes first, and the other's is left out and counted.

use std::collections::HashMap;
use std::time::{Duration, Instant, UNIX_EPOCH};

use sonde_collect::{Judgement, families, node_families};
use sonde_expo::name::sample_names;
use sonde_expo::{Family, Kind, Labels, Number, Writer};
use sonde_host::{RunFailure, Slot, Totals};

use super::query::Parts;
use crate::gate::Taken;
use crate::instance::{GoneInstance, Instance};
use crate::node::TakenNode;

/// An instance that lives.
pub(super) fn write_instance(writer: &mut Writer<'_>, instance: &Instance, taken: &Taken, parts: &Parts) {
    let now = Instant::now();
    if parts.native() {
        families::write_reading(writer, &instance.base, &taken.reading);
        families::write_judgement(writer, &instance.base, &taken.judgement);
        families::write_age(writer, &instance.base, now.saturating_duration_since(taken.reading.taken_at));
    }
    if !parts.sensors() {
        return;
    }
    let placed = instance.placed();
    let mut slots: Vec<&Slot> = placed.iter().filter_map(|placed| placed.slot.as_deref()).collect();
    // Who described a family owns it, whoever else comes to bring it; the sort is stable, so names decide among equals.
    slots.sort_by_key(|slot| slot.sensor.families().is_none());
    write_sensors(writer, &slots, parts, now);
}

/// An instance that is stopped or gone: its state and nothing else.
pub(super) fn write_state(writer: &mut Writer<'_>, base: &Labels, judgement: &Judgement) {
    families::write_judgement(writer, base, judgement);
}

pub(super) fn write_gone(writer: &mut Writer<'_>, gone: &GoneInstance) {
    families::write_judgement(writer, &gone.base, &gone.judgement);
}

pub(super) fn write_node(writer: &mut Writer<'_>, taken: &TakenNode) {
    let none = Labels::new(&[]);
    node_families::write_node(writer, &none, &taken.reading);
    families::write_age(writer, &none, taken.at.elapsed());
}

/// What is written about one sensor.
struct Said {
    totals: Totals,
    up: bool,
    quarantined: bool,
    series: u64,
    clashes: u64,
    last_success: Option<(Duration, Duration)>,
}

/// Writes what the wanted sensors brought. Claims are settled among all of them, so that a part has the same series as the whole.
fn write_sensors(writer: &mut Writer<'_>, slots: &[&Slot], parts: &Parts, now: Instant) {
    let none = Labels::new(&[]);
    let mut claimed: HashMap<String, usize> = HashMap::new();
    let mut wanted = Vec::with_capacity(slots.len());
    let mut said = Vec::with_capacity(slots.len());
    let latest: Vec<_> = slots.iter().map(|slot| slot.fresh(now)).collect();
    let fits = fitting(
        &latest.iter().map(|l| l.as_ref().map_or(0, |l| l.collected.extent.boundary_bytes)).collect::<Vec<_>>(),
    );
    for (place, (slot, fresh)) in slots.iter().zip(latest).enumerate() {
        let is_wanted = parts.sensor(&slot.name);
        let mut clashes = 0;
        if !fits[place] {
            slot.note_clashes(fresh.as_ref().map_or(0, |fresh| fresh.collected.series));
            if is_wanted {
                wanted.push(*slot);
                said.push(say(slot, 0, now));
            }
            continue;
        }
        let families = fresh.iter().flat_map(|fresh| fresh.collected.families.iter().zip(&fresh.collected.lines));
        for (family, lines) in families {
            if slots.len() > 1 && !claim(&mut claimed, family, place) {
                clashes += lines;
            } else if is_wanted {
                writer.write_family(&none, family);
            }
        }
        slot.note_clashes(clashes);
        if is_wanted {
            wanted.push(*slot);
            said.push(say(slot, fresh.map_or(0, |fresh| fresh.collected.series - clashes), now));
        }
    }
    write_about_sensors(writer, &wanted, &said);
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

/// One row of the table below: name, kind, help, unit, and the value, absent where there is none.
type Row = (&'static str, Kind, &'static str, &'static str, fn(&Said) -> Option<Number>);

const ABOUT_SENSORS: [Row; 12] = [
    ("sonde_sensor_up", Kind::Gauge, "Whether the sensor's last run succeeded.", "", |s| {
        Some(Number::Unsigned(u64::from(s.up)))
    }),
    (
        "sonde_sensor_last_success_timestamp_seconds",
        Kind::Gauge,
        "When the sensor last succeeded, in seconds since 1970.",
        "seconds",
        |s| s.last_success.map(|(wall, _)| Number::Float(wall.as_secs_f64())),
    ),
    (
        "sonde_sensor_age_seconds",
        Kind::Gauge,
        "How long ago the sensor's samples in this exposition were collected.",
        "seconds",
        |s| s.last_success.map(|(_, age)| Number::Float(age.as_secs_f64())),
    ),
    ("sonde_sensor_runs_total", Kind::Counter, "Runs of the sensor, failed ones among them.", "", |s| {
        Some(Number::Unsigned(s.totals.runs))
    }),
    ("sonde_sensor_fuel_total", Kind::Counter, "Fuel that the sensor's runs were charged.", "", |s| {
        Some(Number::Unsigned(s.totals.fuel))
    }),
    ("sonde_sensor_cpu_seconds_total", Kind::Counter, "CPU time of the sensor's runs.", "seconds", |s| {
        Some(Number::Float(s.totals.cpu.as_secs_f64()))
    }),
    ("sonde_sensor_memory_peak_bytes", Kind::Gauge, "The most memory that one run of the sensor had.", "bytes", |s| {
        Some(Number::Unsigned(s.totals.memory_peak_bytes))
    }),
    ("sonde_sensor_series", Kind::Gauge, "Series of the sensor in this exposition.", "", |s| {
        Some(Number::Unsigned(s.series))
    }),
    (
        "sonde_sensor_series_dropped_total",
        Kind::Counter,
        "Series left out: over a limit, there twice, or in a family of another sensor's.",
        "",
        |s| Some(Number::Unsigned(s.totals.series_dropped + s.clashes)),
    ),
    (
        "sonde_sensor_throttled_seconds_total",
        Kind::Counter,
        "How long the sensor's runs were held back.",
        "seconds",
        |s| Some(Number::Float(s.totals.throttled().as_secs_f64())),
    ),
    ("sonde_sensor_quarantined", Kind::Gauge, "Whether the sensor is kept from running for its failures.", "", |s| {
        Some(Number::Unsigned(u64::from(s.quarantined)))
    }),
    ("sonde_sensor_failures_total", Kind::Counter, "Failed runs of the sensor, by reason.", "", |_| None),
];

fn write_about_sensors(writer: &mut Writer<'_>, slots: &[&Slot], said: &[Said]) {
    let bases: Vec<Labels> = slots.iter().map(|slot| Labels::new(&[("sensor", &slot.name)])).collect();
    for (name, kind, help, unit, value) in ABOUT_SENSORS {
        let mut family = writer.family(name, kind, help, unit);
        for (base, said) in bases.iter().zip(said) {
            if name == "sonde_sensor_failures_total" {
                for (reason, count) in RunFailure::REASONS.iter().zip(said.totals.failures) {
                    // Only the reasons that have happened: two dozen zeros a sensor would be most of the exposition.
                    if count > 0 {
                        family.sample(base, &[("reason", reason)], Number::Unsigned(count));
                    }
                }
            } else if let Some(value) = value(said) {
                family.sample(base, &[], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_the_small_ones_theirs() {
        assert_eq!(fitting(&[10, SENSORS_BYTES, 20]), [true, false, true]);
        assert_eq!(fitting(&[SENSORS_BYTES]), [true], "one of the largest there can be, alone");
        assert_eq!(fitting(&[]), [true; 0]);
        let many = [SENSORS_BYTES / 4 + 1; 8];
        assert_eq!(fitting(&many).iter().filter(|fits| **fits).count(), 3);
    }
}
