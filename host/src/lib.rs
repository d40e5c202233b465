//! The sandbox as the agent has it: loads sensors, decides what they may do, runs them in other processes in step with whoever
//! scrapes, and judges what comes back.
//!
//! A [`Loader`] turns a file into a [`Sensor`]; a [`Policy`] and the sensor's manifest make a [`Grant`]; a [`Schedule`] runs each
//! placed sensor just ahead of the next scrape of its target, in a runner that [`Workers`] start, and its [`Slot`] holds what
//! came of it. WebAssembly itself is in `runner/` (`sonde-runner`): this crate links no wasmtime, so what an escape would need is not in the agent's
//! process at all. It knows nothing of cgroups, of serving HTTP, or of how an instance's owner is decided.

mod accounts;
mod broker;
mod check;
mod code_cache;
mod compiling;
mod digest;
mod failure;
mod grant;
mod loader;
mod outcome;
mod pace;
mod precheck;
mod rhythm;
mod schedule;
mod sensor;
mod slot;
mod standing;
mod ticket;
pub mod wire;
mod workers;

pub use accounts::{Account, AccountUsage, Accounts, Held, Share};
pub use broker::{BrokerError, Kstat, KstatValue, Process};
pub use check::{Churn, Collected, Extent, Reserved};
pub use code_cache::{CodeCache, CodeCacheError, CodeKey};
pub use compiling::{CompileError, Compiling};
pub use digest::Digest;
pub use failure::{RunFailure, SensorReason, tame};
pub use grant::{Grant, PathRule, Policy, PortRule, Refusal};
pub use loader::{LoadError, Loader};
pub use outcome::{LOG_LINE_BYTES, LogLevel, LogLine, RunReport, Usage, escaped};
pub use precheck::{
    CORE_INSTANCES, MAX_SENSOR_BYTES, MEMORIES, MEMORIES_OF_MODULE, PrecheckError, ShapeError, TABLE_ELEMENTS, TABLES,
    TABLES_OF_MODULE, precheck,
};
pub use schedule::{
    DESCRIPTIONS, Facts, LOADED, Patience, Placement, RUNNER_MEMORY_BYTES, RunnersFor, Schedule, Settings, TargetId,
    places,
};
pub use sensor::Sensor;
pub use slot::{Kernel, KstatsFuture, LastFailure, Latest, Slot, Totals};
pub use sonde_fault::chain;
pub use standing::{Quarantine, Standing, StandingRules};
pub use ticket::{DoorsNumber, RunnerNumber, Ticket, TicketKey, monotonic_now};
pub use workers::{NotStarted, Room, Sharing, Started, Starting, Workers};
