//! What a configuration makes of what is on this machine: for `sonde agent --check --instances`.
//!
//! It looks once, changes nothing, and asks no agent, so that a rule can be tried before it is in force. What only root can see
//! of other users' cgroups is missing where somebody else asks.

use std::path::Path;
use std::sync::Arc;

use sonde_collect::mounts::RootsError;
use sonde_collect::{Discovery, Found, NodeId, Roots, Runtime};

use crate::config::Config;
use crate::keeper;
use crate::node_id::MACHINE_ID;
use crate::owners::{self, Owner};

/// Ids are derived from the node's; where it has none they are of no use to anybody, and only this look sees them.
const NO_NODE: &str = "check";

/// A line for each instance there is, for each one left out, and for each claim that is refused, sorted.
pub fn instances_here(config: &Config) -> Result<String, RootsError> {
    let configured = config.node_id.as_deref().and_then(|id| NodeId::new(id).ok());
    let node = configured
        .or_else(|| NodeId::of_machine(Path::new(MACHINE_ID)).ok())
        .or_else(|| NodeId::new(NO_NODE).ok())
        .expect("a plain word is a node's id");
    let mut discovery = Discovery::new(Arc::new(Roots::of_this_machine()?), keeper::discovery_config(&node, config));
    discovery.scan();
    Ok(lines(&discovery, config))
}

fn lines(discovery: &Discovery, config: &Config) -> String {
    let left_out = |found: &Arc<Found>| format!("{}: left out {}", shown(found), why(discovery, found));
    let is_one = |found: &Arc<Found>| {
        let Owner { account, rule } = owners::owner(found, config);
        let (taken, owned) = (why(discovery, found), by_rule("owner", rule));
        format!("{}: an instance {taken}, owned by {account} {owned}", shown(found))
    };
    let refused =
        discovery.refusals().map(|refusal| format!("refused as {}: {}", refusal.reason.as_str(), refusal.what));
    let missing = discovery.missing_groups().iter().map(|group| format!("process-group {}: not there", group.name));
    let mut ours: Vec<String> = discovery.instances().map(is_one).chain(discovery.left_out().map(left_out)).collect();
    let mut others: Vec<String> = refused.chain(missing).collect();
    ours.sort();
    others.sort();
    // A tenant may have named a part of it, and must not write lines of his own.
    ours.into_iter().chain(others).map(|line| format!("{}\n", line.escape_debug())).collect()
}

/// What it is called: the runtime and its id, the name beside it, the cgroup.
fn shown(found: &Found) -> String {
    let name = &found.name;
    let beside = name.name.as_deref().filter(|beside| *beside != name.runtime_id);
    let beside = beside.map(|beside| format!(" ({beside})")).unwrap_or_default();
    format!("{} {}{beside} in {}", name.runtime.as_str(), name.runtime_id, found.cgroup_path)
}

fn why(discovery: &Discovery, found: &Found) -> String {
    match found.name.runtime {
        Runtime::ProcessGroup => "by [[process_group]]".into(),
        _ => by_rule("instance", discovery.rule_of(found.name.uuid)),
    }
}

fn by_rule(list: &str, rule: Option<usize>) -> String {
    rule.map_or_else(|| "by default".into(), |at| format!("by [[{list}]] {}", at + 1))
}
