//! Thousands of sensors, honest and hostile, through the real schedule, broker and runners, and what that costs.
//!
//! The parts are the product's own: code cache and compile workers, schedule, broker with its doors and tickets, jailed runners. What is made up are
//! the instances: small TCP servers in network namespaces of their own. A [`Plan`] says how many of what, [`run`] carries it out and
//! measures: how late and how long runs were, what each kind of process took of CPU and memory. `cargo xtask bench` and `cargo xtask soak`
//! drive it; a short soak is a test.

mod measure;
mod node;
mod plan;
mod processes;
mod server;

pub use measure::{Figures, Spread};
pub use node::{LoadError, Node, Part, Started};
pub use plan::{Behaviour, Group, Plan};
pub use processes::{Cost, Usage};
pub use server::serve;
