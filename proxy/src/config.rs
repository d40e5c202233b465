//! The proxy's configuration: what the operator wrote, and what it means once checked.
//!
//! One TOML file. [`Config::parse`] rejects unknown keys and reports every fault at once, so that a broken edit of a running proxy changes
//! nothing and says all that is wrong. Paths are relative to the file's folder. Secrets are named by path, never held here. What can change while it
//! runs is [`Config::limits`], [`Config::hosts`] and the rate of the access log; the rest takes effect at the next start, and a reload says so.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

mod bounds;
mod print;

pub use bounds::{Bounds, Quota};

/// Where tenants come in: the port of cmon.
const PUBLIC_PORT: u16 = 9163;
/// Where it listens for tenants unless the file says otherwise.
const DEFAULT_PUBLIC: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), PUBLIC_PORT);
/// Where its operator asks it, unless the file says otherwise.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9166);
/// The longest name that DNS has (RFC 1035 §2.3.4), less the longest label before it and the dot.
const LONGEST_SUFFIX: usize = 253 - 64;
/// Names of ours beside the suffix.
const MOST_HOSTS: usize = 32;
/// Lines of the access log in a second.
const DEFAULT_LINES: u32 = 50;
const MOST_LINES: u32 = 10_000;

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path} cannot be read")]
    Read { path: String, source: std::io::Error },
    #[error("{path} is not valid: {message}")]
    Syntax { path: String, message: String },
    #[error("{path} is not valid: {}", .faults.join("; "))]
    Faults { path: String, faults: Vec<String> },
}

/// As the file has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    listen: RawListen,
    suffix: Option<String>,
    hosts: Vec<String>,
    tls: Option<RawTls>,
    tier: RawTier,
    store: RawStore,
    limits: bounds::RawQuota,
    bounds: bounds::RawBounds,
    access_log: RawLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawListen {
    public: Option<String>,
    tier: Option<String>,
    admin: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTier {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawStore {
    path: Option<PathBuf>,
    etcd: Option<RawEtcd>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawEtcd {
    endpoints: Vec<String>,
    prefix: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLog {
    lines_per_second: Option<u32>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What proves to agents that this is a proxy, and what proves to it that they are agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    pub files: Files,
    pub ca: PathBuf,
}

/// Where the inventory is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// One file, this proxy's alone.
    Embedded(PathBuf),
    Etcd(Etcd),
}

/// Where etcd is, and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    pub endpoints: Vec<String>,
    pub prefix: String,
    pub tls: Option<Tier>,
}

/// The checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub public: SocketAddr,
    /// Where agents report; `None` for nowhere.
    pub tier_listen: Option<SocketAddr>,
    pub admin: SocketAddr,
    /// What follows an instance's id in its name; lower case, without a dot at either end.
    pub suffix: String,
    /// Other names of the proxy itself.
    pub hosts: Vec<String>,
    pub tls: Files,
    /// Without it only agents on loopback can be asked, and none reports.
    pub tier: Option<Tier>,
    pub store: StoreConfig,
    /// What an account may use, of which nothing else is said.
    pub limits: Quota,
    pub bounds: Bounds,
    pub log_lines_per_second: u32,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read, or says what is not allowed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::parse(&text, folder, &shown)
    }

    /// Checks a file's text. `shown` names the file in errors.
    ///
    /// # Errors
    /// It says what is not allowed; every fault is named.
    pub fn parse(text: &str, folder: &Path, shown: &str) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: shown.into(),
            message: error.to_string().trim().replace('\n', " "),
        })?;
        let mut faults = Vec::new();
        let config = check(raw, folder, &mut faults);
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(ConfigError::Faults { path: shown.into(), faults }),
        }
    }

    /// What differs from another that only a new start can change, by name.
    pub fn needs_a_start(&self, other: &Self) -> Vec<&'static str> {
        let differs = [
            ("listen", (self.public, self.tier_listen, self.admin) != (other.public, other.tier_listen, other.admin)),
            ("suffix", self.suffix != other.suffix),
            ("tls", self.tls != other.tls),
            ("tier", self.tier != other.tier),
            ("store", self.store != other.store),
            ("bounds", self.bounds != other.bounds),
        ];
        differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

fn check(raw: Raw, folder: &Path, faults: &mut Vec<String>) -> Option<Config> {
    let public = address("listen.public", raw.listen.public.as_deref(), faults).unwrap_or(DEFAULT_PUBLIC);
    let tier_listen = address("listen.tier", raw.listen.tier.as_deref(), faults);
    let admin = address("listen.admin", raw.listen.admin.as_deref(), faults).unwrap_or(DEFAULT_ADMIN);
    if !admin.ip().is_loopback() {
        faults.push(format!("listen.admin is {admin}: a loopback address is allowed, such as \"127.0.0.1:9166\""));
    }
    let suffix = match raw.suffix {
        Some(suffix) => host("suffix", &suffix, faults),
        None => {
            faults
                .push("suffix is missing: what follows an instance's id in its name, such as \"sonde.example\"".into());
            None
        }
    };
    if raw.hosts.len() > MOST_HOSTS {
        faults.push(format!("hosts: at most {MOST_HOSTS}"));
    }
    let hosts = raw.hosts.iter().filter_map(|name| host("hosts", name, faults)).collect();
    let tls = raw.tls.map(|tls| files("tls", folder, tls.certificate, tls.key, faults));
    if tls.is_none() {
        faults.push("[tls] is missing: certificate and key of the proxy, PEM files".into());
    }
    let tier = tier("tier", folder, raw.tier, faults);
    if tier_listen.is_some() && tier.is_none() {
        faults.push("listen.tier needs [tier] certificate, key and ca".into());
    }
    let store = store(raw.store, folder, faults);
    let lines = raw.access_log.lines_per_second.unwrap_or(DEFAULT_LINES);
    if lines > MOST_LINES {
        faults.push(format!("access_log.lines_per_second is {lines}: up to {MOST_LINES} is allowed"));
    }
    let limits = bounds::quota(&raw.limits, faults);
    let bounds = bounds::read(&raw.bounds, faults);
    Some(Config {
        public,
        tier_listen,
        admin,
        suffix: suffix?,
        hosts,
        tls: tls?,
        tier,
        store: store?,
        limits,
        bounds,
        log_lines_per_second: lines,
    })
}

fn address(key: &str, text: Option<&str>, faults: &mut Vec<String>) -> Option<SocketAddr> {
    let text = text?;
    let address = text.parse().ok();
    if address.is_none() {
        faults.push(format!("{key} is {text:?}: IP:PORT is allowed, such as \"192.0.2.1:{PUBLIC_PORT}\""));
    }
    address
}

/// A name as DNS has it, made lower case.
fn host(key: &str, text: &str, faults: &mut Vec<String>) -> Option<String> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if name.len() <= LONGEST_SUFFIX && name.split('.').all(is_label) && !is_address {
        return Some(name);
    }
    faults.push(format!("{key} is {text:?}: a name is allowed, such as \"sonde.example\""));
    None
}

fn files(key: &str, folder: &Path, certificate: PathBuf, private: PathBuf, faults: &mut Vec<String>) -> Files {
    let files = Files { certificate: folder.join(certificate), key: folder.join(private) };
    for path in [&files.certificate, &files.key] {
        readable(key, path, faults);
    }
    files
}

fn readable(key: &str, path: &Path, faults: &mut Vec<String>) {
    if let Err(error) = std::fs::File::open(path) {
        faults.push(format!("{key}: {} cannot be read: {error}", path.display()));
    }
}

/// All three, or none.
fn tier(key: &str, folder: &Path, raw: RawTier, faults: &mut Vec<String>) -> Option<Tier> {
    match (raw.certificate, raw.key, raw.ca) {
        (None, None, None) => None,
        (Some(certificate), Some(private), Some(ca)) => {
            let ca = folder.join(ca);
            readable(key, &ca, faults);
            Some(Tier { files: files(key, folder, certificate, private, faults), ca })
        }
        _ => {
            faults.push(format!("{key} has certificate, key and ca, or none of them"));
            None
        }
    }
}

fn store(raw: RawStore, folder: &Path, faults: &mut Vec<String>) -> Option<StoreConfig> {
    match (raw.path, raw.etcd) {
        (Some(path), None) => Some(StoreConfig::Embedded(folder.join(path))),
        (None, None) => Some(StoreConfig::Embedded(folder.join("inventory.redb"))),
        (None, Some(raw)) => {
            if raw.endpoints.is_empty() {
                faults.push("store.etcd.endpoints is empty: URLs of etcd's members are listed there".into());
            }
            let files = RawTier { certificate: raw.certificate, key: raw.key, ca: raw.ca };
            let tls = tier("store.etcd", folder, files, faults);
            let prefix = raw.prefix.unwrap_or_else(|| "/sonde/".into());
            Some(StoreConfig::Etcd(Etcd { endpoints: raw.endpoints, prefix, tls }))
        }
        (Some(_), Some(_)) => {
            faults.push("store has path or etcd, not both".into());
            None
        }
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
