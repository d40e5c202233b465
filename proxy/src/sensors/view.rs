//! A sensor as its account sees it: versions, settings, the names of secrets, and what nodes say of each version.
//!
//! Nodes are counted and not named: which machines there are is the operator's to know. A secret has a name here and the digest that it is bound to, and
//! where it does not get to, why.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sonde_inventory::assignment::SensorStanding;
use sonde_inventory::{AccountName, Catalogue, PushedSensor, SensorName};

use super::Withheld;

/// Different refusals that are told: as a rule all nodes say the same.
const MOST_REFUSALS: usize = 8;

/// What nodes say of an account's sensors, those that speak.
pub(crate) fn standing_of(catalogue: &Catalogue, account: &AccountName) -> Vec<SensorStanding> {
    let nodes = catalogue.nodes();
    let speaking = nodes.iter().filter(|node| !node.sensors.is_empty() && catalogue.is_reachable(node.id));
    let all = speaking.flat_map(|node| node.sensors.iter());
    all.filter(|standing| standing.account == *account).cloned().collect()
}

/// The JSON of one sensor.
pub(crate) fn shown(sensor: &PushedSensor, standings: &[SensorStanding], withheld: &Withheld<'_>) -> Value {
    let next = sensor.next.as_ref().map_or(0, |next| next.percent);
    let versions = sensor.versions().enumerate().map(|(at, version)| {
        let (which, percent) = if at == 0 { ("current", 100 - next) } else { ("next", next) };
        let secrets: Vec<&String> = version.secrets.keys().collect();
        let mut shown = json!({
            "version": which,
            "percent": percent,
            "sha256": version.sha256,
            "bytes": version.bytes,
            "pushed_at_ms": version.pushed_at_ms,
            "pushed_by": version.pushed_by,
            "config": version.config,
            "secrets": secrets,
            "secrets_withheld": withheld.of(sensor, version, at > 0),
        });
        let of_it = standings.iter().filter(|standing| is_of(standing, &sensor.name, &version.sha256));
        add_standing(&mut shown, of_it);
        shown
    });
    json!({
        "name": sensor.name,
        "etag": sensor.mark(),
        "match": sensor.selector,
        "versions": versions.collect::<Vec<_>>(),
    })
}

fn is_of(standing: &SensorStanding, name: &SensorName, sha256: &sonde_inventory::ArtifactDigest) -> bool {
    standing.name == *name && standing.sha256 == *sha256
}

/// `waiting` until a node has said something; `refused` where any refuses it.
fn add_standing<'a>(shown: &mut Value, of_it: impl Iterator<Item = &'a SensorStanding>) {
    let (mut nodes, mut running, mut failing) = (0_u64, 0_u64, 0_u64);
    let mut refusals: BTreeMap<&str, u64> = BTreeMap::new();
    for standing in of_it {
        nodes += 1;
        running += u64::from(standing.running);
        failing += u64::from(standing.failing);
        if let Some(why) = &standing.refused {
            *refusals.entry(why).or_default() += 1;
        }
    }
    let state = match (nodes, refusals.is_empty()) {
        (0, _) => "waiting",
        (_, false) => "refused",
        (_, true) => "accepted",
    };
    shown["state"] = state.into();
    shown["nodes"] = nodes.into();
    shown["instances"] = running.into();
    shown["failing"] = failing.into();
    let refused = refusals.iter().take(MOST_REFUSALS).map(|(why, nodes)| json!({ "why": why, "nodes": nodes }));
    shown["refused"] = refused.collect::<Vec<_>>().into();
}
