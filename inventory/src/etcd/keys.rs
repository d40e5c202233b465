//! Names of keys: `PREFIX/v1/accounts/NAME`, `nodes/UUID`, `instances/UUID`, `leases/UUID`, `sensors/ACCOUNT/NAME`; and, where nobody
//! watches, `PREFIX/artifacts/v1/SHA256/…`.

use uuid::Uuid;

use crate::change::Key;
use crate::names::AccountName;
use crate::sensor::{ArtifactDigest, SensorName};

/// What sensors' keys begin with, after the prefix.
pub(super) const SENSORS: &str = "sensors/";

/// The name of a record's key. `prefix` ends in a slash.
pub(super) fn name(prefix: &str, key: &Key) -> String {
    match key {
        Key::Account(name) => format!("{prefix}accounts/{name}"),
        Key::Node(id) => format!("{prefix}nodes/{id}"),
        Key::Instance(id) => format!("{prefix}instances/{id}"),
        Key::Lease(id) => format!("{prefix}leases/{id}"),
        Key::Sensor(account, name) => format!("{prefix}{SENSORS}{account}/{name}"),
    }
}

/// What all artifacts' keys begin with, for an operator's own prefix.
pub(super) fn artifacts(prefix: &str) -> String {
    format!("{}/artifacts/v1/", prefix.trim_end_matches('/'))
}

/// The artifact that a key which says what is there is of.
pub(super) fn parse_artifact(artifacts: &str, name: &[u8]) -> Option<ArtifactDigest> {
    let name = std::str::from_utf8(name).ok()?.strip_prefix(artifacts)?;
    name.strip_suffix("/about")?.parse().ok()
}

/// Which record a key is of; none where it is of none that this version knows.
pub(super) fn parse(prefix: &str, name: &[u8]) -> Option<Key> {
    let name = std::str::from_utf8(name).ok()?.strip_prefix(prefix)?;
    let (kind, id) = name.split_once('/')?;
    let uuid = || id.parse::<Uuid>().ok();
    match kind {
        "accounts" => AccountName::new(id).ok().map(Key::Account),
        "nodes" => uuid().map(Key::Node),
        "instances" => uuid().map(Key::Instance),
        "leases" => uuid().map(Key::Lease),
        "sensors" => {
            let (account, name) = id.split_once('/')?;
            Some(Key::Sensor(AccountName::new(account).ok()?, SensorName::new(name).ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_key_and_others_lead_nowhere() {
        let id = Uuid::from_u128(7);
        let account = AccountName::new("a.b").unwrap();
        let sensor = Key::Sensor(account.clone(), SensorName::new("web").unwrap());
        for key in [Key::Account(account), Key::Node(id), Key::Instance(id), Key::Lease(id), sensor] {
            assert_eq!(parse("/sonde/v1/", name("/sonde/v1/", &key).as_bytes()), Some(key));
        }
        for other in [
            "/sonde/v1/",
            "/sonde/v1/nodes/x",
            "/sonde/v1/accounts/a/b",
            "/other/nodes/1",
            "/sonde/v1/x/y",
            "/sonde/v1/sensors/a",
            "/sonde/v1/sensors/a/B",
        ] {
            assert_eq!(parse("/sonde/v1/", other.as_bytes()), None, "{other}");
        }
        assert_eq!(parse("/", b"\xff"), None);
        let digest = ArtifactDigest::of(b"x");
        let artifacts = artifacts("/sonde/");
        assert!(parse("/sonde/v1/", format!("{artifacts}{digest}/about").as_bytes()).is_none());
        assert_eq!(parse_artifact(&artifacts, format!("{artifacts}{digest}/about").as_bytes()), Some(digest));
        assert_eq!(parse_artifact(&artifacts, format!("{artifacts}{digest}/00000").as_bytes()), None);
    }
}
