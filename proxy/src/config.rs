//! The proxy's configuration: what the operator wrote, and what it means once checked.
//!
//! One TOML file. [`Config::parse`] rejects unknown keys and reports every fault at once, so that a broken edit of a running proxy changes
//! nothing and says all that is wrong. Paths are relative to the file's folder. Secrets are named by path, never held here. What can change while it
//! runs is [`Config::limits`], [`Config::hosts`], [`Config::tls`] and the rate of the access log; the rest takes effect at the next start, and a reload says so.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sonde_fault::{ConfigError, folder_of, read_config};

mod bounds;
mod print;
mod store;

use crate::identity::AuthorityFiles;
use crate::names::{NamesConfig, RawNames};
use crate::tls::{CertificateFiles, HandshakeLimits, PublicSettings, TierSettings};

pub use bounds::{Bounds, Quota};
pub use store::{Etcd, StoreConfig};

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

/// What a proxy with an embedded store calls its own key.
const OWN_SECRETS_KEY: &str = "secrets.key";

/// As the file has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    listen: RawListen,
    suffix: Option<String>,
    hosts: Vec<String>,
    tls: Option<RawTls>,
    tier: RawTier,
    store: store::RawStore,
    data_dir: Option<PathBuf>,
    limits: bounds::RawQuota,
    bounds: bounds::RawBounds,
    access_log: RawLog,
    names: Option<RawNames>,
    sensors: RawSensors,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSensors {
    secrets_key: Option<PathBuf>,
    secrets_on_any_node: bool,
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
    /// Further certificates, for further names.
    #[serde(default)]
    more: Vec<CertificateFiles>,
    client_ca: Option<AuthorityFiles>,
    #[serde(default)]
    handshakes: HandshakeLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTier {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    crl: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLog {
    lines_per_second: Option<u32>,
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
    pub tls: PublicSettings,
    /// Without it only agents on loopback can be asked, and none reports.
    pub tier: Option<TierSettings>,
    pub store: StoreConfig,
    /// Where the operator's socket is, and the inventory unless another place is named.
    pub data_dir: PathBuf,
    /// What an account may use, of which nothing else is said.
    pub limits: Quota,
    pub bounds: Bounds,
    pub log_lines_per_second: u32,
    /// The zone that we serve in DNS; `None` for none.
    pub names: Option<NamesConfig>,
    /// The file with the key that tenants' secrets are sealed with; with an embedded store it is made where none is named. `None`: secrets are refused.
    pub secrets_key: Option<PathBuf>,
    /// Whether nodes get an account's secrets also where the operator has not said that it may run there.
    pub secrets_on_any_node: bool,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read, or says what is not allowed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_config(path)?, folder_of(path), &path.display().to_string())
    }

    /// Checks a file's text. `shown` names the file in errors.
    ///
    /// # Errors
    /// It says what is not allowed; every fault is named.
    pub fn parse(text: &str, folder: &Path, shown: &str) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text).map_err(|error| ConfigError::syntax(shown, &error))?;
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
            ("tier", self.tier != other.tier),
            ("store", (&self.store, &self.data_dir) != (&other.store, &other.data_dir)),
            ("bounds", self.bounds != other.bounds),
            ("names", self.names != other.names),
            (
                "sensors",
                (&self.secrets_key, self.secrets_on_any_node) != (&other.secrets_key, other.secrets_on_any_node),
            ),
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
    let suffix = suffix(raw.suffix, faults);
    if raw.hosts.len() > MOST_HOSTS {
        faults.push(format!("hosts: at most {MOST_HOSTS}"));
    }
    let hosts = raw.hosts.iter().filter_map(|name| host("hosts", name, faults)).collect();
    let tls = raw.tls.map(|tls| public_tls(folder, tls, faults));
    if tls.is_none() {
        faults.push("[tls] is missing: certificate and key of the proxy, PEM files".into());
    }
    let tier = tier("tier", folder, raw.tier, faults);
    if tier_listen.is_some() && tier.is_none() {
        faults.push("listen.tier needs [tier] certificate, key and ca".into());
    }
    let data_dir = folder.join(raw.data_dir.unwrap_or_default());
    let store = store::read(raw.store, folder, &data_dir, faults);
    let secrets_on_any_node = raw.sensors.secrets_on_any_node;
    let secrets_key = secrets_key(raw.sensors, folder, store.as_ref(), &data_dir, faults);
    let lines = lines(&raw.access_log, faults);
    let limits = bounds::quota(&raw.limits, faults);
    let bounds = bounds::read(&raw.bounds, faults);
    let names = raw.names.and_then(|names| names.check(suffix.as_deref()?, folder, faults));
    Some(Config {
        public,
        tier_listen,
        admin,
        suffix: suffix?,
        hosts,
        tls: tls?,
        tier,
        store: store?,
        data_dir,
        limits,
        bounds,
        log_lines_per_second: lines,
        names,
        secrets_key,
        secrets_on_any_node,
    })
}

fn suffix(raw: Option<String>, faults: &mut Vec<String>) -> Option<String> {
    if raw.is_none() {
        faults.push("suffix is missing: what follows an instance's id in its name, such as \"sonde.example\"".into());
    }
    host("suffix", &raw?, faults)
}

fn lines(raw: &RawLog, faults: &mut Vec<String>) -> u32 {
    let lines = raw.lines_per_second.unwrap_or(DEFAULT_LINES);
    if lines > MOST_LINES {
        faults.push(format!("access_log.lines_per_second is {lines}: up to {MOST_LINES} is allowed"));
    }
    lines
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

fn files(key: &str, folder: &Path, given: &CertificateFiles, faults: &mut Vec<String>) -> CertificateFiles {
    let files = CertificateFiles { certificate: folder.join(&given.certificate), key: folder.join(&given.key) };
    for path in [&files.certificate, &files.key] {
        readable(key, path, faults);
    }
    files
}

fn public_tls(folder: &Path, raw: RawTls, faults: &mut Vec<String>) -> PublicSettings {
    let first = CertificateFiles { certificate: raw.certificate, key: raw.key };
    let certificates = [&first].into_iter().chain(&raw.more).map(|given| files("tls", folder, given, faults)).collect();
    let client_ca = raw.client_ca.map(|given| AuthorityFiles {
        file: folder.join(&given.file),
        revoked: given.revoked.as_ref().map(|path| folder.join(path)),
        ..given
    });
    for path in client_ca.iter().flat_map(|ca| [&ca.file].into_iter().chain(&ca.revoked)) {
        readable("tls.client_ca", path, faults);
    }
    let handshakes = raw.handshakes;
    if handshakes.per_second == 0 || handshakes.burst == 0 || handshakes.in_flight == 0 {
        faults.push("tls.handshakes: per_second, burst and in_flight are at least 1".into());
    }
    PublicSettings { certificates, client_ca, handshakes }
}

fn readable(key: &str, path: &Path, faults: &mut Vec<String>) {
    if let Err(error) = std::fs::File::open(path) {
        faults.push(format!("{key}: {} cannot be read: {error}", path.display()));
    }
}

/// All three, or none.
fn tier(key: &str, folder: &Path, raw: RawTier, faults: &mut Vec<String>) -> Option<TierSettings> {
    match (raw.certificate, raw.key, raw.ca) {
        (None, None, None) => None,
        (Some(certificate), Some(private), Some(ca)) => {
            let ca = folder.join(ca);
            readable(key, &ca, faults);
            let own = files(key, folder, &CertificateFiles { certificate, key: private }, faults);
            let crl = raw.crl.map(|crl| folder.join(crl));
            crl.iter().for_each(|crl| readable(key, crl, faults));
            Some(TierSettings { own, ca, crl })
        }
        _ => {
            faults.push(format!("{key} has certificate, key and ca, or none of them"));
            None
        }
    }
}

/// A file that is named is there, because all proxies of an inventory have the same; an embedded inventory has one proxy, which makes its own.
fn secrets_key(
    raw: RawSensors,
    folder: &Path,
    store: Option<&StoreConfig>,
    data_dir: &Path,
    faults: &mut Vec<String>,
) -> Option<PathBuf> {
    match (raw.secrets_key, store) {
        (Some(named), _) => {
            let path = folder.join(named);
            readable("sensors.secrets_key", &path, faults);
            Some(path)
        }
        (None, Some(StoreConfig::Embedded(_))) => Some(data_dir.join(OWN_SECRETS_KEY)),
        (None, _) => None,
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
