//! A batch with every kind, and what does not fit.

use sonde_sensor::raw::types;
use sonde_sensor::testing::{Instance, collect};
use sonde_sensor::{
    Batch, Counter, Description, Failure, Gauge, GaugeHistogram, Histogram, Info, Kind, NativeHistogram, Reason,
    Sensor, StateSet, Summary, Unknown,
};

static REQUESTS: Counter<2> = Counter::new("app_requests_total", "Requests.").labels(["code", "method"]);
static HEAT: Gauge = Gauge::new("app_heat_celsius", "Heat.").unit("celsius");
static LATENCY: Histogram<1> = Histogram::new("app_latency_seconds", "Latency.").labels(["route"]).unit("seconds");
static QUEUE: GaugeHistogram = GaugeHistogram::new("app_queue", "Queue.");
static NATIVE: NativeHistogram = NativeHistogram::new("app_native", "Native.");
static RPC: Summary = Summary::new("app_rpc", "RPC.");
static BUILD: Info<1> = Info::new("app_build_info", "Build.").labels(["version"]);
static FEATURES: StateSet = StateSet::new("app_features", "Features.");
static ODD: Unknown = Unknown::new("app_odd", "Odd.");

struct Whole;

impl Sensor for Whole {
    const DESCRIPTION: Description =
        Description::Families(&[&REQUESTS, &HEAT, &LATENCY, &QUEUE, &NATIVE, &RPC, &BUILD, &FEATURES, &ODD]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        // Not in the order of the description: the index must be right all the same.
        out.unknown(&ODD, [], -1.0);
        out.state_set(&FEATURES, [], &[("a", true), ("b", false)]);
        let requests = out.counter_since(&REQUESTS, ["200", "GET"], 7.0, 1.5e9);
        out.exemplar(requests, &[("trace_id", "abc")], 1.0, Some(1.6e9));
        out.counter(&REQUESTS, ["500", "GET"], 1.0);
        out.gauge(&HEAT, [], 36.6);
        let latency = out.histogram(&LATENCY, ["/"], &[(0.1, 2.0), (1.0, 3.0)], Some(1.25), 4.0);
        out.exemplar(latency.bucket(1), &[("trace_id", "def")], 0.5, None);
        out.gauge_histogram(&QUEUE, [], &[(10.0, 4.0)], None, 4.0);
        out.native_histogram(&NATIVE, [], native());
        out.summary(&RPC, [], &[(0.5, 0.25), (0.99, 2.0)], Some(8.0), Some(16.0));
        out.info(&BUILD, ["1.2"]);
        Ok(())
    }
}

fn native() -> types::NativeHistogram {
    types::NativeHistogram {
        family: 0,
        label_values: Vec::new(),
        schema: 3,
        zero_threshold: 1e-9,
        zero_count: 1.0,
        count: 3.0,
        sum: 2.5,
        positive_spans: vec![types::Span { offset: -2, length: 2 }],
        positive_counts: vec![1.0, 1.0],
        negative_spans: Vec::new(),
        negative_counts: Vec::new(),
        start_time: None,
    }
}

sonde_sensor::export!(Whole);

#[test]
fn every_kind_arrives_under_its_family() {
    let got = collect::<Whole>(Instance::new()).unwrap();
    let requests = got.number("app_requests_total", &[("method", "GET"), ("code", "200")]).unwrap();
    assert_eq!((requests.value, requests.start_time), (7.0, Some(1.5e9)));
    assert_eq!(got.count("app_requests_total"), 2);
    assert_eq!(got.value("app_heat_celsius", &[]), Some(36.6));
    assert_eq!(got.value("app_odd", &[]), Some(-1.0));
    assert_eq!(got.histogram("app_latency_seconds", &[("route", "/")]).unwrap().buckets[1].cumulative_count, 3.0);
    assert_eq!(got.histogram("app_queue", &[]).unwrap().sum, None);
    assert_eq!(got.summary("app_rpc", &[]).unwrap().quantiles[1].value, 2.0);
    assert_eq!(got.value("app_build_info", &[("version", "1.2")]), Some(1.0));
    assert_eq!(got.state_of("app_features", &[], "b"), Some(false));
    let native = &got.batch().native_histograms[0];
    assert_eq!((native.family, native.schema, native.sum), (4, 3, 2.5));
    assert_eq!(got.batch().exemplars[0].of, types::ExemplarOf::Number(1));
    assert_eq!(got.batch().exemplars[1].of, types::ExemplarOf::Bucket((0, 1)));
    assert_eq!(got.value("app_heat_celsius", &[("code", "200")]), None, "labels must fit");
}

/// A sensor whose one batch is filled by a function.
macro_rules! sensor {
    ($name:ident, $description:expr, $fill:expr) => {
        struct $name;
        impl Sensor for $name {
            const DESCRIPTION: Description = $description;
            fn collect(out: &mut Batch) -> Result<(), Failure> {
                let fill: fn(&mut Batch) = $fill;
                fill(out);
                Ok(())
            }
        }
    };
}

static FAMILIAR: Gauge = Gauge::new("app_familiar", "");
static STRANGE: Gauge = Gauge::new("app_strange", "");
static MISNAMED: Counter = Counter::new("app_requests", "");
static CLAIMED: Gauge = Gauge::new("up", "");
static RESERVED: Gauge<1> = Gauge::new("app_reserved", "").labels(["instance"]);
static UNITLESS: Gauge = Gauge::new("app_size", "").unit("bytes");

sensor!(Undescribed, Description::Families(&[&FAMILIAR]), |out| out.gauge(&STRANGE, [], 1.0));
sensor!(Empty, Description::Families(&[]), |out| out.gauge(&STRANGE, [], 1.0));
sensor!(Twice, Description::Families(&[&FAMILIAR]), |out| {
    out.gauge(&FAMILIAR, [], 1.0);
    out.gauge(&FAMILIAR, [], 2.0);
});
sensor!(Misnamed, Description::Families(&[&MISNAMED]), |_| {});
sensor!(Claimed, Description::Families(&[&CLAIMED]), |_| {});
sensor!(Reserved, Description::Families(&[&RESERVED]), |_| {});
sensor!(Unitless, Description::Families(&[&UNITLESS]), |_| {});
sensor!(NotDynamic, Description::Families(&[]), |out| {
    out.declare("app_late", Kind::Gauge, "", "", Vec::new());
});
sensor!(Misshapen, Description::Dynamic, |out| {
    let family = out.declare("app_late", Kind::Gauge, "", "", vec!["a".to_owned()]).0;
    out.records().numbers.push(types::Number { family, label_values: Vec::new(), value: 1.0, start_time: None });
});

#[test]
fn what_does_not_fit_fails_the_run_in_words() {
    let faults = [
        (collect::<Undescribed>(Instance::new()), "returned app_strange, which its DESCRIPTION does not name"),
        (collect::<Empty>(Instance::new()), "returned app_strange"),
        (collect::<Twice>(Instance::new()), "app_familiar has two samples"),
        (collect::<Misnamed>(Instance::new()), "does not end in _total"),
        (collect::<Claimed>(Instance::new()), "up is a name that a sensor cannot claim"),
        (collect::<Reserved>(Instance::new()), "the label instance, which a sensor cannot claim"),
        (collect::<Unitless>(Instance::new()), "has the unit bytes"),
        (collect::<NotDynamic>(Instance::new()), "did not describe itself as dynamic"),
        (collect::<Misshapen>(Instance::new()), "app_late has another number of labels"),
    ];
    for (result, sentence) in faults {
        let failure = result.unwrap_err();
        assert_eq!(failure.reason, Reason::Other);
        assert!(failure.message.contains(sentence), "{failure}");
    }
}
