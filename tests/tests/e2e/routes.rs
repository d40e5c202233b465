//! The agent's routes and the commands that use them: design §5.2 and §5.3 line by line.

use std::time::{Duration, Instant};

use sonde_tests::{Container, Exposition, Request, Response, Sonde, eventually};

const SOON: Duration = Duration::from_secs(20);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What each Prometheus asks with, and what it must get (contracts, the scrape request).
const ACCEPTED: [(&str, &str); 8] = [
    (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        OPENMETRICS,
    ),
    (
        "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        OPENMETRICS,
    ),
    // 2.49.0 sends a q above 1 for the wildcard; it must not win.
    (
        "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=2",
        OPENMETRICS,
    ),
    (
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
         text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        OPENMETRICS,
    ),
    ("text/plain;version=0.0.4;q=1,*/*;q=0.1", TEXT),
    ("text/plain", TEXT),
    ("*/*", TEXT),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
];

fn ask(sonde: &Sonde, path: &str, header: &str, value: &str) -> Response {
    Request::get(&sonde.url(path)).header(header, value).send().expect("it answers")
}

/// The type and parameters without what a server may add after them (`escaping`).
fn starts_as(response: &Response, wanted: &str) -> bool {
    response.header("content-type").is_some_and(|kind| kind.starts_with(wanted))
}

#[test]
fn formats_follow_the_accept_headers_of_real_scrapers() {
    let sonde = Sonde::configure().up();
    for (accept, wanted) in ACCEPTED {
        let response = ask(&sonde, "/v1/node/metrics", "Accept", accept);
        assert_eq!(response.status, 200);
        assert!(starts_as(&response, wanted), "{accept}: {:?}", response.header("content-type"));
        assert_eq!(response.text().ends_with("# EOF\n"), wanted == OPENMETRICS, "{accept}");
    }
    assert!(starts_as(&sonde.get("/v1/node/metrics"), TEXT), "without Accept it is text");
}

#[test]
fn protobuf_when_asked_for_its_message() {
    const MESSAGE: &str =
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let sonde = Sonde::configure().up();
    let asked = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                 application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let response = ask(&sonde, "/v1/node/metrics", "Accept", asked);
    assert_eq!((response.status, response.header("content-type")), (200, Some(MESSAGE)));
    // A length that is under 2^14 in two bytes or one, then field 1, the name, as text.
    let body = &response.body;
    let name_at = if body[0] < 0x80 { 1 } else { 2 };
    assert_eq!(body[name_at], 0x0a, "the first field is the name");
    assert_eq!(&body[name_at + 2..][..usize::from(body[name_at + 1])], b"machine_cpu_cores");
    let other = ask(&sonde, "/v1/node/metrics", "Accept", "application/vnd.google.protobuf;encoding=text");
    assert!(starts_as(&other, TEXT), "{:?}", other.header("content-type"));
}

#[test]
fn gzip_when_asked_and_only_then() {
    let sonde = Sonde::configure().up();
    let packed = ask(&sonde, "/v1/node/metrics", "Accept-Encoding", "gzip");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(&packed.body[..2], b"\x1f\x8b", "gzip's magic");
    assert!(!Exposition::read(&packed.text()).samples.is_empty());
    for refused in ["identity", "gzip;q=0"] {
        let plain = ask(&sonde, "/v1/node/metrics", "Accept-Encoding", refused);
        assert_eq!(plain.header("content-encoding"), None, "{refused}");
        assert!(!Exposition::read(&plain.text()).samples.is_empty());
    }
}

#[test]
fn zstd_when_asked() {
    let sonde = Sonde::configure().up();
    let packed = ask(&sonde, "/v1/node/metrics", "Accept-Encoding", "zstd");
    assert_eq!(packed.header("content-encoding"), Some("zstd"));
    assert_eq!(&packed.body[..4], b"\x28\xb5\x2f\xfd", "zstd's magic (RFC 8878)");
    assert!(!Exposition::read(&packed.text()).samples.is_empty());
}

#[test]
fn long_id_is_found_by_an_unambiguous_beginning() {
    let container = Container::named("long").with_long_id().run();
    let id = container.id();
    let sonde = Sonde::configure().up();
    let entry = sonde.wait_for_instance(id);
    assert_eq!(entry["runtime_id"], id);
    for beginning in [12, 20, 64] {
        let exposition = sonde.scrape(&id[..beginning]);
        assert_eq!(exposition.value("sonde_instance_state", &[("state", "running")]), Some(1.0), "{beginning} digits");
    }
    assert_eq!(sonde.get(&format!("/v1/{}/metrics", &id[..11])).status, 404, "11 digits are too few");
    let other = if id.as_bytes()[12] == b'0' { '1' } else { '0' };
    assert_eq!(sonde.get(&format!("/v1/{}{other}/metrics", &id[..12])).status, 404, "13 digits, the last one wrong");
}

#[test]
fn frozen_container_is_served_and_says_so() {
    let container = Container::named("frozen").run();
    let sonde = Sonde::configure().up();
    sonde.wait_for_instance(container.id());
    container.freeze(true);
    sonde.wait_for_value(container.id(), "sonde_instance_state", &[("state", "frozen")], SOON, |on| on == 1.0);
    let exposition = sonde.scrape(container.id());
    assert_eq!(exposition.value("sonde_instance_state_reason", &[("reason", "freezer")]), Some(1.0));
    assert!(exposition.all("container_memory_usage_bytes", &[]).next().is_some(), "the kernel still knows");
    container.freeze(false);
    sonde.wait_for_value(container.id(), "sonde_instance_state", &[("state", "running")], SOON, |on| on == 1.0);
}

#[test]
fn stopped_container_is_503_with_its_reason() {
    let container = Container::named("stopped").run();
    let sonde = Sonde::configure().up();
    sonde.wait_for_instance(container.id());
    container.kill_first_process();
    let response = eventually("503", SOON, || {
        let response = sonde.get(&format!("/v1/{}/metrics", container.id()));
        if response.status == 503 { Ok(response) } else { Err(response.status) }
    });
    assert!(container.cgroup("memory").is_dir(), "runc keeps it until it is deleted");
    assert_eq!(response.header("x-sonde-reason"), Some("stopped; exited"));
    let exposition = Exposition::read(&response.text());
    assert_eq!(exposition.value("sonde_instance_state", &[("state", "stopped")]), Some(1.0));
    assert_eq!(exposition.all("container_memory_usage_bytes", &[]).count(), 0);
}

#[test]
fn floor_holds_for_each_scraper_by_itself() {
    let container = Container::named("scraped").run();
    // So long that no busy machine gets over it between two scrapes.
    let sonde = Sonde::configure().config("[reading]\nfloor = \"30s\"\n").up();
    sonde.wait_for_instance(container.id());
    let path = format!("/v1/{}/metrics", container.id());
    let age = |response: Response| {
        assert_eq!(response.status, 200);
        let age = Exposition::read(&response.text()).value("sonde_reading_age_seconds", &[]);
        age.expect("every exposition tells its reading's age")
    };
    // Whoever does not say that it is a scraper is one with all others: they share the reading, which only gets older.
    let first = age(sonde.get(&path));
    let before = Instant::now();
    let second = age(sonde.get(&path));
    assert!(second > first, "one reading: {first} s old, then {second} s");
    // A connection that says so is a scraper of its own, and gets a reading of its own.
    for _ in 0..2 {
        let fresh = age(ask(&sonde, &path, "X-Prometheus-Scrape-Timeout-Seconds", "10"));
        assert!(fresh < second, "a reading of {fresh} s, and that of the others was {second} s old");
        assert!(fresh <= before.elapsed().as_secs_f64(), "it was taken after the scraper asked");
    }
}

#[test]
fn node_has_two_names_and_the_agent_one() {
    let sonde = Sonde::configure().up();
    for path in ["/v1/node/metrics", "/v1/gz/metrics", "/metrics"] {
        let response = sonde.get(path);
        assert_eq!(response.status, 200, "{path}");
        assert!(!Exposition::read(&response.text()).samples.is_empty(), "{path} is empty");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(sonde.get(path).status, 200, "{path}");
    }
}

#[test]
fn unknown_is_404_and_the_wrong_method_405() {
    let sonde = Sonde::configure().up();
    for path in [
        "/",
        "/v2/node/metrics",
        "/v1/00000000-0000-5000-8000-000000000000/metrics",
        "/v1/no-such-container/metrics",
        "/v1/no-such-container/sensors",
    ] {
        assert_eq!(sonde.get(path).status, 404, "{path}");
    }
    let climbing = sonde.get("/v1/..%2f..%2fetc/metrics").status;
    assert!(matches!(climbing, 400 | 404), "{climbing}");
    assert_eq!(Request::post(&sonde.url("/v1/node/metrics")).send().expect("it answers").status, 405);
    assert_eq!(sonde.get("/v1/refresh").status, 405);
}

#[test]
fn instances_are_listed_and_reached_by_each_of_their_names() {
    let container = Container::named("listed").run();
    let sonde = Sonde::configure().up();
    let entry = sonde.wait_for_instance(container.id());
    for key in ["id", "runtime", "runtime_id", "name", "image", "owner", "state", "reasons", "metrics"] {
        assert!(entry.get(key).is_some(), "{key} is missing in {entry}");
    }
    assert_eq!(entry["state"], "running");
    assert_eq!(entry["runtime_id"], container.id());
    let uuid = entry["id"].as_str().expect("the id is text");
    assert_eq!((uuid.len(), uuid.matches('-').count()), (36, 4), "a UUID: {uuid}");
    for name in [uuid, container.id()] {
        let exposition = sonde.scrape(name);
        assert_eq!(exposition.value("sonde_instance_state", &[("state", "running")]), Some(1.0));
        assert_eq!(exposition.all("sonde_instance_state", &[]).map(|s| s.value).sum::<f64>(), 1.0);
    }
    let metrics = entry["metrics"].as_str().expect("the URL is text");
    assert_eq!(sonde_tests::get(metrics).status, 200, "{metrics}");
}

#[test]
fn owner_expected_by_the_proxy_must_be_the_instances() {
    let container = Container::named("owned").run();
    let sonde = Sonde::configure().up();
    let entry = sonde.wait_for_instance(container.id());
    let owner = entry["owner"].as_str().expect("the owner is text");
    let path = format!("/v1/{}/metrics", container.id());
    assert_eq!(ask(&sonde, &path, "X-Sonde-Owner", owner).status, 200);
    assert_eq!(ask(&sonde, &path, "X-Sonde-Owner", "somebody-else").status, 421);
}

#[test]
fn parts_of_an_exposition() {
    let container = Container::named("parts").run();
    let sonde = Sonde::configure().sensor("honest.wasm", container.id(), "").up();
    let id = container.id();
    sonde.wait_for_instance(id);
    sonde.wait_for_value(id, "sonde_sensor_up", &[("sensor", "honest")], SOON, |up| up == 1.0);
    let part = |query: &str| {
        let response = sonde.get(&format!("/v1/{id}/metrics?collect[]={query}"));
        assert_eq!(response.status, 200, "{query}: {}", response.text());
        Exposition::read(&response.text())
    };
    let has = |exposition: &Exposition, prefix: &str| exposition.samples.iter().any(|s| s.name.starts_with(prefix));
    let native = part("native");
    assert!(has(&native, "container_") && !has(&native, "honest_"), "{native:?}");
    let sensor = part("sensor/honest");
    assert!(has(&sensor, "honest_") && !has(&sensor, "container_"), "{sensor:?}");
    let both = part("sensor/honest&collect[]=native");
    assert!(has(&both, "honest_") && has(&both, "container_"), "{both:?}");
    let refused = |path: &str, known: &str| {
        let response = sonde.get(path);
        assert_eq!(response.status, 400, "{path}");
        assert!(response.text().trim_end().ends_with(known), "{path} lists what there is: {}", response.text());
    };
    refused(&format!("/v1/{id}/metrics?collect[]=native&collect[]=sensor/dishonest"), "native, sensor/honest");
    refused("/v1/node/metrics?collect[]=sensor/honest", "there is native");
    assert!(has(&Exposition::read(&sonde.get("/v1/node/metrics?collect[]=native").text()), "node_"));
}

#[test]
fn sensors_alone_are_503_too_once_the_instance_has_stopped() {
    let container = Container::named("stopping").run();
    let sonde = Sonde::configure().sensor("honest.wasm", container.id(), "").up();
    let id = container.id();
    sonde.wait_for_instance(id);
    sonde.wait_for_value(id, "sonde_sensor_up", &[("sensor", "honest")], SOON, |up| up == 1.0);
    let path = format!("/v1/{id}/metrics?collect[]=sensor/honest");
    assert_eq!(sonde.get(&path).status, 200);
    container.kill_first_process();
    let response = eventually("503", SOON, || {
        let response = sonde.get(&path);
        if response.status == 503 { Ok(response) } else { Err(response.status) }
    });
    assert_eq!(response.header("x-sonde-reason"), Some("stopped; exited"));
}

#[test]
fn refresh_finds_what_was_born() {
    let sonde = Sonde::configure().up();
    let container = Container::named("fresh").run();
    let answer = Request::post(&sonde.url("/v1/refresh")).send().expect("it answers");
    assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
    let found = sonde.instances().into_iter().any(|i| i["name"] == container.id());
    assert!(found, "listed as soon as the refresh has answered");
}

#[test]
fn birth_is_noticed_by_itself() {
    let sonde = Sonde::configure().up();
    let container = Container::named("born").run();
    let born = Instant::now();
    sonde.wait_to_notice(container.id());
    // About a second is the promise; the rest is for a busy machine.
    assert!(born.elapsed() < Duration::from_secs(4), "noticed after {:?}", born.elapsed());
}

#[test]
fn commands_find_it_by_its_data_folder() {
    let container = Container::named("asked").run();
    let sonde = Sonde::configure().up();
    sonde.wait_for_instance(container.id());

    let json = sonde.cli(&["instance", "ls", "--json"]);
    assert_eq!(json.code, Some(0), "{json:?}");
    let list: serde_json::Value = serde_json::from_str(&json.stdout).expect("--json prints JSON");
    let names: Vec<_> = list.as_array().expect("a list").iter().map(|i| i["name"].clone()).collect();
    assert!(names.iter().any(|name| name == container.id()), "{names:?}");

    let table = sonde.cli(&["instance", "ls"]);
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.stdout.contains(container.id()), "{table:?}");

    let exposition = sonde.cli(&["get", container.id()]);
    assert_eq!(exposition.code, Some(0), "{exposition:?}");
    assert!(!Exposition::read(&exposition.stdout).samples.is_empty());

    let absent = sonde.cli(&["get", "no-such-instance"]);
    assert_eq!(absent.code, Some(1), "{absent:?}");
    assert!(absent.stderr.contains("no-such-instance"), "the sentence names it: {absent:?}");
}

#[test]
fn ends_when_asked_and_says_where_it_serves() {
    let sonde = Sonde::configure().up();
    let log = eventually("the URLs printed", SOON, || {
        let log = sonde.log();
        if log.contains(sonde.authority()) { Ok(log) } else { Err(log) }
    });
    assert!(log.contains("/v1/node/metrics"), "{log}");
    assert!(sonde.dir().join("prometheus.yml").is_file());
    assert!(sonde.stop(), "SIGTERM ends it within seconds");
}
