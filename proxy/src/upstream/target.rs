//! Where a node's record says that its agent is.

use std::net::IpAddr;

use http::Uri;
use sonde_inventory::Node;

/// The agent's port, and cmon-agent's.
const AGENT_PORT: u16 = 9164;
const CMON_PORT: u16 = 9163;

/// Why a node's URL is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    #[error("{url:?} is not the URL of an agent")]
    NotAUrl { url: String },
    #[error("{host} is not a loopback address: it is asked in TLS only")]
    Plain { host: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) is_tls: bool,
    /// As a socket wants it, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// As `Host` wants it.
    pub(super) authority: String,
}

impl Target {
    pub(super) fn of(node: &Node) -> Result<Self, TargetError> {
        let not_a_url = || TargetError::NotAUrl { url: node.url.chars().take(128).collect() };
        let uri: Uri = node.url.parse().map_err(|_| not_a_url())?;
        let host = uri.host().ok_or_else(not_a_url)?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(not_a_url()),
        };
        if !is_tls && !node.is_cmon && !is_loopback(&host) {
            return Err(TargetError::Plain { host });
        }
        let port = uri.port_u16().unwrap_or(if node.is_cmon { CMON_PORT } else { AGENT_PORT });
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self { is_tls, host, port, authority })
    }
}

/// An address that is, not a name that may lead anywhere.
fn is_loopback(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str, is_cmon: bool) -> Result<Target, TargetError> {
        let json = serde_json::json!({ "id": uuid::Uuid::nil(), "url": url, "is_cmon": is_cmon });
        Target::of(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn plain_goes_to_loopback_and_to_cmon_agents_only() {
        let target = of("https://node-1.example", false).unwrap();
        assert_eq!((target.is_tls, target.port, target.authority.as_str()), (true, 9164, "node-1.example:9164"));
        let target = of("http://[::1]:8", false).unwrap();
        assert_eq!((target.is_tls, target.host.as_str(), target.authority.as_str()), (false, "::1", "[::1]:8"));
        assert_eq!(of("http://10.0.0.1", true).unwrap().port, 9163);
        for url in ["http://10.0.0.1:9164", "http://localhost:9164", "http://node"] {
            assert!(matches!(of(url, false), Err(TargetError::Plain { .. })), "{url}");
        }
        for url in ["", "node:9164", "/x", "ftp://127.0.0.1", "https://"] {
            assert!(matches!(of(url, false), Err(TargetError::NotAUrl { .. })), "{url}");
        }
    }
}
