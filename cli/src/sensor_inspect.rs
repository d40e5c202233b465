//! `sonde sensor inspect F.wasm`: what a file is, asks for and returns, without running anything of it but its description.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use sonde_host::{Digest, Reserved, Sensor};
use sonde_manifest::{FileFrom, FilePattern, Manifest, PathFrom, PortFrom};
use sonde_runner::LocalLoader;

use crate::failure::{Failure, print};
use crate::sensor_test::{load, runtime};
use crate::table::table;

#[derive(Args)]
pub struct Inspect {
    /// The sensor
    #[arg(value_name = "F.wasm")]
    file: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(self) -> Result<(), Failure> {
        let loader = LocalLoader::new(Reserved::default());
        let sensor = runtime()?.block_on(load(&loader, &self.file))?.sensor;
        if self.json { print(as_json(&sensor).as_bytes()) } else { print(as_text(&sensor).as_bytes()) }
    }
}

fn asks(manifest: &Manifest) -> Vec<(&'static str, Vec<String>)> {
    let ports = |ports: &[PortFrom]| ports.iter().map(port).collect::<Vec<_>>();
    let wanted = &manifest.capabilities;
    let flag = |asked: bool| if asked { vec!["yes".to_owned()] } else { Vec::new() };
    let all = [
        ("tcp", ports(&wanted.tcp)),
        ("http", ports(&wanted.http)),
        ("unix", wanted.unix.iter().map(path).collect()),
        ("files", wanted.files.iter().map(file).collect()),
        ("kstats", flag(wanted.kstats)),
        ("processes", flag(wanted.processes)),
        ("secrets", wanted.secrets.clone()),
        ("state", flag(wanted.state)),
    ];
    all.into_iter().filter(|(_, asked)| !asked.is_empty()).collect()
}

fn port(port: &PortFrom) -> String {
    match port {
        PortFrom::Port(port) => port.to_string(),
        PortFrom::Config(key) => format!("${key}"),
    }
}

fn path(path: &PathFrom) -> String {
    match path {
        PathFrom::Path(path) => path.clone(),
        PathFrom::Config(key) => format!("${key}"),
    }
}

fn file(file: &FileFrom) -> String {
    match file {
        FileFrom::Pattern(FilePattern::Exact(path)) => path.clone(),
        FileFrom::Pattern(FilePattern::ChildrenOf(directory)) => format!("{directory}/*"),
        FileFrom::Config(key) => format!("${key}"),
    }
}

fn as_json(sensor: &Sensor) -> String {
    let manifest = &sensor.manifest;
    let families = sensor.families().map(|families| {
        families
            .iter()
            .map(|family| {
                json!({
                    "name": &*family.name, "kind": format!("{:?}", family.kind), "help": &*family.help,
                    "unit": &*family.unit, "labels": family.label_names.iter().map(|l| &**l).collect::<Vec<_>>(),
                })
            })
            .collect::<Vec<_>>()
    });
    let described = json!({
        "name": manifest.name, "version": manifest.version, "description": manifest.description,
        "digest": format!("{:?}", sensor.digest), "class": manifest.class.name(),
        "interval_seconds": manifest.interval.as_secs_f64(), "min_interval_seconds": manifest.min_interval.as_secs_f64(),
        "capabilities": asks(manifest).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "config": manifest.config.iter().map(|(key, declared)| json!({
            "key": key, "type": declared.kind.name(), "default": declared.default, "help": declared.help,
        })).collect::<Vec<_>>(),
        "families": families,
    });
    format!("{described:#}\n")
}

fn as_text(sensor: &Sensor) -> String {
    let manifest = &sensor.manifest;
    let digest: Digest = sensor.digest;
    let mut text = format!(
        "{} {}: {}\ndigest {digest:?}\nclass {}, every {:?}, at most every {:?}\n",
        manifest.name,
        manifest.version,
        manifest.description,
        manifest.class.name(),
        manifest.interval,
        manifest.min_interval
    );
    text.push_str("\nasks for\n");
    for (what, asked) in asks(manifest) {
        text.push_str(&format!("  {what}: {}\n", asked.join(", ")));
    }
    if !manifest.config.is_empty() {
        text.push_str("\nconfiguration\n");
        let rows: Vec<Vec<String>> = manifest
            .config
            .iter()
            .map(|(key, declared)| {
                let default = declared.default.clone().unwrap_or_else(|| "(none)".into());
                vec![format!("  {key}"), declared.kind.name().to_owned(), default, declared.help.clone()]
            })
            .collect();
        text.push_str(&table(&rows));
    }
    text.push_str("\nreturns\n");
    match sensor.families() {
        None => text.push_str("  whatever it finds (its families are dynamic)\n"),
        Some(families) => {
            let rows: Vec<Vec<String>> = families
                .iter()
                .map(|f| {
                    vec![
                        format!("  {}", f.name),
                        format!("{:?}", f.kind).to_lowercase(),
                        f.label_names.join(","),
                        f.help.to_string(),
                    ]
                })
                .collect();
            text.push_str(&table(&rows));
        }
    }
    text
}
