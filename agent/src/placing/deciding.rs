//! Whether a sensor may run on an instance: what the rule asks for, what the policy allows, and whose a family's name is.
//!
//! Nothing here changes anything. A refusal is a sentence, which goes to the log and to whoever brought the sensor.

use std::collections::HashSet;

use sonde_collect::Found;
use sonde_expo::name::sample_names;
use sonde_host::{Grant, Sensor};

use crate::config::{Config, SensorRule};
use crate::instance::Placed;

/// Manifest, rule and policy make a grant, or a sentence that says why not.
pub(super) fn decide(sensor: &Sensor, rule: &SensorRule, config: &Config, beside: &[Placed]) -> Result<Grant, String> {
    if let Some(fault) = &rule.fault {
        return Err(fault.clone());
    }
    let asked = sensor.manifest.resolve(&rule.config);
    let asked = asked.map_err(|error| error.to_string())?;
    let grant = Grant::decide(&sensor.manifest, asked, &config.policy).map_err(|r| r.to_string())?;
    conflict(sensor, beside).map_or(Ok(grant), Err)
}

/// Whether a rule is for an instance. A rule with secrets is for none that a tenant may have made what it asks for: the secret would go
/// to whoever listens there. The configuration refuses labels and images beside secrets; here nothing hangs on that.
pub(super) fn meant(rule: &SensorRule, found: &Found) -> bool {
    let named = found.metadata.place.kubelets && rule.matching.name.is_some();
    let chosen = !found.root_owned || named || rule.matching.asks_a_tenant();
    rule.matching.matches(&found.subject()) && (rule.secrets.is_empty() || !chosen)
}

/// Whether a name that the sensor's families occupy belongs to one placed before it.
fn conflict(sensor: &Sensor, beside: &[Placed]) -> Option<String> {
    let families = sensor.families()?;
    for other in beside.iter().filter_map(|placed| placed.slot.as_ref()) {
        let theirs = other.sensor.families().unwrap_or_default();
        let taken: HashSet<String> = theirs.iter().flat_map(|family| sample_names(&family.name, family.kind)).collect();
        for family in families {
            if sample_names(&family.name, family.kind).iter().any(|name| taken.contains(name)) {
                let (family, owner) = (&family.name, &other.name);
                return Some(format!("its family {family:?} belongs to the sensor {owner:?} on this instance"));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use sonde_collect::metadata::Place;
    use sonde_collect::{Match, Metadata, Runtime};

    use super::*;
    use crate::owners::tests::found;

    #[test]
    fn secrets_go_nowhere_by_what_a_tenant_chose() {
        let rule = |secret: bool, matching: Match| SensorRule {
            name: "x".into(),
            file: "x.wasm".into(),
            pushed_by: None,
            matching,
            config: BTreeMap::new(),
            secrets: secret.then(|| ("key".to_owned(), PathBuf::from("k"))).into_iter().collect(),
            digest: None,
            fault: None,
        };
        let labelled = Metadata { labels: vec![("a".into(), "b".into())], ..Metadata::default() };
        let place = Place { kubelets: true, ..Place::default() };
        let roots = found(Runtime::Docker, true, labelled.clone());
        let users = found(Runtime::Docker, false, labelled.clone());
        let kubelets = found(Runtime::Docker, true, Metadata { place, ..labelled });
        let by_name = Match { name: Some("bank".into()), ..Match::default() };
        let by_image = Match { image: Some("bank".into()), ..Match::default() };
        let by_label = Match { labels: [("a".into(), "b".into())].into(), ..Match::default() };
        for (matching, who, with_secrets) in [
            (&by_name, &roots, true),
            (&by_name, &users, false),
            (&by_name, &kubelets, false),
            (&by_image, &roots, false),
            (&by_label, &roots, false),
        ] {
            assert!(meant(&rule(false, matching.clone()), who), "{matching:?}");
            assert_eq!(meant(&rule(true, matching.clone()), who), with_secrets, "{matching:?}");
        }
    }
}
