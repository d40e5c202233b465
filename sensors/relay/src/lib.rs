//! Re-exposes the instance's own metrics endpoint: all kinds of its text formats, values untouched.
//!
//! A dynamic sensor: families are the endpoint's. It asks for OpenMetrics first, because that carries exemplars and start
//! times, and reads strictly: an endpoint that a scraper would refuse is a failure that names the line,
//! not half of its series. Two things change on the way, both in §5.5 of the design: a counter not named
//! `…_total` becomes `unknown`, and explicit timestamps are dropped. Native histograms exist only in
//! protobuf, which it does not ask for.

use sonde_expo::{Family, Kind, ReadFormat, ReadLimits, Sample, Value, read};
use sonde_sensor::raw::types;
use sonde_sensor::{Batch, Declared, Description, Failure, Kind as SensorKind, Reason, Sensor, config};

/// With what the series cost, still below the manifest's bound of what crosses the boundary.
const MAX_BODY_BYTES: u32 = 3 * 1024 * 1024;
/// What Prometheus itself sends, but for protobuf.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

/// The sensor.
pub struct Relay;

impl Sensor for Relay {
    const DESCRIPTION: Description = Description::Dynamic;

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        let request = config::url("url")?.get().header("accept", ACCEPT).max_body_bytes(MAX_BODY_BYTES);
        let response = request.send()?;
        if matches!(response.status, 401 | 403) {
            return Err(Failure::new(Reason::Unauthorized, "the endpoint wants credentials"));
        }
        if response.status != 200 {
            let status = response.status.to_string();
            return Err(Failure::protocol(["the endpoint answers with the status ", &status, ", not 200"].concat()));
        }
        if response.truncated {
            return Err(Failure::protocol("the exposition has more than 3 MiB, the most that is relayed"));
        }
        // Prometheus 2 reads what names no type, or another one, as text; so do endpoints expect.
        let format = response.header("content-type").and_then(ReadFormat::of_content_type).unwrap_or(ReadFormat::Text);
        let families = read(&response.body, format, &ReadLimits::default())
            .map_err(|error| Failure::protocol(["the exposition's ", &error.to_string()].concat()))?;
        for family in families {
            relay(out, family);
        }
        Ok(())
    }
}

sonde_sensor::export!(Relay);

fn relay(out: &mut Batch, family: Family) {
    let kind = match family.kind {
        Kind::Counter if family.name.ends_with("_total") => SensorKind::Counter,
        Kind::Counter | Kind::Unknown => SensorKind::Unknown,
        Kind::Gauge => SensorKind::Gauge,
        Kind::Histogram => SensorKind::Histogram,
        Kind::GaugeHistogram => SensorKind::GaugeHistogram,
        Kind::Summary => SensorKind::Summary,
        Kind::Info => SensorKind::Info,
        Kind::StateSet => SensorKind::StateSet,
        Kind::NativeHistogram => return,
    };
    let label_names = family.label_names.into_iter().map(String::from).collect();
    let declared = out.declare(&family.name, kind, &family.help, &family.unit, label_names);
    for sample in family.samples {
        push(out, declared, kind, sample);
    }
}

fn push(out: &mut Batch, Declared(family): Declared, kind: SensorKind, sample: Sample) {
    let label_values: Vec<String> = sample.label_values.into_iter().map(String::from).collect();
    let start_time = sample.start_time_seconds;
    let records = out.records();
    match sample.value {
        Value::Number { value, exemplar } => {
            if let Some(exemplar) = exemplar
                && kind == SensorKind::Counter
            {
                let of = types::ExemplarOf::Number(index(records.numbers.len()));
                records.exemplars.push(exemplar_record(of, *exemplar));
            }
            records.numbers.push(types::Number { family, label_values, value: value.as_f64(), start_time });
        }
        Value::Histogram(histogram) => {
            let at = index(records.histograms.len());
            let mut buckets = Vec::with_capacity(histogram.buckets.len());
            for bucket in histogram.buckets {
                if let Some(exemplar) = bucket.exemplar {
                    let of = types::ExemplarOf::Bucket((at, index(buckets.len())));
                    records.exemplars.push(exemplar_record(of, *exemplar));
                }
                let (upper_bound, cumulative_count) = (bucket.upper_bound, bucket.cumulative_count);
                buckets.push(types::Bucket { upper_bound, cumulative_count });
            }
            let (sum, count) = (histogram.sum, histogram.count);
            records.histograms.push(types::Histogram { family, label_values, buckets, sum, count, start_time });
        }
        Value::Summary(summary) => {
            let quantiles = summary
                .quantiles
                .iter()
                .map(|found| types::Quantile { quantile: found.quantile, value: found.value })
                .collect();
            let (sum, count) = (summary.sum, summary.count);
            records.summaries.push(types::Summary { family, label_values, quantiles, sum, count, start_time });
        }
        Value::States(states) => {
            let states = states
                .into_iter()
                .map(|state| types::State { name: state.name.into(), enabled: state.enabled })
                .collect();
            records.state_sets.push(types::StateSet { family, label_values, states });
        }
        Value::Native(_) => {}
    }
}

fn exemplar_record(of: types::ExemplarOf, exemplar: sonde_expo::Exemplar) -> types::Exemplar {
    let labels = exemplar
        .labels
        .into_iter()
        .map(|(name, value)| types::Label { name: name.into(), value: value.into() })
        .collect();
    types::Exemplar { of, labels, value: exemplar.value, timestamp: exemplar.timestamp_seconds }
}

/// The reader's limits keep every count far below 2³².
fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
