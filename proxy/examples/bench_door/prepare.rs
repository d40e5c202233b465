//! Certificates, configurations and an inventory, in a folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sonde_inventory::{Account, AccountName, Embedded, Store, Write};
use sonde_proxy::identity::TierRole;
use sonde_proxy::issue::{AuthorityKind, IssuingAuthority, Terms};
use uuid::Uuid;

pub const NODE: Uuid = Uuid::from_u128(0xa);
pub const INSTANCE: Uuid = Uuid::from_u128(0x1000);
const TTL: Duration = Duration::from_secs(86_400);
/// Instances in the inventory beside the one that is asked for, and accounts.
const OTHERS: u128 = 10_000;

/// Ports that are free now: of the proxy, its admin, the agent, nginx, haproxy.
fn ports() -> [u16; 5] {
    let held = [(); 5].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    held.map(|listener| listener.local_addr().expect("it is bound").port())
}

pub async fn prepare(folder: &Path) {
    let tls = folder.join("tls");
    let of = |kind| IssuingAuthority::open_or_create(&tls, kind).expect("an authority can be made");
    let ((server, _), (tier, tier_files), (accounts, accounts_files)) =
        (of(AuthorityKind::Server), of(AuthorityKind::Tier), of(AuthorityKind::Accounts));
    let here = ["127.0.0.1".to_owned()];
    let server = server.issue_server(&here, TTL).unwrap().write(&tls, "server").unwrap();
    let proxy = tier.issue_tier(TierRole::Proxy, &here, TTL).unwrap().write(&tls, "proxy").unwrap();
    tier.issue_tier(TierRole::Node(NODE), &here, TTL).unwrap().write(&tls, "node").unwrap();
    let name = AccountName::new("acme").unwrap();
    let (issued, record) = accounts.issue_account(&name, &Terms { ttl: TTL, ..Terms::default() }).unwrap();
    issued.write(&tls, "client").unwrap();

    let [public, admin, agent, nginx, haproxy] = ports();
    let (tier_ca, accounts_ca) = (tier_files.certificate.display(), accounts_files.certificate.display());
    let (cert, key) = (server.certificate.display(), server.key.display());
    let (proxy_cert, proxy_key) = (proxy.certificate.display(), proxy.key.display());
    let config = format!(
        "suffix = \"bench.test\"\nlisten = {{ public = \"127.0.0.1:{public}\", admin = \"127.0.0.1:{admin}\" }}\n\
         tls = {{ certificate = \"{cert}\", key = \"{key}\", handshakes = {{ per_second = 1000000, burst = 1000000, in_flight = 10000 }} }}\n\
         tier = {{ certificate = \"{proxy_cert}\", key = \"{proxy_key}\", ca = \"{tier_ca}\" }}\n\
         limits = {{ requests_per_second = 1000000, request_burst = 1000000, bytes_per_second = 1000000000000 }}\n\
         bounds = {{ connections = 8000, connections_per_address = 8000 }}\n"
    );
    fs::write(folder.join("proxy.toml"), config).unwrap();
    fs::write(
        folder.join("nginx.conf"),
        nginx_conf(folder, nginx, agent, [&cert, &key, &accounts_ca, &proxy_cert, &proxy_key]),
    )
    .unwrap();
    let bundle = |certificate: &Path, key: &Path, to: &str| {
        let both = fs::read_to_string(certificate).unwrap() + &fs::read_to_string(key).unwrap();
        fs::write(folder.join(to), both).unwrap();
    };
    bundle(&server.certificate, &server.key, "server-both.pem");
    bundle(&proxy.certificate, &proxy.key, "proxy-both.pem");
    let at = folder.display();
    let haproxy_conf = format!(
        "global\n  nbthread 1\n  maxconn 8000\ndefaults\n  mode http\n  timeout client 300s\n  timeout server 60s\n  timeout connect 5s\n\
         frontend in\n  bind 127.0.0.1:{haproxy} ssl crt {at}/server-both.pem ca-file {accounts_ca} verify required alpn h2,http/1.1 no-tls-tickets\n  default_backend agent\n\
         backend agent\n  http-reuse always\n  server agent 127.0.0.1:{agent} ssl verify none crt {at}/proxy-both.pem alpn h2,http/1.1\n"
    );
    fs::write(folder.join("haproxy.cfg"), haproxy_conf).unwrap();
    fs::write(folder.join("ports"), format!("{public} {admin} {agent} {nginx} {haproxy}")).unwrap();
    fill(&folder.join("inventory.redb"), &name, record, agent).await;
}

fn nginx_conf(folder: &Path, port: u16, agent: u16, files: [&dyn std::fmt::Display; 5]) -> String {
    let [cert, key, ca, proxy_cert, proxy_key] = files;
    let at = folder.display();
    format!(
        "daemon off;\nmaster_process off;\npid {at}/nginx.pid;\nerror_log {at}/nginx.log;\nevents {{ worker_connections 8000; }}\n\
         http {{\n access_log {at}/nginx.access;\n client_body_temp_path {at}/nb; proxy_temp_path {at}/np; fastcgi_temp_path {at}/nf; uwsgi_temp_path {at}/nu; scgi_temp_path {at}/ns;\n\
         upstream agent {{ server 127.0.0.1:{agent}; keepalive 64; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{port} ssl http2; keepalive_requests 100000000; ssl_certificate {cert}; ssl_certificate_key {key};\n\
         ssl_client_certificate {ca}; ssl_verify_client on; ssl_session_cache off; ssl_session_tickets off;\n\
         location / {{ proxy_pass https://agent; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off;\n\
         proxy_ssl_certificate {proxy_cert}; proxy_ssl_certificate_key {proxy_key}; }} }} }}\n"
    )
}

async fn fill(path: &Path, name: &AccountName, record: sonde_inventory::BoundCertificate, agent: u16) {
    let store = Store::Embedded(Embedded::open(path).unwrap());
    store.follow(Arc::default()).await.unwrap();
    let account = Account { certificates: vec![record], ..Account::new(name.clone()) };
    let node = serde_json::json!({ "id": NODE, "url": format!("https://127.0.0.1:{agent}") });
    let node: sonde_inventory::Node = serde_json::from_value(node).unwrap();
    store.write(vec![Write::put(None, account), Write::put(None, node)]).await.unwrap();
    let instances = (0..OTHERS).map(|number| {
        let owner = if number == 0 { "acme".to_owned() } else { format!("other{}", number % 100) };
        let id = Uuid::from_u128(INSTANCE.as_u128() + number);
        let json = serde_json::json!({ "id": id, "node": NODE, "owner": owner, "name": format!("i{number}"), "state": "running" });
        Write::put(None, serde_json::from_value::<sonde_inventory::Instance>(json).unwrap())
    });
    let all: Vec<Write> = instances.collect();
    for part in all.chunks(100) {
        store.write(part.to_vec()).await.unwrap();
    }
    store.close().await;
}

/// Of the proxy, its admin, the agent, nginx, haproxy.
pub fn read_ports(folder: &Path) -> [u16; 5] {
    let text = fs::read_to_string(folder.join("ports")).expect("it was prepared");
    let mut ports = text.split_whitespace().map(|port| port.parse().expect("it is a port"));
    [(); 5].map(|()| ports.next().expect("there are five"))
}
