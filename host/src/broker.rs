//! What a run is given from outside, as values, and why it is not.
//!
//! The processes that give it are elsewhere: descriptors, secrets and lists of processes come from the broker, kstats from the
//! agent's own readings. These types are what the three have in common.

use serde::{Deserialize, Serialize};

/// Why the broker did not open or answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum BrokerError {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    #[error("not within the time given")]
    Timeout,
    #[error("no such file")]
    NotFound,
    /// Not a regular file, or not readable with the instance's credentials.
    #[error("not a readable regular file")]
    NotReadable,
    /// Against the rules of design §5.7; the sentence names the rule.
    #[error("{0}")]
    Denied(String),
    /// The instance went away.
    #[error("the instance is gone")]
    Gone,
    #[error("{0}")]
    Other(String),
}

/// A statistic's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum KstatValue {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
}

/// A kernel statistic group: module, name, and values by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kstat {
    pub module: String,
    pub name: String,
    pub statistics: Vec<(String, KstatValue)>,
}

/// One process of the instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    pub state: char,
    pub threads: u32,
    pub resident_bytes: u64,
    pub cpu_ms: u64,
    pub started_unix_ms: u64,
}
