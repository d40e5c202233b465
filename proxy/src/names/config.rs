//! The table `[names]` of a proxy's configuration, and what it means once checked.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::Name;
use serde::Deserialize;
use tokio::sync::watch;

use super::zone::LONGEST_TTL;
use super::{ListKey, ListKeyError, Prefix, Settings};

/// To one prefix, in a second: a resolver keeps an answer for its TTL, so a site's few ask for as many names as it scrapes.
const REPLIES_PER_SECOND: u32 = 200;
const MOST_REPLIES_PER_SECOND: u32 = 1_000_000;
/// Of each list in the table: more is a mistake, or an answer that fits no packet.
const MOST: usize = 64;
/// Addresses of proxies: as many as fit an answer that is not cut.
const MOST_ADDRESSES: usize = 32;

/// As the file has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawNames {
    listen: Vec<String>,
    addresses: Vec<String>,
    name_servers: Vec<String>,
    hostmaster: Option<String>,
    ttl_seconds: Option<u32>,
    secondaries: Vec<String>,
    lists_to: Vec<String>,
    list_key: Option<PathBuf>,
    replies_per_second: Option<u32>,
}

/// The checked table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesConfig {
    pub listen: Vec<SocketAddr>,
    /// All proxies, this one among them; those that are alive are answered with.
    pub addresses: Vec<IpAddr>,
    apex: Name,
    name_servers: Vec<Name>,
    hostmaster: Name,
    ttl_seconds: u32,
    secondaries: Vec<IpAddr>,
    lists_to: Vec<Prefix>,
    pub list_key: Option<PathBuf>,
    replies_per_second: u32,
}

impl RawNames {
    /// Checks it; what is wrong is added to `faults`. `suffix` is what names end in.
    pub fn check(self, suffix: &str, folder: &Path, faults: &mut Vec<String>) -> Option<NamesConfig> {
        let before = faults.len();
        let apex = name("suffix", &format!("{suffix}."), faults);
        let mut name_servers = parsed("names.name_servers", &self.name_servers, MOST, faults, absolute);
        let below = |label: &str| Name::from_ascii(format!("{label}.{suffix}.")).ok();
        if self.name_servers.is_empty() {
            name_servers.extend(below("ns"));
        }
        let hostmaster = match &self.hostmaster {
            Some(text) => name("names.hostmaster", text, faults),
            None => below("hostmaster"),
        };
        let listen = parsed("names.listen", &self.listen, MOST, faults, |text| text.parse().ok());
        let addresses = parsed("names.addresses", &self.addresses, MOST_ADDRESSES, faults, |text| text.parse().ok());
        let secondaries = parsed("names.secondaries", &self.secondaries, MOST, faults, |text| text.parse().ok());
        let lists_to = parsed("names.lists_to", &self.lists_to, MOST, faults, |text| text.parse().ok());
        for (key, is_empty) in [("listen", listen.is_empty()), ("addresses", addresses.is_empty())] {
            if is_empty {
                faults.push(format!("names.{key} is missing: DNS needs at least one"));
            }
        }
        let ttl = within("names.ttl_seconds", self.ttl_seconds, 1, LONGEST_TTL, LONGEST_TTL, faults);
        let rate = self.replies_per_second;
        let replies = within("names.replies_per_second", rate, 1, MOST_REPLIES_PER_SECOND, REPLIES_PER_SECOND, faults);
        let list_key = self.list_key.map(|path| folder.join(path));
        if let Some(Err(error)) = list_key.as_deref().map(ListKey::load) {
            faults.push(format!("names.list_key: {error}"));
        }
        (faults.len() == before).then_some(NamesConfig {
            listen,
            addresses,
            apex: apex?,
            name_servers,
            hostmaster: hostmaster?,
            ttl_seconds: ttl,
            secondaries,
            lists_to,
            list_key,
            replies_per_second: replies,
        })
    }
}

impl NamesConfig {
    /// As the file would say it, defaults filled in.
    pub(crate) fn to_table(&self) -> toml::Table {
        fn texts<T: ToString>(all: &[T]) -> toml::Value {
            toml::Value::Array(all.iter().map(|one| one.to_string().into()).collect())
        }
        let mut table = toml::Table::from_iter([
            ("listen".to_owned(), texts(&self.listen)),
            ("addresses".to_owned(), texts(&self.addresses)),
            ("name_servers".to_owned(), texts(&self.name_servers)),
            ("hostmaster".to_owned(), self.hostmaster.to_string().into()),
            ("ttl_seconds".to_owned(), i64::from(self.ttl_seconds).into()),
            ("secondaries".to_owned(), texts(&self.secondaries)),
            ("lists_to".to_owned(), texts(&self.lists_to)),
            ("replies_per_second".to_owned(), i64::from(self.replies_per_second).into()),
        ]);
        if let Some(key) = &self.list_key {
            table.insert("list_key".to_owned(), key.display().to_string().into());
        }
        table
    }

    /// The settings of a server, with the key read now. `port` is the one of tenants.
    pub fn settings(&self, port: u16, proxies: watch::Receiver<Arc<[IpAddr]>>) -> Result<Settings, ListKeyError> {
        Ok(Settings {
            listen: self.listen.clone(),
            apex: self.apex.clone(),
            name_servers: self.name_servers.clone(),
            hostmaster: self.hostmaster.clone(),
            ttl_seconds: self.ttl_seconds,
            port,
            proxies,
            secondaries: self.secondaries.clone(),
            lists_to: self.lists_to.clone(),
            list_key: self.list_key.as_deref().map(ListKey::load).transpose()?,
            replies_per_second: self.replies_per_second,
        })
    }
}

/// A name from the root, lower case.
fn absolute(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?.to_lowercase();
    name.set_fqdn(true);
    (!name.is_root()).then_some(name)
}

fn name(key: &str, text: &str, faults: &mut Vec<String>) -> Option<Name> {
    let name = absolute(text);
    if name.is_none() {
        faults.push(format!("{key} is {text:?}: a name is allowed, such as \"ns.sonde.example\""));
    }
    name
}

fn parsed<T>(
    key: &str,
    texts: &[String],
    most: usize,
    faults: &mut Vec<String>,
    parse: impl Fn(&str) -> Option<T>,
) -> Vec<T> {
    if texts.len() > most {
        faults.push(format!("{key}: at most {most}"));
        return Vec::new();
    }
    let mut all = Vec::new();
    for text in texts {
        match parse(text) {
            Some(one) => all.push(one),
            None => faults.push(format!("{key} has {text:?}, which is none")),
        }
    }
    all
}

fn within(key: &str, given: Option<u32>, least: u32, most: u32, default: u32, faults: &mut Vec<String>) -> u32 {
    let value = given.unwrap_or(default);
    if !(least..=most).contains(&value) {
        faults.push(format!("{key} is {value}: {least} to {most} is allowed"));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<NamesConfig, Vec<String>> {
        let mut faults = Vec::new();
        let raw: RawNames = toml::from_str(text).unwrap();
        raw.check("sonde.example", Path::new("."), &mut faults).ok_or(faults)
    }

    #[test]
    fn the_least_is_where_and_whom() {
        let config = check("listen = [\"127.0.0.1:53\"]\naddresses = [\"192.0.2.1\"]").unwrap();
        assert_eq!(config.apex, Name::from_ascii("sonde.example.").unwrap());
        assert_eq!(config.name_servers, [Name::from_ascii("ns.sonde.example.").unwrap()]);
        assert_eq!((config.ttl_seconds, config.replies_per_second), (30, REPLIES_PER_SECOND));
    }

    #[test]
    fn every_fault_is_named() {
        let faults = check(
            "ttl_seconds = 31\nreplies_per_second = 0\nsecondaries = [\"x\"]\nlists_to = [\"10.0.0.1/8\"]\nlist_key = \"/nowhere\"\nhostmaster = \"a..b\"",
        )
        .unwrap_err()
        .join("; ");
        for part in [
            "listen",
            "addresses",
            "ttl_seconds",
            "replies_per_second",
            "secondaries",
            "lists_to",
            "list_key",
            "hostmaster",
        ] {
            assert!(faults.contains(&format!("names.{part}")), "{part}: {faults}");
        }
    }
}
