//! A scraper with a certificate, over HTTP/1.1 as Prometheus has it by default toward many names, or HTTP/2.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::prepare::INSTANCE;

#[derive(Clone)]
pub struct Client {
    connector: TlsConnector,
    port: u16,
    /// Proxy: by our path; others: the agent's own.
    path: String,
    is_http2: bool,
}

impl Client {
    pub fn new(folder: &Path, port: u16, door: &str, is_http2: bool) -> Self {
        let tls = |file: &str| folder.join("tls").join(file);
        let mut roots = RootCertStore::empty();
        // The agent itself is asked as a proxy would ask it.
        let (authority, identity) =
            if door == "agent" { ("tier-ca.pem", "proxy") } else { ("server-ca.pem", "client") };
        roots.add(CertificateDer::from_pem_file(tls(authority)).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(tls(&format!("{identity}.pem"))).unwrap()],
                PrivateKeyDer::from_pem_file(tls(&format!("{identity}.key"))).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = if is_http2 { vec![b"h2".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        config.resumption = rustls::client::Resumption::disabled();
        let path = if door == "sonde" {
            format!("/v1/instances/{INSTANCE}/metrics")
        } else {
            format!("/v1/{INSTANCE}/metrics")
        };
        Self { connector: TlsConnector::from(Arc::new(config)), port, path, is_http2 }
    }

    pub async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let _ = stream.set_nodelay(true);
        self.connector.connect(ServerName::try_from("127.0.0.1").expect("it is an address"), stream).await
    }

    /// Asks one thing after the other until the time is over; how long each took. A query that never repeats, so that nothing is shared.
    pub async fn ask_until(&self, number: usize, until: Instant) -> Vec<Duration> {
        let stream = TokioIo::new(self.connect().await.expect("it connects"));
        let mut took = Vec::new();
        if self.is_http2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            while Instant::now() < until {
                let began = Instant::now();
                let answer = sender.send_request(self.request(number, took.len(), true)).await.expect("an answer");
                assert_eq!(answer.status(), 200);
                answer.into_body().collect().await.expect("a body");
                took.push(began.elapsed());
            }
        } else {
            let (mut sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
            tokio::spawn(connection);
            while Instant::now() < until {
                let began = Instant::now();
                sender.ready().await.expect("it goes on");
                let answer = sender.send_request(self.request(number, took.len(), false)).await.expect("an answer");
                assert_eq!(answer.status(), 200);
                answer.into_body().collect().await.expect("a body");
                took.push(began.elapsed());
            }
        }
        took
    }

    /// A connection of HTTP/1.1 that has asked once, and is kept.
    pub async fn asked_once(&self, number: usize) -> http1::SendRequest<Empty<Bytes>> {
        let stream = TokioIo::new(self.connect().await.expect("it connects"));
        let (mut sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        let answer = sender.send_request(self.request(number, 0, false)).await.expect("an answer");
        answer.into_body().collect().await.expect("a body");
        sender
    }

    fn request(&self, number: usize, turn: usize, is_http2: bool) -> Request<Empty<Bytes>> {
        let path = format!("{}?n={number}.{turn}", self.path);
        let request = Request::get(if is_http2 { format!("https://127.0.0.1:{}{path}", self.port) } else { path });
        let request = if is_http2 { request } else { request.header("host", format!("127.0.0.1:{}", self.port)) };
        request.header("x-prometheus-scrape-timeout-seconds", "10").body(Empty::new()).expect("it is a request")
    }
}
