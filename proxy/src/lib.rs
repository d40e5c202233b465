//! The tenants' door: who asks, what they may see, how much, and where it is.
//!
//! It keeps nothing that another proxy would need: the catalogue is filled by a store, and what is counted here bounds this one alone. It does not
//! look into an exposition, and contains no wasmtime. What a caller may not see does not exist.

mod about;
mod access;
mod access_log;
mod account_target;
pub mod accounts;
mod admin;
pub mod api;
pub mod caller;
pub mod config;
pub mod development;
pub mod discovery;
mod flight;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod identity;
pub mod issue;
mod limits;
pub mod names;
mod proxy;
mod reload;
pub mod reports;
mod sensor_health;
pub mod sensors;
mod serve;
pub mod tls;
mod upstream;

pub use proxy::{Proxy, StartError};
pub use reload::Reloader;
pub use sonde_fault::chain;
