//! The lists of cmon, for `triton_sd_configs`: what that reads, and nothing else.
//!
//! cmon sends its whole internal record, and the list of nodes to every tenant. Here the fields are the six (two, for a node) that Prometheus makes labels of,
//! and who is no operator has an empty list of nodes: true, and no error in any client.

use serde::Serialize;
use sonde_inventory::{Instance, Node};
use uuid::Uuid;

use crate::access;

#[derive(Serialize)]
struct Containers<'a> {
    containers: Vec<Container<'a>>,
}

/// `__meta_triton_*` of `role: container`.
#[derive(Serialize)]
struct Container<'a> {
    groups: &'a [String],
    server_uuid: Uuid,
    vm_alias: &'a str,
    vm_brand: &'a str,
    vm_image_uuid: &'a str,
    vm_uuid: Uuid,
}

#[derive(Serialize)]
struct ComputeNodes<'a> {
    cns: Vec<ComputeNode<'a>>,
}

/// `__meta_triton_*` of `role: cn`.
#[derive(Serialize)]
struct ComputeNode<'a> {
    server_uuid: Uuid,
    server_hostname: &'a str,
}

pub(super) fn containers<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> serde_json::Result<Vec<u8>> {
    let container = |instance: &'a Instance| Container {
        groups: &instance.groups,
        server_uuid: instance.node,
        vm_alias: access::called(instance),
        vm_brand: &instance.runtime,
        vm_image_uuid: &instance.image,
        vm_uuid: instance.id,
    };
    serde_json::to_vec(&Containers { containers: instances.into_iter().map(container).collect() })
}

pub(super) fn compute_nodes<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> serde_json::Result<Vec<u8>> {
    let node = |node: &'a Node| ComputeNode { server_uuid: node.id, server_hostname: &node.hostname };
    serde_json::to_vec(&ComputeNodes { cns: nodes.into_iter().map(node).collect() })
}
