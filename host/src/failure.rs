//! Why a run failed: a closed list, so that it can be a label.
//!
//! Each variant is one thing that an author or operator would do something different about. The word
//! from [`RunFailure::reason`] is the `reason` of `sonde_sensor_failures_total`; `Display` is the sentence
//! that the sensors' route and `sonde sensor test` show.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::escaped;

/// How a run can fail.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum RunFailure {
    #[error("used up its {limit} fuel")]
    Fuel { limit: u64 },
    #[error("took more than {limit:?} of CPU")]
    Cpu { limit: Duration },
    #[error("was not done within {limit:?}")]
    Deadline { limit: Duration },
    #[error("asked for more than its {limit_bytes} bytes of memory")]
    Memory { limit_bytes: u64 },
    #[error("recursed too deeply for its stack")]
    Stack,
    #[error("trapped: {message}")]
    Trap { message: String },
    #[error("passed more than {limit_bytes} bytes across the boundary in one call")]
    Boundary { limit_bytes: u64 },
    #[error("made more than {limit} host calls")]
    HostCalls { limit: u64 },
    #[error("held more than {limit} handles")]
    Handles { limit: u64 },
    #[error("returned more than {limit_bytes} bytes")]
    Result { limit_bytes: u64 },
    /// What it returned breaks the rules of an exposition, or its own description.
    #[error("returned what cannot be exposed: {message}")]
    Output { message: String },
    /// The sensor itself said so.
    #[error("{reason}: {message}")]
    Sensor { reason: SensorReason, message: String },
    /// Its imports and exports have the world's names and not its types. Said when it is loaded.
    #[error("does not fit the world sonde:sensor@0.1.0: {message}")]
    World { message: String },
    /// Not the sensor's fault: the node could not give it a place to run.
    #[error("could not be started: {message}")]
    Start { message: String },
    /// The process that it ran in ended. Another's run may have done that; this one is suspected with it.
    #[error("the runner ended while it ran: {message}")]
    Runner { message: String },
    /// A defect of the node, caught.
    #[error("the node failed while running it: {message}")]
    Internal { message: String },
}

/// The reasons that a sensor can give, as the world's `failure-reason` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum SensorReason {
    #[error("unreachable")]
    Unreachable,
    #[error("timeout")]
    Timeout,
    #[error("unauthorized")]
    Unauthorized,
    #[error("protocol")]
    Protocol,
    #[error("misconfigured")]
    Misconfigured,
    #[error("denied")]
    Denied,
    #[error("other")]
    Other,
}

impl RunFailure {
    /// One word, for the label. Every word is in [`RunFailure::REASONS`].
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Fuel { .. } => "fuel",
            Self::Cpu { .. } => "cpu",
            Self::Deadline { .. } => "deadline",
            Self::Memory { .. } => "memory",
            Self::Stack => "stack",
            Self::Trap { .. } => "trap",
            Self::Boundary { .. } => "boundary",
            Self::HostCalls { .. } => "host_calls",
            Self::Handles { .. } => "handles",
            Self::Result { .. } => "result",
            Self::Output { .. } => "output",
            Self::World { .. } => "world",
            Self::Start { .. } => "start",
            Self::Runner { .. } => "runner",
            Self::Internal { .. } => "internal",
            Self::Sensor { reason, .. } => match reason {
                SensorReason::Unreachable => "unreachable",
                SensorReason::Timeout => "timeout",
                SensorReason::Unauthorized => "unauthorized",
                SensorReason::Protocol => "protocol",
                SensorReason::Misconfigured => "misconfigured",
                SensorReason::Denied => "denied",
                SensorReason::Other => "other",
            },
        }
    }

    /// Every reason there is, in the order of the documentation.
    pub const REASONS: [&'static str; 22] = [
        "fuel",
        "cpu",
        "deadline",
        "memory",
        "stack",
        "trap",
        "boundary",
        "host_calls",
        "handles",
        "result",
        "output",
        "world",
        "start",
        "runner",
        "internal",
        "unreachable",
        "timeout",
        "unauthorized",
        "protocol",
        "misconfigured",
        "denied",
        "other",
    ];

    /// Whether the sensor itself broke a limit or a rule, which running it again at once will not mend. A server that
    /// does not answer is not such a thing, nor is the node's own trouble.
    pub fn is_misbehaviour(&self) -> bool {
        !matches!(self, Self::Sensor { .. } | Self::Start { .. } | Self::Runner { .. } | Self::Internal { .. })
    }

    /// The same with whatever a guest, or a runner that was taken over, may have put into its words made safe to print.
    pub(crate) fn tamed(mut self) -> Self {
        match &mut self {
            Self::Trap { message }
            | Self::Output { message }
            | Self::Sensor { message, .. }
            | Self::World { message }
            | Self::Start { message }
            | Self::Runner { message }
            | Self::Internal { message } => *message = tame(message),
            _ => {}
        }
        self
    }

    /// The place of this failure's reason in [`RunFailure::REASONS`].
    pub fn index(&self) -> usize {
        let reason = self.reason();
        Self::REASONS.iter().position(|known| *known == reason).expect("every reason is listed")
    }
}

/// Longest message of a guest's that is kept, in bytes.
const MESSAGE_BYTES: usize = 512;

/// A guest's own words, made safe to print: cut, and escaped as lines of the log are.
pub fn tame(message: &str) -> String {
    escaped(message, MESSAGE_BYTES)
}
