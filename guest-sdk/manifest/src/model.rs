//! The checked manifest: what [`Manifest::parse`](crate::Manifest::parse) returns.
//!
//! Everything in it has been checked against the schema, so that whoever holds one need not look
//! again: durations are in range, paths are absolute and without `..`, every `$key` names a declared
//! configuration key of a fitting type. What it does not know is the configuration itself; that
//! comes with [`Manifest::resolve`](crate::Manifest::resolve).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Class, Limits};

/// What a sensor asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// `[a-z][a-z0-9-]{0,62}`.
    pub name: String,
    /// Three numbers with dots, and perhaps a pre-release: `0.1.0`, `1.2.0-rc.1`.
    pub version: String,
    /// One sentence; may be empty.
    pub description: String,
    /// It runs at least this often, scraped or not.
    pub interval: Duration,
    /// And never oftener than this.
    pub min_interval: Duration,
    /// How long past its last success its series are shown.
    pub stale_after: Duration,
    /// How much memory.
    pub class: Class,
    /// How much of everything else.
    pub limits: Limits,
    /// Which doors.
    pub capabilities: Capabilities,
    /// Its configuration keys, by name.
    pub config: BTreeMap<String, ConfigKey>,
}

/// What a sensor asks to reach. All of it is of the instance that a run is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// TCP ports.
    pub tcp: Vec<PortFrom>,
    /// Ports for HTTP.
    pub http: Vec<PortFrom>,
    /// Unix stream sockets.
    pub unix: Vec<PathFrom>,
    /// Files to read.
    pub files: Vec<FileFrom>,
    /// The kernel's statistics.
    pub kstats: bool,
    /// The list of processes.
    pub processes: bool,
    /// Names of secrets.
    pub secrets: Vec<String>,
    /// Bytes that last from run to run.
    pub state: bool,
}

/// A port, now or once the configuration is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortFrom {
    /// This one.
    Port(u16),
    /// What this configuration key (of type `port`; for HTTP also `url`) says.
    Config(String),
}

/// A path, now or once the configuration is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathFrom {
    /// This one, absolute.
    Path(String),
    /// What this configuration key (of type `path`) says.
    Config(String),
}

/// Files, now or once the configuration is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFrom {
    /// These.
    Pattern(FilePattern),
    /// The file that this configuration key (of type `path`) says.
    Config(String),
}

/// Which files under the instance's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilePattern {
    /// The file at this absolute path.
    Exact(String),
    /// What lies directly in the directory at this absolute path, which has no slash at its end.
    ChildrenOf(String),
}

impl FilePattern {
    /// Whether a path, as a sensor gave it, falls under the pattern. Only by its text: links are
    /// the opener's business.
    ///
    /// ```
    /// use sonde_manifest::FilePattern;
    /// let logs = FilePattern::ChildrenOf("/var/log".into());
    /// assert!(logs.allows("/var/log/app.log"));
    /// assert!(!logs.allows("/var/log/app/today.log"));
    /// assert!(!logs.allows("/var/log/.."));
    /// ```
    pub fn allows(&self, path: &str) -> bool {
        if crate::value::absolute_path(path).is_err() {
            return false;
        }
        match self {
            Self::Exact(exact) => path == exact,
            Self::ChildrenOf(directory) => path
                .strip_prefix(directory.as_str())
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|name| !name.is_empty() && !name.contains('/')),
        }
    }
}

/// A configuration key that a sensor declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigKey {
    /// What its value must be.
    pub kind: ConfigType,
    /// Used where none is given, in its text form.
    pub default: Option<String>,
    /// Whether it may be absent; without this and without a default it must be given.
    pub optional: bool,
    /// One sentence; may be empty.
    pub help: String,
}

/// The type of a configuration value. Values travel as text; this is what the text must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// Any text of at most 4,096 bytes without NUL.
    String,
    /// A signed number of 64 bits.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// 1 to 65535.
    Port,
    /// Absolute, without `.` and `..`.
    Path,
    /// `http://HOST[:PORT][/PATH]`.
    Url,
}

impl ConfigType {
    pub(crate) const ALL: [Self; 6] = [Self::String, Self::Integer, Self::Boolean, Self::Port, Self::Path, Self::Url];

    /// As the manifest spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Port => "port",
            Self::Path => "path",
            Self::Url => "url",
        }
    }
}

/// The interfaces that every sensor may import: they reach nothing outside the run. (`streams` and
/// `types` are only shapes; a stream comes from `tcp` or `unix` alone.)
pub const ALWAYS_ALLOWED: [&str; 5] = [
    "sonde:sensor/clock@0.1.0",
    "sonde:sensor/config@0.1.0",
    "sonde:sensor/log@0.1.0",
    "sonde:sensor/streams@0.1.0",
    "sonde:sensor/types@0.1.0",
];

/// Each capability's key in the manifest and the interface it opens.
const INTERFACES: [(&str, &str); 8] = [
    ("tcp", "sonde:sensor/tcp@0.1.0"),
    ("unix", "sonde:sensor/unix@0.1.0"),
    ("http", "sonde:sensor/http@0.1.0"),
    ("files", "sonde:sensor/files@0.1.0"),
    ("kstats", "sonde:sensor/kstats@0.1.0"),
    ("processes", "sonde:sensor/processes@0.1.0"),
    ("secrets", "sonde:sensor/secrets@0.1.0"),
    ("state", "sonde:sensor/state@0.1.0"),
];

/// The manifest's key that opens an interface (`sonde:sensor/tcp@0.1.0` → `tcp`): for the sentence
/// that refuses a component which imports what its manifest does not ask for.
pub fn capability_of(interface: &str) -> Option<&'static str> {
    INTERFACES.iter().find(|(_, name)| *name == interface).map(|(key, _)| *key)
}

impl Capabilities {
    /// Whether the key of this name asks for anything.
    pub fn asks(&self, key: &str) -> bool {
        match key {
            "tcp" => !self.tcp.is_empty(),
            "unix" => !self.unix.is_empty(),
            "http" => !self.http.is_empty(),
            "files" => !self.files.is_empty(),
            "kstats" => self.kstats,
            "processes" => self.processes,
            "secrets" => !self.secrets.is_empty(),
            "state" => self.state,
            _ => false,
        }
    }
}

impl Manifest {
    /// The interfaces that its capabilities open, beside [`ALWAYS_ALLOWED`].
    pub fn interfaces_needed(&self) -> Vec<&'static str> {
        INTERFACES.iter().filter(|(key, _)| self.capabilities.asks(key)).map(|(_, name)| *name).collect()
    }

    /// Whether a component with this manifest may import an interface (`sonde:sensor/tcp@0.1.0`).
    pub fn allows_import(&self, interface: &str) -> bool {
        ALWAYS_ALLOWED.contains(&interface) || capability_of(interface).is_some_and(|key| self.capabilities.asks(key))
    }
}
