//! Native histograms: those that can be said arrive whole, those that cannot never reach Prometheus's validation.

use sonde_expo::{Escaping, Family, Format, Kind, Labels, NativeHistogram, Negotiated, Sample, Span, Value, Writer};

use crate::client_model::{self as proto, BucketSpan, decode};
use crate::series::is_native;

pub fn write(families: &[Family], escaping: Escaping) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(Negotiated::new(Format::Protobuf, Some(escaping)), &mut out);
    families.iter().for_each(|family| writer.write_family(&Labels::default(), family));
    writer.finish();
    out
}

/// The rules of Prometheus's `Histogram.Validate` and `FloatHistogram.Validate`: one that breaks them costs a whole scrape.
pub fn validate(histogram: &proto::Histogram) -> Result<(), String> {
    if !is_native(histogram) {
        return Ok(());
    }
    let is_float = histogram.sample_count_float > 0.0 || histogram.zero_count_float > 0.0;
    let mut in_buckets = histogram.zero_count as f64;
    for (spans, deltas, counts) in [
        (&histogram.negative_span, &histogram.negative_delta, &histogram.negative_count),
        (&histogram.positive_span, &histogram.positive_delta, &histogram.positive_count),
    ] {
        let absolute = if is_float { counts.clone() } else { absolute(deltas) };
        let unused = if is_float { deltas.len() } else { counts.len() };
        if unused > 0 {
            return Err("buckets of both forms".into());
        }
        let named: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        if named != absolute.len() as u64 {
            return Err(format!("{named} buckets named and {} there", absolute.len()));
        }
        if spans.iter().skip(1).any(|span| span.offset < 0) {
            return Err("a gap that goes back".into());
        }
        if absolute.iter().any(|count| *count < 0.0 || !count.is_finite()) {
            return Err("a negative or endless bucket".into());
        }
        in_buckets += absolute.iter().sum::<f64>();
    }
    let count = histogram.sample_count as f64;
    let fits = if histogram.sample_sum.is_nan() { in_buckets <= count } else { in_buckets == count };
    if is_float || fits { Ok(()) } else { Err(format!("{in_buckets} in buckets, {count} in all")) }
}

pub fn absolute(deltas: &[i64]) -> Vec<f64> {
    deltas
        .iter()
        .scan(0, |count, delta| {
            *count += delta;
            Some(*count as f64)
        })
        .collect()
}

fn sound() -> NativeHistogram {
    NativeHistogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 2.0,
        count: 12.0,
        sum: -1.5,
        positive_spans: vec![Span { offset: -7, length: 2 }, Span { offset: 1000, length: 1 }],
        positive_counts: vec![4.0, 0.0, 1.0],
        negative_spans: vec![Span { offset: 0, length: 2 }],
        negative_counts: vec![2.0, 3.0],
    }
}

/// The message that is made of it; none where it is left out.
fn message(native: NativeHistogram) -> Option<proto::Histogram> {
    let value = Value::Native(Box::new(native));
    let samples = vec![Sample { label_values: vec![], value, start_time_seconds: Some(1_700_000_000.5) }];
    let (name, unit) = ("h_seconds".into(), "seconds".into());
    let family = Family { name, kind: Kind::NativeHistogram, help: "".into(), unit, label_names: vec![], samples };
    let families = decode(&write(&[family], Escaping::Underscores));
    assert!(families.len() <= 1);
    let histogram = families.into_iter().next()?.metric.remove(0).histogram.expect("a histogram");
    assert_eq!(validate(&histogram), Ok(()), "{histogram:?}");
    Some(histogram)
}

#[test]
fn whole_counts_that_add_up_are_integers() {
    let got = message(sound()).unwrap();
    let span = |offset, length| BucketSpan { offset, length };
    assert_eq!((got.sample_count, got.sample_count_float, got.sample_sum), (12, 0.0, -1.5));
    assert_eq!((got.schema, got.zero_threshold, got.zero_count, got.zero_count_float), (3, 0.001, 2, 0.0));
    assert_eq!((got.positive_span, got.positive_delta), (vec![span(-7, 2), span(1000, 1)], vec![4, -4, 1]));
    assert_eq!((got.negative_span, got.negative_delta), (vec![span(0, 2)], vec![2, 1]));
    assert!(got.positive_count.is_empty() && got.negative_count.is_empty() && got.bucket.is_empty());
    let start = got.start_timestamp.unwrap();
    assert_eq!((start.seconds, start.nanos), (1_700_000_000, 500_000_000));
}

#[test]
fn observations_of_nan_are_in_no_bucket() {
    let got = message(NativeHistogram { sum: f64::NAN, count: 15.0, ..sound() }).unwrap();
    assert_eq!((got.sample_count, got.positive_delta.len()), (15, 3));
}

#[test]
fn what_is_not_whole_or_does_not_add_up_is_floats() {
    let halves = NativeHistogram { positive_counts: vec![4.5, 0.0, 0.5], ..sound() };
    let off_by_one = NativeHistogram { count: 13.0, ..sound() };
    let too_large = NativeHistogram { count: 1e300, zero_count: 1e300, ..sound() };
    for native in [halves, off_by_one, too_large] {
        let got = message(native.clone()).unwrap();
        assert_eq!((got.sample_count, got.sample_count_float), (0, native.count));
        assert_eq!((got.zero_count, got.zero_count_float), (0, native.zero_count));
        assert_eq!((got.positive_count, got.negative_count), (native.positive_counts, native.negative_counts));
        assert_eq!((got.positive_span.len(), got.positive_delta.len(), got.schema), (2, 0, 3));
    }
}

#[test]
fn what_prometheus_would_refuse_keeps_its_sum_and_count() {
    let span = |offset, length| Span { offset, length };
    for (what, native) in [
        ("an unknown schema", NativeHistogram { schema: 9, ..sound() }),
        ("a schema of custom buckets", NativeHistogram { schema: -53, ..sound() }),
        ("fewer counts than buckets", NativeHistogram { positive_counts: vec![4.0], ..sound() }),
        ("more counts than buckets", NativeHistogram { negative_spans: vec![], ..sound() }),
        ("a bucket twice", NativeHistogram { positive_spans: vec![span(0, 2), span(-1, 1)], ..sound() }),
        ("an index out of range", NativeHistogram { positive_spans: vec![span(i32::MAX, 3)], ..sound() }),
        ("endless spans", NativeHistogram { negative_spans: vec![span(0, u32::MAX); 9], ..sound() }),
        ("a negative bucket count", NativeHistogram { negative_counts: vec![-2.0, 7.0], ..sound() }),
        ("a bucket count that is none", NativeHistogram { negative_counts: vec![f64::NAN, 5.0], ..sound() }),
        ("an endless zero bucket", NativeHistogram { zero_count: f64::INFINITY, ..sound() }),
        ("a negative threshold", NativeHistogram { zero_threshold: -1.0, ..sound() }),
        ("floats that look like integers", NativeHistogram { count: 0.0, zero_count: 0.0, ..sound() }),
    ] {
        let got = message(native.clone()).unwrap_or_else(|| panic!("{what} has left nothing"));
        assert!(!is_native(&got), "{what}: {got:?}");
        assert_eq!((got.sample_count as f64, got.sample_sum), (native.count, native.sum), "{what}");
    }
    for count in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(message(NativeHistogram { count, ..sound() }), None, "a count of {count} is none");
    }
}

/// Prometheus 2 takes a whole family for what its first is; sum and count alone would then be a native histogram gone wrong.
#[test]
fn one_that_cannot_be_said_costs_its_family_the_buckets() {
    let sample = |native: NativeHistogram| Sample {
        label_values: vec![],
        value: Value::Native(Box::new(native)),
        start_time_seconds: None,
    };
    let natives = |second: NativeHistogram| {
        let (name, unit, samples) = ("h".into(), "".into(), vec![sample(sound()), sample(second)]);
        let family = Family { name, kind: Kind::NativeHistogram, help: "".into(), unit, label_names: vec![], samples };
        let metrics = decode(&write(&[family], Escaping::Underscores)).remove(0).metric;
        metrics.iter().map(|metric| is_native(metric.histogram.as_ref().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(natives(sound()), [true, true]);
    assert_eq!(natives(NativeHistogram { schema: 9, ..sound() }), [false, false]);
    assert_eq!(natives(NativeHistogram { count: f64::NAN, ..sound() }), [true], "what is left out does not matter");
}

#[test]
fn one_without_an_observation_is_still_native() {
    let (spans, counts) = (vec![], vec![]);
    let blank = NativeHistogram {
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: 0.0,
        sum: 0.0,
        positive_spans: spans.clone(),
        positive_counts: counts.clone(),
        negative_spans: spans,
        negative_counts: counts,
        ..sound()
    };
    let got = message(blank.clone()).unwrap();
    assert_eq!(got.positive_span, [BucketSpan { offset: 0, length: 0 }]);
    // Of floats, the zero bucket is not what tells it.
    let halves = NativeHistogram { zero_count: 0.5, count: 0.5, ..blank.clone() };
    assert_eq!(message(halves).unwrap().positive_span, [BucketSpan { offset: 0, length: 0 }]);
    let with_zero_bucket = message(NativeHistogram { zero_threshold: 1e-128, ..blank }).unwrap();
    assert!(is_native(&with_zero_bucket) && with_zero_bucket.positive_span.is_empty());
}
