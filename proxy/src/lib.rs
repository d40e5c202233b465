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

use std::error::Error;
use std::fmt::Write;

pub use proxy::{Proxy, StartError};
pub use reload::Reloader;

/// An error and all that is behind it, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}
