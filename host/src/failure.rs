//! Why a run failed: a closed list, so that it can be a label.
//!
//! Each variant is one thing that an author or operator would do something different about. The word
//! from [`RunFailure::reason`] is the `reason` of `sonde_sensor_failures_total`; `Display` is the sentence
//! that the sensors' route and `sonde sensor test` show.

use std::time::Duration;

use crate::bindings::sonde::sensor::types::FailureReason;

/// A limit that the host itself keeps count of. Carried through wasmtime as the error that traps the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitHit {
    #[error("too many host calls")]
    HostCalls,
    #[error("asked for memory over the limit without end")]
    Memory,
}

/// How a run can fail.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RunFailure {
    #[error("used up its {limit} fuel")]
    Fuel { limit: u64 },
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
    /// What it returned breaks the rules of an exposition, or its own description.
    #[error("returned what cannot be exposed: {message}")]
    Output { message: String },
    /// The sensor itself said so.
    #[error("{reason}: {message}")]
    Sensor { reason: SensorReason, message: String },
    /// Not the sensor's fault: the node could not give it a place to run.
    #[error("could not be started: {message}")]
    Start { message: String },
    /// A defect of the node, caught.
    #[error("the node failed while running it: {message}")]
    Internal { message: String },
}

/// The reasons that a sensor can give, as the world's `failure-reason` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
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

impl From<FailureReason> for SensorReason {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::Unreachable => Self::Unreachable,
            FailureReason::Timeout => Self::Timeout,
            FailureReason::Unauthorized => Self::Unauthorized,
            FailureReason::Protocol => Self::Protocol,
            FailureReason::Misconfigured => Self::Misconfigured,
            FailureReason::Denied => Self::Denied,
            FailureReason::Other => Self::Other,
        }
    }
}

impl RunFailure {
    /// One word, for the label. Every word is in [`RunFailure::REASONS`].
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Fuel { .. } => "fuel",
            Self::Deadline { .. } => "deadline",
            Self::Memory { .. } => "memory",
            Self::Stack => "stack",
            Self::Trap { .. } => "trap",
            Self::Boundary { .. } => "boundary",
            Self::HostCalls { .. } => "host_calls",
            Self::Output { .. } => "output",
            Self::Start { .. } => "start",
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
    pub const REASONS: [&'static str; 17] = [
        "fuel",
        "deadline",
        "memory",
        "stack",
        "trap",
        "boundary",
        "host_calls",
        "output",
        "start",
        "internal",
        "unreachable",
        "timeout",
        "unauthorized",
        "protocol",
        "misconfigured",
        "denied",
        "other",
    ];

    /// The place of this failure's reason in [`RunFailure::REASONS`].
    pub fn index(&self) -> usize {
        let reason = self.reason();
        Self::REASONS.iter().position(|known| *known == reason).expect("every reason is listed")
    }
}

/// Longest message of a guest's that is kept, in bytes.
pub(crate) const MESSAGE_BYTES: usize = 512;

/// A guest's own words, made safe to print: cut, and with control characters escaped.
pub(crate) fn tame(message: &str) -> String {
    message[..message.floor_char_boundary(MESSAGE_BYTES)]
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
