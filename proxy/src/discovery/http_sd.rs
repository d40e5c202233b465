//! Lists for `http_sd_configs`: every target at the address by which the caller reached us, with a path of its own.
//!
//! So no names are needed, and one connection serves all targets. Prometheus refuses a whole list for one key or label name that it does not
//! know, and tells groups apart by their places: a group has `targets` and `labels` alone, an instance a group, and the order is that of ids.
//! `instance` is the id, not the alias, because two instances may have one alias, and their series must not meet.

use std::collections::BTreeMap;

use serde::Serialize;
use sonde_inventory::{Instance, Node};

use super::query::Refusal;
use crate::access;
use crate::caller::Caller;

/// What kind of targets is asked for: `role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Instance,
    Node,
    Account,
}

impl Role {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        match text {
            None | Some("instance") => Ok(Self::Instance),
            Some("node") => Ok(Self::Node),
            Some("account") => Ok(Self::Account),
            Some(_) => Err(Refusal::Role),
        }
    }
}

#[derive(Serialize)]
struct Group<'a> {
    targets: [&'a str; 1],
    labels: BTreeMap<String, String>,
}

impl<'a> Group<'a> {
    /// Empty labels are left out: to Prometheus they are no labels.
    fn new<const N: usize>(address: &'a str, path: String, labels: [(&str, &str); N]) -> Self {
        let fixed = [("__scheme__".to_owned(), "https".to_owned()), ("__metrics_path__".to_owned(), path)];
        let own = labels.iter().filter(|(_, value)| !value.is_empty());
        let own = own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { targets: [address], labels: fixed.into_iter().chain(own).collect() }
    }
}

pub(super) fn instances<'a>(
    address: &str,
    instances: impl IntoIterator<Item = &'a Instance>,
) -> serde_json::Result<Vec<u8>> {
    let groups: Vec<Group> = instances.into_iter().map(|one| instance(address, one)).collect();
    serde_json::to_vec(&groups)
}

fn instance<'a>(address: &'a str, instance: &Instance) -> Group<'a> {
    let id = instance.id.to_string();
    let labels = [
        ("instance", id.as_str()),
        ("alias", access::called(instance)),
        ("__meta_sonde_instance_id", &id),
        ("__meta_sonde_alias", access::called(instance)),
        ("__meta_sonde_name", &instance.name),
        ("__meta_sonde_image", &instance.image),
        ("__meta_sonde_runtime", &instance.runtime),
        ("__meta_sonde_state", instance.state.name()),
        ("__meta_sonde_node_id", &instance.node.to_string()),
        ("__meta_sonde_groups", &enclosed(&instance.groups)),
    ];
    let mut group = Group::new(address, format!("/v1/instances/{id}/metrics"), labels);
    for (key, value) in &instance.labels {
        group.labels.insert(format!("__meta_sonde_label_{}", label_name(key)), value.to_owned());
    }
    group
}

pub(super) fn nodes<'a>(address: &str, nodes: impl IntoIterator<Item = &'a Node>) -> serde_json::Result<Vec<u8>> {
    let of = |node: &Node| {
        let id = node.id.to_string();
        let labels = [
            ("instance", id.as_str()),
            ("alias", &node.hostname),
            ("__meta_sonde_node_id", &id),
            ("__meta_sonde_node_hostname", &node.hostname),
        ];
        Group::new(address, format!("/v1/instances/{id}/metrics"), labels)
    };
    serde_json::to_vec(&nodes.into_iter().map(of).collect::<Vec<Group>>())
}

/// The one target about the whole account.
pub(super) fn account(address: &str, caller: &Caller) -> serde_json::Result<Vec<u8>> {
    let name = caller.account.name.as_str();
    let labels = [("instance", name), ("__meta_sonde_account", name)];
    serde_json::to_vec(&[Group::new(address, "/v1/account/metrics".to_owned(), labels)])
}

/// `,a,b,`, as Prometheus's own lists of tags are, so that a regular expression finds one wherever it stands.
fn enclosed(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(",{},", names.join(",")) }
}

/// A key as part of a label's name: what may not be in one becomes `_`, as in Prometheus's own discoveries.
fn label_name(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}
