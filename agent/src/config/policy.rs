//! `[policy]`: what the operator allows at most, read and printed.
//!
//! The limits are walked by [`Limits::fields_mut`](sonde_manifest::Limits::fields_mut), the list that manifests are read by too, and taken out of the
//! table before serde sees the rest; so a limit that a manifest can ask for is one that a policy can cut.

use serde::Deserialize;
use sonde_host::{PathRule, Policy, PortRule};
use sonde_manifest::Class;

use super::duration;
use super::print::{milliseconds, table, text};

/// All but the limits that are numbers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPolicy {
    class: Option<String>,
    min_interval: Option<String>,
    wall: Option<String>,
    tcp: Option<Vec<RawPort>>,
    http: Option<Vec<RawPort>>,
    unix: Option<Vec<String>>,
    files: Option<Vec<String>>,
    kstats: Option<bool>,
    processes: Option<bool>,
    secrets: Option<bool>,
    state: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawPort {
    One(u16),
    Range(String),
}

/// The policy that the table means; what is wrong with it goes to `faults`.
pub(super) fn read(mut given: toml::Table, faults: &mut Vec<String>) -> Policy {
    let mut policy = Policy::default();
    for (name, limit) in policy.limits.fields_mut() {
        match given.remove(name).map(|value| value.as_integer().and_then(|n| u64::try_from(n).ok()).ok_or(value)) {
            None => {}
            Some(Ok(number)) => *limit = number,
            Some(Err(value)) => faults.push(format!("policy.{name} is {value}: a whole number from 0 is allowed")),
        }
    }
    let raw: RawPolicy = match given.try_into() {
        Ok(raw) => raw,
        Err(error) => {
            faults.push(format!("policy: {}", error.to_string().trim().replace('\n', " ")));
            return policy;
        }
    };
    match raw.class.as_deref() {
        None => {}
        Some("small") => policy.class = Class::Small,
        Some("medium") => policy.class = Class::Medium,
        Some("large") => policy.class = Class::Large,
        Some(other) => faults.push(format!("policy.class is {other:?}: small, medium or large is allowed")),
    }
    policy.limits.wall = duration("policy.wall", raw.wall.as_deref(), faults).unwrap_or(policy.limits.wall);
    policy.min_interval =
        duration("policy.min_interval", raw.min_interval.as_deref(), faults).unwrap_or(policy.min_interval);
    policy.tcp = ports("policy.tcp", raw.tcp, faults);
    policy.http = ports("policy.http", raw.http, faults);
    policy.unix = raw.unix.map_or(PathRule::Any, PathRule::Under);
    policy.files = raw.files.map_or(PathRule::Any, PathRule::Under);
    policy.kstats = raw.kstats.unwrap_or(policy.kstats);
    policy.processes = raw.processes.unwrap_or(policy.processes);
    policy.secrets = raw.secrets.unwrap_or(policy.secrets);
    policy.state = raw.state.unwrap_or(policy.state);
    policy
}

fn ports(key: &str, raw: Option<Vec<RawPort>>, faults: &mut Vec<String>) -> PortRule {
    let Some(raw) = raw else { return PortRule::Any };
    let mut ranges = Vec::new();
    for port in raw {
        match port {
            RawPort::One(port) => ranges.push((port, port)),
            RawPort::Range(range) => {
                let ends = range.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                match ends {
                    Some((first, last)) if first <= last => ranges.push((first, last)),
                    _ => {
                        faults.push(format!("{key} has {range:?}: ports and ranges such as \"8000-8100\" are allowed"));
                    }
                }
            }
        }
    }
    PortRule::Only(ranges)
}

/// The policy as the table that [`read`] takes.
pub(super) fn table_of(policy: &Policy) -> toml::Table {
    let limits = policy.limits.fields();
    let mut written = table(limits.map(|(key, number)| (key, i64::try_from(number).unwrap_or(i64::MAX).into())));
    written.extend(table([
        ("class", text(policy.class.name())),
        ("wall", milliseconds(policy.limits.wall)),
        ("min_interval", milliseconds(policy.min_interval)),
        ("kstats", policy.kstats.into()),
        ("processes", policy.processes.into()),
        ("secrets", policy.secrets.into()),
        ("state", policy.state.into()),
    ]));
    for (key, rule) in [("tcp", &policy.tcp), ("http", &policy.http)] {
        if let PortRule::Only(ranges) = rule {
            let ranges = ranges.iter().map(|(first, last)| text(format!("{first}-{last}")));
            written.insert(key.into(), toml::Value::Array(ranges.collect()));
        }
    }
    for (key, rule) in [("unix", &policy.unix), ("files", &policy.files)] {
        if let PathRule::Under(directories) = rule {
            written.insert(key.into(), toml::Value::Array(directories.iter().map(text).collect()));
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_be_cut() {
        for (at, (name, _)) in (1..).zip(Policy::default().limits.fields()) {
            let mut faults = Vec::new();
            let policy = read(table([(name, toml::Value::Integer(at))]), &mut faults);
            assert!(faults.is_empty(), "{faults:?}");
            let read_back = policy.limits.fields().into_iter().find(|(known, _)| *known == name);
            assert_eq!(read_back, Some((name, at as u64)));
            assert_eq!(table_of(&policy)[name], toml::Value::Integer(at));
        }
    }

    #[test]
    fn a_limit_is_a_number() {
        let mut faults = Vec::new();
        read(table([("fuel", text("much")), ("series", toml::Value::Integer(-1))]), &mut faults);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("policy.fuel") && faults[1].contains("policy.series"), "{faults:?}");
    }
}
