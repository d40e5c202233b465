//! What a node says of itself and of what runs on it: `POST /v1/tier/report`, from an agent to a proxy.
//!
//! The first report of a session has everything (`full`), and the ones after it what changed, numbered without a gap; where one is missing the proxy
//! answers 409 and the agent sends everything again. A report that says nothing new is the heartbeat of the node's lease. Whoever holds a node's
//! key may write what he likes in here, so [`Report::check`] bounds every string and list before anything is done with them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::assignment::{MOST_STANDINGS, REFUSAL_BYTES, SensorStanding};
use crate::labels::Labels;
use crate::model::State;
use crate::names::AccountName;

/// Where it is sent.
pub const PATH: &str = "/v1/tier/report";
/// The longest body: every instance that a node may have, with labels for all.
pub const MOST_BODY_BYTES: usize = 8 << 20;
/// Instances that a node may have at once: ten times what is run on large machines.
pub const MOST_INSTANCES: usize = 4096;

/// Bytes of a name, an alias or a runtime's id: the longest that a runtime takes.
const NAME_BYTES: usize = 256;
const RUNTIME_BYTES: usize = 32;
/// Bytes of an image's name: a reference with its digest.
const IMAGE_BYTES: usize = 512;
/// Names in DNS (RFC 1035 §2.3.4).
const HOSTNAME_BYTES: usize = 253;
/// `https://`, a host, a port.
const URL_BYTES: usize = 300;
const REASONS: usize = 16;
const REASON_BYTES: usize = 64;
/// Groups, as cmon had them.
const GROUPS: usize = 100;
const GROUP_BYTES: usize = 100;
const LABELS: usize = 64;
/// All labels of an instance together: enough for every orchestrator's own.
const LABEL_BYTES: usize = 4096;

/// The labels that name groups, the first that is there: ours, and Triton's.
const GROUP_LABELS: [&str; 2] = ["sonde.groups", "triton.cmon.groups"];

/// One report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who says it: as its certificate does.
    pub node: Uuid,
    /// Drawn at each start of the agent.
    pub session: Uuid,
    /// One more than the report before it.
    pub sequence: u64,
    /// With everything: what is not in `instances` is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<About>,
    /// What is new or has changed; with `full`, all.
    #[serde(default)]
    pub instances: Vec<Claim>,
    #[serde(default)]
    pub ended: Vec<Ended>,
    /// What became of pushed sensors there, all of it, where that has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensors: Option<Vec<SensorStanding>>,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub hostname: String,
    pub url: String,
}

/// An instance that is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub id: Uuid,
    /// `removed`, or another reason of the contract.
    pub reason: String,
}

/// What a node says of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub id: Uuid,
    pub owner: AccountName,
    #[serde(default)]
    pub name: String,
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
    #[serde(default)]
    pub reasons: Vec<String>,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub labels: Labels,
}

/// What the proxy answers to a report that it has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// A node that is silent for longer is unreachable.
    pub lease_ms: u64,
    /// What the node is to run for accounts: where it is another than before, the node asks. None of a proxy that does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignments: Option<String>,
    /// The instances that were not taken over, and why.
    #[serde(default)]
    pub refused: Vec<Refused>,
}

/// An instance that the proxy does not take from this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub id: Uuid,
    pub why: String,
}

/// What is wrong with a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    #[error("{what} of {of} is longer than {most} bytes")]
    TooLong { what: &'static str, of: String, most: usize },
    #[error("{of} has more than {most} {what}")]
    TooMany { what: &'static str, of: String, most: usize },
    #[error("{what} of {of} has characters that are not printed")]
    NotPlain { what: &'static str, of: String },
    #[error("{group:?} of {of} is not a group: 1 to {GROUP_BYTES} letters, digits, '_' and '-' are")]
    NotAGroup { group: String, of: String },
}

impl Report {
    /// Whether everything in it is within its bounds.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self) -> Result<(), ReportError> {
        if let Some(about) = &self.full {
            text("hostname", &about.hostname, HOSTNAME_BYTES, || "the node".into())?;
            text("url", &about.url, URL_BYTES, || "the node".into())?;
        }
        count("instances", self.instances.len(), MOST_INSTANCES, || "the report".into())?;
        count("ended instances", self.ended.len(), MOST_INSTANCES, || "the report".into())?;
        for ended in &self.ended {
            text("reason", &ended.reason, REASON_BYTES, || ended.id.to_string())?;
        }
        let standings = self.sensors.as_deref().unwrap_or_default();
        count("rows about sensors", standings.len(), MOST_STANDINGS, || "the report".into())?;
        for standing in standings {
            let refused = standing.refused.as_deref().unwrap_or_default();
            text("refusal", refused, REFUSAL_BYTES, || format!("sensor {}", standing.name))?;
        }
        self.instances.iter().try_for_each(Claim::check)
    }
}

impl Claim {
    fn check(&self) -> Result<(), ReportError> {
        let of = || self.id.to_string();
        text("name", &self.name, NAME_BYTES, of)?;
        text("alias", &self.alias, NAME_BYTES, of)?;
        text("runtime", &self.runtime, RUNTIME_BYTES, of)?;
        text("runtime_id", &self.runtime_id, NAME_BYTES, of)?;
        text("image", &self.image, IMAGE_BYTES, of)?;
        count("reasons", self.reasons.len(), REASONS, of)?;
        self.reasons.iter().try_for_each(|reason| text("reason", reason, REASON_BYTES, of))?;
        count("groups", self.groups.len(), GROUPS, of)?;
        if let Some(group) = self.groups.iter().find(|group| !is_group(group)) {
            return Err(ReportError::NotAGroup { group: group.chars().take(GROUP_BYTES).collect(), of: of() });
        }
        count("labels", self.labels.len(), LABELS, of)?;
        let bytes: usize = self.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > LABEL_BYTES {
            return Err(ReportError::TooLong { what: "labels", of: of(), most: LABEL_BYTES });
        }
        Ok(())
    }

    /// Makes it fit the bounds: what is too long is cut, labels beyond the bound are left out, the shorter kept.
    pub fn fit(mut self) -> Self {
        for (text, most) in [
            (&mut self.name, NAME_BYTES),
            (&mut self.alias, NAME_BYTES),
            (&mut self.runtime, RUNTIME_BYTES),
            (&mut self.runtime_id, NAME_BYTES),
            (&mut self.image, IMAGE_BYTES),
        ] {
            text.retain(|c| !c.is_control());
            text.truncate(text.floor_char_boundary(most));
        }
        self.reasons.truncate(REASONS);
        self.groups.retain(|group| is_group(group));
        self.groups.truncate(GROUPS);
        let mut labels: Vec<(&str, &str)> = self.labels.iter().collect();
        labels.sort_by_key(|(key, value)| key.len() + value.len());
        let mut bytes = 0;
        let fits = |(key, value): &(&str, &str)| {
            bytes += key.len() + value.len();
            bytes <= LABEL_BYTES
        };
        self.labels = labels.into_iter().take(LABELS).take_while(fits).collect();
        self
    }
}

/// The groups that an instance's labels put it in: a list with commas. What is no name of a group is left out.
pub fn groups_of<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let Some(list) = GROUP_LABELS.into_iter().find_map(label) else { return Vec::new() };
    let mut groups: Vec<String> = Vec::new();
    for group in list.split(',').map(str::trim).filter(|group| is_group(group)).take(GROUPS) {
        if !groups.iter().any(|known| known == group) {
            groups.push(group.to_owned());
        }
    }
    groups
}

/// Whether it is the name of a group, by cmon's rule.
pub fn is_group(name: &str) -> bool {
    (1..=GROUP_BYTES).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

fn text(what: &'static str, text: &str, most: usize, of: impl Fn() -> String) -> Result<(), ReportError> {
    if text.len() > most {
        return Err(ReportError::TooLong { what, of: of(), most });
    }
    if text.chars().any(char::is_control) { Err(ReportError::NotPlain { what, of: of() }) } else { Ok(()) }
}

fn count(what: &'static str, count: usize, most: usize, of: impl Fn() -> String) -> Result<(), ReportError> {
    if count > most { Err(ReportError::TooMany { what, of: of(), most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        serde_json::from_value(serde_json::json!({ "id": Uuid::from_u128(1), "owner": "acme" })).unwrap()
    }

    fn report(claim: Claim) -> Report {
        Report {
            node: Uuid::nil(),
            session: Uuid::nil(),
            sequence: 1,
            full: None,
            instances: vec![claim],
            ended: vec![],
            sensors: None,
        }
    }

    #[test]
    fn everything_is_bounded_and_what_is_fitted_is_within() {
        assert_eq!(report(claim()).check(), Ok(()));
        let long = || "x".repeat(5000);
        let broken = [
            Claim { name: long(), ..claim() },
            Claim { alias: long(), ..claim() },
            Claim { runtime: long(), ..claim() },
            Claim { runtime_id: long(), ..claim() },
            Claim { image: long(), ..claim() },
            Claim { name: "a\nb".into(), ..claim() },
            Claim { reasons: vec!["x".into(); 17], ..claim() },
            Claim { groups: vec!["x".into(); 101], ..claim() },
            Claim { groups: vec!["a b".into()], ..claim() },
            Claim { labels: [("a", long())].into_iter().collect(), ..claim() },
            Claim { labels: (0..65).map(|n| (n.to_string(), "")).collect(), ..claim() },
        ];
        for broken in broken {
            assert!(report(broken.clone()).check().is_err(), "{broken:?}");
            assert_eq!(report(broken.fit()).check(), Ok(()));
        }
        let about = |url: String, hostname: String| Report { full: Some(About { hostname, url }), ..report(claim()) };
        assert!(about(long(), String::new()).check().is_err() && about(String::new(), long()).check().is_err());
        let ended = vec![Ended { id: Uuid::nil(), reason: long() }];
        assert!(Report { ended, ..report(claim()) }.check().is_err());
        assert!(Report { instances: vec![claim(); MOST_INSTANCES + 1], ..report(claim()) }.check().is_err());
    }

    #[test]
    fn labels_that_fit_are_kept_before_one_that_does_not() {
        let labels: Labels = [("big", "x".repeat(4096)), ("small", "1".into())].into_iter().collect();
        let fitted = Claim { labels, ..claim() }.fit();
        assert_eq!(fitted.labels.iter().collect::<Vec<_>>(), [("small", "1")]);
    }

    #[test]
    fn groups_come_from_labels_by_cmons_rule() {
        let of = |key: &'static str, value: &'static str| groups_of(move |asked| (asked == key).then_some(value));
        assert_eq!(of("triton.cmon.groups", "web,db"), ["web", "db"]);
        assert_eq!(of("sonde.groups", "a, b,,a,c d,é"), ["a", "b"]);
        assert!(of("groups", "web").is_empty());
        assert!(is_group(&"x".repeat(100)) && !is_group(&"x".repeat(101)) && !is_group(""));
    }
}
