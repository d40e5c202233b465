//! The world's imports as wit-bindgen generates them on wasm32, answered by the [`Instance`] of the
//! run in progress.
//!
//! Same names, same shapes, so that the wrappers are written once. Outside of a run every door refuses, as it
//! does for `describe` on a node.

use super::{HttpServer, INSTANCE, Instance};

/// Answers from the instance, or `otherwise` where no run is in progress.
fn with<T>(otherwise: T, answer: impl FnOnce(&mut Instance) -> T) -> T {
    INSTANCE.with(|current| match current.borrow_mut().as_mut() {
        Some(instance) => answer(instance),
        None => otherwise,
    })
}

const NO_RUN: &str = "no run is in progress: every capability refuses in describe";

/// `streams`.
pub mod streams {
    pub use crate::testing::peer::Connection;

    /// `streams.stream-error`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum StreamError {
        Refused,
        Timeout,
        Closed,
        Denied(String),
        Other(String),
    }
}

/// `tcp`.
pub mod tcp {
    use super::streams::{Connection, StreamError};

    pub fn connect(port: u16, timeout_milliseconds: u32) -> Result<Connection, StreamError> {
        super::with(Err(StreamError::Denied(super::NO_RUN.to_owned())), |instance| {
            instance.tcp.get(&port).ok_or(StreamError::Refused)?.connect(timeout_milliseconds)
        })
    }
}

/// `unix`.
pub mod unix {
    use super::streams::{Connection, StreamError};

    pub fn connect(path: &str, timeout_milliseconds: u32) -> Result<Connection, StreamError> {
        super::with(Err(StreamError::Denied(super::NO_RUN.to_owned())), |instance| {
            instance.unix.get(path).ok_or(StreamError::Refused)?.connect(timeout_milliseconds)
        })
    }
}

/// `http`.
pub mod http {
    use super::HttpServer;

    /// `http.method`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Method {
        Get,
        Head,
        Post,
    }

    /// `http.header`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Header {
        pub name: String,
        pub value: String,
    }

    /// `http.request`.
    #[derive(Debug, Clone)]
    pub struct Request {
        pub method: Method,
        pub port: u16,
        pub path: String,
        pub host: String,
        pub headers: Vec<Header>,
        pub body: Vec<u8>,
        pub timeout_milliseconds: u32,
        pub max_body_bytes: u32,
    }

    /// `http.phases`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Phases {
        pub connect_milliseconds: u32,
        pub first_byte_milliseconds: u32,
        pub transfer_milliseconds: u32,
    }

    /// `http.response`.
    #[derive(Debug, Clone)]
    pub struct Response {
        pub status: u16,
        pub headers: Vec<Header>,
        pub body: Vec<u8>,
        pub truncated: bool,
        pub phases: Phases,
    }

    /// `http.http-error`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum HttpError {
        Refused,
        Timeout,
        Closed,
        Protocol(String),
        Denied(String),
        Invalid(String),
        Other(String),
    }

    pub fn fetch(request: &Request) -> Result<Response, HttpError> {
        super::with(Err(HttpError::Denied(super::NO_RUN.to_owned())), |instance| {
            let mut response = match instance.http.get(&request.port).ok_or(HttpError::Refused)? {
                HttpServer::Real(local_port) => crate::testing::http_client::fetch(request, *local_port)?,
                HttpServer::Canned(answers) => canned(answers.get(&request.path)),
            };
            let most = request.max_body_bytes as usize;
            response.truncated = response.body.len() > most;
            response.body.truncate(most);
            if request.method == Method::Head {
                response.body.clear();
            }
            Ok(response)
        })
    }

    fn canned(answer: Option<&crate::testing::Answer>) -> Response {
        let answer = answer.cloned().unwrap_or_else(|| crate::testing::Answer::status(404));
        Response {
            status: answer.status,
            headers: answer.headers.into_iter().map(|(name, value)| Header { name, value }).collect(),
            body: answer.body,
            truncated: false,
            phases: Phases { connect_milliseconds: 1, first_byte_milliseconds: 2, transfer_milliseconds: 3 },
        }
    }
}

/// `files`.
pub mod files {
    /// `files.file-error`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum FileError {
        NotFound,
        NotReadable,
        Timeout,
        Denied(String),
        Other(String),
    }

    /// `files.metadata`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Metadata {
        pub size_bytes: u64,
        pub modified_milliseconds: u64,
    }

    pub fn read(path: &str, offset: u64, max: u32) -> Result<Vec<u8>, FileError> {
        super::with(Err(FileError::Denied(super::NO_RUN.to_owned())), |instance| {
            let content = instance.files.get(path).ok_or(FileError::NotFound)?;
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
            let end = start.saturating_add(max as usize).min(content.len());
            Ok(content[start..end].to_vec())
        })
    }

    pub fn stat(path: &str) -> Result<Metadata, FileError> {
        super::with(Err(FileError::Denied(super::NO_RUN.to_owned())), |instance| {
            let content = instance.files.get(path).ok_or(FileError::NotFound)?;
            Ok(Metadata { size_bytes: content.len() as u64, modified_milliseconds: instance.now_milliseconds })
        })
    }
}

/// `kstats`.
pub mod kstats {
    /// `kstats.kstat-value`.
    #[derive(Debug, Clone, PartialEq)]
    pub enum KstatValue {
        Unsigned(u64),
        Signed(i64),
        Float(f64),
        Text(String),
    }

    /// `kstats.statistic`.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Statistic {
        pub name: String,
        pub value: KstatValue,
    }

    /// `kstats.kstat`.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Kstat {
        pub module: String,
        pub name: String,
        pub statistics: Vec<Statistic>,
    }

    pub fn read(module: &str) -> Vec<Kstat> {
        super::with(Vec::new(), |instance| {
            instance.kstats.iter().filter(|kstat| module.is_empty() || kstat.module == module).cloned().collect()
        })
    }
}

/// `processes`.
pub mod processes {
    /// `processes.process`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Process {
        pub pid: u32,
        pub name: String,
        pub state: String,
        pub threads: u32,
        pub resident_bytes: u64,
        pub cpu_milliseconds: u64,
        pub started_milliseconds: u64,
    }

    pub fn list_processes() -> Vec<Process> {
        super::with(Vec::new(), |instance| instance.processes.clone())
    }
}

/// `config`.
pub mod config {
    pub fn get(key: &str) -> Option<String> {
        super::with(None, |instance| instance.config.get(key).cloned())
    }
}

/// `secrets`.
pub mod secrets {
    pub fn get(name: &str) -> Option<String> {
        super::with(None, |instance| instance.secrets.get(name).cloned())
    }
}

/// `state`.
pub mod state {
    /// Design §5.6.
    const LIMIT_BYTES: usize = 4096;

    pub fn load() -> Vec<u8> {
        super::with(Vec::new(), |instance| instance.state.clone())
    }

    pub fn store(bytes: &[u8]) -> bool {
        super::with(false, |instance| {
            let fits = bytes.len() <= LIMIT_BYTES;
            if fits {
                instance.state = bytes.to_vec();
            }
            fits
        })
    }
}

/// `log`.
pub mod log {
    /// `log.level`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Level {
        Debug,
        Info,
        Warn,
        Error,
    }

    pub fn write(level: Level, message: &str) {
        super::with((), |instance| instance.log.push((level, message.to_owned())));
    }
}

/// `clock`.
pub mod clock {
    pub fn now() -> u64 {
        super::with(0, |instance| instance.now_milliseconds)
    }

    /// The double's time stands still.
    pub fn elapsed() -> u64 {
        0
    }
}
