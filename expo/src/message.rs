//! The messages of `io/prometheus/client/metrics.proto` below a family: labels, and what a `Metric` holds.
//!
//! Field numbers are that file's, in Prometheus's and client_model's versions alike. Values that are absent
//! are not written, but Prometheus reads an absent sum or count as 0; so [`says_all`] tells which samples a message can
//! hold without such a 0, and the writer takes the others apart. Counts are integers where they are whole, which is what every
//! version reads, and else floats beside the nearest integer below, for those that know no other.

pub(crate) mod native;

use crate::escape;
use crate::model::{EXEMPLAR_LABEL_CHARACTERS, Exemplar, Histogram, Kind, Number, Summary, Value};
use crate::name;
use crate::negotiate::Escaping;
use crate::wire::{self, LONG, SHORT};

/// `MetricFamily.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricType {
    Counter = 0,
    Gauge = 1,
    Summary = 2,
    Untyped = 3,
    Histogram = 4,
}

impl MetricType {
    /// What a kind is here. Info and state set have no type of their own, as in text.
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter,
            Kind::Gauge | Kind::Info | Kind::StateSet | Kind::GaugeHistogram => Self::Gauge,
            Kind::Unknown => Self::Untyped,
            Kind::Histogram | Kind::NativeHistogram => Self::Histogram,
            Kind::Summary => Self::Summary,
        }
    }

    /// The field of `Metric` that has the value.
    fn field(self) -> u8 {
        match self {
            Self::Gauge => 2,
            Self::Counter => 3,
            Self::Summary => 4,
            Self::Untyped => 5,
            Self::Histogram => 7,
        }
    }
}

/// `Metric.label`.
const LABEL: u8 = 1;
/// Seconds and nanoseconds since 1970, below the year 10000: what a `Timestamp` can say, and since when anything can have counted.
const TIMES: std::ops::Range<f64> = 0.0..253_402_300_800.0;
/// The first float that 64 bits of integer cannot say.
const INTEGERS_BELOW: f64 = 18_446_744_073_709_551_616.0;

/// Appends one label; an empty value or name is an absent label.
pub(crate) fn push_label(out: &mut Vec<u8>, name: &str, value: &str, escaping: Escaping) {
    if value.is_empty() || name.is_empty() {
        return;
    }
    let is_bare = escaping == Escaping::AllowUtf8 || name::is_label_name(name);
    if is_bare && wire::push_short_pair(out, LABEL, name, value) {
        return;
    }
    wire::push_nested(out, LABEL, SHORT, |out| {
        wire::push_nested(out, 1, SHORT, |out| escape::push_bare_label_name(out, name, escaping));
        wire::push_text(out, 2, value, "");
    });
}

/// Appends a label whose value is what `fill` appends.
pub(crate) fn push_label_with(out: &mut Vec<u8>, name: &str, fill: impl FnOnce(&mut Vec<u8>)) {
    wire::push_nested(out, LABEL, SHORT, |out| {
        wire::push_text(out, 1, name, "");
        wire::push_nested(out, 2, SHORT, fill);
    });
}

/// What hangs on a number: nothing but on a counter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Aside<'e> {
    pub(crate) exemplar: Option<&'e Exemplar>,
    pub(crate) start_time_seconds: Option<f64>,
    pub(crate) escaping: Escaping,
}

/// Appends the value of a counter, a gauge or an untyped metric.
pub(crate) fn push_number(out: &mut Vec<u8>, kind: MetricType, value: Number, aside: Aside<'_>) {
    let is_alone = aside.exemplar.is_none() && aside.start_time_seconds.is_none();
    if is_alone || kind != MetricType::Counter {
        wire::push_boxed_double(out, kind.field(), value.as_f64());
        return;
    }
    wire::push_nested(out, kind.field(), SHORT, |out| {
        wire::push_double(out, 1, value.as_f64());
        if let Some(exemplar) = aside.exemplar {
            push_exemplar(out, 2, exemplar, aside.escaping);
        }
        push_time(out, 3, aside.start_time_seconds);
    });
}

/// Whether a message can hold the sample of a histogram or a summary without saying more than is known.
pub(crate) fn says_all(kind: Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Histogram, Value::Histogram(histogram)) => {
            let counts = histogram.buckets.iter().map(|bucket| bucket.cumulative_count);
            histogram.sum.is_some() && counts.chain([histogram.count]).all(is_count)
        }
        (Kind::Summary, Value::Summary(summary)) => summary.sum.is_some() && summary.count.and_then(whole).is_some(),
        _ => true,
    }
}

/// Whether a number can be one of observations.
fn is_count(count: f64) -> bool {
    count.is_finite() && count >= 0.0
}

/// A count as an integer, if it is one.
fn whole(count: f64) -> Option<u64> {
    let fits = count.fract() == 0.0 && (0.0..INTEGERS_BELOW).contains(&count);
    fits.then_some(count as u64)
}

/// Appends a count; `float` is the field that overrides the other where it is not whole.
fn push_count(out: &mut Vec<u8>, integer: u8, float: u8, count: f64) {
    // The cast saturates; what it cuts off, the second field has.
    wire::push_unsigned(out, integer, count as u64);
    if whole(count).is_none() {
        wire::push_double(out, float, count);
    }
}

/// Appends a histogram with buckets of chosen bounds.
pub(crate) fn push_histogram(
    out: &mut Vec<u8>,
    histogram: &Histogram,
    start_time_seconds: Option<f64>,
    escaping: Escaping,
) {
    wire::push_nested(out, MetricType::Histogram.field(), LONG, |out| {
        push_count(out, 1, 4, histogram.count);
        if let Some(sum) = histogram.sum {
            wire::push_double(out, 2, sum);
        }
        for bucket in histogram.buckets.iter().filter(|bucket| !bucket.upper_bound.is_nan()) {
            // What `+Inf` counts is the count, and everybody adds it.
            let is_implied = bucket.upper_bound == f64::INFINITY && bucket.cumulative_count == histogram.count;
            if is_implied && bucket.exemplar.is_none() {
                continue;
            }
            wire::push_nested(out, 3, SHORT, |out| {
                push_count(out, 1, 4, bucket.cumulative_count);
                wire::push_double(out, 2, bucket.upper_bound);
                if let Some(exemplar) = bucket.exemplar.as_deref() {
                    push_exemplar(out, 3, exemplar, escaping);
                }
            });
        }
        push_time(out, 15, start_time_seconds);
    });
}

/// Appends a summary.
pub(crate) fn push_summary(out: &mut Vec<u8>, summary: &Summary, start_time_seconds: Option<f64>) {
    wire::push_nested(out, MetricType::Summary.field(), LONG, |out| {
        if let Some(count) = summary.count.and_then(whole) {
            wire::push_unsigned(out, 1, count);
        }
        if let Some(sum) = summary.sum {
            wire::push_double(out, 2, sum);
        }
        for quantile in summary.quantiles.iter().filter(|quantile| !quantile.quantile.is_nan()) {
            wire::push_nested(out, 3, SHORT, |out| {
                wire::push_double(out, 1, quantile.quantile);
                wire::push_double(out, 2, quantile.value);
            });
        }
        push_time(out, 4, start_time_seconds);
    });
}

/// Appends a `google.protobuf.Timestamp`, if there is one and it can be said.
fn push_time(out: &mut Vec<u8>, field: u8, seconds: Option<f64>) {
    /// Rounding must not make a whole second of them.
    const MOST_NANOSECONDS: f64 = 999_999_999.0;
    let Some(seconds) = seconds.filter(|seconds| TIMES.contains(seconds)) else { return };
    let nanoseconds = (seconds.fract() * 1e9).round().min(MOST_NANOSECONDS);
    wire::push_nested(out, field, SHORT, |out| {
        wire::push_unsigned(out, 1, seconds as u64);
        if nanoseconds > 0.0 {
            wire::push_unsigned(out, 2, nanoseconds as u64);
        }
    });
}

/// Whether an exemplar is taken: short enough, no label empty-named or twice.
pub(crate) fn is_writable(exemplar: &Exemplar) -> bool {
    let characters: usize =
        exemplar.labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    let labels = &exemplar.labels;
    characters <= EXEMPLAR_LABEL_CHARACTERS
        && labels
            .iter()
            .enumerate()
            .all(|(at, (name, _))| !name.is_empty() && !labels[..at].iter().any(|(earlier, _)| earlier == name))
}

fn push_exemplar(out: &mut Vec<u8>, field: u8, exemplar: &Exemplar, escaping: Escaping) {
    if !is_writable(exemplar) {
        return;
    }
    wire::push_nested(out, field, SHORT, |out| {
        for (name, value) in &exemplar.labels {
            push_label(out, name, value, escaping);
        }
        wire::push_double(out, 2, exemplar.value);
        push_time(out, 3, exemplar.timestamp_seconds);
    });
}
