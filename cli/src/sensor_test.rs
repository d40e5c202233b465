//! `sonde sensor test F.wasm`: one run under the node's exact limits, and the headroom left under each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use sonde_expo::{Labels, Writer, negotiate};
use sonde_host::{Grant, MAX_SENSOR_BYTES, Policy, RunReport, Sensor};
use sonde_manifest::Limits;
use sonde_runner::{DirectBroker, LocalLoader, LocalSensor, RunInput};

use crate::failure::{Failure, print};
use crate::table::table;

#[derive(Args)]
#[command(after_help = "\
Exit code 0 means that the run succeeded. Every port that the sensor may reach stands for the target's:
  sonde sensor test redis.wasm --target 127.0.0.1:6379 --config port=6379")]
pub struct Test {
    /// The sensor
    #[arg(value_name = "F.wasm")]
    file: PathBuf,
    /// Where its connections go
    #[arg(long, value_name = "HOST[:PORT]")]
    target: Option<String>,
    /// A value of its configuration; may be repeated
    #[arg(long, value_name = "K=V")]
    config: Vec<String>,
    /// A file that holds a secret; may be repeated
    #[arg(long, value_name = "NAME=FILE")]
    secret: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A runtime for one command.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("no runtime can be started: {error}")))
}

/// Loads a sensor from a file.
pub async fn load(loader: &LocalLoader, file: &Path) -> Result<LocalSensor, Failure> {
    let shown = file.display();
    let size =
        std::fs::metadata(file).map_err(|error| Failure::failed(format!("{shown} cannot be read: {error}")))?.len();
    if size > MAX_SENSOR_BYTES as u64 {
        return Err(Failure::failed(format!(
            "{shown} is refused: it is {size} bytes, and a sensor has at most {MAX_SENSOR_BYTES}"
        )));
    }
    let bytes = std::fs::read(file).map_err(|error| Failure::failed(format!("{shown} cannot be read: {error}")))?;
    let loaded = loader.load(&bytes).await;
    loaded.map_err(|error| Failure::failed(format!("{shown} is refused: {}", sonde_agent::chain(&error))))
}

impl Test {
    pub fn run(self) -> Result<(), Failure> {
        let config = pairs("--config", "K=V", &self.config)?;
        let secrets = pairs("--secret", "NAME=FILE", &self.secret)?;
        for (name, path) in &secrets {
            std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("--secret {name}: {path} cannot be read: {error}")))?;
        }
        let broker = DirectBroker {
            secrets: secrets.into_iter().map(|(name, path)| (name, PathBuf::from(path))).collect(),
            ..target(self.target.as_deref())?
        };
        let loader = LocalLoader::new(sonde_agent::reserved());
        let (sensor, grant, report) = runtime()?.block_on(async {
            let local = load(&loader, &self.file).await?;
            let asked = local
                .sensor
                .manifest
                .resolve(&config)
                .map_err(|error| Failure::usage(format!("the configuration does not fit the sensor: {error}")))?;
            let grant = Grant::decide(&local.sensor.manifest, asked, &Policy::default())
                .map_err(|refusal| Failure::failed(format!("the default policy refuses it: {refusal}")))?;
            if let Some(unknown) = broker.secrets.keys().find(|name| !grant.secrets.contains(name)) {
                return Err(Failure::usage(format!(
                    "--secret {unknown}: the manifest does not ask for a secret of that name"
                )));
            }
            broker.resolve().await.map_err(|error| Failure::usage(format!("--target: {error}")))?;
            let grant = Arc::new(grant);
            let input = RunInput { grant: grant.clone(), broker: Arc::new(broker), state: Arc::from([]), account: 0 };
            let report = local.run(input).await;
            Ok((local.sensor, grant, report))
        })?;
        if self.json {
            print(as_json(&grant, &report).as_bytes())?;
        } else {
            print(&as_text(&sensor, &grant, &report))?;
        }
        match &report.result {
            Ok(_) => Ok(()),
            Err(failure) => {
                Err(Failure::failed(format!("{} failed ({}): {failure}", sensor.manifest.name, failure.reason())))
            }
        }
    }
}

fn pairs(option: &str, shape: &str, given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    given
        .iter()
        .map(|pair| {
            let split = pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            split.ok_or_else(|| Failure::usage(format!("{option} takes {shape}, and {pair:?} has no '='")))
        })
        .collect()
}

/// `HOST`, `HOST:PORT`, `[V6]:PORT` or a bare IPv6 address.
fn target(given: Option<&str>) -> Result<DirectBroker, Failure> {
    let Some(given) = given else { return Ok(DirectBroker::default()) };
    let bad_port = |port: &str| Failure::usage(format!("--target {given:?}: {port:?} is not a port (1 to 65535)"));
    let (host, port) = match given.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None if given.matches(':').count() > 1 => (given, None),
        None => given.split_once(':').map_or((given, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|port| port.parse::<u16>().map_err(|_| bad_port(port))).transpose()?;
    Ok(DirectBroker { host: Some(host.to_owned()), port, ..DirectBroker::default() })
}

/// A limit's name, what the run used of it, and the limit.
fn headroom(grant: &Grant, report: &RunReport) -> Vec<(&'static str, u64, u64, &'static str)> {
    let usage = &report.usage;
    // Taken apart, so that a limit without a row does not compile.
    let Limits {
        fuel,
        cpu_ms,
        wall,
        boundary_bytes,
        host_calls,
        series,
        labels,
        label_name_bytes,
        label_value_bytes,
        families,
        result_bytes,
        // Of an hour and not of a run: a single run has nothing to compare with.
        new_series_per_hour: _,
        handles,
        log_bytes,
        log_lines,
        sockets,
        state_bytes,
        bytes_in,
        bytes_out,
    } = grant.limits.clone();
    let collected = report.result.as_ref().ok();
    let returned = collected.map_or(0, |collected| collected.series);
    let extent = collected.map(|collected| collected.extent).unwrap_or_default();
    let state = report.state.as_ref().map_or(0, Vec::len);
    vec![
        ("fuel", usage.fuel, fuel, ""),
        ("cpu", usage.cpu.as_millis() as u64, cpu_ms, "ms"),
        ("wall", usage.wall.as_micros() as u64, wall.as_micros() as u64, "µs"),
        ("memory", usage.memory_peak_bytes, grant.memory_bytes, "bytes"),
        ("boundary", extent.boundary_bytes, boundary_bytes, "bytes"),
        ("host_calls", usage.host_calls, host_calls, ""),
        ("series", returned, series, ""),
        ("labels", extent.labels, labels, ""),
        ("label_name", extent.label_name_bytes, label_name_bytes, "bytes"),
        ("label_value", extent.label_value_bytes, label_value_bytes, "bytes"),
        ("families", collected.map_or(0, |collected| collected.families.len() as u64), families, ""),
        ("result", usage.result_bytes, result_bytes, "bytes"),
        ("handles", usage.handles_peak, handles, ""),
        ("log", usage.log_bytes, log_bytes, "bytes"),
        ("log_lines", usage.log_lines, log_lines, ""),
        ("sockets", usage.sockets, sockets, ""),
        ("state", state as u64, state_bytes, "bytes"),
        ("bytes_in", usage.bytes_in, bytes_in, "bytes"),
        ("bytes_out", usage.bytes_out, bytes_out, "bytes"),
    ]
}

fn exposition(report: &RunReport) -> Vec<u8> {
    let mut body = Vec::new();
    if let Ok(collected) = &report.result {
        let mut writer = Writer::new(negotiate(None), &mut body);
        for family in &collected.families {
            writer.write_family(&Labels::new(&[]), family);
        }
        writer.finish();
    }
    body
}

fn as_text(sensor: &Sensor, grant: &Grant, report: &RunReport) -> Vec<u8> {
    let mut out = exposition(report);
    let mut rows = vec![["# limit", "used", "allowed", "left"].map(str::to_owned).to_vec()];
    for (name, used, allowed, unit) in headroom(grant, report) {
        let left = 100.0 - used as f64 * 100.0 / allowed.max(1) as f64;
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        rows.push(vec![
            format!("# {name}"),
            format!("{used}{unit}"),
            format!("{allowed}{unit}"),
            format!("{left:.1} %"),
        ]);
    }
    let cpu = report.usage.cpu;
    out.extend_from_slice(format!("\n# {} ran once in {cpu:?} of CPU\n", sensor.manifest.name).as_bytes());
    out.extend_from_slice(table(&rows).as_bytes());
    if report.result.as_ref().is_err_and(|failure| failure.reason() != "fuel") && report.usage.fuel == grant.limits.fuel
    {
        out.extend_from_slice(b"# a run that traps is charged all its fuel: how much it had used is not known\n");
    }
    if let Ok(collected) = &report.result
        && collected.series_dropped > 0
    {
        out.extend_from_slice(format!("# {} series were left out\n", collected.series_dropped).as_bytes());
    }
    for line in &report.logs {
        out.extend_from_slice(format!("# log {}: {}\n", line.level.as_str(), line.message).as_bytes());
    }
    if report.logs_cut {
        out.extend_from_slice(b"# log: more was written than the limit allows, and cut off\n");
    }
    out
}

fn as_json(grant: &Grant, report: &RunReport) -> String {
    let limits: serde_json::Map<String, serde_json::Value> = headroom(grant, report)
        .into_iter()
        .map(|(name, used, allowed, unit)| (name.to_owned(), json!({ "used": used, "allowed": allowed, "unit": unit })))
        .collect();
    let (reason, message) = match &report.result {
        Ok(_) => (None, None),
        Err(failure) => (Some(failure.reason()), Some(failure.to_string())),
    };
    let whole = json!({
        "ok": report.result.is_ok(), "reason": reason, "message": message,
        "exposition": String::from_utf8_lossy(&exposition(report)),
        "cpu_seconds": report.usage.cpu.as_secs_f64(), "limits": limits,
        "log": report.logs.iter().map(|l| json!({ "level": l.level.as_str(), "message": l.message })).collect::<Vec<_>>(),
    });
    format!("{whole:#}\n")
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn targets() {
        for (given, host, port) in [
            ("localhost", "localhost", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]:80", "::1", Some(80)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
        ] {
            let broker = target(Some(given)).unwrap();
            assert_eq!((broker.host.as_deref(), broker.port), (Some(host), port), "{given}");
        }
        assert!(target(Some("localhost:http")).is_err());
    }
}
