//! What agent and proxy share of listening: who is connected and who makes room, the operator's routes, descriptors kept for bad days, which certificates
//! count between them, and the service manager.
//!
//! It knows nothing of what is served. Counting is the caller's: what happened is returned.

pub mod admin;
pub mod connections;
mod descriptors;
pub mod notify;
pub mod spare;
pub mod tier;

pub use connections::{Connections, Place};
pub use descriptors::raise_descriptors;
pub use notify::Notify;
pub use spare::{Spare, is_want_of_descriptors, is_want_of_the_node};
