//! Single values as text: durations, sizes, names, paths, ports, URLs.
//!
//! Each function checks one value and says in a few words what is allowed; the caller puts the key
//! before it. Nothing is trimmed or repaired: what is shown later is what was written.

use std::time::Duration;

/// Longer than any configuration value in use, short enough to keep a manifest readable.
pub(crate) const MAX_VALUE_BYTES: usize = 4096;
/// Names of sensors, configuration keys and secrets: a DNS label's length.
pub(crate) const MAX_NAME_BYTES: usize = 63;
/// Linux's PATH_MAX, with its NUL.
const MAX_PATH_BYTES: usize = 4095;

/// `[a-z][a-z0-9-]{0,62}`, the form of a sensor's name; keys and secrets may have `_` too.
pub(crate) fn name(text: &str, underscore: bool) -> Result<(), String> {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    let rest = bytes
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || (underscore && byte == b'_'));
    if first && rest && text.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    let marks = if underscore { "digits, - and _" } else { "digits and -" };
    Err(format!("a name begins with a-z, goes on with a-z, {marks}, and has at most {MAX_NAME_BYTES} bytes"))
}

/// `500ms`, `15s`, `2m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const ALLOWED: &str = "a duration is a whole number with ms, s, m or h, like \"15s\"";
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(ALLOWED)?;
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_| ALLOWED)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(ALLOWED.to_owned()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(|| ALLOWED.to_owned())
}

/// A duration as a manifest would write it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds >= length && milliseconds.is_multiple_of(length) {
            return format!("{}{unit}", milliseconds / length);
        }
    }
    format!("{milliseconds}ms")
}

/// `256 KiB`, `1 MiB`; a bare number is bytes or a count.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const ALLOWED: &str = "a size is a number, or text like \"256 KiB\" or \"1 MiB\"";
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| ALLOWED)?;
    let factor: u64 = match unit.trim_start() {
        "" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return Err(ALLOWED.to_owned()),
    };
    number.checked_mul(factor).ok_or_else(|| ALLOWED.to_owned())
}

/// 1 to 65535, in digits.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    const ALLOWED: &str = "a port is a number from 1 to 65535";
    match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(ALLOWED.to_owned()),
    }
}

/// Absolute, no empty, `.` or `..` component, no NUL.
pub(crate) fn absolute_path(text: &str) -> Result<(), String> {
    const ALLOWED: &str = "a path is absolute, without //, /./ and /../, and does not end in /";
    let Some(rest) = text.strip_prefix('/') else { return Err(ALLOWED.to_owned()) };
    let whole = rest.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\0'));
    if whole && text.len() <= MAX_PATH_BYTES { Ok(()) } else { Err(ALLOWED.to_owned()) }
}

/// The parts of an `http` URL that matter to a request to the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// With the port, if it was written: what goes into the `Host` header. It is never resolved:
    /// requests go to the instance whatever it says.
    pub host: String,
    /// 80 unless written.
    pub port: u16,
    /// Path and query; begins with `/`.
    pub path: String,
}

impl HttpUrl {
    /// Reads `http://HOST[:PORT][/PATH][?QUERY]`.
    ///
    /// # Errors
    /// What is allowed, as a clause: other schemes, user names, fragments and blanks are refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        const ALLOWED: &str = "a URL is http://HOST[:PORT][/PATH], without a user name, a fragment or blanks";
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(format!("{ALLOWED} (probes speak plain HTTP, inside the instance)"));
        };
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(split);
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '#' || c == '@' || c == '\\';
        let name_end = host.rfind(']').map_or(0, |bracket| bracket + 1);
        let (name, port) = match host[name_end..].rfind(':') {
            Some(colon) => {
                let (name, port) = host.split_at(name_end + colon);
                (name, port_of(port.strip_prefix(':').unwrap_or(port))?)
            }
            None => (host, 80),
        };
        if name.is_empty() || host.contains(odd) || path.contains(|c: char| c != '@' && odd(c)) {
            return Err(ALLOWED.to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host: host.to_owned(), port, path })
    }
}

fn port_of(text: &str) -> Result<u16, String> {
    port(text).map_err(|allowed| format!("its port is not one: {allowed}"))
}
