//! What a sensor returns, checked against what it described, and turned into the exposition's model.
//!
//! Two answers to what is wrong. What breaks the rules (a reserved name, a wrong label count, buckets out of order) fails
//! the run, because half of a malformed batch would be a lie. What is merely too much (series over the limit, a series
//! twice) is left out and counted, because the rest is still true.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use sonde_expo::model::{self, Family, Kind, Number, Sample, Value};
use sonde_expo::name::{is_label_name, is_metric_name};
use sonde_manifest::Limits;

use crate::bindings::sonde::sensor::types as wit;
use crate::failure::{RunFailure, tame};

/// Families in one description or dynamic batch.
const FAMILIES: usize = 1_000;
/// Longest family name; Prometheus has no bound of its own.
const NAME_BYTES: usize = 200;
/// Longest help and unit.
const HELP_BYTES: usize = 1_024;
const UNIT_BYTES: usize = 32;

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
}

/// What a run brought.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// Only those with samples.
    pub families: Vec<Family>,
    /// Lines that the samples make in the text format.
    pub series: u64,
    /// Left out: over the limit, or the same series twice.
    pub series_dropped: u64,
    /// How near it came to the limits of its shape.
    pub extent: Extent,
}

/// The sizes that limits are about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// What the batch weighs at the boundary, as wasmtime counts it: host bytes of its lists and strings.
    pub boundary_bytes: u64,
    /// Of the family that has most.
    pub labels: u64,
    pub label_name_bytes: u64,
    pub label_value_bytes: u64,
}

impl Extent {
    /// A list of `T`, which carries label values.
    fn add_list<T>(&mut self, items: &[T], labels: impl Fn(&T) -> &[String]) {
        self.boundary_bytes += size_of_val(items) as u64;
        for item in items {
            let values = labels(item);
            self.boundary_bytes += size_of_val(values) as u64;
            for value in values {
                self.boundary_bytes += value.len() as u64;
                self.label_value_bytes = self.label_value_bytes.max(value.len() as u64);
            }
        }
    }

    fn of(batch: &wit::Batch, described: &Families) -> Self {
        let mut extent = Self::default();
        extent.add_list(&batch.numbers, |n| &n.label_values);
        extent.add_list(&batch.histograms, |h| &h.label_values);
        extent.add_list(&batch.native_histograms, |h| &h.label_values);
        extent.add_list(&batch.summaries, |s| &s.label_values);
        extent.add_list(&batch.state_sets, |s| &s.label_values);
        extent.boundary_bytes += batch.histograms.iter().map(|h| size_of_val(&*h.buckets) as u64).sum::<u64>();
        let mut names = |labels: usize, longest: usize| {
            extent.labels = extent.labels.max(labels as u64);
            extent.label_name_bytes = extent.label_name_bytes.max(longest as u64);
        };
        if let Families::Static(families) = described {
            for family in families {
                names(family.label_names.len(), family.label_names.iter().map(|l| l.len()).max().unwrap_or(0));
            }
        }
        for family in &batch.families {
            names(family.label_names.len(), family.label_names.iter().map(String::len).max().unwrap_or(0));
            let texts = family.name.len() + family.help.len() + family.unit.len();
            let labels: usize = family.label_names.iter().map(|label| label.len() + size_of::<String>()).sum();
            extent.boundary_bytes += (size_of::<wit::Family>() + texts + labels) as u64;
        }
        extent
    }
}

/// What a sensor may return, as it described itself. The families have no samples.
#[derive(Debug, Clone)]
pub(crate) enum Families {
    Static(Vec<Family>),
    Dynamic,
}

/// Checks what `describe` said.
pub(crate) fn check_description(
    description: wit::Description,
    limits: &Limits,
    reserved: &Reserved,
) -> Result<Families, RunFailure> {
    match description {
        wit::Description::Dynamic => Ok(Families::Dynamic),
        wit::Description::Families(families) => check_families(families, limits, reserved).map(Families::Static),
    }
}

fn output(message: impl Into<String>) -> RunFailure {
    RunFailure::Output { message: message.into() }
}

fn check_families(families: Vec<wit::Family>, limits: &Limits, reserved: &Reserved) -> Result<Vec<Family>, RunFailure> {
    if families.len() > FAMILIES {
        return Err(output(format!("{} families, and {FAMILIES} are allowed", families.len())));
    }
    let mut claimed: HashMap<String, usize> = HashMap::with_capacity(families.len());
    let mut checked = Vec::with_capacity(families.len());
    for (index, family) in families.into_iter().enumerate() {
        let family = check_family(family, limits, reserved)?;
        for name in sonde_expo::name::sample_names(&family.name, family.kind) {
            if reserved.holds(&name) {
                return Err(output(format!("the family name {name:?} is reserved")));
            }
            if claimed.insert(name.clone(), index).is_some_and(|other| other != index) {
                return Err(output(format!("two of its families use the name {name:?}")));
            }
        }
        checked.push(family);
    }
    Ok(checked)
}

fn check_family(family: wit::Family, limits: &Limits, reserved: &Reserved) -> Result<Family, RunFailure> {
    let shown = tame(&family.name);
    if !is_metric_name(&family.name) || family.name.len() > NAME_BYTES {
        return Err(output(format!("{shown:?} is not a family name ([a-zA-Z_][a-zA-Z0-9_]*, {NAME_BYTES} bytes)")));
    }
    if family.help.len() > HELP_BYTES || family.unit.len() > UNIT_BYTES {
        return Err(output(format!("{shown}: help has at most {HELP_BYTES} bytes and unit {UNIT_BYTES}")));
    }
    if family.label_names.len() as u64 > limits.labels {
        return Err(output(format!("{shown}: {} labels, and {} are allowed", family.label_names.len(), limits.labels)));
    }
    let mut seen = HashSet::with_capacity(family.label_names.len());
    for label in &family.label_names {
        let fault = if !is_label_name(label) {
            "is not a label name"
        } else if label.len() as u64 > limits.label_name_bytes {
            "is too long a label name"
        } else if label.starts_with("__") || reserved.labels.contains(label) || *label == family.name {
            "is a reserved label name"
        } else if !seen.insert(label.as_str()) {
            "is there twice"
        } else {
            continue;
        };
        return Err(output(format!("{shown}: {:?} {fault}", tame(label))));
    }
    let kind = kind(family.kind);
    if kind == Kind::Info && !family.name.ends_with("_info") {
        return Err(output(format!("{shown}: the name of an info ends in _info")));
    }
    Ok(Family {
        name: family.name.into(),
        kind,
        help: family.help.into(),
        unit: family.unit.into(),
        label_names: family.label_names.into_iter().map(Into::into).collect(),
        samples: Vec::new(),
    })
}

fn kind(kind: wit::Kind) -> Kind {
    match kind {
        wit::Kind::Counter => Kind::Counter,
        wit::Kind::Gauge => Kind::Gauge,
        wit::Kind::Histogram => Kind::Histogram,
        wit::Kind::GaugeHistogram => Kind::GaugeHistogram,
        wit::Kind::NativeHistogram => Kind::NativeHistogram,
        wit::Kind::Summary => Kind::Summary,
        wit::Kind::Info => Kind::Info,
        wit::Kind::StateSet => Kind::StateSet,
        wit::Kind::Unknown => Kind::Unknown,
    }
}

/// Checks a batch and sorts its samples into their families.
pub(crate) fn check_batch(
    batch: wit::Batch,
    described: &Families,
    limits: &Limits,
    reserved: &Reserved,
) -> Result<Collected, RunFailure> {
    let extent = Extent::of(&batch, described);
    let families = match described {
        Families::Static(_) if !batch.families.is_empty() => {
            return Err(output("its batch brings families, and it did not describe itself as dynamic"));
        }
        Families::Static(families) => families.clone(),
        Families::Dynamic => check_families(batch.families, limits, reserved)?,
    };
    let mut sorter = Sorter::new(families, limits);
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
    Ok(Collected { extent, ..sorter.done() })
}

/// Exemplars by the sample they belong to.
#[derive(Default)]
struct Exemplars {
    numbers: HashMap<u32, model::Exemplar>,
    buckets: HashMap<u32, Vec<(u32, model::Exemplar)>>,
}

impl Exemplars {
    fn sort(raw: Vec<wit::Exemplar>) -> Result<Self, RunFailure> {
        let mut sorted = Self::default();
        for exemplar in raw {
            let characters: usize =
                exemplar.labels.iter().map(|l| l.name.chars().count() + l.value.chars().count()).sum();
            if characters > model::EXEMPLAR_LABEL_CHARACTERS {
                return Err(output("an exemplar's labels have more than 128 characters"));
            }
            if let Some(label) = exemplar.labels.iter().find(|label| !is_label_name(&label.name)) {
                return Err(output(format!("an exemplar's {:?} is not a label name", tame(&label.name))));
            }
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

    fn of_number(&mut self, index: usize) -> Option<Box<model::Exemplar>> {
        if self.numbers.is_empty() { None } else { self.numbers.remove(&(index as u32)).map(Box::new) }
    }

    fn of_histogram(&mut self, index: usize) -> Vec<(u32, model::Exemplar)> {
        if self.buckets.is_empty() { Vec::new() } else { self.buckets.remove(&(index as u32)).unwrap_or_default() }
    }
}

/// Puts each sample into its family, and keeps count.
struct Sorter<'a> {
    families: Vec<Family>,
    limits: &'a Limits,
    hasher: RandomState,
    seen: HashSet<u64>,
    series: u64,
    dropped: u64,
}

impl<'a> Sorter<'a> {
    fn new(families: Vec<Family>, limits: &'a Limits) -> Self {
        Self { families, limits, hasher: RandomState::new(), seen: HashSet::new(), series: 0, dropped: 0 }
    }

    /// The family of a sample, its labels checked.
    fn family(&mut self, index: u32, kinds: &[Kind], labels: &[String]) -> Result<&mut Family, RunFailure> {
        let count = self.families.len();
        let Some(family) = self.families.get_mut(index as usize) else {
            return Err(output(format!("a sample names family {index} of {count}")));
        };
        if !kinds.contains(&family.kind) {
            return Err(output(format!("{}: a sample of another kind than the family's", family.name)));
        }
        if labels.len() != family.label_names.len() {
            let (got, wanted) = (labels.len(), family.label_names.len());
            return Err(output(format!("{}: a sample has {got} label values for {wanted} labels", family.name)));
        }
        if labels.iter().any(|value| value.len() as u64 > self.limits.label_value_bytes) {
            let limit = self.limits.label_value_bytes;
            return Err(output(format!("{}: a label value has more than {limit} bytes", family.name)));
        }
        Ok(family)
    }

    /// Appends a sample unless it is over the series limit or there already.
    fn push(&mut self, index: u32, labels: Vec<String>, lines: u64, value: Value, start: Option<f64>) {
        let mut hasher = self.hasher.build_hasher();
        index.hash(&mut hasher);
        labels.hash(&mut hasher);
        if self.series + lines > self.limits.series || !self.seen.insert(hasher.finish()) {
            self.dropped += lines;
            return;
        }
        self.series += lines;
        self.families[index as usize].samples.push(Sample {
            label_values: labels.into_iter().map(Into::into).collect(),
            value,
            start_time_seconds: start.filter(|seconds| seconds.is_finite()),
        });
    }

    fn number(&mut self, raw: wit::Number, exemplar: Option<Box<model::Exemplar>>) -> Result<(), RunFailure> {
        const KINDS: [Kind; 4] = [Kind::Counter, Kind::Gauge, Kind::Info, Kind::Unknown];
        let family = self.family(raw.family, &KINDS, &raw.label_values)?;
        let value = if family.kind == Kind::Info { 1.0 } else { raw.value };
        let exemplar = exemplar.filter(|_| family.kind == Kind::Counter);
        let value = Value::Number { value: Number::Float(value), exemplar };
        self.push(raw.family, raw.label_values, 1, value, raw.start_time);
        Ok(())
    }

    fn histogram(&mut self, raw: wit::Histogram, exemplars: Vec<(u32, model::Exemplar)>) -> Result<(), RunFailure> {
        let family = self.family(raw.family, &[Kind::Histogram, Kind::GaugeHistogram], &raw.label_values)?;
        let name = family.name.clone();
        let bad = |what: &str| Err(output(format!("{name}: {what}")));
        let mut previous: Option<&wit::Bucket> = None;
        for bucket in &raw.buckets {
            if bucket.upper_bound.is_nan() || bucket.cumulative_count.is_nan() || bucket.cumulative_count < 0.0 {
                return bad("a bucket's bound or count is not a number");
            }
            if previous.is_some_and(|last| bucket.upper_bound <= last.upper_bound) {
                return bad("its buckets' bounds do not rise");
            }
            if previous.is_some_and(|last| bucket.cumulative_count < last.cumulative_count) {
                return bad("its buckets' counts are not cumulative");
            }
            previous = Some(bucket);
        }
        let last = previous.map_or(0.0, |bucket| bucket.cumulative_count);
        let ends = previous.is_some_and(|bucket| bucket.upper_bound == f64::INFINITY);
        if raw.count.is_nan() || raw.count < last || (ends && raw.count != last) {
            return bad("its count is not its last bucket's");
        }
        let mut buckets: Vec<model::Bucket> = raw
            .buckets
            .iter()
            .map(|bucket| model::Bucket {
                upper_bound: bucket.upper_bound,
                cumulative_count: bucket.cumulative_count,
                exemplar: None,
            })
            .collect();
        for (index, exemplar) in exemplars {
            let Some(bucket) = buckets.get_mut(index as usize) else {
                return bad("an exemplar names a bucket that is not there");
            };
            bucket.exemplar = Some(Box::new(exemplar));
        }
        let lines = buckets.len() as u64 + u64::from(!ends) + 1 + u64::from(raw.sum.is_some());
        let value = Value::Histogram(Box::new(model::Histogram { buckets, sum: raw.sum, count: raw.count }));
        self.push(raw.family, raw.label_values, lines, value, raw.start_time);
        Ok(())
    }

    fn native(&mut self, raw: wit::NativeHistogram) -> Result<(), RunFailure> {
        let family = self.family(raw.family, &[Kind::NativeHistogram], &raw.label_values)?;
        let name = family.name.clone();
        let spans = |spans: &[wit::Span], counts: &[f64]| {
            let named: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
            named == counts.len() as u64
                && spans.iter().skip(1).all(|span| span.offset >= 0)
                && counts.iter().all(|count| *count >= 0.0)
        };
        let fits = (-4..=8).contains(&raw.schema)
            && raw.zero_threshold >= 0.0
            && raw.zero_count >= 0.0
            && raw.count >= 0.0
            && spans(&raw.positive_spans, &raw.positive_counts)
            && spans(&raw.negative_spans, &raw.negative_counts);
        if !fits {
            return Err(output(format!("{name}: its native histogram is not well formed")));
        }
        let lines = 3 + (raw.positive_counts.len() + raw.negative_counts.len()) as u64;
        let convert = |spans: Vec<wit::Span>| {
            spans.into_iter().map(|span| model::Span { offset: span.offset, length: span.length }).collect()
        };
        let value = Value::Native(Box::new(model::NativeHistogram {
            schema: raw.schema,
            zero_threshold: raw.zero_threshold,
            zero_count: raw.zero_count,
            count: raw.count,
            sum: raw.sum,
            positive_spans: convert(raw.positive_spans),
            positive_counts: raw.positive_counts,
            negative_spans: convert(raw.negative_spans),
            negative_counts: raw.negative_counts,
        }));
        self.push(raw.family, raw.label_values, lines, value, raw.start_time);
        Ok(())
    }

    fn summary(&mut self, raw: wit::Summary) -> Result<(), RunFailure> {
        let family = self.family(raw.family, &[Kind::Summary], &raw.label_values)?;
        let rising = raw.quantiles.windows(2).all(|pair| pair[0].quantile < pair[1].quantile);
        if !rising || raw.quantiles.iter().any(|q| !(0.0..=1.0).contains(&q.quantile)) {
            return Err(output(format!("{}: its quantiles do not rise from 0 to 1", family.name)));
        }
        let quantiles: Vec<_> =
            raw.quantiles.iter().map(|q| model::Quantile { quantile: q.quantile, value: q.value }).collect();
        let lines = quantiles.len() as u64 + u64::from(raw.sum.is_some()) + u64::from(raw.count.is_some());
        let value = Value::Summary(Box::new(model::Summary { quantiles, sum: raw.sum, count: raw.count }));
        self.push(raw.family, raw.label_values, lines, value, raw.start_time);
        Ok(())
    }

    fn states(&mut self, raw: wit::StateSet) -> Result<(), RunFailure> {
        let limit = self.limits.label_value_bytes;
        let family = self.family(raw.family, &[Kind::StateSet], &raw.label_values)?;
        let mut names = HashSet::with_capacity(raw.states.len());
        for state in &raw.states {
            if state.name.is_empty() || state.name.len() as u64 > limit || !names.insert(state.name.as_str()) {
                return Err(output(format!(
                    "{}: a state has no name, too long a name, or is there twice",
                    family.name
                )));
            }
        }
        drop(names);
        let lines = raw.states.len() as u64;
        let states = raw.states.into_iter().map(|s| model::State { name: s.name.into(), enabled: s.enabled }).collect();
        self.push(raw.family, raw.label_values, lines, Value::States(states), None);
        Ok(())
    }

    fn done(mut self) -> Collected {
        self.families.retain(|family| !family.samples.is_empty());
        Collected {
            families: self.families,
            series: self.series,
            series_dropped: self.dropped,
            extent: Extent::default(),
        }
    }
}
