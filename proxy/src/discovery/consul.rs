//! As much of Consul's HTTP API as `consul_sd_configs` reads: `agent/self`, `catalog/services`, `health/service`.
//!
//! An instance is to a scraper what a machine is to Consul: a node with labels for its metadata, which offers the one service `sonde`, tagged with the
//! instance's groups. For operators there is `sonde-node` too. `tag` is all of them, `node-meta` a label, or `shard:i/n`; filters are an expression
//! language of Consul's own, and refused in words. Blocking is in `waiting.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use sonde_inventory::{Instance, Node, State};

use super::Place;
use super::query::{Query, Refusal, Selection};
use crate::access;

/// The services that there are.
const INSTANCES: &str = "sonde";
const NODES: &str = "sonde-node";
/// The key of `node-meta` that is no label.
const SHARD: &str = "shard";

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Agent,
    Services,
    Health(String),
}

impl Route {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/v1/agent/self" => Some(Self::Agent),
            "/v1/catalog/services" => Some(Self::Services),
            _ => path.strip_prefix("/v1/health/service/").map(|name| Self::Health(name.to_owned())),
        }
    }
}

/// What is asked for, checked.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) route: Route,
    pub(super) selection: Selection,
    /// Only instances whose check passes.
    passing: bool,
}

impl Asked {
    pub(super) fn new(route: Route, query: &Query, datacenter: &str) -> Result<Self, Refusal> {
        if query.first("filter").is_some() {
            return Err(Refusal::Filter);
        }
        if let Some(asked) = query.first("dc").filter(|asked| !asked.is_empty() && *asked != datacenter) {
            return Err(Refusal::Datacenter { asked: asked.chars().take(40).collect(), ours: datacenter.to_owned() });
        }
        let mut selection = Selection::of(query)?;
        for pair in query.all("node-meta") {
            match pair.split_once(':') {
                Some((SHARD, shard)) => selection.add_shard(shard)?,
                other => selection.add_label(other)?,
            }
        }
        selection.tags = query.all("tag").map(str::to_owned).collect();
        let passing = query.first("passing").is_some_and(|value| !matches!(value, "0" | "false"));
        Ok(Self { route, selection, passing })
    }
}

/// What a caller may see of what is asked for, at one moment.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) instances: Vec<Arc<Instance>>,
    pub(super) nodes: Vec<Arc<Node>>,
}

impl Seen {
    /// Whether nothing has been put in place of anything: cheap, and true only where the bytes would be the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        same(&self.instances, &other.instances) && same(&self.nodes, &other.nodes)
    }
}

fn same<T>(ours: &[Arc<T>], theirs: &[Arc<T>]) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(our, their)| Arc::ptr_eq(our, their))
}

/// The answer in JSON.
pub(super) fn body(asked: &Asked, seen: &Seen, place: &Place<'_>) -> serde_json::Result<Vec<u8>> {
    match &asked.route {
        Route::Agent => serde_json::to_vec(&serde_json::json!({ "Config": { "Datacenter": place.datacenter } })),
        Route::Services => serde_json::to_vec(&services(seen)),
        Route::Health(service) if service == INSTANCES => {
            let all = seen.instances.iter().map(|instance| entry_of_instance(instance, place));
            let wanted = all.filter(|entry| !asked.passing || entry.checks[0].status == PASSING);
            serde_json::to_vec(&wanted.collect::<Vec<_>>())
        }
        Route::Health(service) if service == NODES => {
            serde_json::to_vec(&seen.nodes.iter().map(|node| entry_of_node(node, place)).collect::<Vec<_>>())
        }
        // As Consul: nobody offers it.
        Route::Health(_) => Ok(b"[]".to_vec()),
    }
}

/// Each service with all tags that any of its instances has. `sonde` is there when nothing offers it, as what it will be.
fn services(seen: &Seen) -> BTreeMap<&'static str, BTreeSet<&str>> {
    let tags = seen.instances.iter().flat_map(|instance| &instance.groups).map(String::as_str).collect();
    let mut services = BTreeMap::from([(INSTANCES, tags)]);
    if !seen.nodes.is_empty() {
        services.insert(NODES, BTreeSet::new());
    }
    services
}

const PASSING: &str = "passing";
const WARNING: &str = "warning";
const CRITICAL: &str = "critical";

/// An element of `health/service`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    node: NodeOf<'a>,
    service: ServiceOf<'a>,
    checks: [Check; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeOf<'a> {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    datacenter: &'a str,
    tagged_addresses: BTreeMap<&'a str, &'a str>,
    meta: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceOf<'a> {
    #[serde(rename = "ID")]
    id: String,
    service: &'static str,
    tags: &'a [String],
    address: String,
    port: u16,
    meta: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    check_id: &'static str,
    status: &'static str,
}

fn entry_of_instance<'a>(instance: &'a Instance, place: &Place<'a>) -> Entry<'a> {
    let meta = [
        ("alias", access::called(instance).to_owned()),
        ("image", instance.image.clone()),
        ("runtime", instance.runtime.clone()),
        ("state", instance.state.name().to_owned()),
        ("node_id", instance.node.to_string()),
    ];
    let labels = instance.labels.iter().collect();
    let status = match instance.state {
        State::Running => PASSING,
        State::Saturated | State::Frozen | State::Unknown => WARNING,
        State::Stopped | State::Gone => CRITICAL,
    };
    entry(INSTANCES, instance.id, labels, &instance.groups, meta, status, place)
}

fn entry_of_node<'a>(node: &'a Node, place: &Place<'a>) -> Entry<'a> {
    let meta = [("hostname", node.hostname.clone())];
    entry(NODES, node.id, BTreeMap::new(), &[], meta, PASSING, place)
}

fn entry<'a, const N: usize>(
    service: &'static str,
    id: uuid::Uuid,
    labels: BTreeMap<&'a str, &'a str>,
    groups: &'a [String],
    meta: [(&'static str, String); N],
    status: &'static str,
    place: &Place<'a>,
) -> Entry<'a> {
    let address = place.host_of(id);
    let path = ("metrics_path", format!("/v1/instances/{id}/metrics"));
    let meta = meta.into_iter().chain([path]).filter(|(_, value)| !value.is_empty()).collect();
    let id = id.to_string();
    Entry {
        node: NodeOf {
            id: id.clone(),
            node: id.clone(),
            address: address.clone(),
            datacenter: place.datacenter,
            tagged_addresses: BTreeMap::new(),
            meta: labels,
        },
        service: ServiceOf { id, service, tags: groups, address, port: place.port, meta },
        checks: [Check { check_id: "sonde:state", status }],
    }
}
