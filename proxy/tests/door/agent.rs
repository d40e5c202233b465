//! An agent that does as it is told, over mTLS and HTTP/2 as ours does.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sonde_proxy::tls::CertificateFiles;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What it says of an instance.
#[derive(Clone)]
pub enum Says {
    Body(String),
    Status(StatusCode, Option<&'static str>),
    /// Nothing, for as long as anybody waits.
    Nothing,
    /// A body after so long.
    After(Duration, String),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub path: String,
    pub headers: HeaderMap,
}

pub struct Agent {
    pub address: SocketAddr,
    says: Arc<Mutex<HashMap<String, Says>>>,
    heard: Arc<Mutex<Vec<Heard>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Agent {
    pub async fn start(own: &CertificateFiles, ca: &std::path::Path) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), own, ca)
    }

    pub fn at(listener: TcpListener, own: &CertificateFiles, ca: &std::path::Path) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(configuration(own, ca)));
        let address = listener.local_addr().unwrap();
        let says = Arc::<Mutex<HashMap<String, Says>>>::default();
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let (told, noted) = (says.clone(), heard.clone());
        let serving = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, told, noted) = (acceptor.clone(), told.clone(), noted.clone());
                all.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let (told, noted) = (told.clone(), noted.clone());
                        async move { Ok::<_, Infallible>(answer(&told, &noted, request).await) }
                    });
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, says, heard, serving }
    }

    /// From now on, of `/v1/TARGET/…`.
    pub fn says(&self, target: &str, says: Says) {
        self.says.lock().unwrap().insert(target.to_owned(), says);
    }

    /// What it heard of that target.
    pub fn heard(&self, target: &str) -> Vec<Heard> {
        let about = format!("/v1/{target}/");
        self.heard.lock().unwrap().iter().filter(|heard| heard.path.starts_with(&about)).cloned().collect()
    }
}

async fn answer(
    told: &Mutex<HashMap<String, Says>>,
    noted: &Mutex<Vec<Heard>>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path_and_query().unwrap().to_string();
    let is_exposition = !request.uri().path().ends_with("/sensors");
    noted.lock().unwrap().push(Heard { path: path.clone(), headers: request.headers().clone() });
    let target = path.split('/').nth(2).unwrap_or_default().to_owned();
    let says = told.lock().unwrap().get(&target).cloned();
    let body = match says {
        None => format!("of_target{{target=\"{target}\"}} 1\n"),
        Some(Says::Body(body)) => body,
        Some(Says::Nothing) => std::future::pending().await,
        Some(Says::After(wait, body)) => {
            tokio::time::sleep(wait).await;
            body
        }
        Some(Says::Status(status, reason)) => {
            let mut answer = Response::new(Full::from("the agent's own words\n"));
            *answer.status_mut() = status;
            if let Some(reason) = reason {
                answer.headers_mut().insert("x-sonde-reason", reason.parse().unwrap());
            }
            return answer;
        }
    };
    let mut answer = Response::new(Full::from(body));
    let kind = if is_exposition { "text/plain; version=0.0.4" } else { "application/json" };
    answer.headers_mut().insert("content-type", kind.parse().unwrap());
    answer.headers_mut().insert("x-of-the-agent", "not for tenants".parse().unwrap());
    answer
}

fn configuration(own: &CertificateFiles, ca: &std::path::Path) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let mut configuration = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&own.certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&own.key).unwrap(),
        )
        .unwrap();
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    configuration
}
