//! What Sonde serves is what promtool and Prometheus accept, to the last line, in each format.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sonde_tests::{
    Container, Exposition, Prometheus, Request, Sample, Sonde, StaticServer, eventually, promtool_check,
};

const SOON: Duration = Duration::from_secs(20);
const TEXT: &str = "text/plain;version=0.0.4";
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";

/// Names we inherit from cAdvisor, whose style promtool remarks on. None of ours may be here.
const INHERITED: [&str; 4] = [
    "container_memory_failcnt",
    "container_hugetlb_failcnt",
    "container_network_advance_tcp_stats_total",
    "container_fs_inodes_total",
];
/// node_exporter builds these names from the words of kernel files, capitals and all.
const INHERITED_PREFIXES: [&str; 5] = ["node_memory_", "node_netstat_", "node_sockstat_", "node_vmstat_", "node_zfs_"];

fn is_inherited(name: &str) -> bool {
    INHERITED.contains(&name) || INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A container with an honest sensor, and every exposition there is of it and around it.
struct Scene {
    sonde: Sonde,
    container: Container,
}

impl Scene {
    fn set() -> Self {
        Self::configured("")
    }

    /// With cmon-agent's names too: no format may make of one of them what it is not.
    fn with_all_names() -> Self {
        Self::configured("[reading]\nnames = [\"cadvisor\", \"triton\"]\n")
    }

    fn configured(config: &str) -> Self {
        let container = Container::named("exposed").memory_limit_bytes(64 << 20).cpu_percent(50).run();
        let sonde = Sonde::configure().sensor("honest.wasm", container.id(), "").config(config).up();
        sonde.wait_for_instance(container.id());
        sonde.wait_for_value(container.id(), "sonde_sensor_up", &[("sensor", "honest")], SOON, |up| up == 1.0);
        Self { sonde, container }
    }

    fn paths(&self) -> [(&'static str, String); 3] {
        [
            ("instance", format!("/v1/{}/metrics", self.container.id())),
            ("node", "/v1/node/metrics".to_owned()),
            ("agent", "/metrics".to_owned()),
        ]
    }

    fn body(&self, path: &str, accept: &str) -> (String, String) {
        let response = Request::get(&self.sonde.url(path)).header("Accept", accept).send().expect("it answers");
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        let kind = response.header("content-type").expect("a body has a type").to_owned();
        let wanted = accept.split(';').next().expect("split yields at least one");
        assert!(kind.starts_with(wanted), "{path} was asked for {accept} and is {kind}");
        (kind, response.text())
    }
}

#[test]
fn promtool_finds_no_error_and_remarks_on_inherited_names_only() {
    let scene = Scene::set();
    for (what, path) in scene.paths() {
        let (_, body) = scene.body(&path, TEXT);
        assert!(!Exposition::read(&body).samples.is_empty(), "{what} has no series");
        let ours: Vec<_> = promtool_check(&body).into_iter().filter(|r| !is_inherited(&r.metric)).collect();
        assert!(ours.is_empty(), "promtool remarks on names of {what} that are not inherited: {ours:#?}");
    }
}

/// Name and labels of a sample as Prometheus stores them: without empty labels.
fn identity(name: &str, labels: impl Iterator<Item = (String, String)>) -> (String, BTreeMap<String, String>) {
    let kept =
        labels.filter(|(name, value)| !value.is_empty() && !["job", "instance", "__name__"].contains(&name.as_str()));
    (name.to_owned(), kept.collect())
}

fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

#[test]
fn prometheus_ingests_every_line_of_text_and_openmetrics() {
    let scene = Scene::with_all_names();
    let mut pages = HashMap::new();
    let mut recorded: Vec<(String, Vec<Sample>)> = Vec::new();
    for (what, path) in scene.paths() {
        for (format, accept) in [("text", TEXT), ("openmetrics", OPENMETRICS)] {
            let (kind, body) = scene.body(&path, accept);
            let job = format!("{what}-{format}");
            recorded.push((job.clone(), Exposition::read(&body).samples));
            pages.insert(format!("/{job}"), (kind, body.into_bytes()));
        }
    }
    let server = StaticServer::start(pages);
    let mut config = "global: {scrape_interval: 1s}\nscrape_configs:\n".to_owned();
    for (job, _) in &recorded {
        let target = server.authority();
        config.push_str(&format!(
            "- {{job_name: {job}, metrics_path: /{job}, static_configs: [{{targets: ['{target}']}}]}}\n"
        ));
    }
    let prometheus = Prometheus::with_config(&config);

    for (job, samples) in recorded {
        prometheus.wait_for(&format!("up{{job=\"{job}\"}}"), SOON, |up| up == 1.0);
        let scraped = format!("scrape_samples_scraped{{job=\"{job}\"}}");
        assert_eq!(prometheus.value(&scraped), Some(samples.len() as f64), "samples of {job}");
        let stored = prometheus.query(&format!("{{job=\"{job}\",__name__!~\"up|scrape_.*\"}}"));
        let stored: HashMap<_, f64> = stored
            .iter()
            .map(|s| (identity(s.label("__name__").unwrap_or_default(), s.labels.iter().cloned()), s.samples[0].1))
            .collect();
        assert_eq!(stored.len(), samples.len(), "{job}: two lines of one series, or one is missing");
        for sample in samples {
            let key = identity(&sample.name, sample.labels.clone().into_iter());
            let value = stored.get(&key).unwrap_or_else(|| panic!("{job}: Prometheus has no {key:?}"));
            assert!(same(*value, sample.value), "{job}: {key:?} is {} and Prometheus has {value}", sample.value);
        }
    }
}

#[test]
fn both_formats_have_the_same_series() {
    let scene = Scene::with_all_names();
    let names = |accept| {
        let (_, body) = scene.body(&scene.paths()[0].1, accept);
        let samples = Exposition::read(&body).samples;
        samples.into_iter().map(|s| identity(&s.name, s.labels.into_iter())).collect::<BTreeSet<_>>()
    };
    let text = eventually("two expositions of one moment", SOON, || {
        let (before, openmetrics, after) = (names(TEXT), names(OPENMETRICS), names(TEXT));
        if before == after { Ok((before, openmetrics)) } else { Err("series came or went") }
    });
    let differing: Vec<_> =
        text.0.symmetric_difference(&text.1).filter(|(name, _)| !name.ends_with("_created")).collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

/// Series of the guest `kinds` that protobuf gives a whole histogram in place of.
const NATIVE: &str = "kinds_fine_seconds|kinds_odd_seconds";

/// Through protobuf Prometheus gets every series that OpenMetrics has, bounds spelt alike, and native histograms whole.
#[test]
fn prometheus_takes_every_kind_through_protobuf() {
    let container = Container::named("kinds").run();
    let sonde = Sonde::configure().sensor("kinds.wasm", container.id(), "").up();
    sonde.wait_for_instance(container.id());
    sonde.wait_for_value(container.id(), "sonde_sensor_up", &[("sensor", "kinds")], SOON, |up| up == 1.0);
    let path = format!("/v1/{}/metrics", container.id());
    let prometheus = Prometheus::with_native_histograms(&format!(
        "scrape_configs:\n- {{job_name: kinds, scrape_interval: 1s, metrics_path: {path}, \
         static_configs: [{{targets: ['{}']}}]}}\n",
        sonde.authority()
    ));
    prometheus.wait_for("up{job=\"kinds\"}", SOON, |up| up == 1.0);

    // Four in (1, 2] and six in (2, 4]; older servers interpolate linearly, newer ones by powers.
    let median =
        |path: &str| prometheus.value(&format!("histogram_quantile(0.5, kinds_fine_seconds{{path=\"{path}\"}})"));
    let up = prometheus.wait_for("histogram_quantile(0.5, kinds_fine_seconds{path=\"/up\"})", SOON, |_| true);
    assert!((2.2..2.4).contains(&up), "{up}");
    let both = median("/both").expect("a histogram with buckets under zero");
    assert!((-1.0..=0.0).contains(&both), "two of four are under -1 and one at zero: {both}");
    for (what, selector, value) in [
        ("count", "kinds_fine_seconds{path=\"/both\"}", 4.0),
        ("sum", "kinds_fine_seconds{path=\"/both\"}", -2.5),
        ("count", "kinds_odd_seconds{why=\"one more than in the buckets\"}", 11.0),
        ("count", "kinds_odd_seconds{why=\"halves\"}", 4.5),
    ] {
        let got = prometheus.value(&format!("histogram_{what}({selector})"));
        assert_eq!(got, Some(value), "{what} of {selector}; {}", prometheus.log());
    }

    let response = Request::get(&sonde.url(&path)).header("Accept", OPENMETRICS).send().expect("it answers");
    let exposed = Exposition::read(&response.text()).samples.into_iter().filter(|sample| {
        let of_natives = NATIVE.split('|').any(|name| sample.name.starts_with(name));
        sample.name.starts_with("kinds_") && !sample.name.ends_with("_created") && !of_natives
    });
    let wanted: BTreeMap<_, _> =
        exposed.map(|s| (identity(&s.name, s.labels.into_iter()), s.value.to_string())).collect();
    assert!(wanted.len() > 20, "{wanted:#?}");
    let stored = prometheus.query(&format!("{{job=\"kinds\",__name__=~\"kinds_.*\",__name__!~\"({NATIVE}).*\"}}"));
    let stored: BTreeMap<_, _> = stored
        .iter()
        .map(|s| {
            let name = s.label("__name__").unwrap_or_default();
            (identity(name, s.labels.iter().cloned()), s.samples[0].1.to_string())
        })
        .collect();
    assert_eq!(stored, wanted);

    for (selector, trace) in [("kinds_done_total", "c0ffee"), ("kinds_wait_seconds_bucket", "decade")] {
        let exemplars = prometheus.exemplars(selector);
        assert!(exemplars.iter().any(|labels| labels["trace_id"] == trace), "{selector}: {exemplars:?}");
    }
}
