//! What one caller may see of the catalogue, at one moment, and what of that is asked for.
//!
//! A list is the caller's account's instances, less those that the credential is not for. One that has ended stays in it for
//! [`LISTED_AFTER_END`], as the door answers for it that long: a target that vanished with its container would leave no `up` that is 0.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sonde_inventory::{Catalogue, Instance, Node};

use super::query::Selection;
use crate::caller::Caller;

/// The contract's 15 minutes.
pub const LISTED_AFTER_END: Duration = Duration::from_secs(15 * 60);

/// A caller's instances of a selection, by id.
pub(super) fn instances(
    caller: &Caller,
    catalogue: &Catalogue,
    selection: &Selection,
    now: SystemTime,
) -> Vec<Arc<Instance>> {
    let mut all = catalogue.instances_of(&caller.account.name);
    all.retain(|instance| {
        caller.is_for_groups(&instance.groups) && is_listed(instance, now) && selection.has(instance)
    });
    all
}

/// The nodes that a caller may see, by id: to whoever is no operator there are none, which is an answer and no error.
pub(super) fn nodes(caller: &Caller, catalogue: &Catalogue) -> Vec<Arc<Node>> {
    if caller.is_operator() { catalogue.nodes() } else { Vec::new() }
}

/// Whether an instance is among the targets: while it lives, and for a while after.
pub(crate) fn is_listed(instance: &Instance, now: SystemTime) -> bool {
    leaves_at(instance).is_none_or(|leaves| now < leaves)
}

/// When an instance leaves the lists without another word of its node.
pub(super) fn leaves_at(instance: &Instance) -> Option<SystemTime> {
    let ended = instance.ended_at_ms.filter(|_| !instance.state.is_alive())?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ended))?.checked_add(LISTED_AFTER_END)
}

/// What people call it.
pub(crate) fn alias(instance: &Instance) -> &str {
    if instance.alias.is_empty() { &instance.name } else { &instance.alias }
}
