//! What a scraper makes of families: series, from the model as every format must give them, and from decoded messages as
//! Prometheus's `protobufparse` takes them apart.

use std::collections::{BTreeMap, BTreeSet};

use sonde_expo::{Family, Kind, Sample, Value};

use crate::client_model::{self as proto, MetricFamily, MetricType};

/// Name and labels; the bits of a bound or quantile in place of its spelling.
pub type Identity = (String, BTreeMap<String, String>);
/// Bits of the value, every NaN alike.
pub type Series = BTreeMap<Identity, u64>;

fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

struct Gathering {
    series: Series,
    asides: BTreeSet<String>,
}

impl Gathering {
    fn add(&mut self, name: String, labels: &BTreeMap<String, String>, extra: Option<(&str, String)>, value: f64) {
        let mut labels = labels.clone();
        if let Some((label, of)) = extra.filter(|(_, of)| !of.is_empty()) {
            assert!(labels.insert(label.to_owned(), of).is_none(), "{name} has {label} twice");
        }
        let key = (name, labels);
        assert!(self.series.insert(key.clone(), bits(value)).is_none(), "{key:?} is there twice");
    }

    fn aside(&mut self, name: &str, labels: &BTreeMap<String, String>, what: &str) {
        self.asides.insert(format!("{name} {labels:?} {what}"));
    }
}

fn bound(value: f64) -> String {
    format!("{:016x}", bits(value))
}

/// A label's value; of a bound or quantile, which what is taken apart spells, the bits.
fn unspelt(name: &str, value: &str) -> String {
    if !["le", "quantile"].contains(&name) {
        return value.to_owned();
    }
    assert!(value.contains(['.', 'e']) || value.ends_with("Inf"), "{value} is not how Prometheus spells it");
    bound(value.parse().expect("a number"))
}

fn time(seconds: f64) -> String {
    format!("{seconds:.3}")
}

/// The series of families, and their start times and exemplars where the format can carry them.
pub fn expected(families: &[Family]) -> (Series, BTreeSet<String>) {
    let mut all = Gathering { series: BTreeMap::new(), asides: BTreeSet::new() };
    for family in families {
        let whole = family.samples.iter().all(|sample| is_whole(&sample.value));
        for sample in &family.samples {
            let names = family.label_names.iter().zip(&sample.label_values);
            let present = names.filter(|(_, value)| !value.is_empty());
            let labels: BTreeMap<_, _> = present.map(|(name, value)| (name.to_string(), value.to_string())).collect();
            expect_sample(&mut all, family, sample, &labels);
            if whole && family.kind != Kind::GaugeHistogram {
                expect_asides(&mut all, family, sample, &labels);
            }
        }
    }
    (all.series, all.asides)
}

fn is_whole(value: &Value) -> bool {
    match value {
        Value::Histogram(histogram) => histogram.sum.is_some(),
        Value::Summary(summary) => summary.sum.is_some() && summary.count.is_some(),
        _ => true,
    }
}

fn expect_sample(all: &mut Gathering, family: &Family, sample: &Sample, labels: &BTreeMap<String, String>) {
    let name = |suffix: &str| format!("{}{suffix}", family.name);
    match &sample.value {
        Value::Number { value, .. } => all.add(name(""), labels, None, value.as_f64()),
        Value::States(states) => {
            for state in states {
                let extra = Some((&*family.name, state.name.to_string()));
                all.add(name(""), labels, extra, f64::from(u8::from(state.enabled)));
            }
        }
        Value::Summary(summary) => {
            for one in &summary.quantiles {
                all.add(name(""), labels, Some(("quantile", bound(one.quantile))), one.value);
            }
            for (suffix, value) in [("_sum", summary.sum), ("_count", summary.count)] {
                value.into_iter().for_each(|value| all.add(name(suffix), labels, None, value));
            }
        }
        Value::Histogram(histogram) => {
            let gauge = family.kind == Kind::GaugeHistogram;
            let (sum, count) = if gauge { ("_gsum", "_gcount") } else { ("_sum", "_count") };
            for bucket in &histogram.buckets {
                let extra = Some(("le", bound(bucket.upper_bound)));
                all.add(name("_bucket"), labels, extra, bucket.cumulative_count);
            }
            histogram.sum.into_iter().for_each(|value| all.add(name(sum), labels, None, value));
            all.add(name(count), labels, None, histogram.count);
        }
        Value::Native(histogram) => {
            all.add(name("_sum"), labels, None, histogram.sum);
            all.add(name("_count"), labels, None, histogram.count);
        }
    }
}

fn expect_asides(all: &mut Gathering, family: &Family, sample: &Sample, labels: &BTreeMap<String, String>) {
    if let Some(start) = sample.start_time_seconds {
        all.aside(&family.name, labels, &time(start));
    }
    let exemplar = |exemplar: &sonde_expo::Exemplar| {
        let present: Vec<_> = exemplar.labels.iter().filter(|(_, value)| !value.is_empty()).collect();
        format!("{present:?} {:x} {:?}", bits(exemplar.value), exemplar.timestamp_seconds.map(time))
    };
    match &sample.value {
        Value::Number { exemplar: Some(one), .. } => all.aside(&family.name, labels, &exemplar(one)),
        Value::Histogram(histogram) => {
            for bucket in &histogram.buckets {
                if let Some(one) = &bucket.exemplar {
                    all.aside(&family.name, labels, &format!("{} {}", bound(bucket.upper_bound), exemplar(one)));
                }
            }
        }
        _ => {}
    }
}

/// The same of decoded messages.
pub fn decoded(families: &[MetricFamily]) -> (Series, BTreeSet<String>) {
    let mut all = Gathering { series: BTreeMap::new(), asides: BTreeSet::new() };
    for family in families {
        assert!(!family.metric.is_empty(), "{} has no metric", family.name);
        for metric in &family.metric {
            assert_eq!(metric.timestamp_ms, 0, "no explicit timestamps");
            let pairs = metric.label.iter().map(|pair| (pair.name.clone(), unspelt(&pair.name, &pair.value)));
            let labels: BTreeMap<_, _> = pairs.collect();
            assert_eq!(labels.len(), metric.label.len(), "{} has a label twice: {:?}", family.name, metric.label);
            take_metric(&mut all, family, metric, &labels);
        }
    }
    (all.series, all.asides)
}

fn take_metric(all: &mut Gathering, family: &MetricFamily, metric: &proto::Metric, labels: &BTreeMap<String, String>) {
    let name = family.name.clone();
    let values = [metric.gauge.is_some(), metric.counter.is_some(), metric.summary.is_some()];
    let others = [metric.untyped.is_some(), metric.histogram.is_some()];
    assert_eq!(values.iter().chain(&others).filter(|there| **there).count(), 1, "{metric:?}");
    match family.r#type() {
        MetricType::Gauge => all.add(name, labels, None, metric.gauge.as_ref().expect("a gauge").value),
        MetricType::Untyped => all.add(name, labels, None, metric.untyped.as_ref().expect("an untyped").value),
        MetricType::Counter => {
            let counter = metric.counter.as_ref().expect("a counter");
            counter.start_timestamp.iter().for_each(|start| all.aside(&name, labels, &time(start.as_f64())));
            counter.exemplar.iter().for_each(|one| all.aside(&name, labels, &exemplar(one)));
            all.add(name, labels, None, counter.value);
        }
        MetricType::Summary => {
            let summary = metric.summary.as_ref().expect("a summary");
            summary.start_timestamp.iter().for_each(|start| all.aside(&name, labels, &time(start.as_f64())));
            for one in &summary.quantile {
                all.add(name.clone(), labels, Some(("quantile", bound(one.quantile))), one.value);
            }
            all.add(format!("{name}_sum"), labels, None, summary.sample_sum);
            all.add(format!("{name}_count"), labels, None, summary.sample_count as f64);
        }
        MetricType::Histogram => take_histogram(all, &name, metric.histogram.as_ref().expect("a histogram"), labels),
        MetricType::GaugeHistogram => panic!("{name} has a type that would rename its series"),
    }
}

fn take_histogram(all: &mut Gathering, name: &str, histogram: &proto::Histogram, labels: &BTreeMap<String, String>) {
    let float_or = |float: f64, whole: u64| if float > 0.0 { float } else { whole as f64 };
    let count = float_or(histogram.sample_count_float, histogram.sample_count);
    histogram.start_timestamp.iter().for_each(|start| all.aside(name, labels, &time(start.as_f64())));
    all.add(format!("{name}_sum"), labels, None, histogram.sample_sum);
    all.add(format!("{name}_count"), labels, None, count);
    if is_native(histogram) {
        return;
    }
    let mut reaches_infinity = false;
    for bucket in &histogram.bucket {
        reaches_infinity |= bucket.upper_bound == f64::INFINITY;
        let value = float_or(bucket.cumulative_count_float, bucket.cumulative_count);
        all.add(format!("{name}_bucket"), labels, Some(("le", bound(bucket.upper_bound))), value);
        if let Some(one) = &bucket.exemplar {
            all.aside(name, labels, &format!("{} {}", bound(bucket.upper_bound), exemplar(one)));
        }
    }
    if !reaches_infinity {
        all.add(format!("{name}_bucket"), labels, Some(("le", bound(f64::INFINITY))), count);
    }
}

fn exemplar(exemplar: &proto::Exemplar) -> String {
    let labels: Vec<_> = exemplar.label.iter().map(|pair| (&pair.name, &pair.value)).collect();
    format!("{labels:?} {:x} {:?}", bits(exemplar.value), exemplar.timestamp.as_ref().map(|t| time(t.as_f64())))
}

/// Prometheus's `isNativeHistogram`.
pub fn is_native(histogram: &proto::Histogram) -> bool {
    !histogram.positive_span.is_empty()
        || !histogram.negative_span.is_empty()
        || histogram.zero_threshold > 0.0
        || histogram.zero_count > 0
}
