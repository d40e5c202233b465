//! What is to run: groups of sensors, each of one file, of so many digests and accounts.

use std::path::PathBuf;
use std::time::Duration;

use sonde_host::{Share, StandingRules};

/// What a group of sensors is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Measured.
    Honest,
    /// Only there to disturb.
    Hostile,
}

/// Sensors alike.
#[derive(Debug, Clone)]
pub struct Group {
    pub file: PathBuf,
    pub behaviour: Behaviour,
    pub sensors: usize,
    /// Accounts that they are spread over, named `NAME-0`, `NAME-1`, ….
    pub accounts: usize,
    pub name: &'static str,
    /// Different files that they are spread over.
    pub digests: usize,
    pub interval: Duration,
    /// Settings of the sensor.
    pub config: Vec<(String, String)>,
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The binary that broker, runners and compile workers are.
    pub sonde: PathBuf,
    /// The program that serves the instances: it is called with `serve`.
    pub server: PathBuf,
    pub groups: Vec<Group>,
    pub share: Share,
    pub standing: StandingRules,
    /// Instances with a TCP server; the sensors are spread over them.
    pub servers: usize,
    /// How long is waited before anything is measured, and how long is measured.
    pub warm_up: Duration,
    pub measured: Duration,
}
