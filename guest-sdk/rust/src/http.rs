//! HTTP/1.1 to a port of the instance. The node speaks the protocol; redirects are returned, never
//! followed.
//!
//! Manifest: `[capabilities] http = ["$url"]`. A URL's host is only what the `Host` header says: the
//! request goes to the instance whatever it is.

use std::time::Duration;

use crate::raw::http as raw;
use crate::stream::milliseconds;
use crate::{Failure, Reason};

pub use crate::raw::http::{Method, Phases};

/// For all of an exchange, below the run's own two seconds.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Below the default bound of what crosses the boundary in one call.
pub const DEFAULT_MAX_BODY_BYTES: u32 = 192 * 1024;

/// Why an exchange failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Nobody listens there.
    Refused,
    /// Not within the time given.
    Timeout,
    /// The peer closed the connection before the response was whole.
    Closed,
    /// The peer does not speak HTTP.
    Protocol(String),
    /// The grant does not hold the port, or a limit of the run is used up; says which.
    Denied(String),
    /// The request itself is not well formed.
    Invalid(String),
    /// Anything else, in words.
    Other(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "nobody listens there",
            Self::Timeout => "no whole response within the time given",
            Self::Closed => "the server closed the connection before the response was whole",
            Self::Protocol(why) | Self::Denied(why) | Self::Invalid(why) | Self::Other(why) => why,
        })
    }
}

impl std::error::Error for Error {}

impl From<raw::HttpError> for Error {
    fn from(error: raw::HttpError) -> Self {
        match error {
            raw::HttpError::Refused => Self::Refused,
            raw::HttpError::Timeout => Self::Timeout,
            raw::HttpError::Closed => Self::Closed,
            raw::HttpError::Protocol(why) => Self::Protocol(why),
            raw::HttpError::Denied(why) => Self::Denied(why),
            raw::HttpError::Invalid(why) => Self::Invalid(why),
            raw::HttpError::Other(why) => Self::Other(why),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = match &error {
            Error::Refused => Reason::Unreachable,
            Error::Timeout => Reason::Timeout,
            Error::Closed | Error::Protocol(_) => Reason::Protocol,
            Error::Denied(_) => Reason::Denied,
            Error::Invalid(_) => Reason::Misconfigured,
            Error::Other(_) => Reason::Other,
        };
        Self::new(reason, error.to_string())
    }
}

/// `http://HOST[:PORT][/PATH][?QUERY]`, in the parts that a request needs. A configuration value of
/// type `url` was checked by the node already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// With the port, if it was written.
    pub host: String,
    /// 80 unless written.
    pub port: u16,
    /// Path and query; begins with `/`.
    pub path: String,
}

impl Url {
    /// Takes a URL apart, or `None` where it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let after_bracket = host.rfind(']').map_or(0, |bracket| bracket + 1);
        let port = match host[after_bracket..].split_once(':') {
            Some((_, port)) => port.parse().ok().filter(|port| *port > 0)?,
            None => 80,
        };
        let path = if path.starts_with('/') { path.to_owned() } else { ["/", path].concat() };
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port, path })
    }

    /// A GET of it.
    pub fn get(&self) -> Request {
        Request::new(Method::Get, self.port, &self.path).host(&self.host)
    }
}

/// A GET of a path (with its query) at a port.
pub fn get(port: u16, path: &str) -> Request {
    Request::new(Method::Get, port, path)
}

/// A request being made.
pub struct Request {
    raw: raw::Request,
}

impl Request {
    /// Any method.
    pub fn new(method: Method, port: u16, path: &str) -> Self {
        Self {
            raw: raw::Request {
                method,
                port,
                path: path.to_owned(),
                host: String::new(),
                headers: Vec::new(),
                body: Vec::new(),
                timeout_milliseconds: milliseconds(DEFAULT_TIMEOUT),
                max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            },
        }
    }

    /// The `Host` header; `localhost:PORT` unless set.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.raw.host);
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.raw.headers.push(raw::Header { name: name.to_owned(), value: value.to_owned() });
        self
    }

    /// The body of a POST.
    #[must_use]
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.raw.body = body;
        self
    }

    /// For all of it: connecting, sending, receiving.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.raw.timeout_milliseconds = milliseconds(timeout);
        self
    }

    /// More of the body than this is cut off; [`Response::truncated`] says so.
    #[must_use]
    pub fn max_body_bytes(mut self, bytes: u32) -> Self {
        self.raw.max_body_bytes = bytes;
        self
    }

    /// Sends it and waits for the whole response.
    ///
    /// # Errors
    /// See [`Error`]. A response of any status is not an error.
    pub fn send(self) -> Result<Response, Error> {
        let raw::Response { status, headers, body, truncated, phases } = raw::fetch(&self.raw)?;
        Ok(Response { status, headers, body, truncated, phases })
    }
}

/// A response.
pub struct Response {
    /// 100 to 599.
    pub status: u16,
    headers: Vec<raw::Header>,
    /// Without transfer encoding.
    pub body: Vec<u8>,
    /// Whether the body was longer.
    pub truncated: bool,
    /// Where the time went.
    pub phases: Phases,
}

impl Response {
    /// The first header of this name, in any case of its letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.as_str())
    }

    /// The body as text.
    ///
    /// # Errors
    /// It is not UTF-8: a failure of reason `protocol`.
    pub fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.body).map_err(|_| Failure::protocol("the response is not UTF-8 text"))
    }
}
