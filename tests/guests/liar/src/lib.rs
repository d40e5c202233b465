//! A guest that describes one thing and returns another: families of its own although it is not dynamic, an index it
//! never described, the wrong kind for a described family, more labels than described. The node must
//! hold it to its description.

use sonde_sensor::raw::types::{Batch, Description, Family, Histogram, Kind, Number};

fn family(name: &str, kind: Kind, label_names: &[&str]) -> Family {
    Family {
        name: name.to_owned(),
        kind,
        help: String::new(),
        unit: String::new(),
        label_names: label_names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// What `describe` returns.
pub fn describe() -> Description {
    Description::Families(vec![family("guest_liar_truth", Kind::Gauge, &["who"])])
}

/// What `collect` returns.
pub fn collect() -> Batch {
    let number = |family, labels: &[&str]| {
        let label_values = labels.iter().map(|value| (*value).to_owned()).collect();
        Number { family, label_values, value: 1.0, start_time: None }
    };
    Batch {
        families: vec![family("guest_liar_undescribed", Kind::Gauge, &[])],
        numbers: vec![number(0, &["me"]), number(0, &["me", "and", "others"]), number(0, &[]), number(1, &[])],
        histograms: vec![Histogram {
            family: 0,
            label_values: vec!["me".to_owned()],
            buckets: Vec::new(),
            sum: None,
            count: 1.0,
            start_time: None,
        }],
        native_histograms: Vec::new(),
        summaries: Vec::new(),
        state_sets: Vec::new(),
        exemplars: Vec::new(),
    }
}

#[cfg(target_arch = "wasm32")]
mod component;
