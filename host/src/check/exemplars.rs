//! Exemplars, checked and kept by the sample that they belong to until that sample is.
//!
//! An exemplar is refused for what would make a line of OpenMetrics malformed: label names outside the grammar or
//! there twice, too many characters, a sample or bucket that is not in the batch. One on a gauge is left out: only counters and buckets carry them.

use std::collections::{HashMap, HashSet};

use sonde_expo::model;
use sonde_expo::name::is_label_name;

use super::output;
use crate::failure::{RunFailure, tame};
use crate::wire::batch as wit;

/// Exemplars by the sample they belong to.
#[derive(Default)]
pub(super) struct Exemplars {
    numbers: HashMap<u32, model::Exemplar>,
    buckets: HashMap<u32, Vec<(u32, model::Exemplar)>>,
}

impl Exemplars {
    pub(super) fn sort(raw: Vec<wit::Exemplar>) -> Result<Self, RunFailure> {
        let mut sorted = Self::default();
        for exemplar in raw {
            check_labels(&exemplar.labels)?;
            let checked = model::Exemplar {
                labels: exemplar.labels.into_iter().map(|l| (l.name.into(), l.value.into())).collect(),
                value: exemplar.value,
                timestamp_seconds: exemplar.timestamp.filter(|seconds| seconds.is_finite()),
            };
            match exemplar.of {
                wit::ExemplarOf::Number(index) => drop(sorted.numbers.insert(index, checked)),
                wit::ExemplarOf::Bucket((index, bucket)) => {
                    sorted.buckets.entry(index).or_default().push((bucket, checked));
                }
            }
        }
        Ok(sorted)
    }

    /// The exemplar of the number at an index of the batch.
    pub(super) fn of_number(&mut self, index: usize) -> Option<Box<model::Exemplar>> {
        if self.numbers.is_empty() { None } else { self.numbers.remove(&(index as u32)).map(Box::new) }
    }

    /// The exemplars of the histogram at an index of the batch, by bucket.
    pub(super) fn of_histogram(&mut self, index: usize) -> Vec<(u32, model::Exemplar)> {
        if self.buckets.is_empty() { Vec::new() } else { self.buckets.remove(&(index as u32)).unwrap_or_default() }
    }

    /// Once every sample has taken its own: whether any is left.
    pub(super) fn all_placed(&self) -> Result<(), RunFailure> {
        if self.numbers.is_empty() && self.buckets.is_empty() {
            return Ok(());
        }
        Err(output("an exemplar names a sample that is not there"))
    }
}

fn check_labels(labels: &[wit::Label]) -> Result<(), RunFailure> {
    let characters: usize = labels.iter().map(|l| l.name.chars().count() + l.value.chars().count()).sum();
    if characters > model::EXEMPLAR_LABEL_CHARACTERS {
        let most = model::EXEMPLAR_LABEL_CHARACTERS;
        return Err(output(format!("an exemplar's labels have more than {most} characters")));
    }
    let mut seen = HashSet::with_capacity(labels.len());
    for label in labels {
        if !is_label_name(&label.name) {
            return Err(output(format!("an exemplar's {:?} is not a label name", tame(&label.name))));
        }
        if !seen.insert(label.name.as_str()) {
            return Err(output(format!("an exemplar's label {:?} is there twice", tame(&label.name))));
        }
    }
    Ok(())
}
