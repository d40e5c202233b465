//! The agent's configuration: what the operator wrote, and what it means once checked.
//!
//! One TOML file. [`Config::parse`] rejects unknown keys and reports every fault at once, so that a broken edit
//! of a running agent changes nothing and says all that is wrong. Paths are relative to the file's folder. Secrets are named by path, never held here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sonde_collect::{GroupSource, Match, Names, NodeId, ProcessGroup, Rules};
use sonde_fault::{ConfigError, folder_of, read_config};
use sonde_host::{Digest, Policy, Share};

mod listen;
mod policy;
mod print;
mod reading;
mod report;
mod rules;
mod sandbox;

pub use listen::Tls;
pub(crate) use reading::HIGHEST_FLOOR;
pub use report::{Report, ReportTls};
pub use rules::OwnerRule;
pub use sandbox::Sandbox;

/// Names of the URL that are not instances.
const RESERVED_NAMES: [&str; 5] = ["node", "gz", "instances", "refresh", "usage"];
/// Who owns what no rule gives to an account.
pub const OPERATOR: &str = "operator";
/// Who owns that of which is not known whose it is: as bounded as any account of which nothing is said.
pub const UNOWNED: &str = "unowned";

/// As the file has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    listen: listen::RawListen,
    node: RawNode,
    reading: reading::RawReading,
    report: Option<report::RawReport>,
    policy: toml::Table,
    sandbox: sandbox::RawSandbox,
    share: sandbox::RawShare,
    #[serde(rename = "account")]
    accounts: Vec<sandbox::RawAccount>,
    sensors_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    #[serde(rename = "process_group")]
    process_groups: Vec<RawGroup>,
    #[serde(rename = "sensor")]
    sensors: Vec<RawSensor>,
    #[serde(rename = "instance")]
    instances: Vec<rules::RawInstance>,
    #[serde(rename = "owner")]
    owners: Vec<rules::RawOwner>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawNode {
    id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: String,
    pid_file: Option<PathBuf>,
    cgroup: Option<String>,
    port: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSensor {
    file: String,
    name: Option<String>,
    #[serde(default, rename = "match")]
    matching: rules::RawMatching,
    #[serde(default)]
    config: BTreeMap<String, toml::Value>,
    #[serde(default)]
    secrets: BTreeMap<String, PathBuf>,
}

/// A sensor file and the instances it runs on.
#[derive(Debug, Clone, PartialEq)]
pub struct SensorRule {
    /// Its name on an instance; the file's stem unless given.
    pub name: String,
    /// In the sensors' folder, or in that of the account which pushed it.
    pub file: String,
    /// None is the operator.
    pub pushed_by: Option<Arc<str>>,
    pub matching: Match,
    pub config: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, PathBuf>,
    /// The one artifact that all this is for; any where there is none. Secrets of one are never another's.
    pub digest: Option<Digest>,
    /// Why its settings cannot be told, where that is so: then it is refused.
    pub fault: Option<String>,
}

/// The checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub listen: SocketAddr,
    /// Where the admin routes are, on loopback; `None` for nowhere but at `listen`.
    pub admin: Option<SocketAddr>,
    pub tls: Option<Tls>,
    pub node_id: Option<String>,
    pub floor: Duration,
    pub report: Option<Report>,
    /// Whose names the native series carry.
    pub names: Names,
    pub policy: Policy,
    pub sandbox: Sandbox,
    /// What an account may use of the node, where nothing else is said of it.
    pub share: Share,
    /// What is said of accounts by name.
    pub accounts: BTreeMap<String, Share>,
    pub sensors_dir: PathBuf,
    pub state_dir: PathBuf,
    pub process_groups: Vec<ProcessGroup>,
    pub sensors: Vec<SensorRule>,
    /// What else is an instance, and what is not.
    pub instances: Rules,
    pub owners: Vec<OwnerRule>,
}

impl Config {
    /// What an account may use of the node.
    pub fn share(&self, account: &str) -> Share {
        let unnamed = if account == OPERATOR { &Share::OPERATOR } else { &self.share };
        self.accounts.get(account).unwrap_or(unnamed).clone()
    }

    /// Reads and checks a file. `listen` is where to listen when the file does not say.
    pub fn load(path: &Path, listen: SocketAddr) -> Result<Self, ConfigError> {
        Self::parse(&read_config(path)?, folder_of(path), &path.display().to_string(), listen)
    }

    /// Checks a file's text. `shown` names the file in errors.
    pub fn parse(text: &str, folder: &Path, shown: &str, listen: SocketAddr) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text).map_err(|error| ConfigError::syntax(shown, &error))?;
        let mut faults = Vec::new();
        let config = check(raw, folder, listen, &mut faults);
        if faults.is_empty() { Ok(config) } else { Err(ConfigError::Faults { path: shown.into(), faults }) }
    }
}

fn check(raw: Raw, folder: &Path, listen: SocketAddr, faults: &mut Vec<String>) -> Config {
    let listen = match raw.listen.address.as_deref().map(str::parse) {
        None => listen,
        Some(Ok(address)) => address,
        Some(Err(_)) => {
            faults.push("listen.address is IP:PORT, such as \"127.0.0.1:9164\"".into());
            listen
        }
    };
    let admin = raw.listen.admin.and_then(|text| listen::admin(&text, faults));
    let tls = raw.listen.tls.map(|tls| Tls {
        certificate: folder.join(tls.certificate),
        key: folder.join(tls.key),
        client_ca: folder.join(tls.client_ca),
        crl: tls.crl.map(|crl| folder.join(crl)),
    });
    for path in tls.iter().flat_map(|tls| [&tls.certificate, &tls.key, &tls.client_ca].into_iter().chain(&tls.crl)) {
        if let Err(error) = std::fs::File::open(path) {
            faults.push(format!("listen.tls: {} cannot be read: {error}", path.display()));
        }
    }
    if tls.is_none() && !listen.ip().is_loopback() {
        faults.push(format!(
            "listen.address {listen} is not a loopback address: it needs [listen.tls] certificate, key and client_ca, or 127.0.0.1"
        ));
    }
    let (floor, names) = reading::read(&raw.reading, faults);
    if let Some(Err(error)) = raw.node.id.as_deref().map(NodeId::new) {
        faults.push(format!("node.id: {error}"));
    }
    let share = sandbox::share("share", raw.share, &Share::DEFAULT, faults);
    Config {
        listen,
        admin,
        tls,
        node_id: raw.node.id,
        floor,
        report: report::read(raw.report, folder, faults),
        names,
        policy: policy::read(raw.policy, faults),
        sandbox: sandbox::read(raw.sandbox, folder, faults),
        accounts: sandbox::accounts(raw.accounts, &share, faults),
        share,
        sensors_dir: folder.join(raw.sensors_dir.unwrap_or_else(|| "sensors".into())),
        state_dir: folder.join(raw.state_dir.unwrap_or_else(|| "state".into())),
        process_groups: process_groups(raw.process_groups, folder, faults),
        sensors: raw.sensors.into_iter().filter_map(|sensor| sensor_rule(sensor, folder, faults)).collect(),
        instances: rules::instances(raw.instances, faults),
        owners: raw.owners.into_iter().filter_map(|owner| rules::owner(owner, faults)).collect(),
    }
}

/// Parses `15s`, `500ms`, `2m`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

fn duration(key: &str, text: Option<&str>, faults: &mut Vec<String>) -> Option<Duration> {
    let text = text?;
    let parsed = parse_duration(text);
    if parsed.is_none() {
        faults.push(format!("{key} is {text:?}: a number and ms, s or m is allowed, such as \"15s\""));
    }
    parsed
}

fn process_groups(raw: Vec<RawGroup>, folder: &Path, faults: &mut Vec<String>) -> Vec<ProcessGroup> {
    let mut groups: Vec<ProcessGroup> = Vec::new();
    for group in raw {
        let name = group.name;
        if !is_plain_name(&name) || RESERVED_NAMES.contains(&name.as_str()) {
            faults.push(format!(
                "process_group {name:?}: a name is 1 to 63 of a-z A-Z 0-9 . _ - and none of {}",
                RESERVED_NAMES.join(", ")
            ));
            continue;
        }
        if groups.iter().any(|known| known.name == name) {
            faults.push(format!("process_group {name:?} is there twice"));
            continue;
        }
        let source = match (group.pid_file, group.cgroup, group.port) {
            (Some(path), None, None) => GroupSource::PidFile(folder.join(path)),
            (None, Some(cgroup), None) => GroupSource::Cgroup(cgroup),
            (None, None, Some(port)) => GroupSource::Port(port),
            _ => {
                faults.push(format!("process_group {name:?} has one of pid_file, cgroup and port"));
                continue;
            }
        };
        groups.push(ProcessGroup { name, source });
    }
    groups
}

pub(crate) fn is_plain_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    // Names are also files': none is hidden, and none leads elsewhere.
    (1..=63).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_plain)
}

fn sensor_rule(raw: RawSensor, folder: &Path, faults: &mut Vec<String>) -> Option<SensorRule> {
    // With or without the folder's own name before it.
    let file = raw.file.strip_prefix("sensors/").unwrap_or(&raw.file).to_owned();
    let Some(stem) = file.strip_suffix(".wasm").filter(|stem| is_plain_name(stem)) else {
        faults.push(format!(
            "sensor.file is {:?}: the name of a file in the sensors' folder, NAME.wasm, is allowed",
            raw.file
        ));
        return None;
    };
    let name = raw.name.unwrap_or_else(|| stem.to_owned());
    if !is_plain_name(&name) {
        faults.push(format!("sensor.name is {name:?}: 1 to 63 of a-z A-Z 0-9 . _ - are allowed"));
        return None;
    }
    let mut config = BTreeMap::new();
    for (key, value) in raw.config {
        match value {
            toml::Value::String(text) => drop(config.insert(key, text)),
            toml::Value::Integer(number) => drop(config.insert(key, number.to_string())),
            toml::Value::Boolean(flag) => drop(config.insert(key, flag.to_string())),
            _ => faults.push(format!("sensor {name:?}: config.{key} is a string, an integer or a boolean")),
        }
    }
    let secrets: BTreeMap<_, _> = raw.secrets.into_iter().map(|(name, path)| (name, folder.join(path))).collect();
    let matching = rules::matching(&format!("sensor {name:?}"), raw.matching, faults);
    if !secrets.is_empty() && matching.asks_a_tenant() {
        faults.push(format!(
            "sensor {name:?}: neither a label nor an image can decide who gets secrets, since a tenant may have chosen it"
        ));
    }
    Some(SensorRule { name, file, pushed_by: None, matching, config, secrets, digest: None, fault: None })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9164);

    pub(crate) fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/data"), "sonde.toml", LOOPBACK).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_a_configuration() {
        let config = parse("").unwrap();
        assert_eq!(config.listen, LOOPBACK);
        assert_eq!(config.sensors_dir, Path::new("/data/sensors"));
        assert_eq!(config.floor, Duration::from_secs(1));
    }

    #[test]
    fn what_is_printed_is_what_was_meant() {
        let written = "[listen]\naddress = \"127.0.0.1:1\"\n[policy]\ntcp = [1, \"5-9\"]\nfiles = [\"/etc\"]\nfuel = 7\n[[process_group]]\nname = \"a\"\nport = 80\n[[sensor]]\nfile = \"x.wasm\"\nmatch = { name = \"a*\" }\nconfig = { port = 1 }\nsecrets = { key = \"k\" }\n[[owner]]\naccount = \"acme\"\nmatch = { runtime = \"runc\" }\n[sandbox]\nrunners_for = \"account\"\nquarantine_after = 3\n[share]\nseries = 7\n[[account]]\nname = \"acme\"\ncpu_cores = 1.5\n";
        let config = parse(written).unwrap();
        assert_eq!(parse(&config.to_toml()).unwrap(), config);
        assert_eq!(parse(&parse("").unwrap().to_toml()).unwrap(), parse("").unwrap());
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let error = parse(
            "[reading]\nfloor = \"soon\"\n[policy]\nclass = \"huge\"\ntcp = [\"9-1\"]\n[[process_group]]\nname = \"node\"\nport = 1\n[[sensor]]\nfile = \"../x.wasm\"\n",
        )
        .unwrap_err();
        for named in ["reading.floor", "policy.class", "policy.tcp", "\"node\"", "../x.wasm"] {
            assert!(error.contains(named), "{named} is not in: {error}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(parse("colour = \"blue\"").unwrap_err().contains("colour"));
        assert!(parse("[policy]\ntpc = [1]").unwrap_err().contains("tpc"));
    }

    #[test]
    fn the_world_is_not_served_in_plain_text() {
        let error = parse("[listen]\naddress = \"0.0.0.0:9164\"").unwrap_err();
        assert!(error.contains("client_ca"), "{error}");
    }

    #[test]
    fn a_group_has_one_source() {
        assert!(parse("[[process_group]]\nname = \"a\"").unwrap_err().contains("one of"));
        assert!(parse("[[process_group]]\nname = \"a\"\nport = 80\ncgroup = \"/x\"").unwrap_err().contains("one of"));
        assert_eq!(parse("[[process_group]]\nname = \"a\"\nport = 80").unwrap().process_groups.len(), 1);
    }
}
