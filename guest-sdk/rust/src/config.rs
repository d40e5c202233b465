//! Configuration: what the operator or the account set for this sensor on this instance, with the manifest's
//! defaults below.
//!
//! Always allowed. The node has checked each value against its type in `[config.KEY]`, so the typed
//! readers here fail only where the manifest says something else than the code.

use crate::Failure;
use crate::http::Url;
use crate::raw;

/// A value as text; `None` where it is optional and not given.
pub fn get(key: &str) -> Option<String> {
    raw::config::get(key)
}

/// A value that must be there.
///
/// # Errors
/// It is not: a failure of reason `misconfigured`, like all in this module.
pub fn text(key: &str) -> Result<String, Failure> {
    get(key).ok_or_else(|| Failure::misconfigured(["the configuration key ", key, " is not given"].concat()))
}

fn parsed<T>(key: &str, kind: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
    let value = text(key)?;
    parse(&value).ok_or_else(|| {
        Failure::misconfigured(["the configuration key ", key, " is ", &value, ", which is not ", kind].concat())
    })
}

/// A port.
///
/// # Errors
/// It is missing or not 1 to 65535.
pub fn port(key: &str) -> Result<u16, Failure> {
    parsed(key, "a port", |text| text.parse().ok().filter(|port| *port > 0))
}

/// A whole number.
///
/// # Errors
/// It is missing or not one.
pub fn integer(key: &str) -> Result<i64, Failure> {
    parsed(key, "a whole number", |text| text.parse().ok())
}

/// True or false.
///
/// # Errors
/// It is missing or neither.
pub fn boolean(key: &str) -> Result<bool, Failure> {
    parsed(key, "true or false", |text| text.parse().ok())
}

/// A URL.
///
/// # Errors
/// It is missing or not one.
pub fn url(key: &str) -> Result<Url, Failure> {
    parsed(key, "an http URL", Url::parse)
}
