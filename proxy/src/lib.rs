//! The tenants' door: who asks, what they may see, how much, and where it is.
//!
//! It keeps nothing that another proxy would need: the catalogue is filled by a store, and what is counted here bounds this one alone. It does not
//! look into an exposition, and contains no wasmtime. What a caller may not see does not exist.

pub mod accounts;
pub mod caller;
pub mod identity;
pub mod issue;
pub mod reports;
pub mod tls;
