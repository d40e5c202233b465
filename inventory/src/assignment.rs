//! What a node is to run for accounts, and what it says became of it: `GET /v1/tier/sensors` and `GET /v1/tier/artifacts/SHA256`.
//!
//! A node learns of a new assignment by a mark in the answer to its report, and asks. It is told of accounts that have an instance on it and of no others, and
//! gets artifacts of those alone. Secrets are open in here, because the agent must hand them to runs: this goes over the tier's mTLS and nowhere else, and
//! [`Debug`] has nothing of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sonde_manifest::Class;

use crate::names::AccountName;
use crate::sensor::{ArtifactDigest, Selector, SensorName};

/// Where a node asks what it is to run.
pub const SENSORS_PATH: &str = "/v1/tier/sensors";
/// Where it gets an artifact: the digest follows.
pub const ARTIFACTS_PATH: &str = "/v1/tier/artifacts/";
/// The longest answer to [`SENSORS_PATH`].
pub const MOST_ASSIGNMENT_BYTES: usize = 64 << 20;
/// What is around the mark and the accounts in it, generously.
const AROUND_BYTES: usize = 64;
/// The largest artifact of any account: that of the class medium, beyond which an artifact store of its own is worth it.
pub const MOST_ARTIFACT_BYTES: u64 = Class::Medium.component_bytes();
/// Sensors of one account that a node looks at, whatever the operator's proxies would allow.
pub const MOST_SENSORS: usize = 256;
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

impl Assignments {
    /// Leaves out accounts until the rest is within [`MOST_ASSIGNMENT_BYTES`] as it is written: those first that have the most, so that one which fills
    /// the answer takes nothing from others. Gives those left out.
    pub fn fit(&mut self) -> Vec<AccountName> {
        self.fit_in(MOST_ASSIGNMENT_BYTES)
    }

    fn fit_in(&mut self, most: usize) -> Vec<AccountName> {
        let size = |of: &OfAccount| serde_json::to_vec(of).map_or(usize::MAX, |json| json.len() + 1);
        let mut sizes: Vec<(usize, AccountName)> =
            self.accounts.iter().map(|of| (size(of), of.account.clone())).collect();
        sizes.sort();
        let mut room = most.saturating_sub(self.mark.len() + AROUND_BYTES);
        let fits = |(bytes, _): &&(usize, AccountName)| {
            let left = room.checked_sub(*bytes);
            room = left.unwrap_or(room);
            left.is_some()
        };
        let kept = sizes.iter().take_while(fits).count();
        let left_out: Vec<AccountName> = sizes.drain(kept..).map(|(_, account)| account).collect();
        self.accounts.retain(|of| !left_out.contains(&of.account));
        left_out
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_and_the_largest_first() {
        let of = |account: &str, bytes: usize| OfAccount {
            account: AccountName::new(account).unwrap(),
            sensors: vec![Assigned {
                name: SensorName::new("web").unwrap(),
                selector: Selector::default(),
                current: AssignedVersion {
                    sha256: ArtifactDigest::of(b"x"),
                    bytes: 1,
                    // Six bytes each, as it is written.
                    config: BTreeMap::from([("a".to_owned(), "\u{1}".repeat(bytes))]),
                    secrets: BTreeMap::new(),
                },
                next: None,
                percent: 0,
            }],
        };
        let accounts = vec![of("acme", 1000), of("flood", 5000), of("globex", 900)];
        let mut all = Assignments { mark: "m".into(), accounts };
        let mut fits = all.clone();
        assert!(fits.fit().is_empty());
        assert_eq!(fits, all);
        let most = 30_000;
        assert!(serde_json::to_vec(&all).unwrap().len() > most);
        let mut cut = all.clone();
        assert_eq!(cut.fit_in(most), [AccountName::new("flood").unwrap()]);
        assert_eq!(cut.accounts, [all.accounts[0].clone(), all.accounts[2].clone()]);
        assert!(serde_json::to_vec(&cut).unwrap().len() <= most);
        assert_eq!(all.fit_in(1).len(), 3);
    }
}
