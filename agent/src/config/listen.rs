//! `[listen]`: where the agent is asked, and with which certificates.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawListen {
    pub(super) address: Option<String>,
    pub(super) admin: Option<String>,
    pub(super) tls: Option<RawTls>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client_ca: PathBuf,
    pub(super) crl: Option<PathBuf>,
}

/// Files of a TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
    /// What that authority has revoked; none means nothing.
    pub crl: Option<PathBuf>,
}

pub(super) fn admin(text: &str, faults: &mut Vec<String>) -> Option<SocketAddr> {
    let address = text.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback());
    if address.is_none() {
        faults.push(format!(
            "listen.admin is {text:?}: a loopback address and port is allowed, such as \"127.0.0.1:9165\""
        ));
    }
    address
}
