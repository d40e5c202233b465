//! One proxy with its inventory, an agent behind it, and accounts with credentials of each kind.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use sonde_inventory::{AccountName, Embedded, Instance, Node, Scope, Store, Write};
use sonde_proxy::Proxy;
use sonde_proxy::accounts::TokenWanted;
use sonde_proxy::identity::TierRole;
use sonde_proxy::issue::{AuthorityKind, IssuingAuthority, Terms, tier_list};
use sonde_proxy::tls::CertificateFiles;
use tempfile::TempDir;
use uuid::Uuid;

use crate::agent::Agent;

pub const SUFFIX: &str = "sonde.test";
pub const NODE: Uuid = Uuid::from_u128(0xa);
/// A node where nobody listens.
pub const AWAY: Uuid = Uuid::from_u128(0xb);
const TTL: Duration = Duration::from_secs(3600);

/// How a client shows who it is.
#[derive(Clone, Default)]
pub struct Credential {
    pub token: Option<String>,
    pub certificate: Option<CertificateFiles>,
}

pub struct House {
    pub folder: TempDir,
    pub proxy: Proxy,
    pub agent: Agent,
    pub server_ca: PathBuf,
    accounts_ca: IssuingAuthority,
}

/// An id that is easy to read in a failure.
pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x1000 + number)
}

pub fn name(name: &str) -> AccountName {
    AccountName::new(name).unwrap()
}

/// An instance as its node reported it.
pub fn instance(number: u128, owner: &str, more: serde_json::Value) -> Instance {
    let mut json =
        json!({ "id": id(number), "node": NODE, "owner": owner, "name": format!("i{number}"), "state": "running" });
    json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json).unwrap()
}

/// So long ago, in ms since 1970.
pub fn ago(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap() - seconds * 1000
}

impl House {
    pub async fn start(instances: &[Instance]) -> Self {
        Self::configured(instances, "").await
    }

    /// With more lines of configuration.
    pub async fn configured(instances: &[Instance], more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = folder.path().join("tls");
        let of = |kind| IssuingAuthority::open_or_create(&tls, kind).unwrap();
        let ((server, server_files), (tier, tier_files)) = (of(AuthorityKind::Server), of(AuthorityKind::Tier));
        let (accounts_ca, _) = of(AuthorityKind::Accounts);
        let names = [SUFFIX.to_owned(), format!("*.{SUFFIX}"), "127.0.0.1".into()];
        let own = server.issue_server(&names, TTL).unwrap().write(&tls, "server").unwrap();
        let proxy = tier.issue_tier(TierRole::Proxy, &["127.0.0.1".into()], TTL).unwrap().write(&tls, "proxy").unwrap();
        let node =
            tier.issue_tier(TierRole::Node(NODE), &["127.0.0.1".into()], TTL).unwrap().write(&tls, "node").unwrap();
        let list = tier_list(&tls);
        tier.revoke(&[], &list).unwrap();
        let agent = Agent::start(&node, &tier_files.certificate).await;
        let path = folder.path().join("proxy.toml");
        let config = format!(
            "suffix = \"{SUFFIX}\"\nlisten = {{ public = \"127.0.0.1:0\", admin = \"127.0.0.1:0\", tier = \"127.0.0.1:0\" }}\n\
             tls.certificate = {:?}\ntls.key = {:?}\ntier = {{ certificate = {:?}, key = {:?}, ca = {:?}, crl = {:?} }}\n{more}\n",
            own.certificate, own.key, proxy.certificate, proxy.key, tier_files.certificate, list
        );
        std::fs::write(&path, config).unwrap();
        let nodes = [(NODE, agent.address.to_string()), (AWAY, nobody().to_string())];
        fill(&folder.path().join("inventory.redb"), &nodes, instances).await;
        let proxy = Proxy::start(path).await.unwrap();
        Self { folder, proxy, agent, server_ca: server_files.certificate, accounts_ca }
    }

    /// An account with nothing, if it is not there yet.
    pub async fn account(&self, account: &str) {
        let accounts = self.proxy.accounts();
        if accounts.get(&name(account)).is_err() {
            accounts.add(&name(account), false).await.unwrap();
        }
    }

    pub async fn token(&self, account: &str, scopes: &[Scope], groups: Option<&[&str]>) -> Credential {
        self.account(account).await;
        let groups = groups.map(|groups| groups.iter().map(ToString::to_string).collect());
        let wanted = TokenWanted { scopes: scopes.to_vec(), groups, ttl_seconds: None };
        let drawn = self.proxy.accounts().new_token(&name(account), &wanted).await.unwrap();
        Credential { token: Some(drawn.token), certificate: None }
    }

    pub async fn certificate(&self, account: &str) -> Credential {
        self.account(account).await;
        let terms = Terms { ttl: TTL, ..Terms::default() };
        let (issued, record) = self.accounts_ca.issue_account(&name(account), &terms).unwrap();
        self.proxy.accounts().add_certificate(&name(account), &record).await.unwrap();
        let file = format!("{account}-{}", &issued.sha256()[..12]);
        let files = issued.write(&self.folder.path().join("tls"), &file).unwrap();
        Credential { token: None, certificate: Some(files) }
    }

    /// Changes an instance's record, as a report would.
    pub async fn put(&self, was: Option<Instance>, becomes: Instance) {
        self.proxy.store().write(vec![Write::put(was.map(Into::into), becomes)]).await.unwrap();
    }
}

/// An address where nobody listens.
fn nobody() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn fill(path: &std::path::Path, nodes: &[(Uuid, String)], instances: &[Instance]) {
    let store = Store::Embedded(Embedded::open(path).unwrap());
    store.follow(Arc::default()).await.unwrap();
    for (id, address) in nodes {
        let node: Node = serde_json::from_value(json!({ "id": id, "url": format!("https://{address}") })).unwrap();
        store.write(vec![Write::put(None, node)]).await.unwrap();
    }
    for instance in instances {
        store.write(vec![Write::put(None, instance.clone())]).await.unwrap();
    }
    store.close().await;
}
