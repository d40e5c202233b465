//! The sensor against scripted endpoints of both formats, with every kind.

use sonde_sensor::testing::{Answer, Instance, collect};
use sonde_sensor::{Kind, Reason, raw::types::ExemplarOf};
use sonde_sensor_relay::Relay;

const OPENMETRICS: &str = "\
# TYPE http_requests counter
# HELP http_requests Requests.
http_requests_total{code=\"200\"} 1.7e3 # {trace_id=\"abc\"} 0.5 1700000000.5
http_requests_created{code=\"200\"} 1600000000.25
# TYPE temperature_celsius gauge
# UNIT temperature_celsius celsius
temperature_celsius -0.125
# TYPE latency_seconds histogram
latency_seconds_bucket{le=\"0.1\"} 3
latency_seconds_bucket{le=\"1.0\"} 5 # {trace_id=\"def\"} 0.7
latency_seconds_bucket{le=\"+Inf\"} 6
latency_seconds_sum 4.5
latency_seconds_count 6
# TYPE queue gaugehistogram
queue_bucket{le=\"10\"} 4
queue_bucket{le=\"+Inf\"} 4
queue_gsum 12
queue_gcount 4
# TYPE rpc summary
rpc{quantile=\"0.5\"} 0.25
rpc_sum 8
rpc_count 16
# TYPE build info
build_info{version=\"1.2\"} 1
# TYPE feature stateset
feature{feature=\"a\"} 1
feature{feature=\"b\"} 0
# TYPE odd unknown
odd 7
# EOF
";

fn instance() -> Instance {
    Instance::new().config("url", "http://localhost:9100/metrics")
}

fn openmetrics(text: &str) -> Answer {
    Answer::ok(text).header("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
}

#[test]
fn every_kind_of_openmetrics_passes_untouched() {
    let got = collect::<Relay>(instance().http(9100, "/metrics", openmetrics(OPENMETRICS))).unwrap();
    let requests = got.number("http_requests_total", &[("code", "200")]).unwrap();
    assert_eq!((requests.value, requests.start_time), (1700.0, Some(1_600_000_000.25)));
    assert_eq!(got.value("temperature_celsius", &[]), Some(-0.125));
    let latency = got.histogram("latency_seconds", &[]).unwrap();
    assert_eq!((latency.sum, latency.count, latency.buckets.len()), (Some(4.5), 6.0, 3));
    assert_eq!(got.histogram("queue", &[]).unwrap().buckets[0].cumulative_count, 4.0);
    let rpc = got.summary("rpc", &[]).unwrap();
    assert_eq!((rpc.quantiles[0].value, rpc.sum, rpc.count), (0.25, Some(8.0), Some(16.0)));
    assert_eq!(got.value("build_info", &[("version", "1.2")]), Some(1.0));
    assert_eq!(got.state_of("feature", &[], "a"), Some(true));
    assert_eq!(got.state_of("feature", &[], "b"), Some(false));
    assert_eq!(got.value("odd", &[]), Some(7.0));
    let units: Vec<&str> = got.families().iter().map(|family| family.unit.as_str()).collect();
    assert!(units.contains(&"celsius"));
    let exemplars = &got.batch().exemplars;
    assert_eq!(exemplars[0].of, ExemplarOf::Number(0));
    assert_eq!((exemplars[0].value, exemplars[0].timestamp), (0.5, Some(1_700_000_000.5)));
    assert_eq!(exemplars[1].of, ExemplarOf::Bucket((0, 1)));
    assert_eq!(exemplars[1].labels[0].value, "def");
}

#[test]
fn plain_text_passes_and_its_odd_counters_become_unknown() {
    let text =
        "# TYPE jobs counter\njobs 3\n# TYPE done_total counter\ndone_total 4\nbare{a=\"1\"} 5\nbare{b=\"2\"} NaN\n";
    let answer = Answer::ok(text).header("Content-Type", "text/plain; version=0.0.4");
    let got = collect::<Relay>(instance().http(9100, "/metrics", answer)).unwrap();
    let kind = |name: &str| got.families().iter().find(|family| family.name == name).unwrap().kind;
    assert_eq!((kind("jobs"), kind("done_total"), kind("bare")), (Kind::Unknown, Kind::Counter, Kind::Unknown));
    assert_eq!(got.value("bare", &[("a", "1")]), Some(5.0));
    assert!(got.value("bare", &[("b", "2")]).unwrap().is_nan());
}

#[test]
fn what_cannot_be_relayed_is_a_failure_in_words() {
    for (instance, reason, why) in [
        (instance(), Reason::Unreachable, "nobody listens"),
        (instance().http(9100, "/metrics", Answer::status(403)), Reason::Unauthorized, "credentials"),
        (instance().http(9100, "/metrics", Answer::status(500)), Reason::Protocol, "status 500"),
        (instance().http(9100, "/metrics", openmetrics("a 1\n")), Reason::Protocol, "does not end with # EOF"),
        (instance().http(9100, "/metrics", Answer::ok("a 1\nb{ 2\n")), Reason::Protocol, "line 2"),
        (instance().http(9100, "/metrics", Answer::ok("a 1\n".repeat(1 << 20))), Reason::Protocol, "3 MiB"),
    ] {
        let failure = collect::<Relay>(instance).unwrap_err();
        assert_eq!(failure.reason, reason, "{failure}");
        assert!(failure.message.contains(why), "{failure}");
    }
}
