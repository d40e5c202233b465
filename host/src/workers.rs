//! The seam to whoever starts the sandbox's processes: the broker in an agent, plain children in tests and benchmarks.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use sonde_manifest::Class;

use crate::ticket::RunnerNumber;

/// Who shares a runner. Runs of one room never meet those of another in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room {
    pub class: Class,
    pub sharing: Sharing,
}

/// With whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sharing {
    /// All accounts, of their sensors those that cost little.
    Light,
    /// All accounts, of their sensors those that cost more, or break limits; and descriptions, of which nothing is known yet.
    Heavy,
    /// This account alone.
    Account(u64),
    /// Nobody: sensors that a runner may have died of, one run at a time.
    Solitary,
}

impl Sharing {
    /// Whether others' runs should not have to wait for what runs in there.
    pub fn gives_way(self) -> bool {
        matches!(self, Self::Heavy | Self::Solitary)
    }
}

/// A process that was started.
#[derive(Debug)]
pub struct Started {
    pub number: RunnerNumber,
    /// The agent's end of its channel.
    pub socket: OwnedFd,
}

/// Why a process was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotStarted(pub String);

/// What starting resolves to. Who drops it has given up waiting: what starts after all is the implementor's to end.
pub type Starting<'a> = Pin<Box<dyn Future<Output = Result<Started, NotStarted>> + Send + 'a>>;

/// Starts and ends the processes that run and compile what is not trusted.
pub trait Workers: Send + Sync {
    /// A runner for a room.
    fn start_runner(&self, room: Room) -> Starting<'_>;
    /// A compile worker for one component.
    fn start_compiler(&self) -> Starting<'_>;
    /// Ends a process, whatever it does. Ending one that is gone does nothing.
    fn kill(&self, number: RunnerNumber);
}
