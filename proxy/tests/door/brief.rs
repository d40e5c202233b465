//! A node's certificate that ends within seconds, which `sonde cert` does not make.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sonde_proxy::issue::pem;
use sonde_proxy::tls::CertificateFiles;
use uuid::Uuid;

/// Signed by the tier's authority in that folder.
pub fn node(tls: &Path, node: Uuid, lasts: Duration) -> CertificateFiles {
    let authority = CertificateDer::from_pem_file(tls.join("tier-ca.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(tls.join("tier-ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_der(&authority, KeyPair::try_from(&key).unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "brief");
    params.subject_alt_names = vec![SanType::URI(format!("sonde:node:{node}").try_into().unwrap())];
    let now = SystemTime::now();
    (params.not_before, params.not_after) = ((now - lasts).into(), (now + lasts).into());
    let own = KeyPair::generate().unwrap();
    let files = CertificateFiles { certificate: tls.join("brief.pem"), key: tls.join("brief.key") };
    let signed = params.signed_by(&own, &issuer).unwrap();
    std::fs::write(&files.certificate, pem("CERTIFICATE", signed.der())).unwrap();
    std::fs::write(&files.key, pem("PRIVATE KEY", &own.serialize_der())).unwrap();
    files
}
