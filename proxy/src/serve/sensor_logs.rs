//! What a sensor logged, and how it last failed: asked of the agents of the caller's own instances, within a bounded time, as many as are told.
//!
//! An agent says it for all sensors of an instance; of that the one is told that was asked for, and only where it runs an artifact that the account pushed
//! under this name: an operator's sensor of the same name is the operator's affair.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};
use sonde_inventory::sensor::Selected;
use sonde_inventory::{Instance, PushedSensor};
use tokio::task::JoinSet;

use super::{Door, EXPECTED_OWNER};
use crate::access::{self, Visible, called};
use crate::caller::Caller;
use crate::upstream::Question;

/// Instances that are asked for one answer, and at once.
const MOST: usize = 64;
const AT_ONCE: usize = 8;
/// How long all of them may take.
const WITHIN: Duration = Duration::from_secs(8);
/// Largest answer of an agent.
const BODY_BYTES: usize = 1 << 20;

/// What was heard.
pub(super) struct Logs {
    /// A row for each instance that was asked.
    pub(super) rows: Value,
    /// Instances that match beside those that were asked.
    pub(super) left_out: usize,
}

/// `None` where the instance that is named is not one that the caller may see.
pub(super) async fn ask(
    door: &Arc<Door>,
    caller: &Caller,
    sensor: &Arc<PushedSensor>,
    instance: Option<&str>,
    now: SystemTime,
) -> Option<Logs> {
    let instances = match instance {
        Some(named) => vec![named_one(door, caller, named, now)?],
        None => meant(door, caller, sensor, now),
    };
    let left_out = instances.len().saturating_sub(MOST);
    let deadline = Instant::now() + WITHIN;
    let mut waiting = instances.into_iter().take(MOST);
    let mut asked = JoinSet::new();
    let mut begin = |asked: &mut JoinSet<Value>| {
        if let Some(instance) = waiting.next() {
            asked.spawn(ask_one(door.clone(), sensor.clone(), instance, deadline));
        }
    };
    (0..AT_ONCE).for_each(|_| begin(&mut asked));
    let mut rows = Vec::new();
    while let Some(row) = asked.join_next().await {
        rows.extend(row.ok());
        begin(&mut asked);
    }
    rows.sort_by(|a, b| a["instance"].as_str().cmp(&b["instance"].as_str()));
    Some(Logs { rows: rows.into(), left_out })
}

/// By id, or by what people call it.
fn named_one(door: &Door, caller: &Caller, named: &str, now: SystemTime) -> Option<Arc<Instance>> {
    if let Some(id) = access::id(named) {
        return match access::visible(&door.catalogue, caller, id, now) {
            Some(Visible::Instance(instance)) => Some(instance),
            _ => None,
        };
    }
    let all = access::visible_instances(&door.catalogue, caller, now);
    let mut living = all.into_iter().filter(|instance| instance.state.is_alive() && called(instance) == named);
    living.next().filter(|_| living.next().is_none())
}

fn meant(door: &Door, caller: &Caller, sensor: &PushedSensor, now: SystemTime) -> Vec<Arc<Instance>> {
    let is_meant = |instance: &Arc<Instance>| {
        let (id, groups, labels) = (instance.id, &instance.groups, &instance.labels);
        let selected = Selected { id, name: &instance.name, alias: &instance.alias, groups, labels };
        instance.state.is_alive() && sensor.selector.has(&selected)
    };
    access::visible_instances(&door.catalogue, caller, now).into_iter().filter(is_meant).collect()
}

async fn ask_one(door: Arc<Door>, sensor: Arc<PushedSensor>, instance: Arc<Instance>, deadline: Instant) -> Value {
    let row = match said(&door, &instance, deadline).await {
        Ok(rows) => rows.into_iter().find(|row| is_it(row, &sensor)),
        Err(why) => return json!({ "instance": instance.id, "name": called(&instance), "error": why }),
    };
    let Some(row) = row else {
        return json!({ "instance": instance.id, "name": called(&instance), "state": "absent", "log": [] });
    };
    let of = |key: &str| row.get(key).cloned().unwrap_or(Value::Null);
    json!({
        "instance": instance.id,
        "name": called(&instance),
        "state": of("state"),
        "explanation": of("explanation"),
        "sha256": row["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")),
        "last_error": of("last_error"),
        "log": row.get("log").cloned().unwrap_or_else(|| json!([])),
    })
}

/// Of the name, and of an artifact of the account's, if it runs one at all.
fn is_it(row: &Value, sensor: &PushedSensor) -> bool {
    let digest = row["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    let is_own = |digest: &str| sensor.versions().any(|version| version.sha256.to_string() == digest);
    row["name"].as_str() == Some(sensor.name.as_str()) && digest.is_none_or(is_own)
}

async fn said(door: &Door, instance: &Instance, deadline: Instant) -> Result<Vec<Value>, &'static str> {
    let node = door.catalogue.node(instance.node).filter(|node| !node.is_cmon);
    let node = node.ok_or("its node runs no sensors")?;
    let mut headers = HeaderMap::new();
    if let Ok(owner) = HeaderValue::from_str(instance.owner.as_str()) {
        headers.insert(EXPECTED_OWNER, owner);
    }
    let path = format!("/v1/{}/sensors", instance.id);
    let question = Question { path, headers, account: instance.owner.clone(), deadline };
    let reply = door.upstream.ask(&node, &question).await.map_err(|_| "its agent cannot be asked now")?;
    if reply.parts.status != StatusCode::OK {
        return Err("its agent does not say");
    }
    let body = Limited::new(reply.body, BODY_BYTES).collect().await.map_err(|_| "its agent did not say it whole")?;
    serde_json::from_slice(&body.to_bytes()).map_err(|_| "its agent's answer is not understood")
}
