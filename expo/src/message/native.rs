//! A native histogram as a message, in the form that Prometheus will take.
//!
//! Prometheus throws the *whole scrape* away for one native histogram that does not add up (`Validate` in its
//! `model/histogram`), so what comes from a sensor is judged here by the same rules. One of whole counts that add up is written as
//! integers, each bucket as its difference from the one before, which makes most of them one byte. Others are written as floats, of
//! which nobody wants that they add up. What neither form can say keeps its sum and count, as in text; and then so does its whole
//! family, because Prometheus before 3 takes all of a family for what the first of it is, and sum and count for a native histogram
//! that has lost its buckets.

use std::ops::RangeInclusive;

use super::{MetricType, is_count, push_count, push_time, whole};
use crate::model::{NativeHistogram, Span};
use crate::wire::{self, LONG, SHORT};

/// Resolutions that every Prometheus with native histograms knows.
const SCHEMAS: RangeInclusive<i32> = -4..=8;
/// Up to here whole floats are exact, and so are the differences and sums of integers made of them.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// Field numbers of one sign's buckets.
struct Fields {
    span: u8,
    delta: u8,
    count: u8,
}

const NEGATIVE: Fields = Fields { span: 9, delta: 10, count: 11 };
const POSITIVE: Fields = Fields { span: 12, delta: 13, count: 14 };

/// The form in which native histograms of a family are said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Each in integers if it can be, else in floats.
    Native,
    /// Sum and count, without buckets.
    Bare,
}

/// The numbers of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Integers,
    Floats,
}

/// Whether anything of it can be said.
pub(crate) fn is_sayable(histogram: &NativeHistogram) -> bool {
    is_count(histogram.count)
}

/// The form for all that can be said of a family.
pub(crate) fn form<'h>(mut histograms: impl Iterator<Item = &'h NativeHistogram>) -> Form {
    let is_bare = histograms.any(|histogram| is_sayable(histogram) && counts(histogram).is_none());
    if is_bare { Form::Bare } else { Form::Native }
}

/// Appends a native histogram of which [`is_sayable`] is true, in the form of its family.
pub(crate) fn push(out: &mut Vec<u8>, histogram: &NativeHistogram, form: Form, start_time_seconds: Option<f64>) {
    let counts = counts(histogram).filter(|_| form == Form::Native);
    wire::push_nested(out, MetricType::Histogram.field(), LONG, |out| {
        match counts {
            Some(Counts::Floats) => wire::push_double(out, 4, histogram.count),
            Some(Counts::Integers) | None => push_count(out, 1, 4, histogram.count),
        }
        wire::push_double(out, 2, histogram.sum);
        if let Some(counts) = counts {
            push_resolved(out, histogram, counts);
        }
        push_time(out, 15, start_time_seconds);
    });
}

/// Appends what only native histograms have.
fn push_resolved(out: &mut Vec<u8>, histogram: &NativeHistogram, counts: Counts) {
    wire::push_signed(out, 5, histogram.schema.into());
    wire::push_double(out, 6, histogram.zero_threshold);
    match counts {
        Counts::Integers => wire::push_unsigned(out, 7, histogram.zero_count as u64),
        Counts::Floats => wire::push_double(out, 8, histogram.zero_count),
    }
    push_buckets(out, &NEGATIVE, counts, &histogram.negative_spans, &histogram.negative_counts);
    push_buckets(out, &POSITIVE, counts, &histogram.positive_spans, &histogram.positive_counts);
    // Where nothing else would tell it from a histogram without buckets, a span of no length does: client_golang's convention.
    let has_spans = !histogram.positive_spans.is_empty() || !histogram.negative_spans.is_empty();
    let has_zero = histogram.zero_threshold > 0.0 || (counts == Counts::Integers && histogram.zero_count > 0.0);
    if !has_spans && !has_zero {
        push_span(out, &POSITIVE, Span { offset: 0, length: 0 });
    }
}

fn push_span(out: &mut Vec<u8>, fields: &Fields, span: Span) {
    wire::push_nested(out, fields.span, SHORT, |out| {
        wire::push_signed(out, 1, span.offset.into());
        wire::push_unsigned(out, 2, span.length.into());
    });
}

fn push_buckets(out: &mut Vec<u8>, fields: &Fields, numbers: Counts, spans: &[Span], counts: &[f64]) {
    for span in spans {
        push_span(out, fields, *span);
    }
    if counts.is_empty() {
        return;
    }
    if numbers == Counts::Floats {
        wire::push_nested(out, fields.count, LONG, |out| counts.iter().for_each(|count| wire::push_bits(out, *count)));
        return;
    }
    wire::push_nested(out, fields.delta, SHORT, |out| {
        let mut before = 0;
        for count in counts {
            let count = *count as i64;
            wire::push_zigzag(out, count - before);
            before = count;
        }
    });
}

/// The numbers in which one can be said whole, if it can.
fn counts(histogram: &NativeHistogram) -> Option<Counts> {
    let sound = SCHEMAS.contains(&histogram.schema)
        && [histogram.zero_threshold, histogram.zero_count, histogram.count].into_iter().all(is_count)
        && are_sound(&histogram.positive_spans, &histogram.positive_counts)
        && are_sound(&histogram.negative_spans, &histogram.negative_counts);
    if !sound {
        None
    } else if adds_up(histogram) {
        Some(Counts::Integers)
    } else {
        // By one of these two being over 0 Prometheus knows floats from integers.
        (histogram.count > 0.0 || histogram.zero_count > 0.0).then_some(Counts::Floats)
    }
}

/// Whether spans name as many buckets as there are counts, none twice, none past what an index can say.
fn are_sound(spans: &[Span], counts: &[f64]) -> bool {
    let named: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    let end = spans.iter().try_fold(0_i64, |end, span| {
        let end = end + i64::from(span.offset) + i64::from(span.length);
        i32::try_from(end).is_ok().then_some(end)
    });
    let rise = spans.iter().skip(1).all(|span| span.offset >= 0);
    named == counts.len() as u64 && end.is_some() && rise && counts.iter().copied().all(is_count)
}

/// Whether all counts are whole, and the buckets' add up to the histogram's; observations of NaN, which make the sum one, are in no bucket.
fn adds_up(histogram: &NativeHistogram) -> bool {
    let exact = |count: f64| whole(count).filter(|_| count <= EXACT_INTEGERS);
    let counts = histogram.positive_counts.iter().chain(&histogram.negative_counts);
    let in_buckets =
        counts.chain([&histogram.zero_count]).try_fold(0_u64, |sum, count| sum.checked_add(exact(*count)?));
    match (in_buckets, exact(histogram.count)) {
        (Some(in_buckets), Some(count)) if histogram.sum.is_nan() => in_buckets <= count,
        (Some(in_buckets), Some(count)) => in_buckets == count,
        _ => false,
    }
}
