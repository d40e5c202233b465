//! Names of keys: `PREFIX/v1/accounts/NAME`, `nodes/UUID`, `instances/UUID`, `leases/UUID`.

use uuid::Uuid;

use crate::change::Key;
use crate::names::AccountName;

/// The name of a record's key. `prefix` ends in a slash.
pub(super) fn name(prefix: &str, key: &Key) -> String {
    match key {
        Key::Account(name) => format!("{prefix}accounts/{name}"),
        Key::Node(id) => format!("{prefix}nodes/{id}"),
        Key::Instance(id) => format!("{prefix}instances/{id}"),
        Key::Lease(id) => format!("{prefix}leases/{id}"),
    }
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
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_key_and_others_lead_nowhere() {
        let id = Uuid::from_u128(7);
        for key in [Key::Account(AccountName::new("a.b").unwrap()), Key::Node(id), Key::Instance(id), Key::Lease(id)] {
            assert_eq!(parse("/sonde/v1/", name("/sonde/v1/", &key).as_bytes()), Some(key));
        }
        for other in ["/sonde/v1/", "/sonde/v1/nodes/x", "/sonde/v1/accounts/a/b", "/other/nodes/1", "/sonde/v1/x/y"] {
            assert_eq!(parse("/sonde/v1/", other.as_bytes()), None, "{other}");
        }
        assert_eq!(parse("/", b"\xff"), None);
    }
}
