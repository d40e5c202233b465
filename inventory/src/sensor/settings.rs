//! The bounds of settings and secrets: of one version's, and of all that an account has.
//!
//! They are bounds of what is written to nodes. So control characters are refused, which JSON writes six times as long as they are, and an
//! account's sensors are counted together: a node is told of several accounts in one answer.

use std::collections::BTreeMap;

use sonde_manifest::MOST_SECRET_BYTES;

use super::{CONFIG_BYTES, KEY_BYTES, MOST_CONFIG_KEYS, MOST_SECRETS, MOST_SETTINGS_BYTES, PushedSensor, SensorFault};

/// Whether all of an account's sensors, as they are to be, have settings within what an account may have.
///
/// # Errors
/// They are too much together.
pub fn check_account<'a>(sensors: impl IntoIterator<Item = &'a PushedSensor>) -> Result<(), SensorFault> {
    let (would, most) = (sensors.into_iter().map(PushedSensor::settings_bytes).sum(), MOST_SETTINGS_BYTES);
    if would > most { Err(SensorFault::TooMuch { would, most }) } else { Ok(()) }
}

/// Whether settings are within their bounds.
///
/// # Errors
/// The first thing that is not.
pub fn check_config(config: &BTreeMap<String, String>) -> Result<(), SensorFault> {
    let what = "config";
    check_keys(what, config.keys(), MOST_CONFIG_KEYS)?;
    check_text(what, config)?;
    let bytes: usize = config.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > CONFIG_BYTES { Err(SensorFault::TooLong { what, most: CONFIG_BYTES }) } else { Ok(()) }
}

/// Whether secrets are within their bounds. The error has nothing of their values.
///
/// # Errors
/// The first thing that is not.
pub fn check_secrets<'a>(names: impl ExactSizeIterator<Item = (&'a String, usize)>) -> Result<(), SensorFault> {
    let what = "secrets";
    let names: Vec<_> = names.collect();
    check_keys(what, names.iter().map(|(name, _)| *name), MOST_SECRETS)?;
    if names.iter().any(|(_, bytes)| *bytes > MOST_SECRET_BYTES) {
        return Err(SensorFault::TooLong { what: "a secret", most: MOST_SECRET_BYTES });
    }
    Ok(())
}

/// Whether secrets are text that is not written much longer than it is. The error has nothing of their values.
///
/// # Errors
/// The first that is not.
pub fn check_secret_text(secrets: &BTreeMap<String, String>) -> Result<(), SensorFault> {
    check_text("secrets", secrets)
}

/// JSON writes most control characters in six bytes: what has a bound would be six times as much on its way to nodes.
fn check_text(what: &'static str, values: &BTreeMap<String, String>) -> Result<(), SensorFault> {
    let is_refused = |c: char| c.is_control() && !['\n', '\r', '\t'].contains(&c);
    match values.iter().find(|(_, value)| value.contains(is_refused)) {
        Some((key, _)) => Err(SensorFault::Control { what, key: key.clone() }),
        None => Ok(()),
    }
}

fn check_keys<'a>(
    what: &'static str,
    keys: impl ExactSizeIterator<Item = &'a String>,
    most: usize,
) -> Result<(), SensorFault> {
    if keys.len() > most {
        return Err(SensorFault::TooMany { what, most });
    }
    // As a manifest names them: another would reach no run.
    let is_key = |key: &str| {
        key.len() <= KEY_BYTES
            && key.starts_with(|first: char| first.is_ascii_lowercase())
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
    };
    for key in keys {
        if !is_key(key) {
            return Err(SensorFault::Key { what, key: key.chars().take(KEY_BYTES).collect() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{ArtifactDigest, Rollout, Sealed, Selector, SensorName, Version};
    use super::*;
    use crate::names::AccountName;

    #[test]
    fn settings_and_secrets_are_bounded() {
        let of = |key: &str, bytes: usize| BTreeMap::from([(key.to_owned(), "x".repeat(bytes))]);
        assert_eq!(check_config(&of("port", 9)), Ok(()));
        for broken in [of("", 1), of("a b", 1), of("a/b", 1), of("-a", 1), of("a", CONFIG_BYTES)] {
            assert!(check_config(&broken).is_err());
        }
        let many: BTreeMap<String, String> = (0..=MOST_CONFIG_KEYS).map(|n| (n.to_string(), String::new())).collect();
        assert!(check_config(&many).is_err());
        let name = "password".to_owned();
        assert_eq!(check_secrets([(&name, MOST_SECRET_BYTES)].into_iter()), Ok(()));
        assert!(check_secrets([(&name, MOST_SECRET_BYTES + 1)].into_iter()).is_err());
        assert!(check_secrets(many.keys().map(|name| (name, 0))).is_err());
        assert_eq!(format!("{:?}", Sealed("aGVsbG8".into())), "sealed");
    }

    #[test]
    fn what_is_written_longer_than_it_is_is_refused() {
        let of = |value: &str| BTreeMap::from([("key".to_owned(), value.to_owned())]);
        let fine = of("a\tb\r\nc \"\\ \u{e9}");
        assert_eq!((check_config(&fine), check_secret_text(&fine)), (Ok(()), Ok(())));
        for broken in ["\0", "a\u{1}", "\u{1b}[0m", "\u{7f}", "\u{85}"] {
            let fault = SensorFault::Control { what: "secrets", key: "key".to_owned() };
            assert!(check_config(&of(broken)).is_err(), "{broken:?}");
            assert_eq!(check_secret_text(&of(broken)), Err(fault), "{broken:?}");
        }
    }

    #[test]
    fn an_accounts_settings_are_bounded_together_and_as_they_are_written() {
        let with = |config: &str, secret: &str| PushedSensor {
            account: AccountName::new("acme").unwrap(),
            name: SensorName::new("web").unwrap(),
            selector: Selector::default(),
            current: Version {
                sha256: ArtifactDigest::of(b"x"),
                bytes: 1,
                pushed_at_ms: 0,
                pushed_by: String::new(),
                config: BTreeMap::from([("a".to_owned(), config.to_owned())]),
                secrets: BTreeMap::from([("b".to_owned(), Sealed(secret.to_owned()))]),
            },
            next: None,
        };
        let empty = with("", "").settings_bytes();
        assert_eq!(with("x", "yy").settings_bytes(), empty + 3);
        assert_eq!(with("\u{1}", "").settings_bytes(), empty + 6, "as it is written");
        let mut rolled = with("x", "");
        rolled.next = Some(Rollout { version: rolled.current.clone(), percent: 1 });
        assert!(rolled.settings_bytes() > with("x", "").settings_bytes() * 3 / 2, "both versions");
        let whole = with(&"x".repeat(CONFIG_BYTES - 1), &"y".repeat(MOST_SECRETS * MOST_SECRET_BYTES));
        let fit = MOST_SETTINGS_BYTES / whole.settings_bytes();
        assert_eq!(check_account(vec![&whole; fit]), Ok(()));
        let would = (fit + 1) * whole.settings_bytes();
        let too_much = SensorFault::TooMuch { would, most: MOST_SETTINGS_BYTES };
        assert_eq!(check_account(vec![&whole; fit + 1]), Err(too_much));
    }
}
