//! What one run returns, filled sample by sample.
//!
//! One method a kind, each taking the family it belongs to and as many label values as that family
//! has. The records that cross the boundary are filled directly; nothing is copied at the end. A family
//! that was not described, and in a dynamic sensor a sample with the wrong number of labels, make the
//! run fail with a sentence, rather than be refused by the node sample by sample.

use crate::raw::types;
use crate::{
    Counter, Description, Failure, Family, Gauge, GaugeHistogram, Histogram, Info, Kind, NativeHistogram, Reason,
    StateSet, Summary, Unknown,
};

/// A name and a value, as an exemplar carries them.
pub type Label<'a> = (&'a str, &'a str);

/// What one run returns.
pub struct Batch {
    families: &'static [&'static dyn Family],
    dynamic: bool,
    /// Where the last family was found: sensors fill families in the order in which they describe them.
    hint: usize,
    fault: Option<String>,
    records: types::Batch,
}

/// A family that a dynamic sensor declared in this run: its index in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared(pub u32);

/// A counter's sample in the batch, to hang an exemplar on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterAt(u32);

/// A histogram's sample in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramAt(u32);

/// A bucket of a histogram in the batch, to hang an exemplar on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketOf(u32, u32);

impl HistogramAt {
    /// Its bucket at this index.
    pub fn bucket(self, index: u32) -> BucketOf {
        BucketOf(self.0, index)
    }
}

impl From<CounterAt> for types::ExemplarOf {
    fn from(at: CounterAt) -> Self {
        Self::Number(at.0)
    }
}

impl From<BucketOf> for types::ExemplarOf {
    fn from(at: BucketOf) -> Self {
        Self::Bucket((at.0, at.1))
    }
}

fn owned<const LABELS: usize>(labels: [&str; LABELS]) -> Vec<String> {
    labels.iter().map(|value| (*value).to_owned()).collect()
}

/// Counts in a batch are far below 2³²: the node's limit of series is.
fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Batch {
    pub(crate) fn new(description: Description) -> Self {
        let (families, dynamic): (&'static [&'static dyn Family], bool) = match description {
            Description::Families(families) => (families, false),
            Description::Dynamic => (&[], true),
        };
        Self {
            families,
            dynamic,
            hint: 0,
            fault: None,
            records: types::Batch {
                families: Vec::new(),
                numbers: Vec::with_capacity(families.len()),
                histograms: Vec::new(),
                native_histograms: Vec::new(),
                summaries: Vec::new(),
                state_sets: Vec::new(),
                exemplars: Vec::new(),
            },
        }
    }

    /// A counter's value.
    pub fn counter<const L: usize>(&mut self, family: &Counter<L>, labels: [&str; L], value: f64) -> CounterAt {
        self.number(family, owned(labels), value, None)
    }

    /// A counter's value, and when it began, in seconds since 1970.
    pub fn counter_since<const L: usize>(
        &mut self,
        family: &Counter<L>,
        labels: [&str; L],
        value: f64,
        start_time: f64,
    ) -> CounterAt {
        self.number(family, owned(labels), value, Some(start_time))
    }

    /// A gauge's value.
    pub fn gauge<const L: usize>(&mut self, family: &Gauge<L>, labels: [&str; L], value: f64) {
        self.number(family, owned(labels), value, None);
    }

    /// A number of unknown kind.
    pub fn unknown<const L: usize>(&mut self, family: &Unknown<L>, labels: [&str; L], value: f64) {
        self.number(family, owned(labels), value, None);
    }

    /// Labels that describe.
    pub fn info<const L: usize>(&mut self, family: &Info<L>, labels: [&str; L]) {
        self.number(family, owned(labels), 1.0, None);
    }

    /// A set of states, each with whether it holds.
    pub fn state_set<const L: usize>(&mut self, family: &StateSet<L>, labels: [&str; L], states: &[(&str, bool)]) {
        let family = self.index_of(family);
        let states =
            states.iter().map(|(name, enabled)| types::State { name: (*name).to_owned(), enabled: *enabled }).collect();
        self.records.state_sets.push(types::StateSet { family, label_values: owned(labels), states });
    }

    /// A histogram: buckets as (upper bound, count of observations at most that), bounds rising; the
    /// one of +Inf may be left out. `sum` is absent where negative observations make it meaningless.
    pub fn histogram<const L: usize>(
        &mut self,
        family: &Histogram<L>,
        labels: [&str; L],
        buckets: &[(f64, f64)],
        sum: Option<f64>,
        count: f64,
    ) -> HistogramAt {
        self.buckets(family, owned(labels), buckets, sum, count)
    }

    /// A gauge histogram, in the form of [`Batch::histogram`].
    pub fn gauge_histogram<const L: usize>(
        &mut self,
        family: &GaugeHistogram<L>,
        labels: [&str; L],
        buckets: &[(f64, f64)],
        sum: Option<f64>,
        count: f64,
    ) -> HistogramAt {
        self.buckets(family, owned(labels), buckets, sum, count)
    }

    /// A native histogram. Its `family` and `label_values` are filled here, whatever they hold.
    pub fn native_histogram<const L: usize>(
        &mut self,
        family: &NativeHistogram<L>,
        labels: [&str; L],
        value: types::NativeHistogram,
    ) {
        let family = self.index_of(family);
        self.records.native_histograms.push(types::NativeHistogram { family, label_values: owned(labels), ..value });
    }

    /// A summary: quantiles (0 to 1) with their values.
    pub fn summary<const L: usize>(
        &mut self,
        family: &Summary<L>,
        labels: [&str; L],
        quantiles: &[(f64, f64)],
        sum: Option<f64>,
        count: Option<f64>,
    ) {
        let family = self.index_of(family);
        let quantiles =
            quantiles.iter().map(|(quantile, value)| types::Quantile { quantile: *quantile, value: *value }).collect();
        let label_values = owned(labels);
        self.records.summaries.push(types::Summary { family, label_values, quantiles, sum, count, start_time: None });
    }

    /// An exemplar of a counter or of a histogram's bucket. Together the labels have at most 128 characters.
    pub fn exemplar(
        &mut self,
        of: impl Into<types::ExemplarOf>,
        labels: &[Label<'_>],
        value: f64,
        timestamp: Option<f64>,
    ) {
        let labels = labels
            .iter()
            .map(|(name, value)| types::Label { name: (*name).to_owned(), value: (*value).to_owned() })
            .collect();
        self.records.exemplars.push(types::Exemplar { of: of.into(), labels, value, timestamp });
    }

    /// Declares a family of a dynamic sensor, for this run.
    pub fn declare(&mut self, name: &str, kind: Kind, help: &str, unit: &str, label_names: Vec<String>) -> Declared {
        let declared = Declared(index(self.records.families.len()));
        self.records.families.push(types::Family {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            unit: unit.to_owned(),
            label_names,
        });
        declared
    }

    /// The records themselves, for a dynamic sensor to push samples of its [`Declared`] families.
    pub fn records(&mut self) -> &mut types::Batch {
        &mut self.records
    }

    fn number(&mut self, family: &dyn Family, label_values: Vec<String>, value: f64, start: Option<f64>) -> CounterAt {
        let family = self.index_of(family);
        let at = CounterAt(index(self.records.numbers.len()));
        self.records.numbers.push(types::Number { family, label_values, value, start_time: start });
        at
    }

    fn buckets(
        &mut self,
        family: &dyn Family,
        label_values: Vec<String>,
        buckets: &[(f64, f64)],
        sum: Option<f64>,
        count: f64,
    ) -> HistogramAt {
        let family = self.index_of(family);
        let at = HistogramAt(index(self.records.histograms.len()));
        let buckets = buckets
            .iter()
            .map(|(upper_bound, count)| types::Bucket { upper_bound: *upper_bound, cumulative_count: *count })
            .collect();
        let record = types::Histogram { family, label_values, buckets, sum, count, start_time: None };
        self.records.histograms.push(record);
        at
    }

    /// A family's index among the described ones. One that is not among them spoils the batch.
    fn index_of(&mut self, family: &dyn Family) -> u32 {
        let name = family.name();
        let count = self.families.len();
        for step in 0..count {
            let at = (self.hint + step) % count;
            if self.families[at].name() == name {
                self.hint = at;
                return index(at);
            }
        }
        if self.fault.is_none() {
            self.fault = Some(["the sensor returned ", name, ", which its DESCRIPTION does not name"].concat());
        }
        u32::MAX
    }

    pub(crate) fn finish(self) -> Result<types::Batch, Failure> {
        if let Some(fault) = self.fault {
            return Err(Failure::new(Reason::Other, fault));
        }
        let records = self.records;
        if !self.dynamic && !records.families.is_empty() {
            return Err(Failure::new(
                Reason::Other,
                "the sensor declared a family, but did not describe itself as dynamic",
            ));
        }
        if self.dynamic
            && let Some(name) = misshapen(&records)
        {
            return Err(Failure::new(
                Reason::Other,
                ["a sample of ", name, " has another number of labels than its family"].concat(),
            ));
        }
        Ok(records)
    }
}

/// The family of a sample whose labels are not as many as the family's.
fn misshapen(records: &types::Batch) -> Option<&str> {
    let numbers = records.numbers.iter().map(|sample| (sample.family, sample.label_values.len()));
    let histograms = records.histograms.iter().map(|sample| (sample.family, sample.label_values.len()));
    let natives = records.native_histograms.iter().map(|sample| (sample.family, sample.label_values.len()));
    let summaries = records.summaries.iter().map(|sample| (sample.family, sample.label_values.len()));
    let state_sets = records.state_sets.iter().map(|sample| (sample.family, sample.label_values.len()));
    numbers.chain(histograms).chain(natives).chain(summaries).chain(state_sets).find_map(|(family, labels)| {
        match records.families.get(family as usize) {
            Some(family) if family.label_names.len() == labels => None,
            Some(family) => Some(family.name.as_str()),
            None => Some("an undeclared family"),
        }
    })
}
