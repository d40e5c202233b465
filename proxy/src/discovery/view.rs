//! What one caller may see of the catalogue, at one moment, and what of that is asked for.
//!
//! A list is the caller's account's instances, less those that the credential is not for. One that has ended stays in it for
//! [`crate::access::REMEMBERED`], as the door answers for it that long: a target that vanished with its container would leave no `up` that is 0.

use std::sync::Arc;
use std::time::SystemTime;

use sonde_inventory::{Catalogue, Instance, Node};

use super::query::Selection;
use crate::access::is_remembered;
use crate::caller::Caller;

/// A caller's instances of a selection, by id.
pub(super) fn instances(
    caller: &Caller,
    catalogue: &Catalogue,
    selection: &Selection,
    now: SystemTime,
) -> Vec<Arc<Instance>> {
    let mut all = catalogue.instances_of(&caller.account.name);
    all.retain(|instance| {
        caller.is_for_groups(&instance.groups) && is_remembered(instance, now) && selection.has(instance)
    });
    all
}

/// The nodes that a caller may see, by id: to whoever is no operator there are none, which is an answer and no error.
pub(super) fn nodes(caller: &Caller, catalogue: &Catalogue) -> Vec<Arc<Node>> {
    if caller.is_operator() { catalogue.nodes() } else { Vec::new() }
}
