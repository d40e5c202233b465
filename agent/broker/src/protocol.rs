//! What agent and broker say to each other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sonde_collect::Found;
use sonde_host::{DoorsNumber, Grant, RunnerNumber, TicketKey};
use sonde_manifest::{Class, FilePattern};
use uuid::Uuid;

/// Openings of one run, its sockets among them: each file, secret and list is one.
const MOST_OPENINGS: u32 = 4096;

/// What runs of one sensor on one instance may have opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doors {
    pub instance: Uuid,
    pub tcp: Vec<u16>,
    pub http: Vec<u16>,
    pub unix: Vec<String>,
    pub files: Vec<FilePattern>,
    pub processes: bool,
    /// Where the operator keeps the secrets that the grant names, as bytes of paths.
    secrets: BTreeMap<String, Vec<u8>>,
    /// Sockets of one run, connected or not.
    pub sockets: u64,
    pub openings: u32,
}

impl Doors {
    /// What a grant opens on an instance.
    pub fn of(instance: Uuid, grant: &Grant, secrets: &BTreeMap<String, PathBuf>) -> Self {
        let granted = secrets.iter().filter(|(name, _)| grant.secrets.contains(name));
        let bytes = |path: &PathBuf| path.clone().into_os_string().into_vec();
        Self {
            instance,
            tcp: grant.tcp.clone(),
            http: grant.http.clone(),
            unix: grant.unix.clone(),
            files: grant.files.clone(),
            processes: grant.processes,
            secrets: granted.map(|(name, path)| (name.clone(), bytes(path))).collect(),
            sockets: grant.limits.sockets,
            openings: MOST_OPENINGS,
        }
    }

    pub(crate) fn secrets(&self) -> BTreeMap<String, PathBuf> {
        let path = |bytes: &Vec<u8>| PathBuf::from(OsString::from_vec(bytes.clone()));
        self.secrets.iter().map(|(name, bytes)| (name.clone(), path(bytes))).collect()
    }
}

/// Agent to broker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToBroker {
    /// The first message: what tickets are written with.
    Key(TicketKey),
    /// An instance lives, and whose it is.
    Note {
        found: Box<Found>,
        owner: String,
    },
    Forget {
        instance: Uuid,
    },
    /// What tickets with this number open. Answered by [`FromBroker::Told`]: a ticket must not be there before its doors.
    Doors {
        number: DoorsNumber,
        doors: Box<Doors>,
    },
    Close {
        number: DoorsNumber,
    },
    /// Answered by [`FromBroker::Started`].
    StartRunner {
        request: u64,
        class: Class,
        places: u64,
        memory_bytes: u64,
        /// Other runners come before it.
        gives_way: bool,
    },
    StartCompiler {
        request: u64,
    },
    Kill {
        number: RunnerNumber,
    },
    /// Answered by [`FromBroker::Told`]: whether it is at work.
    Ping {
        number: DoorsNumber,
    },
    /// The agent stops: children are ended, and then the broker ends.
    Stop,
}

/// Broker to agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromBroker {
    /// With the agent's end of the new process's channel beside it, unless it failed.
    Started { request: u64, result: Result<RunnerNumber, String> },
    /// The doors of this number, and all that was said before them, are known.
    Told { number: DoorsNumber },
}
