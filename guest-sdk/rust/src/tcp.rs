//! TCP to a port of the instance, inside its own network namespace: a server bound to the container's
//! loopback is reached without a published port.
//!
//! Manifest: `[capabilities] tcp = ["$port"]`. There is no host to name: it is always the instance.

use std::time::Duration;

use crate::raw;
use crate::stream::{Connection, DEFAULT_TIMEOUT, Error, milliseconds};

/// Connects, with [`DEFAULT_TIMEOUT`] for it and for each later read and write.
///
/// # Errors
/// Nobody listens, it takes too long, or the grant does not hold the port.
pub fn connect(port: u16) -> Result<Connection, Error> {
    connect_within(port, DEFAULT_TIMEOUT)
}

/// Connects within a time, which then holds for each later read and write.
///
/// # Errors
/// As [`connect`].
pub fn connect_within(port: u16, timeout: Duration) -> Result<Connection, Error> {
    Ok(Connection::new(raw::tcp::connect(port, milliseconds(timeout))?))
}
