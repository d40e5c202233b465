//! What a sensor returns, checked against what it described, and turned into the exposition's model.
//!
//! Three answers to what is wrong. What is malformed (a name outside the grammar, a wrong label count, a sample of no family) fails the run,
//! because half of a malformed batch would be a lie. What a sensor *relays* and may not claim or cannot be exposed (a reserved
//! name, a name taken twice, a counter below zero) costs a dynamic sensor that one family, counted as dropped, because the endpoint behind it is
//! not its own to mend; a sensor that described its families fails. What is merely too much (series over the
//! limit, a series twice) is left out and counted, because the rest is still true.

use std::collections::HashSet;

use sonde_expo::model::Family;
use sonde_manifest::Limits;

use crate::failure::RunFailure;
use crate::wire::batch as wit;

mod churn;
mod exemplars;
mod extent;
mod families;
mod samples;
#[cfg(test)]
mod tests;

pub use churn::Churn;
pub use extent::Extent;
pub(crate) use families::Families;

use exemplars::Exemplars;
use families::{claimed, described};
use samples::Sorter;

/// Names that a sensor may not claim. Given by whoever exposes what the sensor returns.
#[derive(Debug, Clone, Default)]
pub struct Reserved {
    /// Whole sample names.
    pub names: HashSet<String>,
    /// Beginnings of sample names.
    pub prefixes: Vec<String>,
    /// Label names; those beginning with `__` are always reserved.
    pub labels: HashSet<String>,
}

impl Reserved {
    fn holds(&self, name: &str) -> bool {
        name.contains(':') || self.names.contains(name) || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    fn holds_label(&self, label: &str) -> bool {
        label.starts_with("__") || self.labels.contains(label)
    }
}

/// What a run brought.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// Only those with samples.
    pub families: Vec<Family>,
    /// Lines of each family in the text format; parallel to `families`.
    pub lines: Vec<u64>,
    /// All of `lines` together.
    pub series: u64,
    /// Lines left out: over the limit, the same series twice, or of a family that could not be exposed.
    pub series_dropped: u64,
    /// How near it came to the limits of its shape.
    pub extent: Extent,
}

impl Collected {
    /// Leaves out families from the end until no more than so many lines are left.
    pub(crate) fn keep_at_most(&mut self, lines: u64) {
        while self.series > lines {
            let Some(last) = self.lines.pop() else { break };
            self.families.pop();
            self.series -= last;
            self.series_dropped += last;
        }
    }

    /// Each family with the lines that it makes.
    pub fn with_lines(&self) -> impl Iterator<Item = (&Family, u64)> {
        self.families.iter().zip(self.lines.iter().copied())
    }
}

/// Checks what `describe` said.
pub(crate) fn check_description(
    description: wit::Description,
    limits: &Limits,
    reserved: &Reserved,
) -> Result<Families, RunFailure> {
    match description {
        wit::Description::Dynamic => Ok(Families::Dynamic),
        wit::Description::Families(families) => described(families, limits, reserved).map(Families::Static),
    }
}

/// Checks a batch and sorts its samples into their families.
pub(crate) fn check_batch(
    batch: wit::Batch,
    described: &Families,
    limits: &Limits,
    reserved: &Reserved,
    churn: Option<&mut Churn>,
) -> Result<Collected, RunFailure> {
    let mut first = Churn::default();
    let churn = churn.unwrap_or(&mut first);
    let extent = Extent::of(&batch, described);
    let mut sorter = match described {
        Families::Static(_) if !batch.families.is_empty() => {
            return Err(output("its batch brings families, and it did not describe itself as dynamic"));
        }
        Families::Static(families) => Sorter::of_described(families.clone(), limits, churn),
        Families::Dynamic => Sorter::of_relayed(claimed(batch.families, limits, reserved)?, limits, churn),
    };
    let mut exemplars = Exemplars::sort(batch.exemplars)?;
    for (index, number) in batch.numbers.into_iter().enumerate() {
        sorter.number(number, exemplars.of_number(index))?;
    }
    for (index, histogram) in batch.histograms.into_iter().enumerate() {
        sorter.histogram(histogram, exemplars.of_histogram(index))?;
    }
    for native in batch.native_histograms {
        sorter.native(native)?;
    }
    for summary in batch.summaries {
        sorter.summary(summary)?;
    }
    for states in batch.state_sets {
        sorter.states(states)?;
    }
    exemplars.all_placed()?;
    Ok(Collected { extent, ..sorter.done() })
}

fn output(message: impl Into<String>) -> RunFailure {
    RunFailure::Output { message: message.into() }
}
