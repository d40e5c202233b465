//! Families as messages `io.prometheus.client.MetricFamily`, each behind its length.
//!
//! Every series has the name that text gives it. So what a message cannot hold under that name, or not without saying more
//! than is known, is taken apart: a gauge histogram into three families of gauges (its type would make Prometheus call the
//! sum `_sum`), a histogram without a sum or a summary without sum or count into untyped ones. Types and exemplars
//! of those are lost, no number is.
//!
//! A family's length is known when the next one begins, or at the end: [`Writer::finish`] is not to be forgotten.

use super::compound::Series;
use super::{Columns, FamilyWriter, Writer, pairs};
use crate::line::{Extra, Labels};
use crate::message::{self, Aside, MetricType, native};
use crate::model::{Family, Histogram, Kind, Number, Sample, Summary, Value};
use crate::name::{BUCKET, COUNT, GAUGE_COUNT, GAUGE_SUM, LE, QUANTILE, SUM, TOTAL};
use crate::number;
use crate::wire::{self, LONG, SHORT};

/// `MetricFamily.metric`.
const METRIC: u8 = 4;
/// A metric whose common labels take less than this has most often under 128 bytes: two labels more and a number are some 60.
const LABELS_OF_SHORT_METRIC: usize = 64;

/// A family whose message is being written: where it begins, if there is one.
pub(super) type OpenFamily = Option<usize>;

/// Ends the message of a family.
pub(super) fn end_family(out: &mut Vec<u8>, open: &mut OpenFamily) {
    if let Some(start) = open.take() {
        wire::end(out, start, LONG);
    }
}

impl Writer<'_> {
    /// Writes any family.
    pub(super) fn write_message(&mut self, base: &Labels, columns: &Columns<'_>, family: &Family) {
        let mut writer = FamilyWriter::new(self, &family.name, family.kind, &family.help, &family.unit);
        if family.name.is_empty() {
            return;
        }
        let whole = |sample: &Sample| message::says_all(family.kind, &sample.value);
        if family.kind == Kind::GaugeHistogram {
            writer.write_apart(base, columns, &family.samples, MetricType::Gauge);
        } else if family.samples.iter().all(whole) {
            let natives = family.samples.iter().filter_map(|sample| match &sample.value {
                Value::Native(histogram) => Some(&**histogram),
                _ => None,
            });
            let form = native::form(natives);
            for sample in &family.samples {
                writer.write_whole(Series { base, columns, sample }, form);
            }
        } else {
            writer.write_apart(base, columns, &family.samples, MetricType::Untyped);
        }
    }
}

impl FamilyWriter<'_> {
    /// Writes a sample that is one number.
    pub(super) fn number_message(&mut self, base: &Labels, extra: &[(&str, &str)], value: Number) {
        let kind = MetricType::of(self.kind);
        self.begin_message("", kind);
        self.metric(base, extra.iter().copied(), Extra::None, |out| {
            message::push_number(out, kind, value, Aside::default());
        });
    }

    /// Begins the family's message, or one of a part of it, unless it is begun.
    fn begin_message(&mut self, suffix: &str, kind: MetricType) {
        if self.begun {
            return;
        }
        self.begun = true;
        end_family(self.out, self.open);
        *self.open = Some(wire::begin(self.out, LONG));
        wire::push_text(self.out, 1, self.name.as_str(), suffix);
        if !self.help.is_empty() {
            wire::push_text(self.out, 2, self.help, "");
        }
        wire::push_unsigned(self.out, 3, kind as u64);
        let name = self.name.as_str();
        let base = if kind == MetricType::Counter { name.strip_suffix(TOTAL).unwrap_or(name) } else { name };
        let measures = !matches!(self.kind, Kind::Info | Kind::StateSet);
        if suffix.is_empty() && measures && self.has_unit(base) {
            wire::push_text(self.out, 5, self.unit, "");
        }
    }

    /// Writes one metric: its labels, then the value that `fill` appends.
    fn metric<'l>(
        &mut self,
        base: &Labels,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
        extra: Extra<'_>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let escaping = self.spelling.escaping;
        let width = if base.messages().len() < LABELS_OF_SHORT_METRIC { SHORT } else { LONG };
        wire::push_nested(self.out, METRIC, width, |out| {
            out.extend_from_slice(base.messages());
            for (label, value) in labels {
                message::push_label(out, label, value, escaping);
            }
            match extra {
                Extra::None => {}
                Extra::Text(label, value) => message::push_label(out, label, value, escaping),
                // Prometheus spells the bounds of a whole histogram so.
                Extra::Float(label, value) => {
                    message::push_label_with(out, label, |out| number::push_label_float(out, value, true));
                }
            }
            fill(out);
        });
    }

    /// Writes a sample as one metric; a state set's as one for each state.
    fn write_whole(&mut self, series: Series<'_>, form: native::Form) {
        let kind = MetricType::of(self.kind);
        let (escaping, start) = (self.spelling.escaping, series.sample.start_time_seconds);
        match (&series.sample.value, self.kind) {
            (Value::Number { value, exemplar }, of) if of.is_number() => {
                let aside = Aside { exemplar: exemplar.as_deref(), start_time_seconds: start, escaping };
                self.one(series, kind, |out| message::push_number(out, kind, *value, aside));
            }
            (Value::Histogram(histogram), Kind::Histogram) => {
                self.one(series, kind, |out| message::push_histogram(out, histogram, start, escaping));
            }
            (Value::Native(histogram), Kind::NativeHistogram) if native::is_sayable(histogram) => {
                self.one(series, kind, |out| native::push(out, histogram, form, start));
            }
            (Value::Summary(summary), Kind::Summary) => {
                self.one(series, kind, |out| message::push_summary(out, summary, start));
            }
            (Value::States(states), Kind::StateSet) => {
                for state in states {
                    let value = Number::Unsigned(state.enabled.into());
                    self.part(series, ("", kind), Extra::Text(self.given, &state.name), value);
                }
            }
            _ => {}
        }
    }

    fn one(&mut self, series: Series<'_>, kind: MetricType, fill: impl FnOnce(&mut Vec<u8>)) {
        self.begin_message("", kind);
        self.metric(series.base, pairs(series.columns, series.sample), Extra::None, fill);
    }

    /// Writes one number of a sample.
    fn part(&mut self, series: Series<'_>, (suffix, kind): (&str, MetricType), extra: Extra<'_>, value: Number) {
        self.begin_message(suffix, kind);
        self.metric(series.base, pairs(series.columns, series.sample), extra, |out| {
            message::push_number(out, kind, value, Aside::default());
        });
    }

    /// Writes histograms or summaries as a family of their buckets or quantiles, one of their counts and one of their sums.
    fn write_apart(&mut self, base: &Labels, columns: &Columns<'_>, samples: &[Sample], kind: MetricType) {
        let (points, count, sum) = match self.kind {
            Kind::GaugeHistogram => (BUCKET, GAUGE_COUNT, GAUGE_SUM),
            Kind::Histogram => (BUCKET, COUNT, SUM),
            _ => ("", COUNT, SUM),
        };
        let fits = |sample: &&Sample| match sample.value {
            Value::Histogram(_) => self.kind != Kind::Summary,
            Value::Summary(_) => self.kind == Kind::Summary,
            _ => false,
        };
        let fitting: Vec<_> = samples.iter().filter(fits).map(|sample| Series { base, columns, sample }).collect();
        for suffix in [points, count, sum] {
            self.begun = false;
            for series in &fitting {
                let (series, to) = (*series, (suffix, kind));
                let single = match &series.sample.value {
                    Value::Histogram(histogram) if suffix == points => {
                        self.bucket_parts(series, to, histogram);
                        None
                    }
                    Value::Summary(summary) if suffix == points => {
                        self.quantile_parts(series, to, summary);
                        None
                    }
                    Value::Histogram(histogram) if suffix == count => Some(histogram.count),
                    Value::Histogram(histogram) => histogram.sum,
                    Value::Summary(summary) if suffix == count => summary.count,
                    Value::Summary(summary) => summary.sum,
                    _ => None,
                };
                if let Some(value) = single {
                    self.part(series, to, Extra::None, Number::Float(value));
                }
            }
        }
    }

    fn bucket_parts(&mut self, series: Series<'_>, to: (&str, MetricType), histogram: &Histogram) {
        let mut reaches_infinity = false;
        for bucket in histogram.buckets.iter().filter(|bucket| !bucket.upper_bound.is_nan()) {
            reaches_infinity |= bucket.upper_bound == f64::INFINITY;
            self.part(series, to, Extra::Float(LE, bucket.upper_bound), Number::Float(bucket.cumulative_count));
        }
        if !reaches_infinity {
            self.part(series, to, Extra::Float(LE, f64::INFINITY), Number::Float(histogram.count));
        }
    }

    fn quantile_parts(&mut self, series: Series<'_>, to: (&str, MetricType), summary: &Summary) {
        for quantile in summary.quantiles.iter().filter(|quantile| !quantile.quantile.is_nan()) {
            self.part(series, to, Extra::Float(QUANTILE, quantile.quantile), Number::Float(quantile.value));
        }
    }
}
