//! Finding instances and reading the kernel about them: the native half of the agent.
//!
//! Everything here is a plain reader over root paths ([`Roots`]): no async, no HTTP, no sandbox. A
//! test hands it a fixture tree, the agent hands it the machine. The order of use is
//! [`Discovery`] (which instances are there) → [`InstanceReader`] (one [`Reading`] of one of them)
//! → [`state::judge`] (running or out of what) → [`families`] (the exposition's names) or
//! [`kstats`] (what a sensor sees).
//!
//! What a reading is, what it means and what it is called are the same on every system. Where its numbers come from is not: Linux has cgroups
//! and `/proc`, and these modules are there alone; illumos has zones and kstats ([`illumos`]), of which all but the system calls is
//! everywhere.
//!
//! Numbers are kept apart from names: `reading` knows units and absence, `families` alone knows what
//! a dashboard calls them. A value that the kernel does not give is `None`, never 0.

pub mod bytes;
pub mod described;
pub mod families;
pub mod illumos;
pub mod kstats;
pub mod names;
pub mod reading;
pub mod state;
pub mod transport;
pub mod zfs;

// Only to be left out as one: its modules are the crate's own, and their files stand beside this one.
#[cfg(target_os = "linux")]
#[path = "."]
mod linux {
    pub mod cgroup_v1;
    pub mod cgroup_v2;
    pub mod dataset;
    pub mod discover;
    pub mod events;
    pub mod found;
    pub mod groups;
    pub mod identity;
    pub mod leader;
    pub mod limits;
    pub mod listeners;
    pub mod matching;
    pub mod metadata;
    pub mod mounts;
    pub mod netdev;
    pub mod node;
    pub mod node_families;
    pub mod pressure;
    pub mod process;
    pub mod reader;
    pub mod rules;
    pub mod runc;
    pub mod runtime;
    pub mod source;
    pub mod space;
    pub mod template;
    pub mod triton;
    pub mod unheard;
    pub mod walk;
    pub mod watcher;

    pub(crate) mod cgroup_reader;
    pub(crate) mod claims;
    pub(crate) mod descriptors;
    pub(crate) mod group_reader;
    pub(crate) mod led;
    pub(crate) mod lives;
    pub(crate) mod members;
    pub(crate) mod path_bytes;
    pub(crate) mod plan;
    pub(crate) mod processes;
    pub(crate) mod root_file;
    pub(crate) mod starvation;
    pub(crate) mod states;

    pub use claims::{Refusal, RefusalReason};
    pub use discover::{Change, Discovery, DiscoveryConfig};
    pub use events::Events;
    pub use found::{CgroupDirs, Found, Kind};
    pub use groups::{GroupSource, ProcessGroup};
    pub use identity::{InstanceName, NodeId};
    pub use leader::Leader;
    pub use matching::{Match, Subject};
    pub use metadata::{Metadata, Pod};
    pub use mounts::{Mode, Roots};
    pub use reader::{FdBudget, InstanceReader};
    pub use rules::{InstanceRule, Rules};
    pub use runtime::Runtime;
    pub use template::Template;
    pub use watcher::Watcher;
}

#[cfg(target_os = "linux")]
pub use linux::*;
pub use names::Names;
pub use reading::{Gone, Reading};
pub use state::{InstanceState, Judgement, Reason, Resource};
