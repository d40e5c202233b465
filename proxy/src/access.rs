//! What a request is for, and whether its caller may know of it.
//!
//! Host, `:authority`, an absolute target and SNI must agree, or else a certificate for one name would open another (421). `<instance>.<suffix>` is the
//! exporter of that instance; on any of our names, and by address, there is the path form. What a caller may not see is [`None`] here by one
//! path for all reasons: owned by another, unknown, forgotten, or a node and no operator. All look-ups are done for each, so that time says nothing either.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::HOST;
use http::uri::Authority;
use http::{Request, StatusCode};
use sonde_inventory::{Catalogue, Instance, Node};
use uuid::Uuid;

use crate::caller::Caller;

/// How long what is gone is remembered, as the agent does.
pub const REMEMBERED: Duration = Duration::from_secs(15 * 60);
/// Between an alias and its account, in a name.
const ALIAS_SEPARATOR: &str = "--";

/// By which name a request came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// By an address of ours.
    Address,
    /// By a name of the proxy itself.
    Ours,
    /// By a name under the suffix: its first label, lower case.
    Label(String),
}

/// Why a request is not taken for the name that it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostFault {
    #[error("a request has one Host")]
    NotOne,
    #[error("the Host is not a name or an address")]
    Malformed,
    #[error("the names that the request has do not agree")]
    Disagree,
    #[error("there is no such host here")]
    NotOurs,
}

impl HostFault {
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotOne | Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Disagree | Self::NotOurs => StatusCode::MISDIRECTED_REQUEST,
        }
    }
}

/// By which of our names a request came in. `server_name` is what the handshake asked for.
///
/// # Errors
/// The request names none, several that differ, or one that is not ours.
pub fn via<B>(
    request: &Request<B>,
    server_name: Option<&str>,
    suffix: &str,
    hosts: &[String],
) -> Result<Via, HostFault> {
    let mut given = request.headers().get_all(HOST).iter();
    let header = given.next().map(|value| value.to_str().map_err(|_| HostFault::Malformed)).transpose()?;
    if given.next().is_some() {
        return Err(HostFault::NotOne);
    }
    let header = header.map(authority).transpose()?;
    // HTTP/2's `:authority`, or HTTP/1.1's absolute form.
    let target = request.uri().authority().map(|given| authority(given.as_str())).transpose()?;
    let host = match (header, target) {
        (Some(header), Some(target)) if header != target => return Err(HostFault::Disagree),
        (Some(host), _) | (None, Some(host)) => host.0,
        (None, None) => return Err(HostFault::NotOne),
    };
    if server_name.is_some_and(|asked| !asked.trim_end_matches('.').eq_ignore_ascii_case(&host)) {
        return Err(HostFault::Disagree);
    }
    if host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok() {
        return Ok(Via::Address);
    }
    if host == suffix || hosts.contains(&host) {
        return Ok(Via::Ours);
    }
    let label = host.strip_suffix(suffix).and_then(|rest| rest.strip_suffix('.'));
    // One label, and not of nothing: `.<suffix>` is no name.
    let label = label.filter(|label| !label.is_empty() && !label.contains('.'));
    label.map(|label| Via::Label(label.to_owned())).ok_or(HostFault::NotOurs)
}

/// Host, lower case and without the root's dot, and port.
fn authority(text: &str) -> Result<(String, Option<u16>), HostFault> {
    let parsed: Authority = text.parse().map_err(|_| HostFault::Malformed)?;
    let host = parsed.host().trim_end_matches('.').to_ascii_lowercase();
    // `user@host` is for people, and a way to make one name look like another.
    let port = text.get(parsed.host().len()..).unwrap_or("@");
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let is_plain = !text.contains('@') && !host.is_empty() && is_port;
    is_plain.then(|| (host, parsed.port_u16())).ok_or(HostFault::Malformed)
}

/// What a caller may ask the agent for.
#[derive(Debug, Clone)]
pub enum Visible {
    Instance(Arc<Instance>),
    Node(Arc<Node>),
}

/// An id as the URL or the name has it: canonical, in either case.
pub fn id(text: &str) -> Option<Uuid> {
    // Other spellings (braces, no dashes) would be other names for one target.
    (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// What of that id the caller may see.
pub fn visible(catalogue: &Catalogue, caller: &Caller, wanted: Uuid, now: SystemTime) -> Option<Visible> {
    let instance = catalogue.instance(wanted).filter(|instance| may_see(caller, instance, now));
    let node = catalogue.node(wanted).filter(|_| caller.is_operator());
    instance.map(Visible::Instance).or(node.map(Visible::Node))
}

/// What of that name's first label the caller may see: an id, or `<alias>--<account>` of its own.
pub fn visible_by_label(catalogue: &Catalogue, caller: &Caller, label: &str, now: SystemTime) -> Option<Visible> {
    match id(label) {
        Some(id) => visible(catalogue, caller, id, now),
        None => {
            let own = as_label(caller.account.name.as_str());
            // Only the caller's own are walked, so the time tells it nothing of others.
            let alias = label.strip_suffix(own.as_str())?.strip_suffix(ALIAS_SEPARATOR)?;
            let of_alias = |instance: &Arc<Instance>| as_label(called(instance)) == alias;
            let mut all = visible_instances(catalogue, caller, now).into_iter().filter(of_alias);
            // One that lives before one that did, and one whose node speaks before one that is only known to have lived: what was started again
            // elsewhere for a node that died is found at once. Two that live are one too many to choose from.
            let living: Vec<_> = all.clone().filter(|instance| instance.state.is_alive()).collect();
            let mut spoken_for = living.iter().filter(|instance| catalogue.is_reachable(instance.node));
            match (living.as_slice(), spoken_for.next(), spoken_for.next()) {
                ([one], _, _) | (_, Some(one), None) => Some(Visible::Instance(one.clone())),
                ([_, ..], _, _) => None,
                ([], _, _) => all.next().map(Visible::Instance),
            }
        }
    }
}

/// What people call an instance.
pub fn called(instance: &Instance) -> &str {
    if instance.alias.is_empty() { &instance.name } else { &instance.alias }
}

/// As a part of a name in DNS: lower case, and `-` for what has no place there.
pub(crate) fn as_label(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    text.chars().map(plain).collect()
}

/// All instances that the caller may see, by id.
pub fn visible_instances(catalogue: &Catalogue, caller: &Caller, now: SystemTime) -> Vec<Arc<Instance>> {
    let mut all = catalogue.instances_of(&caller.account.name);
    all.retain(|instance| may_see(caller, instance, now));
    all
}

fn may_see(caller: &Caller, instance: &Instance, now: SystemTime) -> bool {
    let is_own = instance.owner == caller.account.name;
    is_own & caller.is_for_groups(&instance.groups) & is_remembered(instance, now)
}

/// Whether an instance is still known to tenants: while it lives, and for a while after.
pub(crate) fn is_remembered(instance: &Instance, now: SystemTime) -> bool {
    leaves_at(instance).is_none_or(|leaves| now < leaves)
}

/// When an instance is forgotten without another word of its node.
pub(crate) fn leaves_at(instance: &Instance) -> Option<SystemTime> {
    let ended = instance.ended_at_ms.filter(|_| !instance.state.is_alive())?;
    UNIX_EPOCH.checked_add(Duration::from_millis(ended))?.checked_add(REMEMBERED)
}

#[cfg(test)]
#[path = "access/tests.rs"]
mod tests;
