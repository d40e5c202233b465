//! The table `[store]`: a file of this proxy's, or etcd, and who we are to it.
//!
//! etcd knows us by a certificate, by a user's name and password, or by both; secrets are files.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{RawTier, readable, tier};
use crate::tls::TierSettings;

/// Below this all keys are, unless the file says otherwise.
const DEFAULT_PREFIX: &str = "/sonde/";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStore {
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
    user: Option<String>,
    password: Option<PathBuf>,
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
    pub tls: Option<TierSettings>,
    /// A user's name, and the file with the password.
    pub user: Option<(String, PathBuf)>,
}

#[cfg(feature = "etcd")]
impl Etcd {
    pub(crate) fn settings(&self) -> sonde_inventory::etcd::EtcdSettings {
        let tls = self.tls.as_ref();
        sonde_inventory::etcd::EtcdSettings {
            endpoints: self.endpoints.clone(),
            prefix: self.prefix.clone(),
            ca: tls.map(|tls| tls.ca.clone()),
            identity: tls.map(|tls| (tls.own.certificate.clone(), tls.own.key.clone())),
            user: self.user.clone(),
        }
    }
}

pub(super) fn read(raw: RawStore, folder: &Path, data_dir: &Path, faults: &mut Vec<String>) -> Option<StoreConfig> {
    match (raw.path, raw.etcd) {
        (Some(path), None) => Some(StoreConfig::Embedded(folder.join(path))),
        (None, None) => Some(StoreConfig::Embedded(data_dir.join("inventory.redb"))),
        (None, Some(raw)) => Some(StoreConfig::Etcd(etcd(raw, folder, faults))),
        (Some(_), Some(_)) => {
            faults.push("store has path or etcd, not both".into());
            None
        }
    }
}

fn etcd(raw: RawEtcd, folder: &Path, faults: &mut Vec<String>) -> Etcd {
    if raw.endpoints.is_empty() {
        faults.push("store.etcd.endpoints is empty: URLs of etcd's members are listed there".into());
    }
    let files = RawTier { certificate: raw.certificate, key: raw.key, ca: raw.ca, crl: None };
    let tls = tier("store.etcd", folder, files, faults);
    let prefix = raw.prefix.unwrap_or_else(|| DEFAULT_PREFIX.into());
    let user = match (raw.user, raw.password) {
        (Some(user), Some(password)) => {
            let password = folder.join(password);
            readable("store.etcd.password", &password, faults);
            Some((user, password))
        }
        (None, None) => None,
        _ => {
            faults.push("store.etcd has user and password (a file), or neither".into());
            None
        }
    };
    Etcd { endpoints: raw.endpoints, prefix, tls, user }
}
