//! A guest whose output breaks every rule of names and shapes, through the raw bindings, since the SDK would not
//! let it. What the node exposes must stay well formed, and no name may be claimed that is not a
//! sensor's to claim.

use sonde_sensor::raw::types::{
    Batch, Bucket, Description, Exemplar, ExemplarOf, Family, Histogram, Kind, Label, Number,
};

/// Names that break the grammar, or are taken (design §5.5).
const NAMES: [&str; 14] = [
    "",
    "0digit",
    "with space",
    "with\nnewline",
    "with\"quote",
    "with{brace}",
    "colon:name",
    "ünïcode",
    "up",
    "scrape_duration_seconds",
    "container_cpu_usage_seconds_total",
    "sonde_sensor_up",
    "ALERTS",
    "__name__",
];

/// Labels that break the grammar, or are taken.
const LABELS: [&str; 9] = ["", "0", "a b", "a\"b", "__name__", "job", "instance", "sensor", "le"];

fn family(name: &str, kind: Kind, label_names: &[&str]) -> Family {
    Family {
        name: name.to_owned(),
        kind,
        help: "a help\nwith a line feed and a \\ backslash".to_owned(),
        unit: String::new(),
        label_names: label_names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn number(family: u32, labels: &[&str], value: f64) -> Number {
    let label_values = labels.iter().map(|value| (*value).to_owned()).collect();
    Number { family, label_values, value, start_time: None }
}

/// What `describe` returns.
pub fn describe() -> Description {
    Description::Dynamic
}

/// What `collect` returns.
pub fn collect() -> Batch {
    let mut families: Vec<Family> = NAMES.iter().map(|name| family(name, Kind::Gauge, &[])).collect();
    let mut numbers: Vec<Number> = (0_u32..).zip(NAMES).map(|(index, _)| number(index, &[], 1.0)).collect();
    for label in LABELS {
        numbers.push(number(next(&families), &["value"], 2.0));
        families.push(family("guest_garbage_label", Kind::Gauge, &[label]));
    }
    // A sound name, unsound samples: too many labels, too few, one series twice, line feeds and quotes in a value.
    let sound = next(&families);
    families.push(family("guest_garbage_sound", Kind::Gauge, &["a"]));
    for labels in [&["x", "y"][..], &[], &["twice"], &["twice"], &["a\nb\"c\\d"]] {
        numbers.push(number(sound, labels, 3.0));
    }
    // A counter that falls below zero, and one not named so; an info of 2; a family that is not there.
    numbers.push(number(next(&families), &[], -1.0));
    families.push(family("guest_garbage_negative_total", Kind::Counter, &[]));
    numbers.push(number(next(&families), &[], 1.0));
    families.push(family("guest_garbage_counter", Kind::Counter, &[]));
    numbers.push(number(next(&families), &[], 2.0));
    families.push(family("guest_garbage_info", Kind::Info, &[]));
    numbers.push(number(u32::MAX, &[], 4.0));
    // Buckets that fall, bounds that do not rise, NaN among both; a histogram's sample of a gauge.
    let shapes: [&[(f64, f64)]; 4] = [
        &[(1.0, 5.0), (2.0, 3.0)],
        &[(2.0, 1.0), (1.0, 2.0)],
        &[(f64::NAN, 1.0)],
        &[(1.0, f64::NAN), (f64::INFINITY, 0.0)],
    ];
    let mut histograms: Vec<Histogram> = Vec::new();
    for shape in shapes {
        histograms.push(histogram(next(&families), shape));
        families.push(family("guest_garbage_histogram", Kind::Histogram, &[]));
    }
    histograms.push(histogram(sound, &[(1.0, 1.0)]));
    let label = Label { name: "trace id\n".to_owned(), value: "x".repeat(500) };
    let exemplar =
        |of| Exemplar { of, labels: vec![label.clone()], value: f64::NAN, timestamp: Some(f64::NEG_INFINITY) };
    Batch {
        families,
        numbers,
        histograms,
        native_histograms: Vec::new(),
        summaries: Vec::new(),
        state_sets: Vec::new(),
        exemplars: vec![exemplar(ExemplarOf::Number(0)), exemplar(ExemplarOf::Bucket((99, 99)))],
    }
}

fn histogram(family: u32, shape: &[(f64, f64)]) -> Histogram {
    let buckets = shape
        .iter()
        .map(|(upper_bound, cumulative_count)| Bucket {
            upper_bound: *upper_bound,
            cumulative_count: *cumulative_count,
        })
        .collect();
    Histogram { family, label_values: Vec::new(), buckets, sum: Some(f64::NAN), count: 1.0, start_time: None }
}

fn next(families: &[Family]) -> u32 {
    u32::try_from(families.len()).unwrap_or(u32::MAX)
}

#[cfg(target_arch = "wasm32")]
mod component;
