//! Unix stream sockets by path under the instance's root.
//!
//! Manifest: `[capabilities] unix = ["/run/redis/redis.sock", "$socket"]`.

use std::time::Duration;

use crate::raw;
use crate::stream::{Connection, DEFAULT_TIMEOUT, Error, milliseconds};

/// Connects, with [`DEFAULT_TIMEOUT`] for it and for each later read and write.
///
/// # Errors
/// Nobody listens, it takes too long, or the grant does not hold the path.
pub fn connect(path: &str) -> Result<Connection, Error> {
    connect_within(path, DEFAULT_TIMEOUT)
}

/// Connects within a time, which then holds for each later read and write.
///
/// # Errors
/// As [`connect`].
pub fn connect_within(path: &str, timeout: Duration) -> Result<Connection, Error> {
    Ok(Connection::new(raw::unix::connect(path, milliseconds(timeout))?))
}
