//! Samples of more than one line: histograms, summaries, state sets, and what hangs on a sample in
//! OpenMetrics alone, start times and exemplars.
//!
//! The lines of one sample stand together, as OpenMetrics demands; buckets rise. A sample whose value
//! does not fit its family's kind is left out.

use super::{Columns, FamilyWriter, pairs, push_metadata};
use crate::escape;
use crate::line::{Extra, Labels};
use crate::message;
use crate::model::{Exemplar, Histogram, Kind, NativeHistogram, Number, Sample, Summary, Value};
use crate::name::{BUCKET, COUNT, CREATED, GAUGE_COUNT, GAUGE_SUM, LE, QUANTILE, SUM};
use crate::negotiate::{Escaping, Format};
use crate::number;

/// What identifies the sample whose lines are being written.
#[derive(Clone, Copy)]
pub(super) struct Series<'s> {
    pub(super) base: &'s Labels,
    pub(super) columns: &'s Columns<'s>,
    pub(super) sample: &'s Sample,
}

impl FamilyWriter<'_> {
    /// Writes all lines of a sample.
    pub(super) fn write_sample(&mut self, base: &Labels, columns: &Columns<'_>, sample: &Sample) {
        if self.given.is_empty() {
            return;
        }
        let series = Series { base, columns, sample };
        match (&sample.value, self.kind) {
            (Value::Number { value, exemplar }, kind) if kind.is_number() => {
                self.number(series, *value, exemplar.as_deref());
            }
            (Value::Histogram(histogram), Kind::Histogram) => self.histogram(series, histogram, (SUM, COUNT)),
            (Value::Histogram(histogram), Kind::GaugeHistogram) => {
                self.histogram(series, histogram, (GAUGE_SUM, GAUGE_COUNT));
            }
            (Value::Native(histogram), Kind::NativeHistogram) => self.native(series, histogram),
            (Value::Summary(summary), Kind::Summary) => self.summary(series, summary),
            (Value::States(states), Kind::StateSet) => {
                for state in states {
                    let value = Number::Unsigned(state.enabled.into());
                    self.line(series, "", Extra::Text(self.given, &state.name), value, None);
                }
            }
            _ => {}
        }
    }

    fn number(&mut self, series: Series<'_>, value: Number, exemplar: Option<&Exemplar>) {
        let (kind, cut) = self.declared();
        let is_counter = kind == "counter";
        self.line(series, "", Extra::None, value, exemplar.filter(|_| is_counter));
        if is_counter {
            self.created(series, cut);
        }
    }

    fn histogram(&mut self, series: Series<'_>, histogram: &Histogram, (sum, count): (&str, &str)) {
        self.buckets(series, histogram);
        if let Some(value) = histogram.sum {
            self.line(series, sum, Extra::None, Number::Float(value), None);
        }
        self.line(series, count, Extra::None, Number::Float(histogram.count), None);
        if self.kind == Kind::Histogram {
            self.created(series, 0);
        }
    }

    /// Writes the buckets, and `+Inf` from the count where it is left out.
    fn buckets(&mut self, series: Series<'_>, histogram: &Histogram) {
        let mut reaches_infinity = false;
        for bucket in histogram.buckets.iter().filter(|bucket| !bucket.upper_bound.is_nan()) {
            reaches_infinity |= bucket.upper_bound == f64::INFINITY;
            let (bound, value) = (Extra::Float(LE, bucket.upper_bound), Number::Float(bucket.cumulative_count));
            self.line(series, BUCKET, bound, value, bucket.exemplar.as_deref());
        }
        if !reaches_infinity {
            self.line(series, BUCKET, Extra::Float(LE, f64::INFINITY), Number::Float(histogram.count), None);
        }
    }

    fn native(&mut self, series: Series<'_>, histogram: &NativeHistogram) {
        let count = Number::Float(histogram.count);
        self.line(series, BUCKET, Extra::Float(LE, f64::INFINITY), count, None);
        self.line(series, SUM, Extra::None, Number::Float(histogram.sum), None);
        self.line(series, COUNT, Extra::None, count, None);
        self.created(series, 0);
    }

    fn summary(&mut self, series: Series<'_>, summary: &Summary) {
        for quantile in summary.quantiles.iter().filter(|quantile| !quantile.quantile.is_nan()) {
            let label = Extra::Float(QUANTILE, quantile.quantile);
            self.line(series, "", label, Number::Float(quantile.value), None);
        }
        if let Some(sum) = summary.sum {
            self.line(series, SUM, Extra::None, Number::Float(sum), None);
        }
        if let Some(count) = summary.count {
            self.line(series, COUNT, Extra::None, Number::Float(count), None);
        }
        // A start time alone is not a sample.
        if !summary.quantiles.is_empty() || summary.sum.is_some() || summary.count.is_some() {
            self.created(series, 0);
        }
    }

    /// Writes the start time under the name less its last `cut` bytes.
    fn created(&mut self, series: Series<'_>, cut: usize) {
        let Some(start) = series.sample.start_time_seconds.filter(|_| self.format.is_openmetrics()) else {
            return;
        };
        let name = self.name.shortened(cut);
        let labels = pairs(series.columns, series.sample);
        self.spelling.push_series(self.out, (&name, CREATED), series.base, labels, Extra::None);
        number::push_float(self.out, start);
        self.out.push(b'\n');
    }

    fn line(&mut self, series: Series<'_>, suffix: &str, extra: Extra<'_>, value: Number, exemplar: Option<&Exemplar>) {
        self.begin();
        let labels = pairs(series.columns, series.sample);
        self.spelling.push_series(self.out, (&self.name, suffix), series.base, labels, extra);
        number::push_number(self.out, value);
        if let Some(exemplar) = exemplar.filter(|_| self.format == Format::OpenMetrics100) {
            push_exemplar(self.out, exemplar, self.spelling.escaping);
        }
        self.out.push(b'\n');
    }

    /// Text has no gauge histogram: three families of gauges, each with its lines together.
    pub(super) fn gauge_histogram_as_gauges(&mut self, base: &Labels, columns: &Columns<'_>, samples: &[Sample]) {
        // The lines below bring their own metadata.
        self.begun = true;
        for suffix in [BUCKET, GAUGE_COUNT, GAUGE_SUM] {
            let mut begun = false;
            for sample in samples {
                let Value::Histogram(histogram) = &sample.value else { continue };
                if self.given.is_empty() || (suffix == GAUGE_SUM && histogram.sum.is_none()) {
                    continue;
                }
                if !begun {
                    push_metadata(self.out, self.format, (&self.name, suffix), "gauge", self.help);
                    begun = true;
                }
                self.gauge_histogram_part(Series { base, columns, sample }, suffix, histogram);
            }
        }
    }

    fn gauge_histogram_part(&mut self, series: Series<'_>, suffix: &str, histogram: &Histogram) {
        match suffix {
            GAUGE_COUNT => self.line(series, suffix, Extra::None, Number::Float(histogram.count), None),
            GAUGE_SUM => {
                if let Some(sum) = histogram.sum {
                    self.line(series, suffix, Extra::None, Number::Float(sum), None);
                }
            }
            _ => self.buckets(series, histogram),
        }
    }
}

fn push_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar, escaping: Escaping) {
    if !message::is_writable(exemplar) {
        return;
    }
    out.extend_from_slice(b" # {");
    for (at, (name, value)) in exemplar.labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        escape::push_label_name(out, name, escaping);
        out.push(b'=');
        escape::push_quoted(out, value);
    }
    out.extend_from_slice(b"} ");
    number::push_float(out, exemplar.value);
    if let Some(timestamp) = exemplar.timestamp_seconds.filter(|timestamp| timestamp.is_finite()) {
        out.push(b' ');
        number::push_float(out, timestamp);
    }
}
