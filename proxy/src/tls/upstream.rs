//! TLS towards agents: the proxy shows its role, and speaks only with the node that it means.
//!
//! An agent is known by the URI `sonde:node:UUID` in a certificate of the tier's authority, not by a DNS name or address: those move, and whoever answers at
//! one may be another node. There is no resumption, because with it the node's certificate would not be asked for again.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sonde_listen::tier::TierAuthority;
use uuid::Uuid;

use super::names::certified;
use super::tier::TierSettings;
use super::watched::Watched;
use super::{PROTOCOLS, TlsError, roots};
use crate::identity::{ClientCertificate, TierRole};

/// The files of a proxy towards agents; cheap to clone.
#[derive(Clone)]
pub struct UpstreamTls {
    files: Arc<Watched<Loaded>>,
    authority: Arc<TierAuthority>,
}

struct Loaded {
    own: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
}

impl UpstreamTls {
    /// Reads the files; a fault here stops the start. Within a runtime, which then watches them.
    pub fn start(settings: &TierSettings) -> Result<Self, TlsError> {
        let files = [&settings.own.certificate, &settings.own.key, &settings.ca].map(Clone::clone).to_vec();
        let authority = TierAuthority::open(&settings.ca, settings.crl.as_deref())?;
        let settings = settings.clone();
        let load = move || {
            let (own, roots) = (Arc::new(certified(&settings.own)?), Arc::new(roots(&settings.ca)?));
            Ok(Loaded { own, roots })
        };
        Ok(Self { files: Watched::start(files, Box::new(load))?, authority })
    }

    /// Reads the files again, whether they seem changed or not; the error says why those before them stay.
    pub fn renew(&self) -> Result<(), TlsError> {
        self.files.renew()?;
        Ok(self.authority.renew()?)
    }

    /// How often changed files were refused.
    pub fn faults(&self) -> u64 {
        self.files.faults() + self.authority.faults()
    }

    /// Which nodes' certificates count, now and for as long as a connection is used.
    pub fn authority(&self) -> &Arc<TierAuthority> {
        &self.authority
    }
}

/// For a connection to this node, and no other; to be made anew for each, since certificates are renewed.
pub fn upstream_tls(files: &UpstreamTls, node: Uuid) -> ClientConfig {
    let loaded = files.files.current();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let verifier = IsNode { node, roots: loaded.roots.clone(), algorithms };
    let mut configuration = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(loaded.own.clone())));
    configuration.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    configuration.resumption = Resumption::disabled();
    // An id in an URL is no name; and what listens there has one certificate.
    configuration.enable_sni = false;
    configuration
}

/// Accepts one node.
#[derive(Debug)]
struct IsNode {
    node: Uuid,
    roots: Arc<RootCertStore>,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for IsNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, self.algorithms.all)?;
        let read = ClientCertificate::read(std::slice::from_ref(end_entity)).ok_or(CertificateError::BadEncoding)?;
        if TierRole::claimed(&read) == Some(TierRole::Node(self.node)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
