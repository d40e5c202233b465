//! A change of a sensor: who asks, what is expected to be there, what goes with an artifact, and what a push makes of all that. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use sonde_inventory::sensor::{Rollout, Selector, Version, WHOLE};
use sonde_inventory::{AccountName, PushedSensor, SensorName};

use super::PushError;
use crate::config::Quota;

/// What the caller says of what is there, before it is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: fine where there is nothing, or the same.
    #[default]
    Unsaid,
    Anything,
    Nothing,
    /// A record's mark, or the digest of its current artifact.
    One(String),
}

impl Expected {
    pub(super) fn holds(&self, was: Option<&PushedSensor>) -> bool {
        match (self, was) {
            (Self::Unsaid, _) | (Self::Anything, Some(_)) | (Self::Nothing, None) => true,
            (Self::One(one), Some(was)) => *one == was.mark() || *one == was.current.sha256.to_string(),
            (Self::Anything | Self::One(_), None) | (Self::Nothing, Some(_)) => false,
        }
    }
}

/// What goes with an artifact, in one request; what is not given stays as it was, but for secrets, which are another artifact's.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    #[serde(rename = "match")]
    pub selector: Option<Selector>,
    pub config: Option<BTreeMap<String, String>>,
    pub secrets: Option<BTreeMap<String, String>>,
    /// Of the matching instances; all where it is not given.
    pub percent: Option<u8>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("match", &self.selector)
            .field("percent", &self.percent)
            .finish_non_exhaustive()
    }
}

/// Who changes what.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub account: &'a AccountName,
    pub name: &'a SensorName,
    /// The credential, as an operator finds it again.
    pub by: &'a str,
    pub expected: &'a Expected,
    pub quota: &'a Quota,
}

/// What a push makes of what is there.
pub(super) fn pushed(
    asked: Asked<'_>,
    was: Option<&PushedSensor>,
    version: Version,
    settings: &Settings,
) -> Result<PushedSensor, PushError> {
    let percent = settings.percent.unwrap_or(WHOLE);
    let Some(was) = was else {
        if percent < WHOLE {
            return Err(PushError::Invalid(
                "a first version has none beside which it could be rolled out: leave percent out".to_owned(),
            ));
        }
        let selector = settings.selector.clone().unwrap_or_default();
        let (account, name) = (asked.account.clone(), asked.name.clone());
        return Ok(PushedSensor { account, name, selector, current: version, next: None });
    };
    let is_current = was.current.sha256 == version.sha256;
    let is_known = was.versions().any(|known| known.sha256 == version.sha256);
    // All run what is pushed without a percent: so the current one, pushed again, ends what is being rolled out.
    let ends_rollout = is_current && percent == WHOLE && was.next.is_some();
    if (!is_known || ends_rollout) && *asked.expected == Expected::Unsaid {
        return Err(PushError::NotSaid(was.current.sha256));
    }
    let mut sensor = was.clone();
    if let Some(selector) = &settings.selector {
        sensor.selector = selector.clone();
    }
    match (is_current, percent) {
        (_, WHOLE) => (sensor.current, sensor.next) = (version, None),
        (true, _) => {
            return Err(PushError::Conflict("this artifact is the current version already".to_owned()));
        }
        (false, percent) => sensor.next = Some(Rollout { version, percent }),
    }
    Ok(sensor)
}
