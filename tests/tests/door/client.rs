//! A tenant's client that says what it is told: any certificate or none, any name in any place, HTTP/1.1 or HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::estate::Proxy;
use crate::papers::Shown;

/// Longer than any answer may take on a machine that is busy.
const WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

pub const VERSIONS: [Version; 2] = [Version::One, Version::Two];

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub status: u16,
    /// Without the date, which is nobody's secret.
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Heard {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// In `Host`; in HTTP/2 in `:authority`.
    pub host: &'a str,
    /// In HTTP/2's `Host` beside it, in HTTP/1.1's request target.
    pub other: Option<&'a str>,
    pub path: &'a str,
}

/// A connection to a door, made again where the other side has closed it.
pub struct Client<'a> {
    address: &'a str,
    config: Arc<ClientConfig>,
    server_name: Option<&'a str>,
    version: Version,
    headers: &'a [(&'static str, String)],
    sender: Option<Sender>,
    /// How many were made.
    pub connections: usize,
}

enum Sender {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

impl<'a> Client<'a> {
    /// To the tenants' door.
    pub fn new(
        proxy: &'a Proxy,
        shown: Option<&Shown>,
        headers: &'a [(&'static str, String)],
        server_name: Option<&'a str>,
        version: Version,
    ) -> Self {
        let config = configuration(&proxy.server_ca(), shown, version);
        Self { address: &proxy.public, config, server_name, version, headers, sender: None, connections: 0 }
    }

    /// To the tier's.
    pub fn of_tier(proxy: &'a Proxy, shown: Option<&Shown>, version: Version) -> Self {
        let config = configuration(&proxy.path("proxy/tier-ca.pem"), shown, version);
        Self { address: &proxy.tier, config, server_name: None, version, headers: &[], sender: None, connections: 0 }
    }

    /// One GET; an error where there is no connection to be had.
    pub async fn ask(&mut self, ask: &Ask<'_>) -> Result<Heard, String> {
        tokio::time::timeout(WITHIN, self.ask_at_leisure(ask)).await.map_err(|_| "no answer in time".to_owned())?
    }

    async fn ask_at_leisure(&mut self, ask: &Ask<'_>) -> Result<Heard, String> {
        let headers = self.headers;
        let response = match self.connected().await? {
            Sender::One(sender) => {
                sender.ready().await.map_err(|error| error.to_string())?;
                let target = ask.other.map_or_else(String::new, |other| format!("https://{other}"));
                let request = Request::builder().uri(target + ask.path).header("host", ask.host);
                sender.send_request(with(request, headers)).await
            }
            Sender::Two(sender) => {
                sender.ready().await.map_err(|error| error.to_string())?;
                let mut request = Request::builder().uri(format!("https://{}{}", ask.host, ask.path));
                if let Some(other) = ask.other {
                    request = request.header("host", other);
                }
                sender.send_request(with(request, headers)).await
            }
        };
        let (mut parts, body) = response.map_err(|error| error.to_string())?.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        parts.headers.remove("date");
        Ok(Heard { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    async fn connected(&mut self) -> Result<&mut Sender, String> {
        let is_open = match &self.sender {
            Some(Sender::One(sender)) => !sender.is_closed(),
            Some(Sender::Two(sender)) => !sender.is_closed(),
            None => false,
        };
        if !is_open {
            self.sender = Some(self.connect().await?);
            self.connections += 1;
        }
        Ok(self.sender.as_mut().expect("it is there"))
    }

    async fn connect(&self) -> Result<Sender, String> {
        let say = |error: &dyn std::fmt::Display| error.to_string();
        let stream = TcpStream::connect(self.address).await.map_err(|error| say(&error))?;
        stream.set_nodelay(true).map_err(|error| say(&error))?;
        let name = ServerName::try_from(self.server_name.unwrap_or("127.0.0.1").to_owned()).expect("it is a name");
        let stream =
            TlsConnector::from(self.config.clone()).connect(name, stream).await.map_err(|error| say(&error))?;
        let stream = TokioIo::new(stream);
        Ok(match self.version {
            Version::One => {
                let (sender, connection) = http1::handshake(stream).await.map_err(|error| say(&error))?;
                tokio::spawn(connection);
                Sender::One(sender)
            }
            Version::Two => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), stream).await.map_err(|error| say(&error))?;
                tokio::spawn(connection);
                Sender::Two(sender)
            }
        })
    }
}

fn with(mut request: http::request::Builder, headers: &[(&'static str, String)]) -> Request<Empty<Bytes>> {
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    request.body(Empty::new()).expect("it is a request")
}

fn configuration(ca: &std::path::Path, shown: Option<&Shown>, version: Version) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("it is there")).expect("it is an authority's");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("ring has all").with_root_certificates(roots);
    let mut config = match shown {
        // Not rustls's own way, which asks whether key and certificate are a pair: here they need not be.
        Some(Shown { chain, key }) => {
            let key = any_supported_type(key).expect("it is a key");
            builder.with_client_cert_resolver(Arc::new(Always(Arc::new(CertifiedKey::new(chain.clone(), key)))))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![match version {
        Version::One => b"http/1.1".to_vec(),
        Version::Two => b"h2".to_vec(),
    }];
    Arc::new(config)
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
