//! What one run carries: its grant, its broker, and what is left of each limit.
//!
//! A `Ctx` is made for a run and dropped with it. Every host call begins with [`Ctx::call`], so that the
//! count of calls is bounded whatever the call is; bytes and sockets are counted where they flow.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::time::Instant as TokioInstant;
use wasmtime::component::ResourceTable;

use crate::broker::Broker;
use crate::failure::LimitHit;
use crate::grant::Grant;
use crate::limiter::MemoryLimiter;

/// Live handles a run may hold in the host's table: its sockets and a little over.
const TABLE_CAPACITY: usize = 64;

/// A line of a sensor's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub level: LogLevel,
    /// Control characters escaped, at most [`LOG_LINE_BYTES`].
    pub message: String,
}

/// Severity, as the sensor gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// Lower case, as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A longer log line is cut: one line must not hide the others.
pub const LOG_LINE_BYTES: usize = 1024;

/// What is left of a run's budgets.
pub(crate) struct Meter {
    pub(crate) calls: u64,
    pub(crate) bytes_in: u64,
    /// What an HTTP exchange that is under way has received; not yet taken out of `bytes_in`. Left where the run ends in the middle of one.
    pub(crate) receiving: Option<Arc<AtomicU64>>,
    pub(crate) bytes_out: u64,
    pub(crate) sockets: u64,
    pub(crate) log_bytes: usize,
}

/// One run's data, as the store holds it.
pub(crate) struct Ctx {
    pub(crate) grant: Arc<Grant>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) table: ResourceTable,
    pub(crate) meter: Meter,
    pub(crate) memory: MemoryLimiter,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    pub(crate) state: Arc<[u8]>,
    pub(crate) stored_state: Option<Vec<u8>>,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) logs_cut: bool,
}

impl Ctx {
    pub(crate) fn new(grant: Arc<Grant>, broker: Arc<dyn Broker>, state: Arc<[u8]>) -> Self {
        let limits = &grant.limits;
        let started = Instant::now();
        let mut table = ResourceTable::new();
        table.set_max_capacity(TABLE_CAPACITY);
        Self {
            meter: Meter {
                calls: limits.host_calls,
                bytes_in: limits.bytes_in,
                receiving: None,
                bytes_out: limits.bytes_out,
                sockets: limits.sockets,
                log_bytes: limits.log_bytes as usize,
            },
            memory: MemoryLimiter::new(grant.memory_bytes as usize),
            deadline: started + limits.wall,
            table,
            started,
            state,
            stored_state: None,
            logs: Vec::new(),
            logs_cut: false,
            broker,
            grant,
        }
    }

    /// Counts a host call; the one over the limit ends the run.
    pub(crate) fn call(&mut self) -> wasmtime::Result<()> {
        self.memory.goes_on();
        self.count_call()
    }

    /// A call that costs the node many times an ordinary one: it counts as that many.
    pub(crate) fn call_worth(&mut self, calls: u64) -> wasmtime::Result<()> {
        self.memory.goes_on();
        match self.meter.calls.checked_sub(calls) {
            Some(left) => {
                self.meter.calls = left;
                Ok(())
            }
            None => Err(LimitHit::HostCalls.into()),
        }
    }

    /// [`Ctx::call`] of the log: a guest's last words before it aborts are often that it has no memory, so they do not show that it goes on.
    pub(crate) fn count_call(&mut self) -> wasmtime::Result<()> {
        match self.meter.calls.checked_sub(1) {
            Some(left) => {
                self.meter.calls = left;
                Ok(())
            }
            None => Err(LimitHit::HostCalls.into()),
        }
    }

    /// Takes a socket out of the run's budget; says why not where it is spent.
    pub(crate) fn take_socket(&mut self) -> Result<(), String> {
        match self.meter.sockets.checked_sub(1) {
            Some(left) => {
                self.meter.sockets = left;
                Ok(())
            }
            None => Err(format!("the limit of {} sockets a run is used up", self.grant.limits.sockets)),
        }
    }

    /// The earlier of `timeout_ms` from now and the run's own deadline.
    pub(crate) fn until(&self, timeout_ms: u32) -> Instant {
        self.deadline.min(Instant::now() + Duration::from_millis(u64::from(timeout_ms)))
    }

    /// Appends to the log what still fits, with what could forge another line or a terminal's state escaped.
    pub(crate) fn log(&mut self, level: LogLevel, message: &str) {
        let fits = message.len().min(LOG_LINE_BYTES).min(self.meter.log_bytes);
        let cut = message.floor_char_boundary(fits);
        if cut < message.len() {
            self.logs_cut = true;
        }
        if cut == 0 && !message.is_empty() {
            return;
        }
        // An empty line costs a byte too: else a million of them would be free.
        self.meter.log_bytes = self.meter.log_bytes.saturating_sub(cut.max(1));
        let message = message[..cut].chars().flat_map(escape_control).collect();
        self.logs.push(LogLine { level, message });
    }
}

fn escape_control(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

/// Waits for `work` until `deadline`.
pub(crate) async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(TokioInstant::from_std(deadline), work).await.ok()
}
