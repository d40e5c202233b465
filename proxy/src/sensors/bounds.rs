//! How many sensors an account has, and how many bytes they are together. Pure.
//!
//! The store has one copy of an artifact; a node has a file for each version of each name. So each of them counts, or a hundred names for one artifact
//! would fill the nodes' disks and cost the account next to nothing.

use std::sync::Arc;

use sonde_inventory::PushedSensor;
use sonde_inventory::sensor::Version;

use super::{Asked, PushError};

/// Whether an account that has `own` may make of one what it becomes.
pub(super) fn may(
    asked: Asked<'_>,
    was: Option<&PushedSensor>,
    becomes: &PushedSensor,
    own: &[Arc<PushedSensor>],
) -> Result<(), PushError> {
    let is_kept = |version: &Version| was.is_some_and(|was| was.versions().any(|kept| kept.sha256 == version.sha256));
    if becomes.versions().all(is_kept) {
        // Nothing is added: it may also where the operator has lowered the bounds.
        return Ok(());
    }
    let others: Vec<_> = own.iter().filter(|other| other.name != *asked.name).collect();
    if was.is_none() && others.len() >= asked.quota.sensors as usize {
        return Err(PushError::TooMany(asked.quota.sensors));
    }
    let all = others.iter().flat_map(|other| other.versions()).chain(becomes.versions());
    let would = all.fold(0_u64, |sum, version| sum.saturating_add(version.bytes));
    let most = asked.quota.all_sensors_bytes;
    if would > most { Err(PushError::TooLarge { would, most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use sonde_inventory::sensor::{Rollout, Selector};
    use sonde_inventory::{AccountName, ArtifactDigest, SensorName};

    use super::*;
    use crate::config::Quota;
    use crate::sensors::Expected;

    fn version(artifact: &str, bytes: u64) -> Version {
        let (config, secrets) = Default::default();
        let sha256 = ArtifactDigest::of(artifact.as_bytes());
        Version { sha256, bytes, pushed_at_ms: 0, pushed_by: String::new(), config, secrets }
    }

    fn sensor(name: &SensorName, next: Option<Version>) -> PushedSensor {
        let account = AccountName::new("acme").unwrap();
        let next = next.map(|version| Rollout { version, percent: 1 });
        PushedSensor { account, name: name.clone(), selector: Selector::default(), current: version("one", 16), next }
    }

    #[test]
    fn one_artifact_under_many_names_counts_as_often_as_nodes_keep_it() {
        let quota = Quota { sensors: 100, sensor_bytes: 16, all_sensors_bytes: 64, ..Quota::default() };
        let (account, expected) = (AccountName::new("acme").unwrap(), Expected::Anything);
        let mut own: Vec<Arc<PushedSensor>> = Vec::new();
        let names: Vec<SensorName> = (0..5).map(|n| SensorName::new(&format!("n{n}")).unwrap()).collect();
        let asked = |name| Asked { account: &account, name, by: "", expected: &expected, quota: &quota };
        for name in &names[..4] {
            may(asked(name), None, &sensor(name, None), &own).unwrap();
            own.push(sensor(name, None).into());
        }
        let over = |name, was: Option<&PushedSensor>, becomes: &PushedSensor| {
            let refused = may(asked(name), was, becomes, &own).unwrap_err();
            assert!(matches!(refused, PushError::TooLarge { would: 80, most: 64 }), "{refused}");
        };
        over(&names[4], None, &sensor(&names[4], None));
        // A next version is one more, also where another name has it.
        over(&names[0], Some(&own[0]), &sensor(&names[0], Some(version("two", 16))));
        may(asked(&names[0]), Some(&own[0]), &sensor(&names[0], None), &own).unwrap();
    }
}
