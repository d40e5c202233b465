//! What time alone changes: instances that ended long enough ago, nodes that are silent, claims of nodes that are silent;
//! and sensors of accounts that are not there any more, which came in while those went.
//!
//! Every proxy sweeps, and what two do at once is done once, because writes compare. Nothing is taken away from a node that is merely cut off: its
//! instances keep being known, and whoever asks is told that it does not speak. Only after a day is it taken for dismantled, and only by who has not
//! heard of it for a while by a clock that nobody sets: the records' dates are those of machines whose clocks may have been wrong.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::catalogue::Catalogue;
use crate::change::Key;
use crate::merge::settle;
use crate::model::Node;
use crate::write::{MOST_WRITES, Record, Write};

/// How long an instance that is gone is known as such: the contract's 15 minutes (design §5.4).
pub const KEEP_GONE_MS: u64 = 15 * 60 * 1000;
/// How long what a silent node said is kept: longer than any repair that somebody works on.
const KEEP_SILENT_MS: u64 = 24 * 3600 * 1000;
/// How long a node must have been silent for this process before it is forgotten, whatever the dates say: more than a node takes to be heard again once
/// clocks are right.
pub const SEEN_SILENT: Duration = Duration::from_secs(600);
/// Changes of one sweep; the next has more.
const MOST: usize = 1000;
/// Sensors of one transaction: one may be 230 KB, and all of a transaction are read first.
const MOST_SENSORS: usize = 8;

/// Since when each node has been silent, as this process has seen it.
#[derive(Debug, Default)]
pub struct Silence {
    since: HashMap<Uuid, Instant>,
}

impl Silence {
    /// Looks who speaks.
    pub fn look(&mut self, catalogue: &Catalogue, now: Instant) {
        let silent = catalogue.nodes().into_iter().map(|node| node.id).filter(|id| !catalogue.is_reachable(*id));
        let since = |id| (id, self.since.get(&id).copied().unwrap_or(now));
        self.since = silent.map(since).collect();
    }

    fn is_long(&self, node: Uuid, now: Instant) -> bool {
        self.since.get(&node).is_some_and(|since| now.saturating_duration_since(*since) >= SEEN_SILENT)
    }
}

/// What is to be changed now: in ms since 1970 as records are dated, and by the clock that nobody sets.
pub fn sweep(catalogue: &Catalogue, now_ms: u64, silence: &Silence, now: Instant) -> Vec<Write> {
    let mut writes = Vec::new();
    for known in catalogue.claimed_twice() {
        let settled = settle((*known).clone(), catalogue, now_ms);
        if settled != *known {
            writes.push(Write::put(Some(Record::Instance(known)), settled));
        }
    }
    let old = catalogue.gone_before(now_ms.saturating_sub(KEEP_GONE_MS), MOST);
    writes.extend(old.into_iter().map(|gone| Write::remove(Record::Instance(gone))));
    for node in catalogue.nodes() {
        let Some(is_known_silent) = speech(&node, catalogue.is_reachable(node.id)) else { continue };
        match node.silent_since_ms {
            Some(since) if is_known_silent => {
                if now_ms.saturating_sub(since) > KEEP_SILENT_MS && silence.is_long(node.id, now) {
                    forget(catalogue, node.id, &mut writes);
                }
            }
            since => {
                let silent_since_ms = since.is_none().then_some(now_ms);
                let changed = Node { silent_since_ms, ..(*node).clone() };
                writes.push(Write::put(Some(Record::Node(node)), changed));
            }
        }
    }
    // Last: tenants wrote them, and nothing else is to wait for what they wrote.
    writes.extend(catalogue.ownerless_sensors().into_iter().map(|sensor| Write::remove(Record::Sensor(sensor))));
    writes.truncate(MOST);
    writes
}

/// The changes of a sweep in transactions that a store takes, in their order.
pub fn parts(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let is_sensor = |write: &Write| matches!(write.key, Key::Sensor(..));
    let (sensors, others): (Vec<_>, Vec<_>) = writes.into_iter().partition(is_sensor);
    others.chunks(MOST_WRITES).chain(sensors.chunks(MOST_SENSORS)).map(<[Write]>::to_vec).collect()
}

/// Of a node of which something is to be written: whether it is silent and known to be. Nodes that never report are never silent.
fn speech(node: &Node, speaks: bool) -> Option<bool> {
    match (speaks, node.silent_since_ms.is_some()) {
        _ if node.is_cmon => None,
        (true, false) => None,
        (false, true) => Some(true),
        (true, true) | (false, false) => Some(false),
    }
}

/// Its instances first, and itself when there is none left: unless the operator said something of it, which stays.
fn forget(catalogue: &Catalogue, id: Uuid, writes: &mut Vec<Write>) {
    let instances = catalogue.instances_on(id);
    let node = catalogue.node(id).filter(|node| node.accounts.is_none() && instances.is_empty());
    writes.extend(instances.into_iter().map(|instance| Write::remove(Record::Instance(instance))));
    writes.extend(node.map(|node| Write::remove(Record::Node(node))));
}

#[cfg(test)]
mod tests;
