//! What became of sensors that proxies assigned here, for their accounts: taken or refused, and on how many instances each runs and fails.
//!
//! A version that is still being loaded has no row. A refusal is the file's (it is no sensor of ours) or an instance's (settings, policy, a family that another has), in the
//! words that the log has too.

use std::collections::BTreeMap;
use std::sync::Arc;

use sonde_host::Digest;
use sonde_inventory::assignment::{MOST_STANDINGS, REFUSAL_BYTES, SensorStanding};
use sonde_inventory::{AccountName, ArtifactDigest, SensorName};

use crate::instance::Instance;
use crate::pushed::PushedSensors;

/// Where an operator's sensor takes the name.
const TAKEN: &str =
    "the operator runs a sensor of this name on this node, which goes first: push it under another name";

type Key = (AccountName, SensorName, Digest);

/// The rows, by account, name and digest, as many as a report takes; and how many more there would be.
pub(super) fn of(pushed: &PushedSensors, instances: &[Arc<Instance>]) -> (Vec<SensorStanding>, usize) {
    let mut left_out = 0;
    let mut rows: BTreeMap<Key, SensorStanding> = BTreeMap::new();
    for (account, sensor, digest, became) in pushed.listed() {
        let (Some(became), Ok(account)) = (became, AccountName::new(account)) else { continue };
        if rows.len() >= MOST_STANDINGS {
            left_out += 1;
            continue;
        }
        let refused = became.err().map(in_words);
        let row = SensorStanding {
            account: account.clone(),
            name: sensor.name.clone(),
            sha256: ArtifactDigest(digest.0),
            refused,
            running: 0,
            failing: 0,
        };
        rows.insert((account, sensor.name.clone(), digest), row);
    }
    for instance in instances {
        count(instance, &mut rows);
    }
    (rows.into_values().collect(), left_out)
}

fn count(instance: &Instance, rows: &mut BTreeMap<Key, SensorStanding>) {
    let Ok(account) = AccountName::new(&instance.owner) else { return };
    for placed in instance.placed().iter() {
        let Ok(name) = SensorName::new(&placed.name) else { continue };
        let Some(digest) = placed.assigned else {
            let of_name = rows.iter_mut().filter(|((owner, own, _), _)| *owner == account && *own == name);
            of_name.for_each(|(_, row)| row.refused = Some(TAKEN.to_owned()));
            continue;
        };
        if let Some(slot) = &placed.slot
            && let Some(row) = rows.get_mut(&(account.clone(), name.clone(), slot.sensor.digest))
        {
            row.running = row.running.saturating_add(1);
            row.failing = row.failing.saturating_add(u32::from(!slot.is_up()));
        }
        if let (Some(fault), Some(row)) = (&placed.fault, rows.get_mut(&(account.clone(), name, digest))) {
            row.refused.get_or_insert_with(|| in_words(fault));
        }
    }
}

/// Within what a report takes.
fn in_words(fault: &str) -> String {
    let mut words: String = fault.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    words.truncate(words.floor_char_boundary(REFUSAL_BYTES));
    words
}
