//! Doors to knock on, and clients to knock with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use sonde_inventory::{Account, AccountName, BoundCertificate, Catalogue, Change};
use sonde_proxy::identity::{Unauthorised, caller};
use sonde_proxy::issue::{AuthorityKind, Issued, IssuingAuthority, Terms};
use sonde_proxy::tls::{CertificateFiles, HandshakeLimits, Peer, PublicSettings, PublicTls};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client, server};

pub const DAY: Duration = Duration::from_secs(86_400);

/// A folder of authorities, and what they issue.
pub struct Pki {
    pub folder: TempDir,
    pub server: IssuingAuthority,
    pub accounts: IssuingAuthority,
    pub tier: IssuingAuthority,
}

impl Pki {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let of = |kind| IssuingAuthority::open_or_create(folder.path(), kind).unwrap().0;
        let (server, accounts, tier) =
            (of(AuthorityKind::Server), of(AuthorityKind::Accounts), of(AuthorityKind::Tier));
        Self { folder, server, accounts, tier }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn server_files(&self, file: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.server.issue_server(&names, DAY).unwrap().write_over(self.folder.path(), file).unwrap()
    }

    pub fn settings(&self) -> PublicSettings {
        let certificates = vec![self.server_files("first", &["a.example"])];
        PublicSettings { certificates, client_ca: None, handshakes: HandshakeLimits::default() }
    }

    pub fn account(&self, name: &str) -> (Issued, BoundCertificate) {
        let terms = Terms { ttl: DAY, ..Terms::default() };
        self.accounts.issue_account(&AccountName::new(name).unwrap(), &terms).unwrap()
    }

    /// A client that trusts the server's authority.
    pub fn client(&self, shows: Option<Issued>) -> ClientConfig {
        client(
            self.server.certificate(),
            shows.map(|issued| (vec![issued.certificate], issued.key)),
            rustls::ALL_VERSIONS,
        )
    }
}

pub fn client(
    root: &CertificateDer<'static>,
    shows: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut configuration = match shows {
        // Not rustls's own way, which looks whether key and certificate are a pair: here they need not be.
        Some((chain, key)) => {
            let shown = Shown(Arc::new(CertifiedKey::new(chain, any_supported_type(&key).unwrap())));
            builder.with_client_cert_resolver(Arc::new(shown))
        }
        None => builder.with_no_client_auth(),
    };
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    configuration
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

pub async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub type Knocked =
    (std::io::Result<(server::TlsStream<TcpStream>, Peer)>, std::io::Result<client::TlsStream<TcpStream>>);

/// One handshake with the tenants' door, from both ends.
pub async fn knock(tls: &PublicTls, configuration: &ClientConfig, name: &str) -> Knocked {
    let (listener, address) = listen().await;
    let connector = TlsConnector::from(Arc::new(configuration.clone()));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let client = async { connector.connect(name, TcpStream::connect(address).await?).await };
    let server = async { tls.accept(listener.accept().await?.0).await };
    tokio::join!(server, client)
}

pub async fn let_in(tls: &PublicTls, configuration: &ClientConfig, name: &str) -> (Peer, client::TlsStream<TcpStream>) {
    let (server, client) = knock(tls, configuration, name).await;
    (server.expect("the server lets it in").1, client.expect("the client is content"))
}

/// A catalogue of accounts.
pub fn catalogue(accounts: impl IntoIterator<Item = Account>) -> Catalogue {
    let catalogue = Catalogue::default();
    catalogue.apply(accounts.into_iter().map(Change::Account));
    catalogue
}

pub fn account(name: &str) -> Account {
    Account::new(AccountName::new(name).unwrap())
}

pub fn who(peer: &Peer, catalogue: &Catalogue) -> Result<String, Unauthorised> {
    let caller = caller(Some(peer), &HeaderMap::new(), catalogue, SystemTime::now())?;
    Ok(caller.account.name.to_string())
}

pub fn copy(from: &Path, to: &Path) {
    // By a rename, as tools that renew do.
    let beside = to.with_extension("beside");
    std::fs::copy(from, &beside).unwrap();
    std::fs::rename(&beside, to).unwrap();
}
