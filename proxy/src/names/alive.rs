//! Which proxies are alive: each is asked `/_ping` over TLS, as a scraper would reach it, every few seconds.
//!
//! A name must not lead to a proxy that does not answer, longer than its TTL. A connection alone would prove no more than that a kernel is there, so the
//! answer is read. Certificates are not judged: the question is whether somebody answers there, which is the operator's address and not
//! anything that we would trust with more. Where none answers, all are named: then it is more likely that we are cut off than that all are dead.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Between two questions; with the patience and [`MISSES`], a dead proxy is out of the answers within some ten seconds.
const PERIOD: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(2);
/// One lost packet is no death.
const MISSES: u32 = 2;
/// How an answer begins.
const ALIVE: &[u8] = b"HTTP/1.1 200 ";

/// The proxies that are alive of `all`, kept current while somebody holds the receiver. `port` is the one of tenants, `host` a name of ours.
pub fn follow_proxies(
    all: Vec<IpAddr>,
    port: u16,
    host: &str,
) -> Result<watch::Receiver<Arc<[IpAddr]>>, rustls::Error> {
    let (alive, receiver) = watch::channel(Arc::from(all.as_slice()));
    // Alone it is answered with as long as this process is there to do so.
    if all.len() > 1 {
        let probe = Probe::new(port, host)?;
        tokio::spawn(async move {
            tokio::select! {
                () = follow(&all, &probe, &alive) => {}
                () = alive.closed() => {}
            }
        });
    } else {
        // It does not change, and the receiver keeps the last value.
        drop(alive);
    }
    Ok(receiver)
}

async fn follow(all: &[IpAddr], probe: &Probe, alive: &watch::Sender<Arc<[IpAddr]>>) {
    let mut misses = vec![0_u32; all.len()];
    let mut beat = tokio::time::interval(PERIOD);
    loop {
        beat.tick().await;
        let mut asked = JoinSet::new();
        for (at, address) in all.iter().enumerate() {
            let (probe, address) = (probe.clone(), *address);
            asked.spawn(async move { (at, probe.answers(address).await) });
        }
        while let Some(answered) = asked.join_next().await {
            if let Ok((at, is_alive)) = answered {
                misses[at] = if is_alive { 0 } else { misses[at].saturating_add(1) };
            }
        }
        let now: Arc<[IpAddr]> = living(all, &misses).into();
        alive.send_if_modified(|before| {
            let changes = *before != now;
            if changes {
                tracing::warn!(alive = ?now, of = ?all, "other proxies are answered with in DNS");
                *before = now;
            }
            changes
        });
    }
}

/// Those that answered of late, or all.
fn living(all: &[IpAddr], misses: &[u32]) -> Vec<IpAddr> {
    let living = all.iter().zip(misses).filter(|(_, misses)| **misses < MISSES);
    let living: Vec<IpAddr> = living.map(|(address, _)| *address).collect();
    if living.is_empty() { all.to_vec() } else { living }
}

/// How a proxy is asked.
#[derive(Clone)]
struct Probe {
    port: u16,
    host: Arc<str>,
    tls: TlsConnector,
}

impl Probe {
    fn new(port: u16, host: &str) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth();
        Ok(Self { port, host: host.into(), tls: Arc::new(config).into() })
    }

    async fn answers(&self, address: IpAddr) -> bool {
        matches!(timeout(PATIENCE, self.ask(address)).await, Ok(Ok(true)))
    }

    async fn ask(&self, address: IpAddr) -> io::Result<bool> {
        let stream = TcpStream::connect(SocketAddr::new(address, self.port)).await?;
        let name = ServerName::try_from(self.host.to_string()).map_err(io::Error::other)?;
        let mut stream = self.tls.connect(name, stream).await?;
        let request = format!("GET /_ping HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.host);
        stream.write_all(request.as_bytes()).await?;
        let mut start = [0; ALIVE.len()];
        stream.read_exact(&mut start).await?;
        Ok(start == ALIVE)
    }
}

/// Takes any certificate whose key the other side has.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_left_out_after_two_misses_and_never_all() {
        let all: Vec<IpAddr> = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap()).into();
        assert_eq!(living(&all, &[0, 1]), all);
        assert_eq!(living(&all, &[0, 2]), all[..1]);
        assert_eq!(living(&all, &[7, 2]), all);
    }
}
