//! One exposition with every kind, in every format, against goldens (`BLESS=1` rewrites them) and against
//! Prometheus's own parsers by way of promtool, where that is installed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sonde_expo::{
    Bucket, Escaping, Exemplar, Family, Format, Histogram, Kind, Labels, NativeHistogram, Negotiated, Number, Quantile,
    ReadFormat, ReadLimits, Sample, Span, State, Summary, Value, Writer, read,
};

fn sample(label: &str, value: Value) -> Sample {
    Sample { label_values: vec![label.into()], value, start_time_seconds: Some(1_700_000_000.5) }
}

fn family(name: &str, kind: Kind, help: &str, unit: &str, samples: Vec<Sample>) -> Family {
    let label_names = vec!["path".into()];
    Family { name: name.into(), kind, help: help.into(), unit: unit.into(), label_names, samples }
}

fn histogram() -> Histogram {
    let exemplar = Exemplar {
        labels: vec![("trace_id".into(), "ab\"c".into())],
        value: 0.3,
        timestamp_seconds: Some(1_700_000_001.25),
    };
    Histogram {
        buckets: vec![
            Bucket { upper_bound: 0.5, cumulative_count: 1.0, exemplar: Some(Box::new(exemplar)) },
            Bucket { upper_bound: 1.0, cumulative_count: 2.0, exemplar: None },
        ],
        sum: Some(3.75),
        count: 3.0,
    }
}

fn counted(value: Number) -> Value {
    let labels = vec![("trace_id".into(), "1".into())];
    let exemplar = Some(Box::new(Exemplar { labels, value: 1.0, timestamp_seconds: None }));
    Value::Number { value, exemplar }
}

/// Every kind; the names that formats treat differently; what must vanish.
fn families() -> Vec<Family> {
    let native = NativeHistogram {
        schema: 0,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count: 4.0,
        sum: 9.5,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_counts: vec![1.0, 2.0],
        negative_spans: vec![],
        negative_counts: vec![],
    };
    let summary = Summary {
        quantiles: vec![Quantile { quantile: 0.5, value: 0.25 }, Quantile { quantile: 1.0, value: f64::NAN }],
        sum: Some(1.5),
        count: Some(6.0),
    };
    let states = [("on", true), ("off", false)].map(|(name, enabled)| State { name: name.into(), enabled });
    let (distribution, twice) = (Value::Histogram(Box::new(histogram())), Value::Histogram(Box::new(histogram())));
    let again = distribution.clone();
    vec![
        family(
            "app_requests_total",
            Kind::Counter,
            "Requests, \"all\" of them.\nBack\\slash.",
            "",
            vec![sample("/a\"b\\c\nd", counted(Number::Unsigned(u64::MAX))), sample("", counted(Number::Float(0.5)))],
        ),
        family("app_cpu_seconds_total", Kind::Counter, "CPU time.", "seconds", vec![sample("", counted(2.5.into()))]),
        family(
            "legacy_count",
            Kind::Counter,
            "A counter with an inherited name.",
            "",
            vec![sample("", counted(1.0.into()))],
        ),
        family(
            "fs_inodes_total",
            Kind::Gauge,
            "A gauge with a counter's name.",
            "",
            vec![sample("", Number::Signed(-4).into())],
        ),
        family(
            "app_size_bytes",
            Kind::Gauge,
            "Size.",
            "bytes",
            vec![sample("", Number::Float(f64::NEG_INFINITY).into())],
        ),
        family("app_build_info", Kind::Info, "Version.", "", vec![sample("1.2", Number::Unsigned(1).into())]),
        family("app_unknown", Kind::Unknown, "Who knows.", "", vec![sample("", Number::Float(1e-7).into())]),
        family("app_latency_seconds", Kind::Histogram, "Latency.", "seconds", vec![sample("/x", distribution)]),
        family("app_queue", Kind::GaugeHistogram, "Ages.", "", vec![sample("/x", twice), sample("/y", again)]),
        family(
            "app_fine_seconds",
            Kind::NativeHistogram,
            "Fine.",
            "seconds",
            vec![sample("", Value::Native(Box::new(native)))],
        ),
        family(
            "app_wait_seconds",
            Kind::Summary,
            "Waits.",
            "seconds",
            vec![sample("", Value::Summary(Box::new(summary)))],
        ),
        family("app_mode", Kind::StateSet, "Mode.", "", vec![sample("", Value::States(states.to_vec()))]),
        family("my.dotted", Kind::Gauge, "A UTF-8 name.", "", vec![sample("", Number::Unsigned(7).into())]),
        family("app_empty", Kind::Gauge, "No samples: nothing is written.", "", vec![]),
        family(
            "app_misfit",
            Kind::Gauge,
            "A value of another kind: nothing is written.",
            "",
            vec![sample("", Value::States(vec![]))],
        ),
    ]
}

fn exposition(format: Format, escaping: Escaping) -> String {
    let mut out = Vec::new();
    let base = Labels::new(&[("id", "/a\"b"), ("image", ""), ("na.me", "c")]);
    let mut writer = Writer::new(Negotiated::new(format, Some(escaping)), &mut out);
    for family in families() {
        writer.write_family(&base, &family);
    }
    let mut native = writer.family("container_fs_usage_bytes", Kind::Gauge, "Bytes in use.", "bytes");
    native.sample(&base, &[("device", "sd\"a"), ("none", "")], Number::Unsigned(4096));
    native.sample(&Labels::default(), &[], Number::Unsigned(0));
    writer.family("container_never", Kind::Gauge, "No sample follows.", "");
    writer.finish();
    String::from_utf8(out).unwrap()
}

const CASES: [(&str, Format, Escaping); 4] = [
    ("text-0.0.4", Format::Text004, Escaping::Underscores),
    ("text-1.0.0", Format::Text100, Escaping::AllowUtf8),
    ("openmetrics-0.0.1", Format::OpenMetrics001, Escaping::Values),
    ("openmetrics-1.0.0", Format::OpenMetrics100, Escaping::AllowUtf8),
];

#[test]
fn expositions_are_as_recorded() {
    for (name, format, escaping) in CASES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.prom"));
        let written = exposition(format, escaping);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &written).unwrap();
        }
        let recorded = std::fs::read_to_string(&path).unwrap();
        for (at, (left, right)) in written.lines().zip(recorded.lines()).enumerate() {
            assert_eq!(left, right, "{name}, line {}", at + 1);
        }
        assert_eq!(written, recorded, "{name}");
    }
}

#[test]
fn our_reader_takes_every_format() {
    for (name, format, escaping) in CASES {
        let rules = if format.is_openmetrics() { ReadFormat::OpenMetrics } else { ReadFormat::Text };
        let read = read(exposition(format, escaping).as_bytes(), rules, &ReadLimits::default());
        let families = read.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            families.iter().any(|family| &*family.name == "fs_inodes_total" && family.kind == Kind::Gauge),
            "{name}"
        );
    }
}

#[test]
fn a_base_label_wins_and_own_labels_are_not_forged() {
    let mut histogram =
        family("h", Kind::Histogram, "", "", vec![sample("x", Value::Histogram(Box::new(histogram())))]);
    histogram.label_names = vec!["id".into(), "le".into(), "a.b".into(), "a_b".into()];
    histogram.samples[0].label_values = ["forged", "7", "first", "second"].map(Into::into).to_vec();
    let mut out = Vec::new();
    Writer::new(Negotiated::default(), &mut out).write_family(&Labels::new(&[("id", "true")]), &histogram);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().last(), Some("h_count{id=\"true\",a_b=\"first\"} 3"), "{text}");
    assert!(!text.contains("forged") && !text.contains("le=\"7\""), "{text}");
}

/// Whether promtool is installed; says so if not.
fn has_promtool(test: &str) -> bool {
    let found = Command::new("promtool").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("{test}: skipped, promtool is not installed");
    }
    found
}

#[test]
fn promtool_finds_no_error() {
    if !has_promtool("promtool_finds_no_error") {
        return;
    }
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = exposition(Format::Text004, Escaping::Underscores);
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // 3 is "lint remarks"; a text that does not parse gives 1 and says "error while linting".
    assert!(matches!(output.status.code(), Some(0 | 3)) && !said.contains("error"), "{:?}: {said}", output.status);
}

/// Prometheus's OpenMetrics parser, reached through its backfilling, which wants a timestamp on every sample.
#[test]
fn prometheus_parses_our_openmetrics() {
    if !has_promtool("prometheus_parses_our_openmetrics") {
        return;
    }
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("openmetrics-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for format in [Format::OpenMetrics001, Format::OpenMetrics100] {
        let stamped: String = exposition(format, Escaping::Underscores)
            .lines()
            .map(|line| match line.split_once(" # {") {
                _ if line.starts_with('#') => format!("{line}\n"),
                Some((sample, exemplar)) => format!("{sample} 1700000000 # {{{exemplar}\n"),
                None => format!("{line} 1700000000\n"),
            })
            .collect();
        let input = directory.join("input");
        std::fs::write(&input, &stamped).unwrap();
        let output = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&input, &directory.join("blocks")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{format:?}: {}\n{stamped}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
