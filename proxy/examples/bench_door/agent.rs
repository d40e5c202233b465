//! An agent that answers from memory, over mTLS, by HTTP/2 or HTTP/1.1 as it is asked.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::prepare::read_ports;

/// An exposition as an idle container has, some 12 KiB.
fn body() -> Bytes {
    let line = "container_network_receive_bytes_total{id=\"/docker/0123456789abcdef\",name=\"web\",interface=\"eth0\"} 123456789\n";
    line.repeat(112).into()
}

pub async fn serve(folder: &Path) {
    let [_, _, port, ..] = read_ports(folder);
    let tls = |file: &str| folder.join("tls").join(file);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tls("tier-ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(tls("node.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(tls("node.key")).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    std::fs::write(folder.join("agent.ready"), "").unwrap();
    let body = body();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (acceptor, body) = (acceptor.clone(), body.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |_| {
                let mut answer = Response::new(Full::new(body.clone()));
                answer.headers_mut().insert("content-type", "text/plain; version=0.0.4".parse().expect("it is a type"));
                async move { Ok::<_, Infallible>(answer) }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
