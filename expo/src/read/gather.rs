//! Gathers the lines of a family into samples.
//!
//! A histogram is many lines; they meet in one [`Row`] by their labels less `le`. Rows are found by a key
//! of the label values in the order of the family's label names, with trailing absent ones cut, so that a
//! label first seen later changes no earlier key. That costs one hash a line, whatever the input does.

use std::collections::HashMap;

use super::sample::SampleLine;
use super::{ReadError, ReadFormat, ReadLimits, Reason};
use crate::model::{Bucket, Exemplar, Family, Histogram, Kind, Number, Quantile, Sample, State, Summary, Value};
use crate::name::{LE, QUANTILE};

/// Which part of a sample a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Value,
    Created,
    Bucket,
    Sum,
    Count,
    Quantile,
    State,
}

/// What the lines of one sample have given so far.
#[derive(Debug)]
enum Parts {
    Number(Option<(f64, Option<Box<Exemplar>>)>),
    Histogram { buckets: Vec<Bucket>, sum: Option<f64>, count: Option<f64> },
    Summary(Summary),
    States(Vec<State>),
}

/// A sample that is being gathered.
#[derive(Debug)]
struct Row {
    label_values: Vec<Box<str>>,
    start_time_seconds: Option<f64>,
    parts: Parts,
    /// Its first line.
    line: usize,
}

/// A family that is being gathered.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: Box<str>,
    pub(super) kind: Kind,
    pub(super) help: Option<Box<str>>,
    pub(super) unit: Box<str>,
    /// Whether a TYPE line was seen.
    pub(super) typed: bool,
    label_names: Vec<Box<str>>,
    rows: Vec<Row>,
    by_labels: HashMap<Box<[u8]>, usize>,
    /// Key of the latest row: the lines of a histogram mostly stand together.
    latest: Option<usize>,
    latest_key: Vec<u8>,
}

impl Draft {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Unknown,
            help: None,
            unit: Box::default(),
            typed: false,
            label_names: Vec::new(),
            rows: Vec::new(),
            by_labels: HashMap::new(),
            latest: None,
            latest_key: Vec::new(),
        }
    }

    pub(super) fn has_samples(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Takes a line as `part` of the sample that its labels name.
    pub(super) fn add(&mut self, read: SampleLine<'_>, part: Part, at: At<'_>) -> Result<(), Reason> {
        let own = match part {
            Part::Bucket => LE,
            Part::Quantile => QUANTILE,
            Part::State => &self.name,
            _ => "",
        };
        let own = read.labels.iter().position(|(label, _)| !own.is_empty() && **label == *own);
        if own.is_none() && matches!(part, Part::Bucket | Part::Quantile | Part::State) {
            return Err(Reason::NoOwnLabel);
        }
        if read.exemplar.is_some() && !(part == Part::Bucket || (part == Part::Value && self.kind == Kind::Counter)) {
            return Err(Reason::ExemplarPlace);
        }
        let row = self.row(&read, own, at)?;
        let label = own.map_or("", |own| &*read.labels[own].1);
        check_value(part, self.kind, read.value, at.format)?;
        let row = &mut self.rows[row];
        let twice = row.put(part, label, read.value, read.exemplar)?;
        // Prometheus keeps the first of two samples of one time.
        if twice && at.format == ReadFormat::OpenMetrics { Err(Reason::SeriesTwice) } else { Ok(()) }
    }

    /// The row that the line's labels name, but for the one at `own`.
    fn row(&mut self, read: &SampleLine<'_>, own: Option<usize>, at: At<'_>) -> Result<usize, Reason> {
        let cells = self.cells(read, own, at.limits)?;
        let mut key = Vec::new();
        for cell in &cells {
            key.extend_from_slice(cell.as_bytes());
            key.push(u8::MAX); // in no UTF-8
        }
        if let Some(latest) = self.latest.filter(|_| self.latest_key == key) {
            return Ok(latest);
        }
        let found = self.by_labels.get(&*key).copied();
        let interrupted = found.is_some() && at.format == ReadFormat::OpenMetrics;
        if interrupted {
            // A number that comes back is simply there twice.
            return Err(if self.kind.is_number() { Reason::SeriesTwice } else { Reason::Interrupted });
        }
        let row = found.unwrap_or(self.rows.len());
        if found.is_none() {
            self.rows.push(Row {
                label_values: cells.into_iter().map(Into::into).collect(),
                start_time_seconds: None,
                parts: Parts::new(self.kind),
                line: at.line,
            });
            self.by_labels.insert(key.clone().into(), row);
        }
        self.latest = Some(row);
        self.latest_key = key;
        Ok(row)
    }

    /// The line's label values in the order of the family's names, new names added; trailing absent ones cut.
    fn cells<'r>(
        &mut self,
        read: &'r SampleLine<'_>,
        own: Option<usize>,
        limits: &ReadLimits,
    ) -> Result<Vec<&'r str>, Reason> {
        let mut cells = vec![""; self.label_names.len()];
        let mut expected = 0;
        for (at, (label, value)) in read.labels.iter().enumerate() {
            // An empty value is an absent label.
            if Some(at) == own || value.is_empty() {
                continue;
            }
            // Labels mostly come in one order; the search is among at most `limits.labels`.
            let column = if self.label_names.get(expected).is_some_and(|name| **name == **label) {
                expected
            } else if let Some(column) = self.label_names.iter().position(|name| **name == **label) {
                column
            } else if self.label_names.len() >= limits.labels {
                return Err(Reason::TooManyLabels);
            } else {
                self.label_names.push(label.as_ref().into());
                cells.push("");
                self.label_names.len() - 1
            };
            cells[column] = value;
            expected = column + 1;
        }
        let used = cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
        cells.truncate(used);
        Ok(cells)
    }

    /// The family, whole.
    pub(super) fn finish(self, format: ReadFormat) -> Result<Family, ReadError> {
        let (kind, width) = (self.kind, self.label_names.len());
        let mut samples = Vec::with_capacity(self.rows.len());
        for mut row in self.rows {
            row.label_values.resize(width, Box::default());
            let line = row.line;
            samples.push(row.finish(kind, format).map_err(|reason| ReadError { line, reason })?);
        }
        Ok(Family {
            name: self.name,
            kind,
            help: self.help.unwrap_or_default(),
            unit: self.unit,
            label_names: self.label_names,
            samples,
        })
    }
}

/// Where and by which rules a line is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'l> {
    pub(super) line: usize,
    pub(super) format: ReadFormat,
    pub(super) limits: &'l ReadLimits,
}

/// OpenMetrics constrains what some lines may say.
fn check_value(part: Part, kind: Kind, value: f64, format: ReadFormat) -> Result<(), Reason> {
    if format == ReadFormat::Text {
        return Ok(());
    }
    let counts = matches!(part, Part::Count | Part::Bucket) || (part == Part::Value && kind == Kind::Counter);
    match part {
        _ if counts && (value.is_nan() || value < 0.0) => Err(Reason::CounterValue),
        Part::State if value != 0.0 && value != 1.0 => Err(Reason::StateValue),
        Part::Value if kind == Kind::Info && value != 1.0 => Err(Reason::InfoValue),
        _ => Ok(()),
    }
}

impl Parts {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Histogram | Kind::GaugeHistogram | Kind::NativeHistogram => {
                Self::Histogram { buckets: Vec::new(), sum: None, count: None }
            }
            Kind::Summary => Self::Summary(Summary { quantiles: Vec::new(), sum: None, count: None }),
            Kind::StateSet => Self::States(Vec::new()),
            Kind::Counter | Kind::Gauge | Kind::Info | Kind::Unknown => Self::Number(None),
        }
    }
}

/// Sets what is not set yet; true if it was.
fn set<T>(slot: &mut Option<T>, value: T) -> bool {
    let twice = slot.is_some();
    slot.get_or_insert(value);
    twice
}

impl Row {
    /// Takes one line's value; true if there was one already. Buckets, quantiles and states that stand twice are
    /// found when the row is finished.
    fn put(&mut self, part: Part, label: &str, value: f64, exemplar: Option<Box<Exemplar>>) -> Result<bool, Reason> {
        let bound = || super::lexer::number(label).filter(|bound| !bound.is_nan()).ok_or(Reason::Bound);
        Ok(match (&mut self.parts, part) {
            (_, Part::Created) => set(&mut self.start_time_seconds, value),
            (Parts::Number(number), Part::Value) => set(number, (value, exemplar)),
            (Parts::Histogram { buckets, .. }, Part::Bucket) => {
                buckets.push(Bucket { upper_bound: bound()?, cumulative_count: value, exemplar });
                false
            }
            (Parts::Histogram { sum, .. } | Parts::Summary(Summary { sum, .. }), Part::Sum) => set(sum, value),
            (Parts::Histogram { count, .. } | Parts::Summary(Summary { count, .. }), Part::Count) => set(count, value),
            (Parts::Summary(summary), Part::Quantile) => {
                let quantile = bound().ok().filter(|bound| (0.0..=1.0).contains(bound)).ok_or(Reason::Bound)?;
                summary.quantiles.push(Quantile { quantile, value });
                false
            }
            (Parts::States(states), Part::State) => {
                states.push(State { name: label.into(), enabled: value != 0.0 });
                false
            }
            _ => return Err(Reason::NotOfKind),
        })
    }

    fn finish(self, kind: Kind, format: ReadFormat) -> Result<Sample, Reason> {
        let value = match self.parts {
            Parts::Number(number) => {
                let (value, exemplar) = number.ok_or(Reason::CreatedAlone)?;
                Value::Number { value: Number::Float(value), exemplar }
            }
            Parts::Histogram { buckets, sum, count } => {
                Value::Histogram(Box::new(histogram(buckets, sum, count, kind, format)?))
            }
            Parts::Summary(mut summary) => {
                if summary.quantiles.is_empty() && summary.sum.is_none() && summary.count.is_none() {
                    return Err(Reason::CreatedAlone);
                }
                distinct(
                    &mut summary.quantiles,
                    format,
                    |left, right| left.quantile.total_cmp(&right.quantile),
                    |left, right| left.quantile == right.quantile,
                )?;
                Value::Summary(Box::new(summary))
            }
            Parts::States(states) => {
                let mut names: Vec<&str> = states.iter().map(|state| &*state.name).collect();
                names.sort_unstable();
                if names.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(Reason::SeriesTwice);
                }
                Value::States(states)
            }
        };
        Ok(Sample { label_values: self.label_values, value, start_time_seconds: self.start_time_seconds })
    }
}

/// Sorts, and drops what stands twice but for the first; in OpenMetrics that is a fault.
fn distinct<T>(
    items: &mut Vec<T>,
    format: ReadFormat,
    order: impl Fn(&T, &T) -> std::cmp::Ordering,
    equal: impl Fn(&T, &T) -> bool,
) -> Result<(), Reason> {
    items.sort_by(order);
    let before = items.len();
    items.dedup_by(|later, earlier| equal(later, earlier));
    if items.len() < before && format == ReadFormat::OpenMetrics { Err(Reason::SeriesTwice) } else { Ok(()) }
}

/// A histogram of its lines. Text lets a count differ from the last bucket, for exporters that count without a lock;
/// OpenMetrics does not.
fn histogram(
    mut buckets: Vec<Bucket>,
    sum: Option<f64>,
    count: Option<f64>,
    kind: Kind,
    format: ReadFormat,
) -> Result<Histogram, Reason> {
    let strict = format == ReadFormat::OpenMetrics;
    if strict && !buckets.is_sorted_by(|left, right| left.upper_bound <= right.upper_bound) {
        return Err(Reason::Buckets);
    }
    distinct(
        &mut buckets,
        format,
        |left, right| left.upper_bound.total_cmp(&right.upper_bound),
        |left, right| left.upper_bound == right.upper_bound,
    )?;
    let all = buckets.last().filter(|last| last.upper_bound == f64::INFINITY).map(|last| last.cumulative_count);
    if strict {
        let rises = buckets.is_sorted_by(|left, right| left.cumulative_count <= right.cumulative_count);
        let agrees = all.is_some() && count.is_none_or(|count| Some(count) == all);
        if !agrees || !(rises || kind == Kind::GaugeHistogram) {
            return Err(Reason::Buckets);
        }
    }
    Ok(Histogram { count: count.or(all).ok_or(Reason::NoCount)?, buckets, sum })
}
