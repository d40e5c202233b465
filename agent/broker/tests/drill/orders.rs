//! What the drill tells the code in the runner's place to do, and what that says came of it.

use serde::{Deserialize, Serialize};
use sonde_host::BrokerError;
use sonde_host::wire::OpenRequest;
use sonde_jail::LayerReport;

/// One attempt.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// A system call as it is; [`GIVEN`] among the arguments is the descriptor that the broker gave last.
    Call { number: i64, arguments: [i64; 6] },
    /// One of `puppet`'s, by its name.
    Act(String),
    /// Asks the broker and waits for the answer.
    Ask(OpenRequest),
    /// Sends requests, and reads the answers or not.
    Flood { requests: Vec<OpenRequest>, reads: bool },
    /// Writes bytes to the broker, over and over.
    Bytes { bytes: Vec<u8>, times: u32 },
    /// Asks, and closes the broker's socket at once.
    AskAndClose(OpenRequest),
    /// Starts so many threads.
    Threads(u32),
    /// Has threads compute for a while.
    Spin { threads: u32, milliseconds: u64 },
    /// Touches so much memory.
    Memory(u64),
}

/// Stands for a descriptor in [`Order::Call`].
pub const GIVEN: i64 = i64::MIN;

/// The first message.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    pub pid: u32,
    pub uid: u32,
    pub layers: Vec<LayerReport>,
}

/// What came of an attempt that did not end the process.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    Done(i64),
    Refused(i32),
    /// The broker's answer: opened, with a descriptor or a secret, or why not.
    Opened {
        descriptor: bool,
        secret: Option<String>,
    },
    NotOpened(BrokerError),
}
