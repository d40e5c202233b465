//! What agent and proxy share of listening: the accept loop, who is connected and who makes room, HTTP on a connection, the operator's routes, descriptors
//! kept for bad days, which certificates count between them, and the service manager.
//!
//! It knows nothing of what is served. Counting is the caller's: it is told what happened.

pub mod admin;
pub mod connections;
mod conversation;
mod descriptors;
mod entrance;
pub mod notify;
pub mod spare;
pub mod tier;

pub use connections::{Connections, Place};
pub use conversation::{Http, Http2};
pub use descriptors::raise_descriptors;
pub use entrance::{Entrance, Event, Guest, stopped};
pub use notify::Notify;
pub use spare::Spare;
