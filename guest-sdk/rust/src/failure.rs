//! Why a run has nothing to return: a reason, which becomes a label of
//! `sonde_sensor_failures_total`, and a sentence for whoever reads `GET /v1/INSTANCE/sensors`.
//!
//! Errors of the doors turn into failures by `?`, with a reason that fits. `std::io::Error` does too, so that
//! `Read` and `Write` of a stream need no wrapping.

use crate::raw::types;

pub use crate::raw::types::FailureReason as Reason;

/// A failure of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The word that is counted.
    pub reason: Reason,
    /// One sentence; cut by the node where it is long.
    pub message: String,
}

impl Failure {
    /// A failure with a reason and a sentence.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// What the peer answered is not what the sensor understands.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(Reason::Protocol, message)
    }

    /// The sensor's configuration is wrong.
    pub fn misconfigured(message: impl Into<String>) -> Self {
        Self::new(Reason::Misconfigured, message)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let reason = match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Reason::Timeout,
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Reason::Unreachable,
            ErrorKind::PermissionDenied => Reason::Denied,
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::ConnectionReset => Reason::Protocol,
            _ => Reason::Other,
        };
        Self::new(reason, error.to_string())
    }
}

pub(crate) fn record(failure: Failure) -> types::Failure {
    types::Failure { reason: failure.reason, message: failure.message }
}
