//! The sandbox: loads sensors, runs them under limits, and keeps them in step with whoever scrapes.
//!
//! A [`Loader`] turns a file into a [`Sensor`]; a [`Policy`] and the sensor's manifest make a [`Grant`]; a [`Schedule`] runs each
//! placed sensor just ahead of the next scrape of its target, and its [`Slot`] holds what came of it. The only way out of a run is the
//! [`Broker`] it was given. This crate knows nothing of cgroups, of serving HTTP, or of who owns what.

#[cfg(feature = "bench")]
pub mod bare;
mod bindings;
mod broker;
mod capability;
mod check;
mod ctx;
mod direct;
mod engine;
mod failure;
mod grant;
mod limiter;
mod precheck;
mod rhythm;
mod run;
mod schedule;
mod sensor;
mod slot;

pub use broker::{Broker, BrokerError, BrokerFuture, Kstat, KstatValue, NoInstance, Process};
pub use check::{Collected, Extent, Reserved};
pub use ctx::{LOG_LINE_BYTES, LogLevel, LogLine};
pub use direct::DirectBroker;
pub use engine::EngineError;
pub use failure::{RunFailure, SensorReason};
pub use grant::{Grant, PathRule, Policy, PortRule, Refusal};
pub use precheck::{Digest, MAX_SENSOR_BYTES, PrecheckError, precheck};
pub use run::{RunInput, RunReport, Usage};
pub use schedule::{Placement, Schedule, TargetId};
pub use sensor::{LoadError, Loader, Sensor};
pub use slot::{Latest, Slot, Totals};
