//! The broker: the one small process that keeps the privileges.
//!
//! It opens what a run may touch, and it starts the processes that run and compile what is not trusted. Whoever asks for an opening
//! shows a ticket, which only the agent can write, for a run that the agent has started; what it opens is decided by the doors that
//! the agent has told it of *and* by what the kernel says of the instance at that moment. It parses nothing of a tenant's but those requests, serves
//! no network, and holds no results. `process` is its life, [`Client`] the agent's end of it.
#![forbid(unsafe_code)]

mod client;
mod doors;
pub mod favour;
mod opening;
mod privileges;
mod process;
mod protocol;
mod runner_channel;
mod spawn;
mod users;

pub use client::{Client, ClientError, Launched, OpenDoors, launch};
pub use privileges::keep_agents;
pub use process::{BrokerProcessError, run};
pub use protocol::Doors;
pub use sonde_listen::raise_descriptors;
