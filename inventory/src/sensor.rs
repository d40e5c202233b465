//! A sensor that an account pushed: what it is, where it is meant to run, and with which settings.
//!
//! A version is an artifact's digest with all that belongs to it. Secrets are a version's and never a name's: whoever pushes other bytes under the same
//! name gets none of them. What is secret is sealed by the proxy before it comes here, and this crate cannot open it. Everything that a tenant
//! writes has a bound, because a record is one key in etcd and is held in memory by every proxy.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::labels::Labels;
use crate::names::AccountName;
use crate::report::is_group;

mod settings;

pub use settings::{check_account, check_config, check_secret_text, check_secrets};

/// The longest name of a sensor, as its manifest has it.
const NAME_BYTES: usize = 63;
/// Settings of a version: some dozens of short values.
pub const MOST_CONFIG_KEYS: usize = 64;
pub const CONFIG_BYTES: usize = 16 << 10;
/// Secrets of a version; each is [`MOST_SECRET_BYTES`] long at most.
pub const MOST_SECRETS: usize = 16;
/// Settings, secrets and selectors of all of an account's sensors, as [`PushedSensor::settings_bytes`] counts them: a node is told of several
/// accounts in one answer, and none may fill it.
pub const MOST_SETTINGS_BYTES: usize = 4 << 20;
/// A key of settings or secrets.
const KEY_BYTES: usize = 63;
/// Of each kind of selector.
const MOST_SELECTORS: usize = 32;
const SELECTOR_BYTES: usize = 256;
/// All of the instances that a sensor is for, in percent.
pub const WHOLE: u8 = 100;

/// What is wrong with what a tenant said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SensorFault {
    #[error("{0:?} is not a name of a sensor: a letter of a-z, then up to 62 of a-z, 0-9 and '-'")]
    Name(String),
    #[error("{0:?} is not a SHA-256: 64 lower-case hexadecimal digits are")]
    Digest(String),
    #[error("{what} has more than {most} keys")]
    TooMany { what: &'static str, most: usize },
    #[error("{what} is longer than {most} bytes")]
    TooLong { what: &'static str, most: usize },
    #[error(
        "{what} has the key {key:?}: a key begins with a-z, goes on with a-z, 0-9, - and _, and has at most {KEY_BYTES} bytes"
    )]
    Key { what: &'static str, key: String },
    #[error("{what} has a control character in {key:?}: only line feeds, carriage returns and tabs are allowed")]
    Control { what: &'static str, key: String },
    #[error(
        "the account's sensors would have {would} bytes of config, secrets and match together, and it may have {most}: remove some first"
    )]
    TooMuch { would: usize, most: usize },
    #[error("match has a control character in {0:?}: none is allowed there")]
    ControlInMatch(String),
    #[error("match has the group {0:?}, which is not one: 1 to 100 letters, digits, '_' and '-' are")]
    Group(String),
}

/// The name of a pushed sensor; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SensorName(Arc<str>);

impl SensorName {
    pub fn new(name: &str) -> Result<Self, SensorFault> {
        let mut bytes = name.bytes();
        let begins = bytes.next().is_some_and(|first| first.is_ascii_lowercase());
        let goes_on = bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if begins && goes_on && name.len() <= NAME_BYTES {
            Ok(Self(name.into()))
        } else {
            Err(SensorFault::Name(name.chars().take(NAME_BYTES + 1).collect()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SensorName {
    type Error = SensorFault;

    fn try_from(name: String) -> Result<Self, SensorFault> {
        Self::new(&name)
    }
}

impl From<SensorName> for String {
    fn from(name: SensorName) -> Self {
        (*name.0).into()
    }
}

/// The SHA-256 of an artifact: what it is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactDigest(pub [u8; 32]);

impl ArtifactDigest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for ArtifactDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ArtifactDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for ArtifactDigest {
    type Err = SensorFault;

    fn from_str(text: &str) -> Result<Self, SensorFault> {
        let fault = || SensorFault::Digest(text.chars().take(65).collect());
        let is_hex = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex {
            return Err(fault());
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| fault())?;
        }
        Ok(Self(digest))
    }
}

impl TryFrom<String> for ArtifactDigest {
    type Error = SensorFault;

    fn try_from(text: String) -> Result<Self, SensorFault> {
        text.parse()
    }
}

impl From<ArtifactDigest> for String {
    fn from(digest: ArtifactDigest) -> Self {
        digest.to_string()
    }
}

/// A secret as a proxy sealed it, in base64: of use to nobody without the proxies' key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sealed")
    }
}

/// Which of its account's instances a sensor is meant for, by what discovery selects by too. Nothing given means all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    /// In any of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// All of them, to the letter.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// One of them: an id, a name, or an alias.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<String>,
}

/// What a selector looks at.
pub struct Selected<'a> {
    pub id: Uuid,
    pub name: &'a str,
    pub alias: &'a str,
    pub groups: &'a [String],
    pub labels: &'a Labels,
}

impl Selector {
    /// Whether an instance is meant.
    pub fn has(&self, instance: &Selected<'_>) -> bool {
        let id = instance.id.to_string();
        let called = |wanted: &String| [&id, instance.name, instance.alias].contains(&wanted.as_str());
        (self.groups.is_empty() || self.groups.iter().any(|group| instance.groups.contains(group)))
            && self.labels.iter().all(|(key, value)| instance.labels.get(key) == Some(value))
            && (self.instances.is_empty() || self.instances.iter().any(called))
    }

    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self) -> Result<(), SensorFault> {
        let what = "match";
        if [self.groups.len(), self.labels.len(), self.instances.len()].into_iter().any(|n| n > MOST_SELECTORS) {
            return Err(SensorFault::TooMany { what, most: MOST_SELECTORS });
        }
        if let Some(group) = self.groups.iter().find(|group| !is_group(group)) {
            return Err(SensorFault::Group(group.chars().take(100).collect()));
        }
        let texts = self.labels.iter().flat_map(|(key, value)| [key, value]).chain(&self.instances);
        for text in texts {
            if text.len() > SELECTOR_BYTES {
                return Err(SensorFault::TooLong { what, most: SELECTOR_BYTES });
            }
            if text.chars().any(char::is_control) {
                return Err(SensorFault::ControlInMatch(text.clone()));
            }
        }
        Ok(())
    }
}

/// An artifact with all that is bound to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub sha256: ArtifactDigest,
    pub bytes: u64,
    pub pushed_at_ms: u64,
    /// The key, certificate or token, as an operator knows it.
    #[serde(default)]
    pub pushed_by: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Sealed>,
}

/// A version that a part of the instances runs already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    pub version: Version,
    /// Of the matching instances, 0 to 99.
    pub percent: u8,
}

/// A sensor of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedSensor {
    pub account: AccountName,
    pub name: SensorName,
    #[serde(default, rename = "match")]
    pub selector: Selector,
    pub current: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Rollout>,
}

impl PushedSensor {
    /// The current version, and the next where there is one.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        [&self.current].into_iter().chain(self.next.as_ref().map(|next| &next.version))
    }

    /// What its settings, secrets and selector take in what a node is told: as they are written, so that escapes count. Secrets count as they are
    /// sealed, which is longer than what is in them.
    pub fn settings_bytes(&self) -> usize {
        let written = |settings: serde_json::Result<Vec<u8>>| {
            settings.expect("settings have string keys alone, and nothing else can fail").len()
        };
        let of_version = |version: &Version| {
            written(serde_json::to_vec(&version.config)) + written(serde_json::to_vec(&version.secrets))
        };
        written(serde_json::to_vec(&self.selector)) + self.versions().map(of_version).sum::<usize>()
    }

    /// What changes with any change of the record, and is the same at every proxy.
    pub fn mark(&self) -> String {
        let json = serde_json::to_vec(self).expect("records have string keys alone, and nothing else can fail");
        short(Sha256::digest(&json).into())
    }
}

/// Half of a digest, in hexadecimal: it is compared with what was there before, and nobody gains by two that are alike.
pub(crate) fn short(digest: [u8; 32]) -> String {
    ArtifactDigest(digest).to_string()[..32].to_owned()
}

/// Whether an instance is among so many per cent of all. The same ones at each node and proxy, and who is among ten is among twenty.
pub fn is_among(percent: u8, sensor: &SensorName, instance: Uuid) -> bool {
    let mut hash = Sha256::new();
    hash.update(sensor.as_str());
    hash.update(instance.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    // 2^16 is not a multiple of 100; nobody sees the difference.
    u16::from_be_bytes([digest[0], digest[1]]) % u16::from(WHOLE) < u16::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_files_and_segments_and_nothing_else() {
        for name in ["", "A", "1a", "-a", "a.b", "a/b", "a_b", "é", "a b", "../a", &"a".repeat(64)] {
            assert!(SensorName::new(name).is_err(), "{name:?}");
        }
        for name in ["a", "nginx-2", &"a".repeat(63)] {
            assert_eq!(SensorName::new(name).unwrap().as_str(), name);
        }
        let digest = ArtifactDigest::of(b"x");
        assert_eq!(digest.to_string().parse::<ArtifactDigest>(), Ok(digest));
        for broken in ["", "ab", &"g".repeat(64), &"A".repeat(64), &"é".repeat(32)] {
            assert!(broken.parse::<ArtifactDigest>().is_err(), "{broken}");
        }
    }

    #[test]
    fn a_part_grows_and_never_changes_its_members() {
        let name = SensorName::new("web").unwrap();
        let ids: Vec<Uuid> = (0..2000).map(Uuid::from_u128).collect();
        let among = |percent| ids.iter().filter(|id| is_among(percent, &name, **id)).collect::<Vec<_>>();
        let (ten, twenty) = (among(10), among(20));
        assert!((100..300).contains(&ten.len()), "{}", ten.len());
        assert!(ten.iter().all(|id| twenty.contains(id)) && twenty.len() > ten.len());
        assert_eq!((among(0).len(), among(100).len()), (0, 2000));
    }

    #[test]
    fn what_is_wrong_with_a_selector_is_said() {
        let of = |name: String| Selector { instances: vec![name], ..Selector::default() }.check();
        assert_eq!(of("a\tb".into()), Err(SensorFault::ControlInMatch("a\tb".into())));
        let too_long = SensorFault::TooLong { what: "match", most: SELECTOR_BYTES };
        assert_eq!((of("x".repeat(SELECTOR_BYTES)), of("x".repeat(SELECTOR_BYTES + 1))), (Ok(()), Err(too_long)));
    }

    #[test]
    fn a_selector_asks_as_discovery_does() {
        let (groups, labels) = (vec!["web".to_owned()], [("tier", "front")].into_iter().collect());
        let one = Selected { id: Uuid::from_u128(7), name: "n", alias: "shop", groups: &groups, labels: &labels };
        let of = |json: serde_json::Value| serde_json::from_value::<Selector>(json).unwrap();
        for (json, has) in [
            (serde_json::json!({}), true),
            (serde_json::json!({ "groups": ["db", "web"] }), true),
            (serde_json::json!({ "groups": ["db"] }), false),
            (serde_json::json!({ "labels": { "tier": "front" } }), true),
            (serde_json::json!({ "labels": { "tier": "front", "x": "" } }), false),
            (serde_json::json!({ "instances": ["shop"] }), true),
            (serde_json::json!({ "instances": [Uuid::from_u128(7)] }), true),
            (serde_json::json!({ "instances": ["sho"], "groups": ["web"] }), false),
        ] {
            assert_eq!(of(json.clone()).has(&one), has, "{json}");
            assert_eq!(of(json).check(), Ok(()));
        }
        assert!(serde_json::from_str::<Selector>(r#"{ "image": "x" }"#).is_err());
        for json in [
            serde_json::json!({ "groups": ["a b"] }),
            serde_json::json!({ "instances": ["x".repeat(257)] }),
            serde_json::json!({ "instances": vec!["x"; 33] }),
            serde_json::json!({ "labels": { "a": "b\n" } }),
        ] {
            assert!(of(json.clone()).check().is_err(), "{json}");
        }
    }
}
