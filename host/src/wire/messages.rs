//! The messages, by who says them to whom.

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sonde_manifest::{Class, Limits};

use crate::broker::{BrokerError, Kstat, Process};
use crate::digest::Digest;
use crate::failure::RunFailure;
use crate::outcome::{LogLevel, LogLine, Usage};
use crate::ticket::Ticket;

/// What the agent answers to a question about kstats.
pub type Answer = Result<Vec<Kstat>, BrokerError>;

/// What a run calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    Describe,
    Collect,
}

/// Agent to runner.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToRunner {
    /// Compiled code, in the descriptor beside it, for the runs of this digest from now on. Answered by [`FromRunner::Loaded`].
    Load { digest: Digest },
    /// That code will not be asked for again before another `Load`; runs in flight keep it until they end.
    Unload { digest: Digest },
    /// Answered by [`FromRunner::Done`], in any order.
    Run(RunOrder),
    /// Answers [`FromRunner::AskKstats`].
    Kstats { run: u64, answer: Answer },
}

/// One run.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunOrder {
    /// Never used twice on a node.
    pub run: u64,
    pub digest: Digest,
    pub call: Call,
    /// Whose time it is on, and how much of it that account is to have beside others.
    pub account: u64,
    pub weight: u32,
    /// A [`Grant`](crate::Grant), encoded once for all runs of a slot.
    #[serde(with = "serde_bytes")]
    pub grant: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub state: Vec<u8>,
    /// What the broker asks for; none where the grant opens nothing.
    pub ticket: Option<Ticket>,
}

/// Runner to agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromRunner {
    /// The first message: what encloses this process, and what it could not have.
    Ready {
        layers: Vec<sonde_jail::LayerReport>,
    },
    /// The code of a digest is ready to run, or why not.
    Loaded {
        digest: Digest,
        fault: Option<String>,
    },
    Done {
        run: u64,
        outcome: Outcome,
    },
    AskKstats {
        run: u64,
        module: String,
    },
    /// A line for the node's own log, about the runner itself.
    Log {
        level: LogLevel,
        message: String,
    },
}

/// What came of a run, before it is checked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// A [`Batch`](super::batch::Batch) or a [`Description`](super::batch::Description), encoded.
    pub result: Result<serde_bytes::ByteBuf, RunFailure>,
    pub usage: Usage,
    /// No more than any grant allows: a frame of empty lines would become some thirty times its size.
    #[serde(deserialize_with = "few")]
    pub logs: Vec<LogLine>,
    /// Lines or parts of lines were over the limit and are missing.
    pub logs_cut: bool,
    pub state: Option<serde_bytes::ByteBuf>,
}

fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LogLine>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<LogLine>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {} lines", Limits::CEILING.log_lines)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut lines = Vec::new();
            while let Some(line) = sequence.next_element()? {
                if lines.len() as u64 >= Limits::CEILING.log_lines {
                    return Err(serde::de::Error::invalid_length(lines.len() + 1, &self));
                }
                lines.push(line);
            }
            Ok(lines)
        }
    }
    deserializer.deserialize_seq(Few)
}

/// Something that a run may touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// A port, for the capability `tcp`.
    Tcp(u16),
    /// A port, for the capability `http`.
    Http(u16),
    Unix(String),
    File(String),
    Secret(String),
    Processes,
}

/// Runner to broker.
#[derive(Debug, Serialize, Deserialize)]
pub struct OpenRequest {
    /// Chosen by the runner, to find its answer again.
    pub id: u64,
    pub ticket: Ticket,
    /// Which opening of this run it is, from 0: each number is honoured once.
    pub number: u32,
    pub what: Opening,
    /// How long the run will wait, from now, in milliseconds; never past the ticket's own deadline.
    pub patience_ms: u32,
}

/// Broker to runner.
#[derive(Debug, Serialize, Deserialize)]
pub struct OpenReply {
    pub id: u64,
    pub result: Result<Opened, BrokerError>,
}

/// What the broker gives.
#[derive(Debug, Serialize, Deserialize)]
pub enum Opened {
    /// In the descriptor beside the reply: a connected socket, or an open file.
    Descriptor,
    Secret(String),
    Processes(Vec<Process>),
}

/// Agent to compile worker: the only message. The component follows as it is, `component_bytes` of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct CompileOrder {
    pub class: Class,
    pub component_bytes: u64,
}

/// Compile worker to agent, first of all: what it would compile for. Code of another hash is not this build's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompilerHello {
    pub layers: Vec<sonde_jail::LayerReport>,
    /// By class, in the order of [`Class`]: engine settings, wasmtime's version, the processor's features.
    pub compatibility: [u64; 3],
}

/// Compile worker to agent, last of all. The code itself follows as it is, `code_bytes` of it.
#[derive(Debug, Serialize, Deserialize)]
pub enum CompileReply {
    Compiled { code_bytes: u64 },
    Refused(CompileFault),
}

/// Why a component was not compiled. The sentence is wasmtime's and may quote names that the sensor chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompileFault {
    Compile(String),
    /// The worker's own trouble.
    Worker(String),
}
