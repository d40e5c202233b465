//! With TLS both ways: who is told, and who is not.

use std::io::ErrorKind;
use std::process::Stdio;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use sonde_proxy::identity::TierRole;
use sonde_proxy::issue::{AuthorityKind, IssuingAuthority, tier_list};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::ReportTls;

fn openssl(arguments: &[&str]) {
    let ran = Command::new("openssl").args(arguments).stderr(Stdio::null()).status().unwrap();
    assert!(ran.success(), "{arguments:?}");
}

/// `NAME.pem` and `NAME.key`, signed by `ca`.
fn certificate(folder: &Path, name: &str, names: &str, ca: Option<&str>) {
    let file = |name: String| folder.join(name).to_str().unwrap().to_owned();
    let (out, key) = (file(format!("{name}.pem")), file(format!("{name}.key")));
    let (subject, names) = (format!("/CN={name}"), format!("subjectAltName={names}"));
    let mut arguments = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    arguments.extend(["-days", "2", "-subj", &subject, "-addext", &names, "-keyout", &key, "-out", &out]);
    let signer = ca.map(|ca| (file(format!("{ca}.pem")), file(format!("{ca}.key"))));
    if let Some((pem, key)) = &signer {
        arguments.extend(["-CA", pem, "-CAkey", key, "-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    openssl(&arguments);
}

/// A proxy's route behind TLS that demands a certificate of the tiers' authority.
async fn serve_tls(folder: &Path, server: &str, records: &Arc<Records>, store: &Store) -> String {
    let read = |name: &str| CertificateDer::from_pem_file(folder.join(name)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(read("tier.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{server}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![read(&format!("{server}.pem"))], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let reports = Arc::new(Reports::new(store.clone(), records.clone(), Settings { takes_plain_urls: true }));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, reports) = (acceptor.clone(), reports.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await?;
                let service = service_fn(move |request: Request<Incoming>| {
                    let reports = reports.clone();
                    async move { Ok::<_, Infallible>(answer(&reports, NODE, request).await.map(Full::new)) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                http.serve_connection(TokioIo::new(stream), service).await.map_err(std::io::Error::other)
            });
        }
        Err::<(), _>(std::io::Error::from(ErrorKind::BrokenPipe))
    });
    url
}

async fn outcome(folder: &Path, proxy: &str, identity: &str, ca: &str) -> Outcome {
    let tls = ReportTls {
        certificate: folder.join(format!("{identity}.pem")),
        key: folder.join(format!("{identity}.key")),
        ca: folder.join(format!("{ca}.pem")),
        crl: None,
    };
    told(proxy, &Arc::new(Credentials::new(tls))).await
}

/// What becomes of a report on a new connection.
async fn told(proxy: &str, credentials: &Arc<Credentials>) -> Outcome {
    let about = itself::About { hostname: "node-1".into(), url: "http://127.0.0.1:1".into() };
    let report = Ledger::new(NODE, about, session(NODE)).next(vec![], &Catalogue::default(), &Arc::default());
    Link::new(proxy.to_owned(), Some(credentials.clone())).send(&report).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_tiers_authority_is_told_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    certificate(path, "tier", "DNS:tier", None);
    certificate(path, "other", "DNS:other", None);
    certificate(path, "node", &format!("URI:sonde:node:{NODE}"), Some("tier"));
    certificate(path, "stranger", &format!("URI:sonde:node:{NODE}"), Some("other"));
    certificate(path, "proxy", "IP:127.0.0.1,URI:sonde:role:proxy", Some("tier"));
    certificate(path, "elsewhere", "IP:127.0.0.2,URI:sonde:role:proxy", Some("tier"));
    certificate(path, "no-proxy", "IP:127.0.0.1,URI:sonde:node:00000000-0000-0000-0000-00000000000b", Some("tier"));
    let world = Proxy::start(path).await;
    let (records, store) = (&world.records, &world.store);

    let proxy = serve_tls(path, "proxy", records, store).await;
    assert!(matches!(outcome(path, &proxy, "node", "tier").await, Outcome::Taken(_)));
    assert!(records.is_reachable(NODE));
    assert!(
        matches!(outcome(path, &proxy, "stranger", "tier").await, Outcome::Failed(_)),
        "a node of another authority"
    );
    assert!(matches!(outcome(path, &proxy, "node", "other").await, Outcome::Failed(_)), "a proxy of another authority");
    let elsewhere = serve_tls(path, "elsewhere", records, store).await;
    assert!(
        matches!(outcome(path, &elsewhere, "node", "tier").await, Outcome::Failed(_)),
        "a certificate for another host"
    );
    let no_proxy = serve_tls(path, "no-proxy", records, store).await;
    let Outcome::Failed(why) = outcome(path, &no_proxy, "node", "tier").await else {
        panic!("another node was told what runs here");
    };
    assert!(why.contains("sonde:role:proxy"), "{why}");
}

fn failure(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Taken(_) => None,
        Outcome::Failed(why) => Some(why),
        Outcome::Again => Some("again".to_owned()),
        Outcome::Later => Some("later".to_owned()),
    }
}

/// A report's files of an authority of ours, whose list is at `crl`.
fn issued(folder: &Path) -> (IssuingAuthority, ReportTls, std::path::PathBuf) {
    let (authority, ca) = IssuingAuthority::open_or_create(folder, AuthorityKind::Tier).unwrap();
    std::fs::copy(&ca.certificate, folder.join("tier.pem")).unwrap();
    let day = Duration::from_secs(86_400);
    let issue =
        |role, name: &str| authority.issue_tier(role, &["127.0.0.1".into()], day).unwrap().write(folder, name).unwrap();
    issue(TierRole::Proxy, "proxy");
    issue(TierRole::Proxy, "revoked");
    let own = issue(TierRole::Node(NODE), "node");
    let crl = tier_list(folder);
    let tls = ReportTls { certificate: own.certificate, key: own.key, ca: ca.certificate, crl: Some(crl.clone()) };
    (authority, tls, crl)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_revoked_certificates_that_breaks_is_counted_and_the_node_reports_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (authority, tls, crl) = issued(path);
    let world = Proxy::start(path).await;
    let proxy = serve_tls(path, "proxy", &world.records, &world.store).await;
    let revoked = serve_tls(path, "revoked", &world.records, &world.store).await;
    let credentials = Arc::new(Credentials::new(tls));
    // There is none yet: it cannot be known who is revoked.
    assert!(matches!(told(&proxy, &credentials).await, Outcome::Failed(why) if why.contains("tier.crl")));
    assert_eq!(credentials.faults(), 1);
    let gone = CertificateDer::from_pem_file(path.join("revoked.pem")).unwrap();
    authority.revoke(&[gone], &crl).unwrap();
    assert_eq!(failure(told(&proxy, &credentials).await), None);

    std::fs::write(&crl, "no list").unwrap();
    let counted = async {
        while credentials.faults() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, counted).await.expect("the broken list is counted");
    assert_eq!(failure(told(&proxy, &credentials).await), None);
    std::fs::remove_file(&crl).unwrap();
    assert_eq!(failure(told(&proxy, &credentials).await), None);
    assert!(matches!(told(&revoked, &credentials).await, Outcome::Failed(why) if why.contains("revoked")));
}
