//! How many sensors an account has, and how many bytes they and their settings are together. Pure.
//!
//! The store has one copy of an artifact; a node has a file for each version of each name. So each of them counts, or a hundred names for one artifact
//! would fill the nodes' disks and cost the account next to nothing.

use std::sync::Arc;

use sonde_inventory::PushedSensor;
use sonde_inventory::sensor::{Version, check_account};

use super::{Asked, PushError};

/// Whether an account that has `own` may make of one what it becomes.
pub(super) fn may(
    asked: Asked<'_>,
    was: Option<&PushedSensor>,
    becomes: &PushedSensor,
    own: &[Arc<PushedSensor>],
) -> Result<(), PushError> {
    // Where less is made of it than there was, it may also be over the bound still.
    if was.is_none_or(|was| becomes.settings_bytes() > was.settings_bytes()) {
        check_account(own.iter().map(|other| &**other).filter(|other| other.name != *asked.name).chain([becomes]))?;
    }
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

    #[test]
    fn settings_of_all_sensors_together_have_a_bound_and_may_always_become_less() {
        let quota = Quota { sensors: 1000, sensor_bytes: 16, all_sensors_bytes: 1 << 30, ..Quota::default() };
        let (account, expected) = (AccountName::new("acme").unwrap(), Expected::Anything);
        let with = |n: usize, bytes: usize| {
            let mut sensor = sensor(&SensorName::new(&format!("n{n}")).unwrap(), None);
            sensor.current.config = [("key".to_owned(), "x".repeat(bytes))].into();
            sensor
        };
        let many = sonde_inventory::sensor::MOST_SETTINGS_BYTES / (16 << 10);
        let own: Vec<Arc<PushedSensor>> = (0..many).map(|n| Arc::new(with(n, 16 << 10))).collect();
        let try_it = |was: Option<&PushedSensor>, becomes: &PushedSensor| {
            let asked = Asked { account: &account, name: &becomes.name, by: "", expected: &expected, quota: &quota };
            may(asked, was, becomes, &own)
        };
        assert!(matches!(try_it(None, &with(many, 16 << 10)), Err(PushError::Fault(_))));
        assert!(matches!(try_it(Some(&own[0]), &with(0, 20 << 10)), Err(PushError::Fault(_))));
        try_it(Some(&own[0]), &with(0, 1 << 10)).unwrap();
    }
}
