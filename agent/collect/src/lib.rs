//! Finding instances and reading the kernel about them: the native half of the agent.
//!
//! Everything here is a plain reader over root paths ([`Roots`]): no async, no HTTP, no sandbox. A
//! test hands it a fixture tree, the agent hands it the machine. The order of use is
//! [`Discovery`] (which instances are there) → [`InstanceReader`] (one [`Reading`] of one of them)
//! → [`state::judge`] (running or out of what) → [`families`] (the exposition's names) or
//! [`kstats`] (what a sensor sees).
//!
//! Numbers are kept apart from names: `reading` knows units and absence, `families` alone knows what
//! a dashboard calls them. A value that the kernel does not give is `None`, never 0.

pub mod bytes;
pub mod cgroup_v1;
pub mod cgroup_v2;
pub mod dataset;
pub mod described;
pub mod discover;
pub mod families;
pub mod found;
pub mod groups;
pub mod identity;
pub mod kstats;
pub mod leader;
pub mod limits;
pub mod listeners;
pub mod matching;
pub mod metadata;
pub mod mounts;
pub mod names;
pub mod netdev;
pub mod node;
pub mod node_families;
pub mod pressure;
pub mod process;
pub mod reader;
pub mod reading;
pub mod rules;
pub mod runc;
pub mod runtime;
pub mod source;
pub mod space;
pub mod state;
pub mod template;
pub mod transport;
pub mod triton;
pub mod walk;
pub mod watcher;

mod cgroup_reader;
mod claims;
mod descriptors;
mod group_reader;
mod led;
mod members;
mod path_bytes;
mod plan;
mod root_file;
mod starvation;
mod states;

pub use claims::{Refusal, RefusalReason};
pub use discover::{Change, Discovery, DiscoveryConfig};
pub use found::{CgroupDirs, Found, Kind};
pub use groups::{GroupSource, ProcessGroup};
pub use identity::{InstanceName, NodeId};
pub use leader::Leader;
pub use matching::{Match, Subject};
pub use metadata::{Metadata, Pod};
pub use mounts::{Mode, Roots};
pub use names::Names;
pub use reader::{FdBudget, InstanceReader};
pub use reading::{Gone, Reading};
pub use rules::{InstanceRule, Rules};
pub use runtime::Runtime;
pub use state::{InstanceState, Judgement, Reason, Resource};
pub use template::Template;
pub use watcher::Watcher;
