//! The records of the inventory, as they are kept and sent: one JSON object each.
//!
//! Every field beyond the first few has a default, so that records of an older version are read by a newer one, and what a version does not know
//! is left out rather than refused. Nothing secret is in here: of tokens there is the SHA-256 alone, of keys the public half.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::assignment::SensorStanding;
use crate::labels::Labels;
use crate::names::AccountName;
use crate::report::Claim;

/// A machine that runs an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// As its agent derives it, and as its certificate says (`sonde:node:UUID`).
    pub id: Uuid,
    #[serde(default)]
    pub hostname: String,
    /// Where its agent is reached: `https://HOST:PORT`, or `http://` on loopback.
    pub url: String,
    /// The accounts that may run there; none means all.
    #[serde(default)]
    pub accounts: Option<Vec<AccountName>>,
    /// An agent that speaks as cmon-agent does (plain HTTP, `/v1/UUID/metrics`), not as ours.
    #[serde(default)]
    pub is_cmon: bool,
    /// Since when it has said nothing, in ms since 1970, once its lease has ended; while it speaks, none. Whether it speaks *now* is
    /// [`Catalogue::is_reachable`](crate::Catalogue::is_reachable)'s to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since_ms: Option<u64>,
    /// What became there of sensors that accounts pushed, as it last said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensors: Vec<SensorStanding>,
}

/// What an instance does, as its agent last said: `sonde_instance_state` of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Running,
    Saturated,
    Frozen,
    Stopped,
    Gone,
    /// The kernel has not told the agent in time.
    #[default]
    Unknown,
}

impl State {
    /// Whether a scrape of it can be answered by its agent with its native series.
    pub fn is_alive(self) -> bool {
        !matches!(self, Self::Stopped | Self::Gone)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Saturated => "saturated",
            Self::Frozen => "frozen",
            Self::Stopped => "stopped",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
        }
    }
}

/// A monitored container, zone or process group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub id: Uuid,
    /// The node that runs it.
    pub node: Uuid,
    pub owner: AccountName,
    /// Moves on with each change of owner: what was kept of the one before is not for the next.
    #[serde(default)]
    pub owner_epoch: u64,
    /// What its runtime calls it. A tenant may have chosen it.
    #[serde(default)]
    pub name: String,
    /// What people call it, where that is another than the name.
    #[serde(default)]
    pub alias: String,
    #[serde(default)]
    pub runtime: String,
    #[serde(default)]
    pub runtime_id: String,
    #[serde(default)]
    pub image: String,
    #[serde(default)]
    pub state: State,
    /// Why it is in this state: reasons of the contract.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// For discovery alone: never an owner, never an authority.
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub labels: Labels,
    /// When it was last not alive any more, in ms since 1970; while it lives, none.
    #[serde(default)]
    pub ended_at_ms: Option<u64>,
    /// What other nodes than `node` say of it, which say that it lives there. While there is one, nobody is served: see
    /// [`Instance::is_claimed_twice`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rivals: Option<Box<[Rival]>>,
}

/// Another node's claim to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rival {
    pub node: Uuid,
    /// All that it says, so that it counts at once when the first claim ends.
    pub claim: Claim,
}

impl Instance {
    /// The reason that is given where two nodes claim an instance, as `X-Sonde-Reason`.
    pub const CLAIMED_TWICE: &str = "claimed_twice";

    /// Whether several nodes say that it lives on them: then it is 503 with [`Self::CLAIMED_TWICE`] for the owner of the record, and is
    /// asked of none of them.
    pub fn is_claimed_twice(&self) -> bool {
        self.rivals.is_some()
    }
}

/// A tenant, or the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: AccountName,
    /// Sees nodes, and nobody else's instances for it.
    #[serde(default)]
    pub is_operator: bool,
    /// Certificates signed by one of these are the account's.
    #[serde(default)]
    pub keys: Vec<SshKey>,
    /// Certificates that we issued, each by its fingerprint; one that is taken away here is revoked.
    #[serde(default)]
    pub certificates: Vec<BoundCertificate>,
    #[serde(default)]
    pub tokens: Vec<Token>,
    /// What it may use, where that differs from the proxy's defaults.
    #[serde(default)]
    pub limits: Limits,
}

impl Account {
    pub fn new(name: AccountName) -> Self {
        let is_operator = name.as_str() == AccountName::OPERATOR;
        Self { name, is_operator, keys: vec![], certificates: vec![], tokens: vec![], limits: Limits::default() }
    }

    /// Its id for those who want a UUID: derived, so that every proxy says the same.
    pub fn id(&self) -> Uuid {
        Uuid::new_v5(&ACCOUNTS, self.name.as_str().as_bytes())
    }
}

/// The name space of accounts' ids: drawn once.
const ACCOUNTS: Uuid = Uuid::from_u128(0x5f0d_2bb6_7c3e_4e0a_9a44_61d3_0f8e_7a15);

/// A public key as `ssh-*.pub` files have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshKey {
    /// Its comment, or what the operator calls it.
    pub name: String,
    /// `TYPE BASE64`, as RFC 4253 §6.6 encodes it.
    pub line: String,
}

/// A certificate that was issued to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundCertificate {
    /// SHA-256 over its DER, lower-case hexadecimal.
    pub sha256: String,
    /// For people.
    #[serde(default)]
    pub label: String,
    /// When it ends, in seconds since 1970.
    pub not_after: u64,
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// The groups of instances it is for; none means all.
    #[serde(default)]
    pub groups: Option<Vec<String>>,
}

/// A bearer token, of which only the hash is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// For people, and for taking it away.
    pub id: String,
    /// SHA-256 over the token's text, lower-case hexadecimal.
    pub sha256: String,
    #[serde(default)]
    pub scopes: Vec<Scope>,
    #[serde(default)]
    pub groups: Option<Vec<String>>,
    /// When it ends, in seconds since 1970; none means never.
    #[serde(default)]
    pub not_after: Option<u64>,
}

/// What a token or a certificate may be used for; none at all means reading metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Discovery, exposition, `GET /v1/…`.
    ReadMetrics,
    /// `PUT` and `DELETE` under `/v1/sensors`.
    PushSensors,
}

/// An account's own limits; what is none is the proxy's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_burst: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_scrapes: Option<u32>,
    /// Sensors that it may have pushed, bytes of one, and of all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensors: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_sensors_bytes: Option<u64>,
}

impl Limits {
    /// What they are called, wherever they are said.
    pub const NAMES: [&str; 7] = [
        "requests_per_second",
        "request_burst",
        "bytes_per_second",
        "concurrent_scrapes",
        "sensors",
        "sensor_bytes",
        "all_sensors_bytes",
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_name() {
        let all: serde_json::Map<_, _> = Limits::NAMES.iter().map(|name| ((*name).to_owned(), 7.into())).collect();
        let limits: Limits = serde_json::from_value(all.clone().into()).unwrap();
        assert_eq!(serde_json::to_value(limits).unwrap(), serde_json::Value::Object(all), "a name is no field's");
        let none = format!("{:?}", Limits::default());
        assert_eq!(none.matches(": None").count(), Limits::NAMES.len(), "a field has no name: {none}");
    }
}
