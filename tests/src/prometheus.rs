//! A real Prometheus server, and promtool: the judges of what Sonde serves.
//!
//! Each server has a port, a storage folder and a configuration of its own, and takes its port from the
//! kernel: the port is read from its log. Values are asked for through its query API, as a user would.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::Request;
use crate::process::Process;
use crate::wait::eventually;

/// Starting takes it about 50 ms; a busy CI machine gets far longer.
const START: Duration = Duration::from_secs(20);

/// A running server, ended when dropped.
pub struct Prometheus {
    process: Process,
    url: String,
    _dir: TempDir,
}

/// One series with every raw sample of a window, oldest first: seconds since the epoch, value.
#[derive(Clone, Debug)]
pub struct RawSeries {
    pub labels: Vec<(String, String)>,
    pub samples: Vec<(f64, f64)>,
}

impl RawSeries {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Prometheus {
    /// Starts a server on a configuration text.
    pub fn with_config(yaml: &str) -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let file = dir.path().join("prometheus.yml");
        fs::write(&file, yaml).expect("the temporary folder is writable");
        Self::start(dir, &file, &[])
    }

    /// Starts a server with a file of rules, which its configuration must not name.
    pub fn with_rules(yaml: &str, rules: &str) -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let (file, rules_file) = (dir.path().join("prometheus.yml"), dir.path().join("rules.yml"));
        let yaml = format!("rule_files: [{:?}]\n{yaml}", rules_file.display().to_string());
        fs::write(&rules_file, rules).and_then(|()| fs::write(&file, yaml)).expect("the temporary folder is writable");
        Self::start(dir, &file, &[])
    }

    /// Starts a server that takes native histograms, and so asks for protobuf first, and keeps exemplars.
    pub fn with_native_histograms(yaml: &str) -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let file = dir.path().join("prometheus.yml");
        fs::write(&file, yaml).expect("the temporary folder is writable");
        Self::start(dir, &file, &["--enable-feature=native-histograms,exemplar-storage"])
    }

    /// Starts a server on a configuration file as it stands.
    pub fn with_file(config: &Path) -> Self {
        Self::start(TempDir::new().expect("a temporary folder can be made"), config, &[])
    }

    fn start(dir: TempDir, config: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .args(flags)
            .current_dir(dir.path());
        let mut process = Process::start("prometheus", &mut command, &dir.path().join("log"));
        let url = eventually("Prometheus listening", START, || {
            assert!(process.ended().is_none(), "Prometheus ended at once: {}", process.log());
            let log = process.log();
            log.lines().find_map(listen_address).map(|address| format!("http://{address}")).ok_or(log)
        });
        eventually("Prometheus ready", START, || match Request::get(&format!("{url}/-/ready")).send() {
            Ok(response) if response.status == 200 => Ok(()),
            Ok(response) => Err(format!("status {}", response.status)),
            Err(error) => Err(error.to_string()),
        });
        Self { process, url, _dir: dir }
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> &str {
        self.url.strip_prefix("http://").expect("its URL is plain http")
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.authority().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("an authority ends in a port")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// An instant query; every series of the answer with its one sample, or with all of them where the
    /// query is a range selector (`metric[60s]`).
    #[track_caller]
    pub fn query(&self, promql: &str) -> Vec<RawSeries> {
        self.ask(&format!("query={}", percent_encode(promql)))
    }

    /// The same as of a moment, seconds since the epoch.
    #[track_caller]
    pub fn query_at(&self, promql: &str, at_seconds: f64) -> Vec<RawSeries> {
        self.ask(&format!("query={}&time={at_seconds:.3}", percent_encode(promql)))
    }

    #[track_caller]
    fn ask(&self, promql: &str) -> Vec<RawSeries> {
        let response = Request::get(&format!("{}/api/v1/query?{promql}", self.url))
            .send()
            .unwrap_or_else(|e| panic!("query {promql}: {e}"));
        let answer = response.json();
        assert_eq!(answer["status"], "success", "query {promql}: {answer}");
        answer["data"]["result"].as_array().map(|all| all.iter().map(series).collect()).unwrap_or_default()
    }

    /// The one value of an instant query; none when nothing matches, a panic when more than one does.
    #[track_caller]
    pub fn value(&self, promql: &str) -> Option<f64> {
        let found = self.query(promql);
        assert!(found.len() <= 1, "{promql} matches {} series: {found:?}", found.len());
        found.first()?.samples.last().map(|sample| sample.1)
    }

    /// Waits until the query's one value is what `accept` wants, and returns it.
    #[track_caller]
    pub fn wait_for(&self, promql: &str, within: Duration, accept: impl Fn(f64) -> bool) -> f64 {
        eventually(promql, within, || match self.value(promql) {
            Some(value) if accept(value) => Ok(value),
            other => Err(format!("it is {other:?}; targets: {}", self.targets())),
        })
    }

    /// Labels of the exemplars that it keeps of what a query selects.
    pub fn exemplars(&self, promql: &str) -> Vec<Value> {
        let end =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is past 1970").as_secs();
        let query =
            format!("{}/api/v1/query_exemplars?query={}&start=0&end={}", self.url, percent_encode(promql), end + 60);
        let answer = Request::get(&query).send().unwrap_or_else(|e| panic!("{query}: {e}")).json();
        let series = answer["data"].as_array().cloned().unwrap_or_default();
        let of = |series: &Value| series["exemplars"].as_array().cloned().unwrap_or_default();
        series.iter().flat_map(of).map(|exemplar| exemplar["labels"].clone()).collect()
    }

    /// What it says of its targets: URL, health and last error of each.
    pub fn targets(&self) -> String {
        let answer = Request::get(&format!("{}/api/v1/targets", self.url)).send().map(|r| r.json());
        let Ok(answer) = answer else { return "unknown".to_owned() };
        let targets = answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let words = targets.iter().map(|t| format!("{} {} {}", t["scrapeUrl"], t["health"], t["lastError"]));
        words.collect::<Vec<_>>().join("; ")
    }
}

/// The address in the line that tells where it listens in fact (the first such line repeats the flag).
fn listen_address(line: &str) -> Option<&str> {
    let address = line.contains("Listening on").then(|| line.split("address=").nth(1))??.trim();
    (!address.ends_with(":0")).then_some(address)
}

fn series(value: &Value) -> RawSeries {
    let labels = value["metric"].as_object().into_iter().flatten();
    let samples = value["values"].as_array().cloned().unwrap_or_else(|| vec![value["value"].clone()]);
    RawSeries {
        labels: labels.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect(),
        samples: samples.iter().map(sample).collect(),
    }
}

fn sample(pair: &Value) -> (f64, f64) {
    let at = pair[0].as_f64().expect("a sample has a time");
    let text = pair[1].as_str().expect("a sample's value is text");
    let value = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().expect("a sample's value is a number"),
    };
    (at, value)
}

fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// One remark of promtool on one metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    pub metric: String,
    pub text: String,
}

/// `promtool check metrics` on a body; panics when it finds an error, returns its remarks on style.
#[track_caller]
pub fn promtool_check(body: &str) -> Vec<Remark> {
    /// promtool's exit code for "valid, but not in good style".
    const STYLE: i32 = 3;
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    child.stdin.take().expect("stdin is piped").write_all(body.as_bytes()).expect("promtool reads its input");
    let output = child.wait_with_output().expect("promtool ends");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(matches!(output.status.code(), Some(0 | STYLE)), "promtool found an error: {said}\nin:\n{body}");
    let remark = |line: &str| {
        let (metric, text) = line.split_once(' ')?;
        Some(Remark { metric: metric.to_owned(), text: text.to_owned() })
    };
    said.lines().filter_map(remark).collect()
}
