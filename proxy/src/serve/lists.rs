//! Lists for people and programs: an account's instances, what it used, and nodes for operators. JSON, a row a line.

use std::collections::HashMap;
use std::time::SystemTime;

use http::header::HOST;
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::Door;
use super::answer::{Answer, typed};
use crate::access;
use crate::caller::Caller;
use crate::limits::{Outcome, Use};

#[derive(Serialize)]
struct InstanceRow<'a> {
    id: String,
    name: &'a str,
    alias: &'a str,
    image: &'a str,
    runtime: &'a str,
    runtime_id: &'a str,
    owner: &'a str,
    state: &'static str,
    reasons: &'a [String],
    groups: &'a [String],
    metrics: String,
}

/// The caller's instances, with where to scrape each.
pub(super) fn instances(door: &Door, caller: &Caller, headers: &HeaderMap, now: SystemTime) -> Answer {
    if !door.catalogue.is_synced() {
        return super::answer::sentence(StatusCode::SERVICE_UNAVAILABLE, "the inventory is not here yet");
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let base = host.map_or_else(String::new, |host| format!("https://{host}"));
    let all = access::visible_instances(&door.catalogue, caller, now);
    rows(all.iter().map(|instance| InstanceRow {
        id: instance.id.to_string(),
        name: &instance.name,
        alias: &instance.alias,
        image: &instance.image,
        runtime: &instance.runtime,
        runtime_id: &instance.runtime_id,
        owner: instance.owner.as_str(),
        state: instance.state.name(),
        reasons: &instance.reasons,
        groups: &instance.groups,
        metrics: format!("{base}/v1/instances/{}/metrics", instance.id),
    }))
}

#[derive(Serialize)]
struct NodeRow<'a> {
    id: String,
    hostname: &'a str,
    url: &'a str,
    instances: usize,
    is_reached: bool,
}

/// All nodes. To be asked by operators only.
pub(super) fn nodes(door: &Door) -> Answer {
    let nodes = door.catalogue.nodes();
    rows(nodes.iter().map(|node| NodeRow {
        id: node.id.to_string(),
        hostname: &node.hostname,
        url: &node.url,
        instances: door.catalogue.instances_on(node.id).len(),
        is_reached: !door.upstream.is_unreachable(node.id),
    }))
}

#[derive(Serialize)]
struct UsageRow<'a> {
    account: &'a str,
    requests: u64,
    bytes: u64,
    shared: u64,
    scrapes: serde_json::Map<String, serde_json::Value>,
    scrapes_in_flight: u32,
    requests_per_second: u32,
    request_burst: u32,
    bytes_per_second: u64,
    concurrent_scrapes: u32,
    sensors: usize,
    sensors_allowed: u32,
    sensors_bytes: u64,
    sensors_bytes_allowed: u64,
}

/// What the caller used of this proxy, and what it may.
pub(super) fn usage(door: &Door, caller: &Caller, used: &Use) -> Answer {
    let sensors = door.catalogue.sensors_of(&caller.account.name);
    let versions = sensors.iter().flat_map(|sensor| sensor.versions());
    let bytes: HashMap<_, _> = versions.map(|version| (version.sha256, version.bytes)).collect();
    let (quota, in_flight) = used.quota();
    let totals = &used.totals;
    let scrapes = Outcome::ALL.iter().map(|outcome| (outcome.name().to_owned(), totals.count(*outcome).into()));
    rows([UsageRow {
        account: caller.account.name.as_str(),
        requests: totals.requests.get(),
        bytes: totals.bytes.get(),
        shared: totals.shared.get(),
        scrapes: scrapes.collect(),
        scrapes_in_flight: in_flight,
        requests_per_second: quota.requests_per_second,
        request_burst: quota.request_burst,
        bytes_per_second: quota.bytes_per_second,
        concurrent_scrapes: quota.concurrent_scrapes,
        sensors: sensors.len(),
        sensors_allowed: quota.sensors,
        sensors_bytes: bytes.into_values().sum(),
        sensors_bytes_allowed: quota.all_sensors_bytes,
    }])
}

fn rows<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Answer {
    let mut body = b"[".to_vec();
    for (place, row) in rows.into_iter().enumerate() {
        body.extend_from_slice(if place == 0 { b"\n" } else { b",\n" });
        // Rows are structs of strings and numbers: they always serialise.
        let _ = serde_json::to_writer(&mut body, &row);
    }
    body.extend_from_slice(b"\n]\n");
    typed(StatusCode::OK, "application/json", body)
}
