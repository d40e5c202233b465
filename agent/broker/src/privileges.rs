//! Which capabilities each of the two root processes keeps, and why.
//!
//! Called before either has a second thread. Without root there is nothing to give up.

use rustix::thread::capabilities;
use sonde_jail::agent::{CapabilitySet, keep_only};
use sonde_listen::raise_descriptors;

use crate::favour;

/// The broker's: entering namespaces and making empty ones (`SYS_ADMIN`), becoming an instance or nobody (`SETUID`, `SETGID`, `SETPCAP`),
/// looking at any process (`SYS_PTRACE`) and through any directory (`DAC_READ_SEARCH`, and `DAC_OVERRIDE`, which it hands on to a thread that
/// becomes an instance which has it), ending what it started (`KILL`), raising the limits of that (`SYS_RESOURCE`).
const BROKERS: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SYS_RESOURCE);

/// The agent's, which only reads and serves: looking at any process, reading any file, writing its own in whosever folder they are, and a low port.
const AGENTS: CapabilitySet = CapabilitySet::SYS_PTRACE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// Asks the kernel for its favour, then gives up all but what the agent needs. To be called once the broker has been started.
pub fn keep_agents() {
    let for_memory = favour::ask("agent", CapabilitySet::IPC_LOCK);
    raise_descriptors();
    keep("agent", AGENTS | for_memory);
}

pub(crate) fn keep_brokers() {
    favour::ask("broker", CapabilitySet::empty());
    keep("broker", BROKERS);
}

fn keep(who: &str, wanted: CapabilitySet) {
    let Ok(now) = capabilities(None) else { return };
    if now.permitted.is_empty() {
        return;
    }
    if let Err(error) = keep_only(wanted & now.permitted) {
        tracing::warn!(who, error = sonde_host::chain(&error), "not all privileges could be given up");
    }
}
