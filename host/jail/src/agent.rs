//! What the agent's own processes give up or ask for: capabilities but a list, and the kernel's
//! favour when memory runs out.
//!
//! The agent is not jailed, but its HTTP and TLS side has no use for root's capabilities. To be
//! called before the first thread, since the kernel's call changes one.

use std::{fs, io};

pub use rustix::thread::CapabilitySet;
use rustix::thread::{CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities};
use thiserror::Error;

use crate::{identity, process};

/// What the process wanted to be, and could not.
#[derive(Debug, Error)]
pub enum AgentError {
    #[error("the process has {threads} threads already, of which capabilities would be dropped for one only")]
    Threads { threads: usize },
    #[error("cannot drop capabilities from the bounding set")]
    Bounding(#[source] io::Error),
    #[error("cannot change the capabilities of the process")]
    Sets(#[source] io::Error),
    #[error("capabilities that were to be kept are not there: {missing:?}")]
    Missing { missing: CapabilitySet },
    #[error("cannot set no_new_privs")]
    NoNewPrivileges(#[source] io::Error),
    #[error("cannot write /proc/self/oom_score_adj")]
    OomScore(#[source] io::Error),
}

/// Drops all capabilities but `keep` from the permitted, effective and bounding sets, and all from
/// the inheritable and ambient ones; `keep` may be less than the process has, not more.
///
/// The bounding set keeps `keep` too, so a broker started from here can have them. A process that may
/// not change it (not root, or this was called before without keeping `SETPCAP`) still loses the
/// others, and gets [`AgentError::Bounding`].
pub fn keep_only(keep: CapabilitySet) -> Result<(), AgentError> {
    if let Some(threads) = process::threads().filter(|threads| *threads > 1) {
        return Err(AgentError::Threads { threads });
    }
    let sets = |errno: rustix::io::Errno| AgentError::Sets(errno.into());
    let permitted = capabilities(None).map_err(sets)?.permitted;
    let missing = keep.difference(permitted);
    if !missing.is_empty() {
        return Err(AgentError::Missing { missing });
    }
    // First, for it needs a capability that may not be kept; where it fails, the others go all the same.
    let bounding = identity::keep_in_bounding_set(keep);
    clear_ambient_capability_set().map_err(sets)?;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: keep, permitted: keep, inheritable }).map_err(sets)?;
    bounding.map_err(|errno| AgentError::Bounding(errno.into()))
}

/// Says that nothing this process executes may gain privileges; inherited, and never undone.
pub fn no_new_privileges() -> Result<(), AgentError> {
    rustix::thread::set_no_new_privs(true).map_err(|errno| AgentError::NoNewPrivileges(errno.into()))
}

/// How soon the kernel kills this process when memory runs out, -1000 (never) to 1000 (first).
/// Children inherit it. Going down needs CAP_SYS_RESOURCE.
pub fn oom_score_adj(value: i16) -> Result<(), AgentError> {
    fs::write("/proc/self/oom_score_adj", value.to_string()).map_err(AgentError::OomScore)
}
