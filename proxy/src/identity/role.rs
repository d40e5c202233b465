//! What a tier certificate says its holder is: a node, or a proxy.
//!
//! The role is a URI of the subject alternative names, `sonde:node:UUID` or `sonde:role:proxy`; exactly one of them, because a node that is a proxy too would
//! speak for all nodes. Only what came over a tier listener, where the chain was verified against the tier's own authority, has a role: on the
//! tenants' listener anybody's certificate is let in.

use std::time::SystemTime;

use uuid::Uuid;

use super::authority::only;
use super::certificate::ClientCertificate;
use super::seconds;
use crate::tls::Peer;

/// The URI of a proxy's certificate; the agent asks for the same.
pub const PROXY_URI: &str = "sonde:role:proxy";
/// What a node's begins with; its id follows, in lower case with hyphens.
pub const NODE_URI: &str = "sonde:node:";

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TierRole {
    Node(Uuid),
    Proxy,
}

impl TierRole {
    /// As a certificate says it.
    pub fn uri(self) -> String {
        match self {
            Self::Node(id) => format!("{NODE_URI}{id}"),
            Self::Proxy => PROXY_URI.to_owned(),
        }
    }

    fn of_uri(uri: &str) -> Option<Self> {
        if uri == PROXY_URI {
            return Some(Self::Proxy);
        }
        let id = uri.strip_prefix(NODE_URI)?;
        // One way to write an id, so that what is compared as text elsewhere is the same.
        Uuid::try_parse(id).ok().filter(|parsed| parsed.to_string() == id).map(Self::Node)
    }

    /// What a certificate says, whoever signed it.
    pub(crate) fn claimed(certificate: &ClientCertificate) -> Option<Self> {
        let uris = certificate.uris.iter().map(|uri| uri.as_ref());
        Self::of_uri(only(uris.filter(|uri: &&str| uri.starts_with("sonde:")))?)
    }
}

/// The role of who is at the other end of a tier connection, for as long as its certificate is valid.
pub fn tier_role(peer: &Peer) -> Option<TierRole> {
    let certificate = peer.tier_certificate()?;
    certificate.validity.holds(seconds(SystemTime::now())).ok()?;
    TierRole::claimed(certificate)
}
