//! WebAssembly: the process that runs sensors, the one that compiles them, and nothing that either could misuse.
//!
//! [`process::run`] is a runner's life and [`compile::run`] a compile worker's: both close the jail around themselves first. Inside, a run is a fresh
//! instance under fuel, CPU, time, memory, call and byte limits, whose only way out is a [`Broker`]. [`LocalLoader`] does the
//! same in one process, for trials and tests. Without the feature `compiler` there is no Cranelift in it.

#[cfg(feature = "bench")]
pub mod bare;
mod bindings;
mod broker;
mod capability;
#[cfg(feature = "compiler")]
pub mod compile;
mod ctx;
mod direct;
mod engine;
mod fair;
mod give_back;
mod limiter;
#[cfg(feature = "compiler")]
mod local;
#[cfg(test)]
mod mirror;
#[cfg(feature = "compiler")]
mod pieces;
pub mod process;
mod remote;
mod run;

pub use broker::{Broker, BrokerFuture, NoInstance};
pub use direct::DirectBroker;
pub use engine::EngineError;
#[cfg(feature = "compiler")]
pub use local::{LocalError, LocalLoader, LocalSensor};
pub use run::RunInput;
