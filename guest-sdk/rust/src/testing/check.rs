//! What the node would refuse in what a sensor returned, so that its author learns of it in a test.
//!
//! Names and shapes only (design §5.5): the node's own check also knows limits and which families are taken.

use std::collections::BTreeSet;

use crate::raw::types::{Batch, Family, Kind};

/// Labels that the node or the scraper sets.
const RESERVED_LABELS: [&str; 6] = ["job", "instance", "account", "sensor", "le", "quantile"];

/// The first fault, in a sentence.
pub(super) fn check(families: &[Family], batch: &Batch) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for family in families {
        check_family(family)?;
        if !names.insert(&family.name) {
            return Err(format!("{} is described twice", family.name));
        }
    }
    let mut seen = BTreeSet::new();
    let numbers = batch.numbers.iter().map(|sample| (sample.family, &sample.label_values));
    let histograms = batch.histograms.iter().map(|sample| (sample.family, &sample.label_values));
    let natives = batch.native_histograms.iter().map(|sample| (sample.family, &sample.label_values));
    let summaries = batch.summaries.iter().map(|sample| (sample.family, &sample.label_values));
    let state_sets = batch.state_sets.iter().map(|sample| (sample.family, &sample.label_values));
    for sample in numbers.chain(histograms).chain(natives).chain(summaries).chain(state_sets) {
        if !seen.insert(sample) {
            let name = families.get(sample.0 as usize).map_or("?", |family| family.name.as_str());
            return Err(format!("{name} has two samples with the labels {:?}", sample.1));
        }
    }
    for sample in &batch.histograms {
        let rising = sample.buckets.windows(2).all(|pair| pair[0].upper_bound < pair[1].upper_bound);
        if !rising {
            return Err(format!("the bounds of {} do not rise", families[sample.family as usize].name));
        }
    }
    Ok(())
}

fn check_family(family: &Family) -> Result<(), String> {
    let name = &family.name;
    if !is_name(name) {
        return Err(format!("{name:?} is not a family's name: letters, digits and _, no digit first"));
    }
    if name == "up" || ["scrape_", "ALERTS", "__", "sonde_"].iter().any(|taken| name.starts_with(taken)) {
        return Err(format!("{name} is a name that a sensor cannot claim"));
    }
    if family.kind == Kind::Counter && !name.ends_with("_total") {
        return Err(format!("{name} is a counter, and its name does not end in _total"));
    }
    if family.kind == Kind::Info && !name.ends_with("_info") {
        return Err(format!("{name} is an info, and its name does not end in _info"));
    }
    let stem = name.strip_suffix("_total").unwrap_or(name);
    if !family.unit.is_empty() && !stem.ends_with(&format!("_{}", family.unit)) {
        return Err(format!("{name} has the unit {}, and its name does not end in it", family.unit));
    }
    for label in &family.label_names {
        if !is_name(label) || label.starts_with("__") {
            return Err(format!("{name} has a label {label:?}: letters, digits and _, no digit first, no __"));
        }
        if RESERVED_LABELS.contains(&label.as_str()) {
            return Err(format!("{name} has the label {label}, which a sensor cannot claim"));
        }
    }
    if family.label_names.iter().collect::<BTreeSet<_>>().len() < family.label_names.len() {
        return Err(format!("{name} has one label twice"));
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
