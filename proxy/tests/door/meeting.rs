//! The old and the new meet: our proxy before an agent that speaks as cmon-agent does, in all the ways in which such an agent answers; a client that asks as
//! cmon's clients did; and the tier's door, which is for our agents alone.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use sonde_inventory::{Instance, Node, Write};
use sonde_proxy::identity::TierRole;
use sonde_proxy::issue::{AuthorityKind, IssuingAuthority};
use sonde_proxy::tls::CertificateFiles;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use crate::client::{Ask, VERSIONS, Version, ask, get};
use crate::house::{AWAY, Credential, House, NODE, SUFFIX, ago, id, instance, name};

const OLD: Uuid = Uuid::from_u128(0xc0);
const ZONE: &str = "# TYPE net_agg_packets_in counter\nnet_agg_packets_in{interface=\"vnic0\"} 4212\n";

/// An agent that speaks HTTP/1.1 in the clear, and says of each path what it was told to, byte for byte.
struct CmonAgent {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for CmonAgent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl CmonAgent {
    async fn start(says: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heads, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<usize>>::default());
        let (kept, counted, says) = (heads.clone(), connections.clone(), Arc::new(says));
        let serving = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                *counted.lock().unwrap() += 1;
                let (kept, says) = (kept.clone(), says.clone());
                all.spawn(async move {
                    let mut stream = BufReader::new(stream);
                    loop {
                        let mut head = String::new();
                        while !head.ends_with("\r\n\r\n") {
                            if !matches!(stream.read_line(&mut head).await, Ok(length) if length > 0) {
                                return;
                            }
                        }
                        let answer = says(head.split(' ').nth(1).unwrap_or_default());
                        kept.lock().unwrap().push(head);
                        let ends = !String::from_utf8_lossy(&answer).contains("keep-alive");
                        if stream.write_all(&answer).await.is_err() || ends {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, heads, connections, serving }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn on_old(number: u128, more: Value) -> Instance {
    Instance { node: OLD, ..instance(number, "acme", more) }
}

async fn meet(house: &House, agent: &CmonAgent) {
    let url = format!("http://{}", agent.address);
    let node: Node =
        serde_json::from_value(json!({ "id": OLD, "hostname": "old", "url": url, "is_cmon": true })).unwrap();
    house.proxy.store().write(vec![Write::put(None, node)]).await.unwrap();
}

fn metrics(number: u128) -> String {
    format!("/v1/instances/{}/metrics", id(number))
}

/// A head, and a body of its length.
fn answer(status: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What a cmon-agent says of the instance of that number, in all the ways that the contract has, and some that it has not.
fn says(number: u128) -> Vec<u8> {
    let restify = "{\"code\":\"NotFoundError\",\"message\":\"container not found\"}";
    match number {
        1 => answer("200 OK", "content-type: text/plain\r\nconnection: keep-alive\r\n", ZONE),
        2 => answer("200 OK", "connection: keep-alive\r\n", ZONE),
        3 | 4 => answer("404 Not Found", "content-type: application/json\r\n", restify),
        5 => answer("500 Internal Server Error", "content-type: application/json\r\n", restify),
        6 => format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{ZONE}\r\n0\r\n\r\n", ZONE.len())
            .into(),
        // Until it closes, as HTTP/1.0 did.
        7 => format!("HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n{ZONE}").into(),
        8 => b"no HTTP at all\r\n\r\n".to_vec(),
        9 => format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(2 << 20)).into(),
        10 => answer("301 Moved Permanently", "location: http://127.0.0.1:1/\r\n", ""),
        // Another answer behind the first: nobody's, and the next request's least of all.
        11 => [answer("200 OK", "connection: keep-alive\r\n", ZONE), answer("200 OK", "", "a_forged_one 1\n")].concat(),
        12 => answer("200 OK", "set-cookie: a=b\r\nserver: cmon-agent\r\nx-request-id: 1\r\n", ZONE),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn what_a_cmon_agent_says_is_told_apart_and_never_passes_as_json() {
    let ended = json!({ "state": "stopped", "reasons": ["exited"], "ended_at_ms": ago(5) });
    let mut all: Vec<Instance> = (1..=12).map(|number| on_old(number, json!({}))).collect();
    all[3] = on_old(4, ended);
    let house = House::start(&all).await;
    let acme = house.token("acme", &[], None).await;
    let agent = CmonAgent::start(|path| {
        let of = |number: &u128| path.starts_with(&format!("/v1/{}/metrics", id(*number)));
        (1..=12).find(of).map_or_else(Vec::new, says)
    })
    .await;
    meet(&house, &agent).await;
    let expected = [
        (1, 200, ""),
        (2, 200, ""),
        (3, 502, "agent_refused"),
        (4, 503, "stopped; exited"),
        (5, 502, "agent_refused"),
        (6, 200, ""),
        (7, 200, ""),
        (8, 502, "node_unreachable"),
        (10, 502, "agent_refused"),
        (12, 200, ""),
    ];
    for version in VERSIONS {
        for (number, status, reason) in expected {
            let path = metrics(number);
            let heard = ask(&house, &acme, version, &Ask { path: &path, ..Ask::default() }).await;
            assert_eq!((heard.status.as_u16(), heard.reason()), (status, reason), "{number}: {}", heard.text());
            assert!(serde_json::from_slice::<Value>(&heard.body).is_err(), "{number}: {}", heard.text());
            let kind = heard.headers["content-type"].to_str().unwrap();
            assert!(kind.starts_with("text/plain"), "{number} is {kind}");
            if status == 200 {
                assert_eq!(heard.text(), ZONE, "{number}");
            }
            for name in ["set-cookie", "server", "x-request-id", "location"] {
                assert!(!heard.headers.contains_key(name), "{number} has {name}");
            }
        }
    }
    house.proxy.stop().await;
}

#[tokio::test]
async fn a_second_answer_on_a_cmon_agents_connection_is_nobodys_and_an_endless_head_is_cut_off() {
    let house = House::start(&[on_old(1, json!({})), on_old(9, json!({})), on_old(11, json!({}))]).await;
    let acme = house.token("acme", &[], None).await;
    let agent = CmonAgent::start(|path| {
        [1, 9, 11].into_iter().find(|number| path.contains(&id(*number).to_string())).map_or_else(Vec::new, says)
    })
    .await;
    meet(&house, &agent).await;
    for round in 0..5 {
        let first = get(&house, &acme, &format!("{}?n={round}", metrics(11))).await;
        assert_eq!((first.status.as_u16(), first.text()), (200, ZONE));
        let next = get(&house, &acme, &format!("{}?n={round}", metrics(1))).await;
        assert_eq!((next.status.as_u16(), next.text()), (200, ZONE), "round {round}");
    }
    let endless = get(&house, &acme, &metrics(9)).await;
    assert_eq!(endless.status.as_u16(), 502, "{}", endless.text());
    house.proxy.stop().await;
}

#[tokio::test]
async fn a_cmon_agent_hears_what_cmon_said_and_nothing_of_the_scrapers() {
    let core = json!({ "labels": { "smartdc_role": "x" } });
    let house = House::start(&[on_old(1, json!({})), on_old(2, core)]).await;
    let (acme, operator) = (house.token("acme", &[], None).await, house.token("operator", &[], None).await);
    let agent = CmonAgent::start(|_| says(1)).await;
    meet(&house, &agent).await;
    let headers = [("cookie", "a=b"), ("x-joyent-cmon-opts", "forged"), ("x-forwarded-for", "1.2.3.4")];
    // What HTTP/1.1 would read as the end of a line stays as it is written.
    let path = format!("{}?a=%0d%0aX-Sonde-Owner:%20rival&b=%20HTTP/1.1", metrics(1));
    for version in VERSIONS {
        let heard = ask(&house, &acme, version, &Ask { path: &path, headers: &headers, ..Ask::default() }).await;
        assert_eq!(heard.status.as_u16(), 200, "{}", heard.text());
    }
    assert_eq!(get(&house, &acme, &metrics(2)).await.status, 200);
    assert_eq!(get(&house, &operator, &format!("/v1/instances/{OLD}/metrics")).await.status, 200);
    let heads = agent.heads();
    for head in &heads {
        let lower = head.to_ascii_lowercase();
        for not in ["authorization", "cookie", "x-forwarded-for", "forged", "\r\nx-sonde-owner: rival"] {
            assert!(!lower.contains(not), "{not} in {head}");
        }
    }
    let asked = |head: &String| head.split(' ').nth(1).unwrap_or_default().to_owned();
    let query = path.split_once('?').unwrap().1;
    assert_eq!(asked(&heads[0]), format!("/v1/{}/metrics?{query}", id(1)));
    assert_eq!(asked(heads.last().unwrap()), "/v1/gz/metrics");
    // {"isCoreZone":false}, for one with a core tag too: its owner is no operator.
    let options = "x-joyent-cmon-opts: eyjpc0nvcmvab25lijpmywxzzx0=";
    let of_zones = heads.iter().filter(|head| !asked(head).contains("/gz/"));
    assert!(of_zones.into_iter().all(|head| head.to_ascii_lowercase().contains(options)), "{heads:?}");
    assert_eq!(*agent.connections.lock().unwrap(), 1, "a connection that is kept is used again");
    house.proxy.stop().await;
}

/// As cmon's clients ask: a name of the service's own, no Accept, HTTP/1.1; as they read it: no status, and fields by name.
#[tokio::test]
async fn a_client_of_cmons_finds_what_it_knows() {
    let own = json!({ "alias": "web", "image": "7b5981c4-1889-11e7-b4c5-3f3bdfc9b88b", "groups": ["a", "b"] });
    let instances =
        [instance(1, "acme", own), instance(2, "rival", json!({})), instance(3, "acme", json!({ "groups": ["c"] }))];
    let house = House::configured(&instances, &format!("hosts = [\"cmon.{SUFFIX}\"]")).await;
    let acme = house.certificate("acme").await;
    let host = format!("cmon.{SUFFIX}");
    let at = |path| Ask { server_name: Some(&host), host: Some(&host), path, ..Ask::default() };
    let heard = ask(&house, &acme, Version::One, &at("/v1/discover")).await;
    let list: Value = serde_json::from_slice(&heard.body).unwrap();
    let containers = list["containers"].as_array().unwrap();
    let ids: Vec<&str> = containers.iter().map(|one| one["vm_uuid"].as_str().unwrap()).collect();
    assert_eq!(ids, [id(1).to_string(), id(3).to_string()]);
    let first = &containers[0];
    assert_eq!((&first["vm_alias"], &first["groups"]), (&json!("web"), &json!(["a", "b"])));
    // What its clients read, and nothing of what cmon kept for itself.
    let fields: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["groups", "server_uuid", "vm_alias", "vm_brand", "vm_image_uuid", "vm_uuid"]);
    assert!(first["vm_brand"].is_string() && first["vm_image_uuid"].is_string(), "{first}");
    assert_eq!(first["server_uuid"], json!(NODE));
    let grouped = ask(&house, &acme, Version::One, &at("/v1/discover?groups=c,d")).await;
    assert!(grouped.text().contains(&id(3).to_string()) && !grouped.text().contains(&id(1).to_string()));
    let refused = ask(&house, &acme, Version::One, &at("/v1/discover?groups=a,a")).await;
    assert!(refused.status == 400 && refused.text().starts_with("invalid \"groups\":"), "{}", refused.text());
    // cmon told every tenant of every node; here they are the operator's, and to others an empty list.
    let nodes = ask(&house, &acme, Version::One, &at("/v1/gz/discover")).await;
    assert_eq!(serde_json::from_slice::<Value>(&nodes.body).unwrap(), json!({ "cns": [] }));
    let operator = house.token("operator", &[], None).await;
    let nodes = ask(&house, &operator, Version::One, &at("/v1/gz/discover")).await;
    let nodes: Value = serde_json::from_slice(&nodes.body).unwrap();
    let ids: Vec<&str> =
        nodes["cns"].as_array().unwrap().iter().map(|one| one["server_uuid"].as_str().unwrap()).collect();
    assert_eq!(ids, [NODE.to_string(), AWAY.to_string()]);
    // It looks at no status: an error that it could read as a list would cost it all targets.
    for credential in [Credential::default(), Credential { token: Some("x".repeat(40)), certificate: None }] {
        let nobody = ask(&house, &credential, Version::One, &at("/v1/discover")).await;
        assert!(nobody.status == 401 && serde_json::from_slice::<Value>(&nobody.body).is_err(), "{}", nobody.text());
    }
    // The exporter of one, in upper case too, which cmon let in and then did not find.
    for label in [id(1).to_string(), id(1).to_string().to_uppercase()] {
        let own = format!("{label}.{SUFFIX}");
        let asked = Ask { server_name: Some(&own), host: Some(&own), path: "/metrics", ..Ask::default() };
        assert_eq!(ask(&house, &acme, Version::One, &asked).await.status, 200, "{label}");
    }
    assert_eq!(ask(&house, &acme, Version::One, &at("/metrics")).await.status, 404);
    house.proxy.stop().await;
}

/// A connection to the tier's door, with this certificate or none.
async fn at_the_tier(
    house: &House,
    shown: Option<&CertificateFiles>,
) -> Result<hyper::client::conn::http2::SendRequest<Full<Bytes>>, String> {
    let mut roots = RootCertStore::empty();
    let ca = house.folder.path().join("tls/tier-ca.pem");
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = match shown {
        Some(files) => {
            let certificate = CertificateDer::from_pem_file(&files.certificate).unwrap();
            builder.with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_file(&files.key).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(house.proxy.tier_address().unwrap()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|e| e.to_string())?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// One report at the tier's door, as its holder; the status, or why there is none.
async fn report(house: &House, shown: Option<&CertificateFiles>, path: &str, body: Value) -> Result<u16, String> {
    let asking = async {
        let mut sender = at_the_tier(house, shown).await?;
        let request = Request::post(format!("https://127.0.0.1{path}")).body(Full::new(Bytes::from(body.to_string())));
        let response = sender.send_request(request.unwrap()).await.map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        response.into_body().collect().await.map_err(|e| e.to_string())?;
        Ok(status)
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("it is answered or closed")
}

#[tokio::test]
async fn the_tiers_door_is_for_nodes_and_each_speaks_for_itself() {
    let house = House::start(&[instance(1, "acme", json!({}))]).await;
    let tls = house.folder.path().join("tls");
    let (tier, _) = IssuingAuthority::open_or_create(&tls, AuthorityKind::Tier).unwrap();
    let issued =
        |role, file: &str| tier.issue_tier(role, &[], Duration::from_secs(3600)).unwrap().write(&tls, file).unwrap();
    let (node, other, proxy) =
        (issued(TierRole::Node(NODE), "n1"), issued(TierRole::Node(AWAY), "n2"), issued(TierRole::Proxy, "p2"));
    let says = |node: Uuid, owner: &str| {
        let claim = json!({ "id": id(1), "owner": owner, "state": "running", "name": "i1" });
        json!({ "node": node, "session": Uuid::from_u128(1), "sequence": 1,
                "full": { "hostname": "n", "url": "https://127.0.0.1:1" }, "instances": [claim] })
    };
    let path = sonde_inventory::report::PATH;
    let certificate = house.certificate("acme").await.certificate;
    for (what, shown) in [("a tenant's", certificate.as_ref()), ("none", None)] {
        let told = report(&house, shown, path, says(NODE, "rival")).await;
        assert!(told.is_err(), "{what} is answered {told:?}");
    }
    assert_eq!(report(&house, Some(&proxy), path, says(NODE, "rival")).await, Ok(403), "a proxy is no node");
    assert_eq!(report(&house, Some(&other), path, says(NODE, "rival")).await, Ok(403), "a node for another");
    assert_eq!(report(&house, Some(&node), "/v1/instances", says(NODE, "rival")).await, Ok(404));
    // A second live claim to what another node has: taken as said, and then served from neither.
    assert_eq!(report(&house, Some(&other), path, says(AWAY, "rival")).await, Ok(200));
    let rival = house.token("rival", &[], None).await;
    assert_eq!(get(&house, &rival, &metrics(1)).await.status, 404, "another node's word does not make it rival's");
    assert_eq!(house.proxy.accounts().get(&name("rival")).unwrap().name.as_str(), "rival");
    house.proxy.stop().await;
}

/// A node's certificate that ends so soon: sooner than any that our own issuing makes.
fn brief(tls: &std::path::Path, lasts: time::Duration) -> CertificateFiles {
    let key = PrivateKeyDer::from_pem_file(tls.join("tier-ca.key")).unwrap();
    let certificate = CertificateDer::from_pem_file(tls.join("tier-ca.pem")).unwrap();
    let issuer =
        rcgen::Issuer::from_ca_cert_der(&certificate, rcgen::KeyPair::try_from(key.secret_der()).unwrap()).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
    params.not_after = time::OffsetDateTime::now_utc() + lasts;
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![rcgen::SanType::URI(TierRole::Node(NODE).uri().try_into().unwrap())];
    let own = rcgen::KeyPair::generate().unwrap();
    let signed = params.signed_by(&own, &issuer).unwrap();
    let files = CertificateFiles { certificate: tls.join("brief.pem"), key: tls.join("brief.key") };
    std::fs::write(&files.certificate, sonde_proxy::issue::pem("CERTIFICATE", signed.der())).unwrap();
    std::fs::write(&files.key, sonde_proxy::issue::pem("PRIVATE KEY", &own.serialize_der())).unwrap();
    files
}

#[tokio::test]
async fn a_nodes_certificate_that_ends_ends_on_an_open_connection() {
    let house = House::start(&[]).await;
    let brief = brief(&house.folder.path().join("tls"), time::Duration::seconds(4));
    let mut sender = at_the_tier(&house, Some(&brief)).await.unwrap();
    let began = std::time::Instant::now();
    let mut ask = async || {
        let request = Request::post("https://127.0.0.1/v1/instances").body(Full::new(Bytes::new())).unwrap();
        sender.send_request(request).await.expect("the connection stays").status().as_u16()
    };
    assert_eq!(ask().await, 404, "it is a node, and there is no such thing");
    while ask().await != 403 {
        assert!(began.elapsed() < Duration::from_secs(30), "it is a node still");
        tokio::task::yield_now().await;
    }
    house.proxy.stop().await;
}
