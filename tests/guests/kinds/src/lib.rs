//! A guest with a family of each kind, of values that never change: what each format must bring to a real scraper.
//!
//! Among its native histograms are two that Prometheus would throw the whole scrape away for, if they were passed on as they
//! are: the node lets them through, because they are well formed, and the format has to find the form that is taken.

use sonde_sensor::raw::types;
use sonde_sensor::{
    Batch, Counter, Description, Failure, Gauge, GaugeHistogram, Histogram, Info, NativeHistogram, Sensor, StateSet,
    Summary, Unknown,
};

static COUNTER: Counter<1> = Counter::new("kinds_done_total", "A counter.").labels(["path"]);
static GAUGE: Gauge = Gauge::new("kinds_level_ratio", "A gauge.").unit("ratio");
static HISTOGRAM: Histogram = Histogram::new("kinds_wait_seconds", "A histogram.").unit("seconds");
static SUMLESS: Histogram = Histogram::new("kinds_drift_seconds", "A histogram without a sum.").unit("seconds");
static SNAPSHOT: GaugeHistogram = GaugeHistogram::new("kinds_queue_seconds", "A gauge histogram.").unit("seconds");
static FINE: NativeHistogram<1> =
    NativeHistogram::new("kinds_fine_seconds", "Native histograms, the second of observations under zero too.")
        .unit("seconds")
        .labels(["path"]);
static ODD: NativeHistogram<1> =
    NativeHistogram::new("kinds_odd_seconds", "Native histograms that do not add up.").unit("seconds").labels(["why"]);
static SUMMARY: Summary = Summary::new("kinds_size_bytes", "A summary.").unit("bytes");
static COUNTLESS: Summary = Summary::new("kinds_age_seconds", "A summary without a count.").unit("seconds");
static INFO: Info<1> = Info::new("kinds_build_info", "An info.").labels(["version"]);
static STATES: StateSet = StateSet::new("kinds_mode", "A state set.");
static UNKNOWN: Unknown = Unknown::new("kinds_thing", "An unknown.");

/// When everything began, in seconds since 1970.
const BEGAN: f64 = 1_700_000_000.5;

/// The guest.
pub struct Kinds;

impl Sensor for Kinds {
    const DESCRIPTION: Description = Description::Families(&[
        &COUNTER, &GAUGE, &HISTOGRAM, &SUMLESS, &SNAPSHOT, &FINE, &ODD, &SUMMARY, &COUNTLESS, &INFO, &STATES, &UNKNOWN,
    ]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        let counter = out.counter_since(&COUNTER, ["/a\"b\\é"], 12.0, BEGAN);
        out.exemplar(counter, &[("trace_id", "c0ffee")], 1.0, Some(BEGAN + 1.0));
        out.gauge(&GAUGE, [], 0.25);
        let histogram = out.histogram(&HISTOGRAM, [], &[(0.5, 1.0), (2.0, 3.0)], Some(6.5), 4.0);
        out.exemplar(histogram.bucket(1), &[("trace_id", "decade")], 1.5, None);
        out.histogram(&SUMLESS, [], &[(-1.0, 1.0), (1.0, 3.0)], None, 3.0);
        out.gauge_histogram(&SNAPSHOT, [], &[(1.0, 2.0)], Some(3.5), 3.0);
        // Four observations in (1, 2], six in (2, 4]: the median is in the second, at 2^(1 + 1/6) or 2 + 2/6.
        out.native_histogram(&FINE, ["/up"], native(10.0, 26.0, &[], &[4.0, 6.0]));
        // One at zero, and two in [-2, -1).
        out.native_histogram(&FINE, ["/both"], native(4.0, -2.5, &[2.0], &[1.0]));
        out.native_histogram(&ODD, ["one more than in the buckets"], native(11.0, 26.0, &[], &[4.0, 6.0]));
        out.native_histogram(&ODD, ["halves"], native(4.5, 26.0, &[1.5], &[2.0]));
        out.summary(&SUMMARY, [], &[(0.5, 3.0), (0.99, 9.0)], Some(100.0), Some(20.0));
        out.summary(&COUNTLESS, [], &[(0.5, 3.0)], Some(100.0), None);
        out.info(&INFO, ["1.2"]);
        out.state_set(&STATES, [], &[("on", true), ("off", false)]);
        out.unknown(&UNKNOWN, [], -7.0);
        Ok(())
    }
}

/// A native histogram of resolution 0, whose buckets double, from (1, 2] and [-2, -1) on; its zero bucket has 1 where `negative` is not empty.
fn native(count: f64, sum: f64, negative: &[f64], positive: &[f64]) -> types::NativeHistogram {
    let spans = |counts: &[f64]| match u32::try_from(counts.len()) {
        Ok(length) if length > 0 => vec![types::Span { offset: 1, length }],
        _ => Vec::new(),
    };
    types::NativeHistogram {
        // The first two are filled by the batch.
        family: 0,
        label_values: Vec::new(),
        schema: 0,
        zero_threshold: 0.001,
        zero_count: if negative.is_empty() { 0.0 } else { 1.0 },
        count,
        sum,
        positive_spans: spans(positive),
        positive_counts: positive.to_vec(),
        negative_spans: spans(negative),
        negative_counts: negative.to_vec(),
        start_time: Some(BEGAN),
    }
}

sonde_sensor::export!(Kinds);
