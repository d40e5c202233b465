//! A client that says exactly what it is told to: HTTP/1.1 or HTTP/2, with any name in any place; and one of raw bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::house::{Credential, House};

const WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

pub const VERSIONS: [Version; 2] = [Version::One, Version::Two];

/// What is said where. By address and without SNI unless told.
#[derive(Clone, Default)]
pub struct Ask<'a> {
    pub server_name: Option<&'a str>,
    pub host: Option<&'a str>,
    /// HTTP/2's `:authority`, HTTP/1.1's absolute form.
    pub authority: Option<&'a str>,
    pub path: &'a str,
    pub method: Option<&'a str>,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

#[derive(Debug)]
pub struct Heard {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Heard {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn reason(&self) -> &str {
        self.headers.get("x-sonde-reason").map_or("", |reason| reason.to_str().unwrap())
    }
}

/// A connection, TLS done.
pub async fn connect(
    house: &House,
    credential: &Credential,
    server_name: Option<&str>,
    version: Version,
) -> TlsStream<TcpStream> {
    let config = configuration(house, credential, version);
    let stream = TcpStream::connect(house.proxy.address()).await.unwrap();
    let name = ServerName::try_from(server_name.unwrap_or("127.0.0.1").to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

fn configuration(house: &House, credential: &Credential, version: Version) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&house.server_ca).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match &credential.certificate {
        Some(files) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&files.certificate).unwrap()],
                PrivateKeyDer::from_pem_file(&files.key).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match version {
        Version::One => vec![b"http/1.1".to_vec()],
        Version::Two => vec![b"h2".to_vec()],
    };
    config
}

/// A handshake without a certificate on a connection that is there.
pub async fn shake(house: &House, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let config = configuration(house, &Credential::default(), Version::Two);
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await
}

/// One request on a connection of its own.
pub async fn ask(house: &House, credential: &Credential, version: Version, ask: &Ask<'_>) -> Heard {
    let asking = ask_at_leisure(house, credential, version, ask);
    tokio::time::timeout(WITHIN, asking).await.expect("an answer comes")
}

async fn ask_at_leisure(house: &House, credential: &Credential, version: Version, ask: &Ask<'_>) -> Heard {
    let stream = TokioIo::new(connect(house, credential, ask.server_name, version).await);
    let address = house.proxy.address().to_string();
    let mut request = Request::builder().method(ask.method.unwrap_or("GET"));
    let body = Full::new(Bytes::copy_from_slice(ask.body));
    for (name, value) in ask.headers {
        request = request.header(*name, *value);
    }
    if let Some(token) = &credential.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = match version {
        Version::One => {
            request = request.header("host", ask.host.unwrap_or(&address));
            let uri = match ask.authority {
                Some(authority) => format!("https://{authority}{}", ask.path),
                None => ask.path.to_owned(),
            };
            let request = request.uri(uri).body(body).unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        }
        Version::Two => {
            if let Some(host) = ask.host {
                request = request.header("host", host);
            }
            let authority = ask.authority.or(ask.host).unwrap_or(&address);
            let request = request.uri(format!("https://{authority}{}", ask.path)).version(http::Version::HTTP_2);
            let request = request.body(body).unwrap();
            let executor = TokioExecutor::new();
            let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        }
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Heard { status: parts.status, headers: parts.headers, body }
}

/// One GET by address.
pub async fn get(house: &House, credential: &Credential, path: &str) -> Heard {
    ask(house, credential, Version::One, &Ask { path, ..Ask::default() }).await
}

/// Sends bytes as they are, and returns all that comes back until the other side closes; none where it does not within the time.
pub async fn raw(house: &House, bytes: &[u8], within: Duration) -> Option<Vec<u8>> {
    let mut stream = connect(house, &Credential::default(), None, Version::One).await;
    // What it does not want to hear it may refuse before it has heard it.
    let _ = stream.write_all(bytes).await;
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(within, async {
        let mut part = [0; 4096];
        while let Ok(bytes) = stream.read(&mut part).await {
            if bytes == 0 {
                break;
            }
            heard.extend_from_slice(&part[..bytes]);
        }
    });
    ended.await.ok().map(|()| heard)
}
