//! How near a batch came to the limits of its shape: for an author, who must choose them.
//!
//! Measured before anything is left out. The boundary's weight is what wasmtime's own account of a call counts: the host bytes of the
//! lists and strings that are lifted.

use super::families::Families;
use crate::wire::batch as wit;

/// The sizes that limits are about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// What the batch weighs at the boundary.
    pub boundary_bytes: u64,
    /// Of the family that has most.
    pub labels: u64,
    pub label_name_bytes: u64,
    pub label_value_bytes: u64,
}

/// What the elements of a list weigh, without what they point to.
fn weight<T>(list: &[T]) -> u64 {
    size_of_val(list) as u64
}

impl Extent {
    pub(super) fn of(batch: &wit::Batch, described: &Families) -> Self {
        let mut extent = Self::default();
        extent.samples(&batch.numbers, |n| (&n.label_values, 0));
        extent.samples(&batch.histograms, |h| (&h.label_values, weight(&h.buckets)));
        extent.samples(&batch.native_histograms, |h| {
            let spans = weight(&h.positive_spans) + weight(&h.negative_spans);
            (&h.label_values, spans + weight(&h.positive_counts) + weight(&h.negative_counts))
        });
        extent.samples(&batch.summaries, |s| (&s.label_values, weight(&s.quantiles)));
        extent.samples(&batch.state_sets, |s| {
            let names: u64 = s.states.iter().map(|state| state.name.len() as u64).sum();
            (&s.label_values, weight(&s.states) + names)
        });
        extent.boundary_bytes += weight(&batch.exemplars);
        for exemplar in &batch.exemplars {
            let texts: usize = exemplar.labels.iter().map(|label| label.name.len() + label.value.len()).sum();
            extent.boundary_bytes += weight(&exemplar.labels) + texts as u64;
        }
        if let Families::Static(families) = described {
            for family in families {
                extent.label_names(family.label_names.iter().map(|label| label.len()));
            }
        }
        for family in &batch.families {
            extent.label_names(family.label_names.iter().map(String::len));
            let texts = family.name.len() + family.help.len() + family.unit.len();
            let labels: usize = family.label_names.iter().map(|label| label.len() + size_of::<String>()).sum();
            extent.boundary_bytes += (size_of::<wit::Family>() + texts + labels) as u64;
        }
        extent
    }

    /// A list of samples, each with its label values and what else it points to.
    fn samples<T>(&mut self, samples: &[T], parts: impl Fn(&T) -> (&[String], u64)) {
        self.boundary_bytes += weight(samples);
        for sample in samples {
            let (values, rest) = parts(sample);
            self.boundary_bytes += weight(values) + rest;
            for value in values {
                self.boundary_bytes += value.len() as u64;
                self.label_value_bytes = self.label_value_bytes.max(value.len() as u64);
            }
        }
    }

    fn label_names(&mut self, lengths: impl ExactSizeIterator<Item = usize>) {
        self.labels = self.labels.max(lengths.len() as u64);
        self.label_name_bytes = self.label_name_bytes.max(lengths.max().unwrap_or(0) as u64);
    }
}
