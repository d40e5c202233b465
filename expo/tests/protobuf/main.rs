//! The protobuf exposition against an independent decoder: every series that text gives, under the same name, and
//! nothing that would cost a scraper its scrape.

mod client_model;
#[path = "../dice/mod.rs"]
mod dice;
mod native;
mod series;

use client_model::{MetricType, decode};
use dice::Dice;
use native::{absolute, validate, write};
use sonde_expo::{
    Bucket, Escaping, Family, Format, Histogram, Kind, Labels, Negotiated, Number, Quantile, Sample, State, Summary,
    Value, Writer,
};

/// Families a run, and runs.
const FAMILIES: usize = 40;
const RUNS: u64 = 300;
const KINDS: [Kind; 9] = [
    Kind::Counter,
    Kind::Gauge,
    Kind::Histogram,
    Kind::GaugeHistogram,
    Kind::NativeHistogram,
    Kind::Summary,
    Kind::Info,
    Kind::StateSet,
    Kind::Unknown,
];

/// Whatever is measured arrives: series, exemplars and start times of all kinds, with hostile texts and numbers.
#[test]
fn what_is_written_decodes_to_the_same_series() {
    let (mut exemplars, mut natives) = (0, 0);
    for seed in 1..=RUNS {
        let mut dice = Dice::new(seed);
        let families: Vec<_> = (0..FAMILIES).map(|at| dice.family(at, &KINDS, true)).collect();
        let got = decode(&write(&families, Escaping::AllowUtf8));
        let (wanted, wanted_asides) = series::expected(&families);
        let (series, asides) = series::decoded(&got);
        let lost: Vec<_> = wanted.iter().filter(|(key, value)| series.get(*key) != Some(value)).collect();
        let odd: Vec<_> = series.iter().filter(|(key, value)| wanted.get(*key) != Some(value)).collect();
        assert!(lost.is_empty() && odd.is_empty(), "seed {seed}: of {lost:#?} became {odd:#?}");
        assert_eq!(wanted_asides, asides, "seed {seed}");
        exemplars += asides.len();
        for family in families.iter().filter(|family| family.kind == Kind::NativeHistogram) {
            let message = got.iter().find(|message| message.name == *family.name).expect("its message");
            for (sample, metric) in family.samples.iter().zip(&message.metric) {
                check_native(&sample.value, metric.histogram.as_ref().expect("a histogram"));
                natives += 1;
            }
        }
    }
    assert!(exemplars > 5_000 && natives > 1_000, "{exemplars} asides, {natives} native histograms");
}

fn check_native(value: &Value, got: &client_model::Histogram) {
    let Value::Native(native) = value else { panic!("{value:?}") };
    assert_eq!(validate(got), Ok(()), "{got:?}");
    assert!(series::is_native(got), "each that the dice make can be said: {got:?}");
    let is_float = got.sample_count_float > 0.0 || got.zero_count_float > 0.0;
    let counts = |deltas: &[i64], counts: &[f64]| if is_float { counts.to_vec() } else { absolute(deltas) };
    assert_eq!(counts(&got.positive_delta, &got.positive_count), native.positive_counts);
    assert_eq!(counts(&got.negative_delta, &got.negative_count), native.negative_counts);
    assert_eq!(got.schema, native.schema);
    let spans = got.negative_span.iter().map(|span| (span.offset, span.length));
    assert!(spans.eq(native.negative_spans.iter().map(|span| (span.offset, span.length))));
}

fn family(name: &str, kind: Kind, samples: Vec<Value>) -> Family {
    let samples = samples.into_iter().enumerate();
    let samples = samples.map(|(at, value)| {
        let at: Box<str> = at.to_string().into();
        Sample { label_values: vec![at], value, start_time_seconds: Some(f64::NAN) }
    });
    let label_names = vec!["n".into()];
    Family { name: name.into(), kind, help: "".into(), unit: "".into(), label_names, samples: samples.collect() }
}

fn types(families: &[Family]) -> Vec<(String, MetricType)> {
    let got = decode(&write(families, Escaping::Underscores));
    got.iter().map(|family| (family.name.clone(), family.r#type())).collect()
}

#[test]
fn kinds_have_the_types_of_prometheus() {
    let number = |value: f64| -> Value { Number::Float(value).into() };
    let states = Value::States(vec![State { name: "on".into(), enabled: true }]);
    let families = [
        family("a_total", Kind::Counter, vec![number(1.0)]),
        family("inherited", Kind::Counter, vec![number(1.0)]),
        family("b", Kind::Gauge, vec![number(1.0)]),
        family("c_info", Kind::Info, vec![number(1.0)]),
        family("d", Kind::StateSet, vec![states]),
        family("e", Kind::Unknown, vec![number(1.0)]),
    ];
    let types = types(&families);
    let types: Vec<_> = types.iter().map(|(name, of)| (name.as_str(), *of)).collect();
    assert_eq!(
        types,
        [
            ("a_total", MetricType::Counter),
            ("inherited", MetricType::Counter),
            ("b", MetricType::Gauge),
            ("c_info", MetricType::Gauge),
            ("d", MetricType::Gauge),
            ("e", MetricType::Untyped),
        ]
    );
}

/// An absent sum or count would be read as 0; a gauge histogram's sum as `_sum`.
#[test]
fn what_a_message_cannot_say_is_taken_apart() {
    let bucket = Bucket { upper_bound: 1.0, cumulative_count: 1.0, exemplar: None };
    let histogram = |sum| Value::Histogram(Box::new(Histogram { buckets: vec![bucket.clone()], sum, count: 2.0 }));
    let quantiles = vec![Quantile { quantile: 0.5, value: 3.0 }];
    let summary = |count| Value::Summary(Box::new(Summary { quantiles: quantiles.clone(), sum: Some(4.0), count }));
    let untyped = |name: &str| (name.to_owned(), MetricType::Untyped);
    let gauge = |name: &str| (name.to_owned(), MetricType::Gauge);
    let whole = family("h", Kind::Histogram, vec![histogram(Some(1.0))]);
    assert_eq!(types(&[whole]), [("h".to_owned(), MetricType::Histogram)]);
    let sumless = family("h", Kind::Histogram, vec![histogram(Some(1.0)), histogram(None)]);
    assert_eq!(types(&[sumless]), [untyped("h_bucket"), untyped("h_count"), untyped("h_sum")]);
    let countless = family("s", Kind::Summary, vec![summary(None)]);
    assert_eq!(types(&[countless]), [untyped("s"), untyped("s_sum")]);
    let halves = family("s", Kind::Summary, vec![summary(Some(0.5))]);
    assert_eq!(types(&[halves]), [untyped("s"), untyped("s_count"), untyped("s_sum")]);
    let gauges = family("g", Kind::GaugeHistogram, vec![histogram(Some(1.0))]);
    assert_eq!(types(&[gauges]), [gauge("g_bucket"), gauge("g_gcount"), gauge("g_gsum")]);
}

#[test]
fn counts_beyond_integers_are_floats_too() {
    for (count, integer, float) in [
        (2.0_f64.powi(53), 1 << 53, 0.0),
        (2.0_f64.powi(63), 1 << 63, 0.0),
        (2.5, 2, 2.5),
        (1e300, u64::MAX, 1e300),
        (0.25, 0, 0.25),
    ] {
        let value = Histogram { buckets: vec![], sum: Some(0.0), count };
        let of = family("h", Kind::Histogram, vec![Value::Histogram(Box::new(value))]);
        let got = decode(&write(&[of], Escaping::Underscores)).remove(0).metric.remove(0).histogram.unwrap();
        assert_eq!((got.sample_count, got.sample_count_float), (integer, float), "{count}");
        assert_eq!(got.start_timestamp, None, "a start that is no number is none");
    }
}

#[test]
fn a_value_of_another_kind_and_a_family_without_samples_leave_nothing() {
    let misfit = family("a", Kind::Gauge, vec![Value::States(vec![]), Number::Unsigned(1).into()]);
    let got = decode(&write(&[misfit, family("b", Kind::Gauge, vec![])], Escaping::Underscores));
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].metric.len(), 1);
    let misfit = family("a", Kind::Summary, vec![Number::Unsigned(1).into()]);
    assert!(write(&[misfit, family("", Kind::Gauge, vec![Number::Unsigned(1).into()])], Escaping::Dots).is_empty());
}

/// Names by the negotiated scheme, help, unit, and the door of native readings.
#[test]
fn families_written_at_once_are_framed_like_the_others() {
    let base = Labels::new(&[("id", "/a\"b\\\n"), ("na.me", "c"), ("none", "")]);
    for (escaping, name, label) in [
        (Escaping::Underscores, "my_dotted_seconds_total", "a_b"),
        (Escaping::Dots, "my_dot_dotted__seconds__total", "a_dot_b"),
        (Escaping::Values, "U__my_2e_dotted__seconds__total", "U__a_2e_b"),
        (Escaping::AllowUtf8, "my.dotted_seconds_total", "a.b"),
    ] {
        let mut out = b"kept".to_vec();
        let mut writer = Writer::new(Negotiated::new(Format::Protobuf, Some(escaping)), &mut out);
        let mut family = writer.family("my.dotted_seconds_total", Kind::Counter, "Help \"it\"\n", "seconds");
        for number in [Number::Unsigned(u64::MAX), Number::Signed(-1)] {
            family.sample(&base, &[("a.b", "\0é"), ("c", "")], number);
        }
        writer.family("never", Kind::Gauge, "", "");
        writer.family("odd", Kind::Histogram, "", "seconds").sample(&Labels::default(), &[], f64::NAN.into());
        writer.finish();
        let got = decode(out.strip_prefix(b"kept").unwrap());
        let [family, odd] = &got[..] else { panic!("{got:?}") };
        assert_eq!((family.name.as_str(), family.help.as_str()), (name, "Help \"it\"\n"));
        assert_eq!(family.unit, if name.ends_with("_seconds_total") { "seconds" } else { "" });
        let labels: Vec<_> = family.metric[0].label.iter().map(|pair| (&*pair.name, &*pair.value)).collect();
        assert_eq!(labels, [("id", "/a\"b\\\n"), ("na_me", "c"), (label, "\0é")]);
        let values: Vec<_> = family.metric.iter().map(|metric| metric.counter.as_ref().unwrap().value).collect();
        assert_eq!(values, [u64::MAX as f64, -1.0]);
        assert_eq!((odd.r#type(), odd.unit.as_str()), (MetricType::Untyped, ""));
        assert_eq!(odd.metric[0].untyped.as_ref().unwrap().value.to_bits(), 0x7ff8_0000_0000_0001);
    }
}

#[test]
fn a_base_label_wins_and_own_labels_are_not_forged() {
    let histogram = Histogram { buckets: vec![], sum: Some(1.0), count: 1.0 };
    let mut of = family("h", Kind::Histogram, vec![Value::Histogram(Box::new(histogram))]);
    of.label_names = vec!["id".into(), "le".into(), "a.b".into(), "a_b".into()];
    of.samples[0].label_values = ["forged", "7", "first", "second"].map(Into::into).to_vec();
    let mut out = Vec::new();
    let mut writer = Writer::new(Negotiated::new(Format::Protobuf, None), &mut out);
    writer.write_family(&Labels::new(&[("id", "true")]), &of);
    writer.finish();
    let got = decode(&out);
    let labels: Vec<_> = got[0].metric[0].label.iter().map(|pair| (&*pair.name, &*pair.value)).collect();
    assert_eq!(labels, [("id", "true"), ("a_b", "first")]);
}
