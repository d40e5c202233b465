//! The sensors we ship, as they ship, against the real servers that they probe: nginx, http and relay by process
//! group (redis has its own modules).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sonde_tests::{Exposition, Prometheus, Request, Sample, Server, Sonde, promtool_check, unique_name};

const SOON: Duration = Duration::from_secs(20);
const TEXT: &str = "text/plain;version=0.0.4";
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";
const FORMATS: [&str; 2] = [TEXT, OPENMETRICS];
/// Prometheus tells some hundreds of series about itself; most stand still while nothing scrapes it.
const ENOUGH_SERIES: usize = 100;

/// A page as one format has it.
fn page(url: &str, accept: &str) -> String {
    let response = Request::get(url).header("Accept", accept).send().unwrap_or_else(|e| panic!("GET {url}: {e}"));
    assert_eq!(response.status, 200, "{}", response.text());
    response.text()
}

#[test]
fn nginx_by_its_stub_status() {
    let nginx = Server::nginx("", "location = /stub_status { stub_status; }");
    let name = unique_name("nginx");
    let url = format!("http://localhost:{}/stub_status", nginx.port());
    let sonde = Sonde::configure()
        .process_group(&name, &format!("port = {}", nginx.port()))
        .sensor("nginx.wasm", &name, &format!("[sensor.config]\nurl = \"{url}\""))
        .up();
    sonde.wait_for_instance(&name);
    sonde.wait_for_value(&name, "nginx_up", &[], SOON, |up| up == 1.0);
    let exposition = sonde.scrape(&name);
    let value = |of| exposition.value(of, &[]).unwrap_or_else(|| panic!("there is no {of}"));
    assert!(value("nginx_http_requests_total") >= 1.0, "our own request is counted");
    assert_eq!(value("nginx_connections_accepted_total"), value("nginx_connections_handled_total"));
    assert_eq!(value("nginx_connections_writing"), 1.0, "the answer that tells so is being written");
    let remarks = promtool_check(&sonde.scrape_text(&name));
    assert!(remarks.iter().all(|remark| !remark.metric.starts_with("nginx_")), "{remarks:?}");
}

#[test]
fn http_with_its_phases() {
    let nginx = Server::nginx("", "location / { return 200 'twelve bytes'; }");
    let name = unique_name("web");
    let sonde = Sonde::configure()
        .process_group(&name, &format!("port = {}", nginx.port()))
        .sensor("http.wasm", &name, &format!("[sensor.config]\nurl = \"http://localhost:{}/any\"", nginx.port()))
        .up();
    sonde.wait_for_instance(&name);
    sonde.wait_for_value(&name, "http_up", &[], SOON, |up| up == 1.0);
    let exposition = sonde.scrape(&name);
    assert_eq!(exposition.value("http_status_code", &[]), Some(200.0));
    assert_eq!(exposition.value("http_content_length", &[]), Some(12.0));
    let phases: BTreeSet<&str> = exposition
        .all("http_duration_seconds", &[])
        .filter_map(|s| s.labels.get("phase"))
        .map(String::as_str)
        .collect();
    assert_eq!(phases, BTreeSet::from(["connect", "first_byte", "transfer"]));
    assert!(exposition.all("http_duration_seconds", &[]).all(|s| (0.0..2.0).contains(&s.value)));
    let remarks = promtool_check(&sonde.scrape_text(&name));
    assert!(remarks.iter().all(|remark| !remark.metric.starts_with("http_")), "{remarks:?}");
}

/// A sample's name and labels, which is what it may be found again by.
type Identity = (String, BTreeMap<String, String>);

/// OpenMetrics writes a bound as `1.0` where text has `1`: the number counts.
fn identity(sample: &Sample) -> Identity {
    let canonical = |(label, value): (&String, &String)| match value.parse::<f64>() {
        Ok(bound) if ["le", "quantile"].contains(&label.as_str()) => (label.clone(), bound.to_string()),
        _ => (label.clone(), value.clone()),
    };
    (sample.name.clone(), sample.labels.iter().map(canonical).collect())
}

fn by_identity(exposition: &Exposition) -> BTreeMap<Identity, f64> {
    exposition.samples.iter().map(|sample| (identity(sample), sample.value)).collect()
}

/// Series that only rise, or never change: if two looks agree, so does everything between them.
fn is_monotone(name: &str) -> bool {
    ["_total", "_info", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end))
}

/// The kind that a family relayed from text must have: a counter not named so is unknown to OpenMetrics (design §5.5).
fn relayed_kind<'k>(name: &str, kind: &'k str) -> &'k str {
    if kind == "counter" && !name.ends_with("_total") { "untyped" } else { kind }
}

/// A family's `# TYPE` line in a format, from its name and kind in text.
fn type_line(name: &str, kind: &str, format: &str) -> (String, String) {
    match (format, kind) {
        (OPENMETRICS, "counter") => (name.trim_end_matches("_total").to_owned(), kind.to_owned()),
        (OPENMETRICS, "untyped") => (name.to_owned(), "unknown".to_owned()),
        _ => (name.to_owned(), kind.to_owned()),
    }
}

#[test]
fn relay_of_a_real_prometheus_whole_and_untouched() {
    let source = Prometheus::with_config("global: {}\n");
    let source_url = format!("http://{}/metrics", source.authority());
    // Its own handler counts an answer only after the first one, so that the first look would lack those series.
    page(&source_url, TEXT);
    let before = Exposition::read(&page(&source_url, TEXT));
    let name = unique_name("app");
    let sonde = Sonde::configure()
        .process_group(&name, &format!("port = {}", source.port()))
        .sensor("relay.wasm", &name, &format!("[sensor.config]\nurl = \"http://localhost:{}/metrics\"", source.port()))
        .up();
    sonde.wait_for_instance(&name);
    sonde.wait_for_value(&name, "sonde_sensor_up", &[("sensor", "relay")], SOON, |up| up == 1.0);
    let url = sonde.url(&format!("/v1/{name}/metrics?collect[]=sensor/relay"));
    let relayed = FORMATS.map(|format| (format, page(&url, format)));
    let after = Exposition::read(&page(&source_url, TEXT));

    let (earlier, later) = (by_identity(&before), by_identity(&after));
    let still = || {
        earlier
            .iter()
            .filter(|(key, value)| is_monotone(&key.0) && later.get(*key) == Some(*value))
            .map(|(k, v)| (k, *v))
    };
    assert!(still().count() >= ENOUGH_SERIES, "only {} series stood still", still().count());
    assert!(still().any(|(key, _)| key.0 == "prometheus_build_info"));
    for (format, body) in &relayed {
        let exposition = Exposition::read(body);
        let found = by_identity(&exposition);
        for key in earlier.keys().filter(|key| later.contains_key(*key)) {
            assert!(found.contains_key(key), "{format}: {key:?} is not relayed");
        }
        for (key, value) in still() {
            assert_eq!(found[key], value, "{format}: {key:?}");
        }
        for (family, kind) in before.kinds.intersection(&after.kinds) {
            let line = type_line(family, relayed_kind(family, kind), format);
            assert!(exposition.kinds.contains(&line), "{format}: no {line:?} in {:?}", exposition.kinds);
        }
    }

    // promtool may dislike a name of the source's; none of ours.
    for remark in promtool_check(&relayed[0].1).into_iter().chain(promtool_check(&sonde.scrape_text(&name))) {
        let relayed = before.kinds.union(&after.kinds).any(|(family, _)| *family == remark.metric);
        assert!(relayed, "promtool remarks on a name that is ours: {remark:?}");
    }
}
