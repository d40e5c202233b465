//! What is written reads back equal: generated families of every kind, with hostile texts, through both
//! formats and with quoted names.

mod dice;

use dice::Dice;
use sonde_expo::{
    Escaping, Family, Format, Kind, Labels, Negotiated, Number, ReadFormat, ReadLimits, Value, Writer, read,
};

/// Families a run; each has up to five samples.
const FAMILIES: usize = 40;
/// Runs a format.
const RUNS: u64 = 300;
/// A family so that equal ones print alike: labels by name, numbers as floats, and without what text cannot carry.
fn normal(family: &Family, text: bool) -> String {
    let mut family = family.clone();
    let names = std::mem::take(&mut family.label_names);
    if text {
        family.unit = Box::default();
    }
    for sample in &mut family.samples {
        let mut labels: Vec<_> =
            names.iter().zip(&sample.label_values).filter(|(_, value)| !value.is_empty()).collect();
        labels.sort();
        sample.label_values = labels.into_iter().map(|(name, value)| format!("{name}={value}").into()).collect();
        if text {
            sample.start_time_seconds = None;
        }
        match &mut sample.value {
            Value::Number { value, exemplar } => {
                *value = Number::Float(value.as_f64());
                exemplar.take_if(|_| text);
            }
            Value::Histogram(histogram) if text => {
                for bucket in &mut histogram.buckets {
                    bucket.exemplar = None;
                }
            }
            _ => {}
        }
    }
    format!("{family:?}")
}

fn check(format: Format, escaping: Escaping, kinds: &[Kind]) {
    let text = !format.is_openmetrics();
    let read_format = if text { ReadFormat::Text } else { ReadFormat::OpenMetrics };
    for seed in 1..=RUNS {
        let mut dice = Dice::new(seed);
        let utf8 = escaping == Escaping::AllowUtf8;
        let families: Vec<_> = (0..FAMILIES).map(|at| dice.family(at, kinds, utf8)).collect();
        let mut out = Vec::new();
        let mut writer = Writer::new(Negotiated::new(format, Some(escaping)), &mut out);
        for family in &families {
            writer.write_family(&Labels::default(), family);
        }
        writer.finish();
        let back = read(&out, read_format, &ReadLimits::default())
            .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", String::from_utf8_lossy(&out)));
        assert_eq!(back.len(), families.len(), "seed {seed}");
        for (wrote, got) in families.iter().zip(&back) {
            assert_eq!(normal(wrote, text), normal(got, text), "seed {seed}");
        }
    }
}

const TEXT_KINDS: [Kind; 5] = [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary, Kind::Unknown];
const ALL_KINDS: [Kind; 8] = [
    Kind::Counter,
    Kind::Gauge,
    Kind::Histogram,
    Kind::GaugeHistogram,
    Kind::Summary,
    Kind::Info,
    Kind::StateSet,
    Kind::Unknown,
];

#[test]
fn text_reads_back() {
    check(Format::Text004, Escaping::Underscores, &TEXT_KINDS);
}

#[test]
fn text_with_quoted_names_reads_back() {
    check(Format::Text100, Escaping::AllowUtf8, &TEXT_KINDS);
}

#[test]
fn openmetrics_reads_back() {
    check(Format::OpenMetrics100, Escaping::Underscores, &ALL_KINDS);
}

#[test]
fn openmetrics_with_quoted_names_reads_back() {
    check(Format::OpenMetrics100, Escaping::AllowUtf8, &ALL_KINDS);
}

/// No input may panic, whatever is cut from or smeared into a valid one.
#[test]
fn damaged_expositions_are_refused_or_read_but_never_panic() {
    let mut dice = Dice::new(7);
    let families: Vec<_> = (0..FAMILIES).map(|at| dice.family(at, &ALL_KINDS, true)).collect();
    let mut out = Vec::new();
    let mut writer = Writer::new(Negotiated::new(Format::OpenMetrics100, Some(Escaping::AllowUtf8)), &mut out);
    families.iter().for_each(|family| writer.write_family(&Labels::default(), family));
    writer.finish();
    let mut refused = 0;
    for _ in 0..3_000 {
        let mut damaged = out.clone();
        for _ in 0..=dice.roll(3) {
            let at = dice.roll(damaged.len());
            damaged[at] = b"\"\\\n{},= #a1\xff"[dice.roll(12)];
        }
        damaged.truncate(damaged.len() - dice.roll(2) * dice.roll(out.len() - 1));
        for format in [ReadFormat::Text, ReadFormat::OpenMetrics] {
            refused += usize::from(read(&damaged, format, &ReadLimits::default()).is_err());
        }
    }
    assert!(refused > 3_000, "only {refused} of 6000 damaged texts were refused");
}
