//! `sonde sensor push F.wasm`: from a file to the account's instances, through a proxy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hyper::Method;
use serde_json::{Map, Value, json};
use sonde_manifest::Manifest;

use crate::client::escape;
use crate::failure::Failure;
use crate::tenant::{HELP, Tenant};

#[derive(Args)]
#[command(after_help = format!("\
Examples:
  sonde sensor push nginx.wasm --match group=web --config port=80
  sonde sensor push db.wasm --match label:tier=db --secret password=./db.password
  sonde sensor push nginx.wasm --percent 10     a tenth of the instances first; push again without it for all

It runs on the instances of your account that match, on whichever node they are. What you do not give stays as it was, but secrets: they are
bound to the file's very bytes, so another version gets none unless you give them anew. `sonde sensor ls` says what became of it.

{HELP}"))]
pub struct Push {
    /// The component, as `sonde sensor build` made it
    file: PathBuf,
    /// What it is called in your account; the manifest's name if not given
    #[arg(long)]
    name: Option<String>,
    /// Only on instances of a group (group=NAME, any of several), with a label (label:KEY=VALUE, all of several), or that are called so (instance=ID-OR-NAME); `all` for all
    #[arg(long = "match", value_name = "SELECTOR")]
    matching: Vec<String>,
    /// A setting that the manifest declares
    #[arg(long, value_name = "KEY=VALUE")]
    config: Vec<String>,
    /// A secret that the manifest asks for, and the file with it
    #[arg(long, value_name = "KEY=FILE")]
    secret: Vec<String>,
    /// Begin with so many of a hundred matching instances
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    percent: Option<u8>,
    #[command(flatten)]
    tenant: Tenant,
}

impl Push {
    pub fn run(self) -> Result<(), Failure> {
        let shown = self.file.display();
        let bytes = std::fs::read(&self.file).map_err(|error| {
            Failure::usage(format!("{shown} cannot be read: {error}; `sonde sensor build` makes it"))
        })?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => manifest_name(&self.file, &bytes)?,
        };
        let path = format!("/v1/sensors/{}", escape(&name));
        // What is there is replaced as it was seen, and not if another has changed it meanwhile.
        let seen = self.tenant.get(&path)?;
        let mut headers = vec![("x-sonde-push", STANDARD.encode(self.settings()?.to_string()))];
        match (seen.status, seen.etag.clone()) {
            (404, _) => headers.push(("if-none-match", "*".to_owned())),
            (200, Some(etag)) => headers.push(("if-match", etag)),
            (200, None) => {
                return Err(Failure::failed(
                    "the proxy's answer has no ETag, so another's push could be overwritten unseen: does something between here and the proxy take it out?",
                ));
            }
            _ => drop(seen.value()?),
        }
        let answer = self.tenant.ask(&Method::PUT, &path, &headers, bytes.into())?;
        let sensor = answer.value()?;
        self.tenant.show(&sensor, |sensor| said(&name, sensor, self.percent))
    }

    /// What goes beside the artifact. Secrets are in it.
    fn settings(&self) -> Result<Value, Failure> {
        let mut settings = Map::new();
        if !self.matching.is_empty() {
            settings.insert("match".into(), selector(&self.matching)?);
        }
        if !self.config.is_empty() {
            let pairs: Result<BTreeMap<_, _>, _> = self.config.iter().map(|pair| key_value("--config", pair)).collect();
            settings.insert("config".into(), json!(pairs?));
        }
        if !self.secret.is_empty() {
            let mut secrets = BTreeMap::new();
            for pair in &self.secret {
                let (key, file) = key_value("--secret", pair)?;
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Failure::usage(format!("--secret {key}: {file} cannot be read: {error}")))?;
                secrets.insert(key, text.trim_end_matches(['\n', '\r']).to_owned());
            }
            settings.insert("secrets".into(), json!(secrets));
        }
        if let Some(percent) = self.percent {
            settings.insert("percent".into(), percent.into());
        }
        Ok(settings.into())
    }
}

fn manifest_name(path: &Path, bytes: &[u8]) -> Result<String, Failure> {
    let no = |why: String| {
        Failure::usage(format!("{} has no manifest to take its name from ({why}); give --name", path.display()))
    };
    let toml = sonde_manifest::extract(bytes).map_err(|error| no(error.to_string()))?;
    let toml = toml.ok_or_else(|| no("it is no sensor that `sonde sensor build` made".to_owned()))?;
    Ok(Manifest::parse(&toml).map_err(|error| no(error.to_string()))?.name)
}

fn key_value<'a>(flag: &str, pair: &'a str) -> Result<(&'a str, &'a str), Failure> {
    let split = pair.split_once('=').filter(|(key, _)| !key.is_empty());
    split.ok_or_else(|| Failure::usage(format!("{flag} is KEY=VALUE, and {pair:?} is not")))
}

fn selector(given: &[String]) -> Result<Value, Failure> {
    let (mut groups, mut labels, mut instances) = (Vec::new(), BTreeMap::new(), Vec::new());
    for selector in given {
        let wrong = || {
            Failure::usage(format!(
                "--match {selector:?} is not a selector: group=NAME, label:KEY=VALUE, instance=ID-OR-NAME and all are"
            ))
        };
        match selector.split_once('=') {
            None if selector == "all" => {}
            Some(("group", group)) => groups.push(group),
            Some(("instance", instance)) => instances.push(instance),
            Some((label, value)) => drop(labels.insert(label.strip_prefix("label:").ok_or_else(wrong)?, value)),
            None => return Err(wrong()),
        }
    }
    Ok(json!({ "groups": groups, "labels": labels, "instances": instances }))
}

fn said(name: &str, sensor: &Value, percent: Option<u8>) -> String {
    let which = if percent.is_some_and(|percent| percent < 100) { "next" } else { "current" };
    let versions = sensor["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let version = versions.iter().find(|version| version["version"] == which);
    let digest = version.and_then(|version| version["sha256"].as_str()).unwrap_or_default();
    let digest = digest.get(..12).unwrap_or(digest);
    let part = match percent {
        Some(percent) if percent < 100 => format!("to {percent} of 100 instances that match"),
        _ => "to all instances that match".to_owned(),
    };
    format!("{name} ({digest}) goes {part}, within some seconds; `sonde sensor ls` says how it does\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_told_apart() {
        let of = |given: &[&str]| selector(&given.iter().map(ToString::to_string).collect::<Vec<_>>());
        let all = of(&["group=web", "group=db", "label:a.b/c=d=e", "instance=shop"]).unwrap();
        let expected = json!({ "groups": ["web", "db"], "labels": { "a.b/c": "d=e" }, "instances": ["shop"] });
        assert_eq!(all, expected);
        assert_eq!(of(&["all"]).unwrap(), json!({ "groups": [], "labels": {}, "instances": [] }));
        for wrong in ["web", "name=x", "=x", ""] {
            assert!(of(&[wrong]).is_err(), "{wrong:?}");
        }
        assert!(key_value("--config", "port").is_err() && key_value("--config", "=1").is_err());
        assert_eq!(key_value("--config", "a=b=c").unwrap(), ("a", "b=c"));
    }
}
