//! What the targets of `proxy/fuzz` call of what is private here: the readers of what strangers write. Compiled for them alone.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use hickory_proto::rr::Name;
use http::header::{HOST, HeaderValue};
use http::{Request, Uri};
use sonde_inventory::{Account, AccountName, Catalogue, Instance, Snapshot};
use tokio::sync::watch;
use uuid::Uuid;

use crate::access::{Via, via};
use crate::{discovery, names};

const SUFFIX: &str = "sonde.example";

/// A Host, a request target and a server name, as they come. What is taken is one of our names, and all that were said agree.
pub fn host(host: &[u8], target: &str, server_name: Option<&str>) {
    let mut request = Request::new(());
    let Ok(target) = target.parse::<Uri>() else { return };
    *request.uri_mut() = target;
    if let Ok(host) = HeaderValue::from_bytes(host) {
        request.headers_mut().append(HOST, host);
    }
    let Ok(found) = via(&request, server_name, SUFFIX, &["cmon.example".to_owned()]) else { return };
    let said = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let target = request.uri().authority().map(|target| target.as_str().to_ascii_lowercase()).unwrap_or_default();
    let all = [Some(said), Some(target), server_name.map(str::to_ascii_lowercase)];
    let all: Vec<String> = all.into_iter().flatten().filter(|one| !one.is_empty()).collect();
    assert!(!all.is_empty(), "a name that nobody said");
    for one in all {
        let is_it = match &found {
            Via::Label(label) => {
                assert!(!label.is_empty() && !label.contains('.') && *label == label.to_ascii_lowercase(), "{label}");
                one.starts_with(&format!("{label}.{SUFFIX}"))
            }
            Via::Ours => one.starts_with(SUFFIX) || one.starts_with("cmon.example"),
            Via::Address => true,
        };
        assert!(is_it && !one.contains('@'), "{one:?} was taken for {found:?}");
    }
}

/// Parameters of discovery.
pub fn query(text: &str) {
    discovery::read(text);
}

/// A packet of DNS, over either transport: a reply is one, with the question's id, and over UDP no longer than was asked for.
pub fn packet(packet: &[u8]) {
    static ZONE: LazyLock<names::Fuzzed> = LazyLock::new(|| names::Fuzzed::new(&settings(), catalogue()));
    ZONE.ask(packet, IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)));
}

fn settings() -> names::Settings {
    let name = |text: &str| Name::from_ascii(text).expect("it is a name");
    names::Settings {
        listen: vec![],
        apex: name("sonde.example."),
        name_servers: vec![name("ns.sonde.example.")],
        hostmaster: name("hostmaster.sonde.example."),
        ttl_seconds: 30,
        port: 9163,
        proxies: watch::channel(Arc::from([IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1))])).1,
        secondaries: vec![],
        lists_to: vec![],
        list_key: names::ListKey::new(&[7; 32]),
        replies_per_second: u32::MAX,
    }
}

fn catalogue() -> Arc<Catalogue> {
    let catalogue = Catalogue::default();
    let account = Account::new(AccountName::new("acme").expect("it is a name"));
    let json = serde_json::json!({ "id": Uuid::from_u128(17), "node": Uuid::from_u128(1), "owner": "acme", "state": "running" });
    let instance: Instance = serde_json::from_value(json).expect("it is one");
    catalogue.replace(Snapshot { accounts: vec![account], instances: vec![instance], ..Snapshot::default() });
    Arc::new(catalogue)
}
