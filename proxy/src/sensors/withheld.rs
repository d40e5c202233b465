//! Which of a version's instances run without its secrets, and why: for the tenant, who otherwise sees a sensor that fails in words of its own.
//!
//! Secrets go to nodes for which the operator named the account, and open under the proxies' key. Instances are the tenant's own and are named; nodes are
//! counted, since which there are is the operator's to know.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use sonde_inventory::sensor::{Version, is_among};
use sonde_inventory::{AccountName, Instance, PushedSensor, State};
use uuid::Uuid;

use super::Sensors;
use super::placed::selected;

/// Instances that are named of one reason: enough to find the pattern; how many there are is said too.
const MOST_NAMED: usize = 16;

/// How many times an answer looks whether an instance runs a version: some 10 ms. Whoever pushed so many versions, and has so many instances, is told of
/// the first.
const MOST_LOOKS: usize = 20_000;

#[derive(Debug, Clone, Copy)]
enum Reason {
    NodeNotAllowed,
    CannotBeOpened,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::NodeNotAllowed => "node_not_allowed",
            Self::CannotBeOpened => "cannot_be_opened",
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::NodeNotAllowed => {
                "the operator has not named this account for the nodes of these instances, so no secrets go there: ask for \
                 `sonde node allow`"
            }
            Self::CannotBeOpened => {
                "the proxies have no key that opens a secret of this version: set it again with `PUT …/secrets`, or ask the \
                 operator for [sensors] secrets_key"
            }
        }
    }
}

/// An account's living instances, and those of them on nodes that get no secrets of its.
pub(crate) struct Withheld<'a> {
    sensors: &'a Sensors,
    living: Vec<Arc<Instance>>,
    without: BTreeSet<Uuid>,
    looks: Cell<usize>,
}

impl<'a> Withheld<'a> {
    pub(crate) fn from(sensors: &'a Sensors, account: &AccountName) -> Self {
        let mut living = sensors.catalogue().instances_of(account);
        living.retain(|instance| instance.state != State::Gone && !instance.is_claimed_twice());
        let nodes: BTreeSet<Uuid> = living.iter().map(|instance| instance.node).collect();
        let without = nodes.into_iter().filter(|node| !sensors.has_secrets(*node, account)).collect();
        Self { sensors, living, without, looks: Cell::new(MOST_LOOKS) }
    }

    /// Of a version of a sensor: a row for each reason that there is.
    pub(super) fn of(&self, sensor: &PushedSensor, version: &Version, is_next: bool) -> Vec<Value> {
        if version.secrets.is_empty() {
            return Vec::new();
        }
        let is_open = self.sensors.opens(sensor, version);
        if self.without.is_empty() && is_open {
            return Vec::new();
        }
        let runs_next = |instance: &Instance| {
            sensor.next.as_ref().is_some_and(|next| is_among(next.percent, &sensor.name, instance.id))
        };
        let runs =
            |instance: &Arc<Instance>| runs_next(instance) == is_next && sensor.selector.has(&selected(instance));
        let left = self.looks.get();
        self.looks.set(left.saturating_sub(self.living.len()));
        let running = self.living.iter().take(left).filter(|instance| runs(instance));
        let (without, with): (Vec<_>, Vec<_>) = running.partition(|instance| self.without.contains(&instance.node));
        let mut rows = vec![(Reason::NodeNotAllowed, without)];
        if !with.is_empty() && !is_open {
            rows.push((Reason::CannotBeOpened, with));
        }
        rows.into_iter().filter(|(_, all)| !all.is_empty()).map(|(reason, all)| row(reason, &all)).collect()
    }
}

fn row(reason: Reason, all: &[&Arc<Instance>]) -> Value {
    let nodes: BTreeSet<Uuid> = all.iter().map(|instance| instance.node).collect();
    let named: Vec<Uuid> = all.iter().take(MOST_NAMED).map(|instance| instance.id).collect();
    json!({ "reason": reason.name(), "why": reason.why(), "instances": named, "count": all.len(), "nodes": nodes.len() })
}
