//! Samples: each checked, counted in lines, and put into its family.
//!
//! Two kinds of fault. One of shape (no such family, another kind, a wrong number of labels, too long a value) fails the run.
//! One of value (a counter below zero, buckets that fall) fails the run of a sensor that described its families, and costs a dynamic
//! sensor that family alone. What OpenMetrics calls a counter (a counter, each count, each bucket) must be finite and not below zero; sums need only
//! be numbers, because client libraries let negative observations lower them and Prometheus takes that.

use std::collections::HashSet;
use std::time::Instant;

use sonde_expo::model::{self, Family, Kind, Number, Sample, Value};
use sonde_manifest::Limits;

use super::{Churn, Collected, Extent, output};
use crate::failure::RunFailure;
use crate::wire::batch as wit;

/// A family that samples are put into.
struct Place {
    family: Family,
    lines: u64,
    /// Left out as a whole; its samples only count as dropped.
    left_out: bool,
}

/// Puts each sample into its family, and keeps count.
pub(super) struct Sorter<'a> {
    places: Vec<Place>,
    /// Whether a fault of value costs only its family.
    relayed: bool,
    limits: &'a Limits,
    churn: &'a mut Churn,
    seen: HashSet<u64>,
    series: u64,
    dropped: u64,
}

impl<'a> Sorter<'a> {
    /// For a sensor that described these families.
    pub(super) fn of_described(families: Vec<Family>, limits: &'a Limits, churn: &'a mut Churn) -> Self {
        Self::new(families.into_iter().map(|family| (family, true)), false, limits, churn)
    }

    /// For a dynamic batch: its families, each with whether it may be exposed.
    pub(super) fn of_relayed(families: Vec<(Family, bool)>, limits: &'a Limits, churn: &'a mut Churn) -> Self {
        Self::new(families.into_iter(), true, limits, churn)
    }

    fn new(
        families: impl Iterator<Item = (Family, bool)>,
        relayed: bool,
        limits: &'a Limits,
        churn: &'a mut Churn,
    ) -> Self {
        let places = families.map(|(family, exposed)| Place { family, lines: 0, left_out: !exposed }).collect();
        churn.begin(limits.new_series_per_hour, Instant::now());
        Self { places, relayed, limits, churn, seen: HashSet::new(), series: 0, dropped: 0 }
    }

    /// The kind of a sample's family, once the sample's shape fits it.
    fn kind(&self, index: u32, kinds: &[Kind], labels: &[String]) -> Result<Kind, RunFailure> {
        let Some(Place { family, .. }) = self.places.get(index as usize) else {
            return Err(output(format!("a sample names family {index} of {}", self.places.len())));
        };
        if !kinds.contains(&family.kind) {
            return Err(output(format!("{}: a sample of another kind than the family's", family.name)));
        }
        if labels.len() != family.label_names.len() {
            let (got, wanted) = (labels.len(), family.label_names.len());
            return Err(output(format!("{}: a sample has {got} label values for {wanted} labels", family.name)));
        }
        let most = self.limits.label_value_bytes;
        if labels.iter().any(|value| value.len() as u64 > most) {
            return Err(output(format!("{}: a label value has more than {most} bytes", family.name)));
        }
        Ok(family.kind)
    }

    fn fault(&self, index: u32, what: &str) -> RunFailure {
        output(format!("{}: {what}", self.places[index as usize].family.name))
    }

    /// A sample whose value cannot be exposed: the run's fault, or its family is left out.
    fn spoilt(&mut self, index: u32, lines: u64, what: &str) -> Result<(), RunFailure> {
        if !self.relayed {
            return Err(self.fault(index, what));
        }
        let place = &mut self.places[index as usize];
        place.left_out = true;
        place.family.samples.clear();
        let written = std::mem::take(&mut place.lines);
        self.series -= written;
        self.dropped += written + lines;
        Ok(())
    }

    /// Appends a sample unless its family is left out, the series limit is reached, it is there already, or it is one new series too many.
    fn push(&mut self, index: u32, labels: Vec<String>, lines: u64, value: Value, start: Option<f64>) {
        // A summary or a state set of nothing would be kept, by the hundred thousand, and weigh nothing against the limit.
        if lines == 0 {
            return;
        }
        let place = &mut self.places[index as usize];
        let series = self.churn.hash(&place.family.name, &labels);
        let fits = !place.left_out && self.series + lines <= self.limits.series && !self.seen.contains(&series);
        if !fits || !self.churn.admits(series) {
            self.dropped += lines;
            return;
        }
        self.seen.insert(series);
        self.series += lines;
        place.lines += lines;
        place.family.samples.push(Sample {
            label_values: labels.into_iter().map(Into::into).collect(),
            value,
            start_time_seconds: start.filter(|seconds| seconds.is_finite()),
        });
    }

    pub(super) fn number(
        &mut self,
        raw: wit::Number,
        exemplar: Option<Box<model::Exemplar>>,
    ) -> Result<(), RunFailure> {
        const KINDS: [Kind; 4] = [Kind::Counter, Kind::Gauge, Kind::Info, Kind::Unknown];
        let kind = self.kind(raw.family, &KINDS, &raw.label_values)?;
        if kind == Kind::Counter && !counts(raw.value) {
            return self.spoilt(raw.family, 1, "a counter is negative or not finite");
        }
        let value = if kind == Kind::Info { 1.0 } else { raw.value };
        let exemplar = exemplar.filter(|_| kind == Kind::Counter);
        let value = Value::Number { value: Number::Float(value), exemplar };
        self.push(raw.family, raw.label_values, 1, value, raw.start_time);
        Ok(())
    }

    pub(super) fn histogram(
        &mut self,
        raw: wit::Histogram,
        exemplars: Vec<(u32, model::Exemplar)>,
    ) -> Result<(), RunFailure> {
        self.kind(raw.family, &[Kind::Histogram, Kind::GaugeHistogram], &raw.label_values)?;
        let ends = raw.buckets.last().is_some_and(|bucket| bucket.upper_bound == f64::INFINITY);
        let lines = raw.buckets.len() as u64 + u64::from(!ends) + 1 + u64::from(raw.sum.is_some());
        if let Some(what) = histogram_fault(&raw) {
            return self.spoilt(raw.family, lines, what);
        }
        let bare = |bucket: &wit::Bucket| model::Bucket {
            upper_bound: bucket.upper_bound,
            cumulative_count: bucket.cumulative_count,
            exemplar: None,
        };
        let mut buckets: Vec<model::Bucket> = raw.buckets.iter().map(bare).collect();
        for (index, exemplar) in exemplars {
            let Some(bucket) = buckets.get_mut(index as usize) else {
                return Err(self.fault(raw.family, "an exemplar names a bucket that is not there"));
            };
            bucket.exemplar = Some(Box::new(exemplar));
        }
        let value = Value::Histogram(Box::new(model::Histogram { buckets, sum: raw.sum, count: raw.count }));
        self.push(raw.family, raw.label_values, lines, value, raw.start_time);
        Ok(())
    }

    pub(super) fn native(&mut self, raw: wit::NativeHistogram) -> Result<(), RunFailure> {
        self.kind(raw.family, &[Kind::NativeHistogram], &raw.label_values)?;
        let lines = 3 + (raw.positive_counts.len() + raw.negative_counts.len()) as u64;
        if !native_is_sound(&raw) {
            return self.spoilt(raw.family, lines, "its native histogram is not well formed");
        }
        let spans = |spans: Vec<wit::Span>| {
            spans.into_iter().map(|span| model::Span { offset: span.offset, length: span.length }).collect()
        };
        let value = Value::Native(Box::new(model::NativeHistogram {
            schema: raw.schema,
            zero_threshold: raw.zero_threshold,
            zero_count: raw.zero_count,
            count: raw.count,
            sum: raw.sum,
            positive_spans: spans(raw.positive_spans),
            positive_counts: raw.positive_counts,
            negative_spans: spans(raw.negative_spans),
            negative_counts: raw.negative_counts,
        }));
        self.push(raw.family, raw.label_values, lines, value, raw.start_time);
        Ok(())
    }

    pub(super) fn summary(&mut self, raw: wit::Summary) -> Result<(), RunFailure> {
        self.kind(raw.family, &[Kind::Summary], &raw.label_values)?;
        let lines = raw.quantiles.len() as u64 + u64::from(raw.sum.is_some()) + u64::from(raw.count.is_some());
        if let Some(what) = summary_fault(&raw) {
            return self.spoilt(raw.family, lines, what);
        }
        let quantiles: Vec<_> =
            raw.quantiles.iter().map(|q| model::Quantile { quantile: q.quantile, value: q.value }).collect();
        let value = Value::Summary(Box::new(model::Summary { quantiles, sum: raw.sum, count: raw.count }));
        self.push(raw.family, raw.label_values, lines, value, raw.start_time);
        Ok(())
    }

    pub(super) fn states(&mut self, raw: wit::StateSet) -> Result<(), RunFailure> {
        self.kind(raw.family, &[Kind::StateSet], &raw.label_values)?;
        let most = self.limits.label_value_bytes;
        let mut names = HashSet::with_capacity(raw.states.len());
        let sound = raw.states.iter().all(|state| {
            !state.name.is_empty() && state.name.len() as u64 <= most && names.insert(state.name.as_str())
        });
        if !sound {
            return Err(self.fault(raw.family, "a state has no name, too long a name, or is there twice"));
        }
        let lines = raw.states.len() as u64;
        let states = raw.states.into_iter().map(|s| model::State { name: s.name.into(), enabled: s.enabled }).collect();
        self.push(raw.family, raw.label_values, lines, Value::States(states), None);
        Ok(())
    }

    /// What is to be exposed; its extent is the caller's.
    pub(super) fn done(self) -> Collected {
        self.churn.end(self.seen);
        let with_samples = self.places.into_iter().filter(|place| !place.family.samples.is_empty());
        let (families, lines) = with_samples.map(|place| (place.family, place.lines)).unzip();
        Collected { families, lines, series: self.series, series_dropped: self.dropped, extent: Extent::default() }
    }
}

/// Whether a number can be what OpenMetrics calls a counter: neither NaN, infinite nor negative.
fn counts(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

fn histogram_fault(raw: &wit::Histogram) -> Option<&'static str> {
    if raw.buckets.iter().any(|bucket| bucket.upper_bound.is_nan() || !counts(bucket.cumulative_count)) {
        return Some("a bucket's bound is not a number, or its count negative or not finite");
    }
    if raw.buckets.windows(2).any(|pair| pair[1].upper_bound <= pair[0].upper_bound) {
        return Some("its buckets' bounds do not rise");
    }
    if raw.buckets.windows(2).any(|pair| pair[1].cumulative_count < pair[0].cumulative_count) {
        return Some("its buckets' counts are not cumulative");
    }
    let (last, ends) =
        raw.buckets.last().map_or((0.0, false), |b| (b.cumulative_count, b.upper_bound == f64::INFINITY));
    if !counts(raw.count) || raw.count < last || (ends && raw.count != last) {
        return Some("its count is not its last bucket's");
    }
    raw.sum.is_some_and(f64::is_nan).then_some("its sum is not a number")
}

fn summary_fault(raw: &wit::Summary) -> Option<&'static str> {
    let rising = raw.quantiles.windows(2).all(|pair| pair[0].quantile < pair[1].quantile);
    if !rising || raw.quantiles.iter().any(|q| !(0.0..=1.0).contains(&q.quantile)) {
        return Some("its quantiles do not rise from 0 to 1");
    }
    if raw.count.is_some_and(|count| !counts(count)) {
        return Some("its count is negative or not finite");
    }
    raw.sum.is_some_and(f64::is_nan).then_some("its sum is not a number")
}

/// Schemas that Prometheus knows.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

fn native_is_sound(raw: &wit::NativeHistogram) -> bool {
    SCHEMAS.contains(&raw.schema)
        && [raw.zero_threshold, raw.zero_count, raw.count].into_iter().all(counts)
        && spans_are_sound(&raw.positive_spans, &raw.positive_counts)
        && spans_are_sound(&raw.negative_spans, &raw.negative_counts)
}

/// Whether spans name as many buckets as there are counts, none of them twice and none past what an index can say.
fn spans_are_sound(spans: &[wit::Span], values: &[f64]) -> bool {
    let named: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    let end = spans.iter().try_fold(0_i64, |end, span| {
        let end = end + i64::from(span.offset) + i64::from(span.length);
        i32::try_from(end).is_ok().then_some(end)
    });
    named == values.len() as u64
        && end.is_some()
        && spans.iter().skip(1).all(|span| span.offset >= 0)
        && values.iter().copied().all(counts)
}
