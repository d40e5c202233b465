//! What a node is to run for accounts, and what it says became of it: `GET /v1/tier/sensors` and `GET /v1/tier/artifacts/SHA256`.
//!
//! A node learns of a new assignment by a mark in the answer to its report, and asks. It is told of accounts that have an instance on it and of no others, and
//! gets artifacts of those alone. Secrets are open in here, because the agent must hand them to runs: this goes over the tier's mTLS and nowhere else, and
//! [`Debug`] has nothing of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::AccountName;
use crate::sensor::{ArtifactDigest, Selector, SensorName};

/// Where a node asks what it is to run.
pub const SENSORS_PATH: &str = "/v1/tier/sensors";
/// Where it gets an artifact: the digest follows.
pub const ARTIFACTS_PATH: &str = "/v1/tier/artifacts/";
/// The longest answer to [`SENSORS_PATH`].
pub const MOST_ASSIGNMENT_BYTES: usize = 64 << 20;
/// The largest artifact of any account: that of the class medium, beyond which an artifact store of its own is worth it.
pub const MOST_ARTIFACT_BYTES: u64 = 16 << 20;
/// Rows about sensors in one report, and bytes of a refusal.
pub const MOST_STANDINGS: usize = 2048;
pub const REFUSAL_BYTES: usize = 300;

/// All that a node is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignments {
    /// As the answer to a report has it.
    pub mark: String,
    #[serde(default)]
    pub accounts: Vec<OfAccount>,
}

/// What an account pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfAccount {
    pub account: AccountName,
    pub sensors: Vec<Assigned>,
}

/// One sensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    pub name: SensorName,
    #[serde(default, rename = "match")]
    pub selector: Selector,
    pub current: AssignedVersion,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<AssignedVersion>,
    /// How many of a hundred matching instances run the next.
    #[serde(default)]
    pub percent: u8,
}

/// An artifact with its settings and secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedVersion {
    pub sha256: ArtifactDigest,
    pub bytes: u64,
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
}

impl fmt::Debug for AssignedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets: Vec<&String> = self.secrets.keys().collect();
        f.debug_struct("AssignedVersion").field("sha256", &self.sha256).field("secrets", &secrets).finish()
    }
}

/// What became of one version of a sensor on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorStanding {
    pub account: AccountName,
    pub name: SensorName,
    pub sha256: ArtifactDigest,
    /// Why it does not run, in words; none where it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Instances that it runs on, and those of them on which it has no fresh success.
    #[serde(default)]
    pub running: u32,
    #[serde(default)]
    pub failing: u32,
}
