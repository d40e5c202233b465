use std::fs;

use super::*;

/// A folder with the files that a configuration names.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["cert.pem", "key.pem", "ca.pem"] {
        fs::write(folder.path().join(file), "").unwrap();
    }
    folder
}

const LEAST: &str = "suffix = \"Sonde.Example.\"\ntls = { certificate = \"cert.pem\", key = \"key.pem\" }\n";

fn parse(folder: &Path, text: &str) -> Result<Config, String> {
    Config::parse(text, folder, "proxy.toml").map_err(|error| error.to_string())
}

#[test]
fn the_least_is_a_suffix_and_a_certificate() {
    let folder = folder();
    let config = parse(folder.path(), LEAST).unwrap();
    assert_eq!((config.public.port(), config.suffix.as_str()), (9163, "sonde.example"));
    assert_eq!(config.limits, Quota::default());
    assert_eq!(config.store, StoreConfig::Embedded(folder.path().join("inventory.redb")));
    let faults = parse(folder.path(), "").unwrap_err();
    assert!(faults.contains("suffix is missing") && faults.contains("[tls] is missing"), "{faults}");
}

#[test]
fn what_is_printed_is_what_was_meant() {
    let folder = folder();
    let tier = "tier = { certificate = \"cert.pem\", key = \"key.pem\", ca = \"ca.pem\" }\n";
    let more = "hosts = [\"cmon.example\"]\nlisten = { public = \"127.0.0.1:1\", tier = \"[::1]:2\", admin = \"127.0.0.1:3\" }\n\
        limits = { requests_per_second = 7, bytes_per_second = 9 }\nbounds = { scrapes_per_node = 3 }\naccess_log = { lines_per_second = 0 }\n";
    let tls =
        "key = \"key.pem\", handshakes = { burst = 5 }, client_ca = { file = \"ca.pem\", account = \"subject-cn\" } }";
    let least = LEAST.replace("key = \"key.pem\" }", tls);
    let stores = [
        "store = { path = \"x\" }",
        "store = { etcd = { endpoints = [\"http://127.0.0.1:2379\"], prefix = \"/a/\" } }",
        "store = { etcd = { endpoints = [\"http://127.0.0.1:2379\"], user = \"sonde\", password = \"key.pem\" } }",
    ];
    for store in stores {
        let config = parse(folder.path(), &format!("{least}{tier}{more}{store}")).unwrap();
        assert_eq!(parse(folder.path(), &config.to_toml()).unwrap(), config);
    }
}

#[test]
fn every_fault_is_named_at_once() {
    let folder = folder();
    let faults = parse(
        folder.path(),
        "suffix = \"a..b\"\nhosts = [\"10.0.0.1\"]\nlisten = { public = \"9163\", admin = \"0.0.0.0:1\", tier = \"127.0.0.1:1\" }\n\
         tls = { certificate = \"none.pem\", key = \"key.pem\" }\ntier = { ca = \"ca.pem\" }\nstore = { path = \"x\", etcd = {} }\n\
         limits = { request_burst = 0 }\nbounds = { connections = 0 }\naccess_log = { lines_per_second = 99999 }\n",
    )
    .unwrap_err();
    for named in [
        "suffix is",
        "hosts is",
        "listen.public",
        "listen.admin",
        "listen.tier needs",
        "none.pem",
        "tier has certificate, key and ca",
        "path or etcd",
        "limits.request_burst",
        "bounds.connections",
        "access_log",
    ] {
        assert!(faults.contains(named), "{named} is not in: {faults}");
    }
    let half = "suffix = \"a\"\nstore = { etcd = { endpoints = [\"http://127.0.0.1:2379\"], user = \"sonde\" } }\n";
    assert!(parse(folder.path(), half).unwrap_err().contains("user and password"));
    assert!(parse(folder.path(), "colour = 1").unwrap_err().contains("colour"));
}

#[test]
fn an_account_has_its_own_figures_and_never_none() {
    let own = sonde_inventory::Limits { request_burst: Some(0), bytes_per_second: Some(5), ..Default::default() };
    let quota = Quota::default().with(&own);
    assert_eq!((quota.request_burst, quota.bytes_per_second), (1, 5));
    assert_eq!(quota.concurrent_scrapes, Quota::default().concurrent_scrapes);
}

#[test]
fn a_reload_says_what_only_a_start_changes() {
    let folder = folder();
    let one = parse(folder.path(), LEAST).unwrap();
    let limits =
        parse(folder.path(), &format!("{LEAST}limits = {{ request_burst = 3 }}\nhosts = [\"x.example\"]")).unwrap();
    assert!(one.needs_a_start(&limits).is_empty());
    let store =
        parse(folder.path(), &format!("{LEAST}store = {{ path = \"y\" }}\nlisten = {{ public = \"127.0.0.1:1\" }}"));
    assert_eq!(one.needs_a_start(&store.unwrap()), ["listen", "store"]);
}
