//! What one run carries: its grant, its broker, and what is left of each limit.
//!
//! A `Ctx` is made for a run and dropped with it. Every host call begins with [`Ctx::call`], so that the
//! count of calls is bounded whatever the call is; bytes and sockets are counted where they flow.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use sonde_host::{Grant, LOG_LINE_BYTES, LogLevel, LogLine, escaped};
use tokio::time::Instant as TokioInstant;
use wasmtime::component::{Resource, ResourceTable};

use crate::broker::Broker;
use crate::limiter::MemoryLimiter;

/// A limit that the runner itself keeps count of. Carried through wasmtime as the error that traps the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitHit {
    #[error("calls of the node cost more fuel than was left")]
    Fuel,
    #[error("too many host calls")]
    HostCalls,
    #[error("asked for memory over the limit without end")]
    Memory,
    #[error("too many handles")]
    Handles,
}

/// What the node's own work for a call costs, in the currency of the guest's. A guest's loop was measured at up to 12 fuel a
/// nanosecond and common code at 2 to 6: this is in the middle, so a call costs a sensor about what the same time of its own would.
pub(crate) const FUEL_PER_MICROSECOND: u64 = 5_000;
/// Going out of the guest and in again, some 50 to 100 ns with what is lifted and lowered.
const CALL_FUEL: u64 = 400;
/// Bytes carried across the boundary are copied twice or three times on the node's side, at some 0.1 ns each.
const BYTES_PER_FUEL: u64 = 1;

/// What is left of a run's budgets.
pub(crate) struct Meter {
    pub(crate) calls: u64,
    pub(crate) bytes_in: u64,
    /// What an HTTP exchange that is under way has received; not yet taken out of `bytes_in`. Left where the run ends in the middle of one.
    pub(crate) receiving: Option<Arc<AtomicU64>>,
    pub(crate) bytes_out: u64,
    pub(crate) sockets: u64,
    pub(crate) log_bytes: usize,
    pub(crate) log_lines: usize,
    /// Fuel that calls of the node cost, in all.
    pub(crate) fuel_owed: u64,
    /// What the store had when it was last looked at: more can never be owed.
    pub(crate) fuel_left: u64,
    pub(crate) handles: usize,
    pub(crate) handles_peak: usize,
}

/// One run's data, as the store holds it.
pub(crate) struct Ctx {
    pub(crate) grant: Arc<Grant>,
    pub(crate) broker: Arc<dyn Broker>,
    /// Whose run it is: what blocks for one account must leave room for the others.
    pub(crate) account: u64,
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
    pub(crate) fn new(grant: Arc<Grant>, broker: Arc<dyn Broker>, account: u64, state: Arc<[u8]>) -> Self {
        let limits = &grant.limits;
        let started = Instant::now();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        Self {
            meter: Meter {
                calls: limits.host_calls,
                bytes_in: limits.bytes_in,
                receiving: None,
                bytes_out: limits.bytes_out,
                sockets: limits.sockets,
                log_bytes: limits.log_bytes as usize,
                log_lines: limits.log_lines as usize,
                fuel_owed: 0,
                fuel_left: limits.fuel,
                handles: 0,
                handles_peak: 0,
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
            account,
            grant,
        }
    }

    /// Counts and charges a host call that does next to nothing; the one over the limit ends the run.
    pub(crate) fn call(&mut self) -> wasmtime::Result<()> {
        self.call_worth(1, 0)
    }

    /// A call that costs the node so many microseconds: it counts as so many calls, and is charged for what it costs.
    pub(crate) fn call_worth(&mut self, calls: u64, microseconds: u64) -> wasmtime::Result<()> {
        self.memory.goes_on();
        self.count_call(calls)?;
        self.charge(microseconds.saturating_mul(FUEL_PER_MICROSECOND))
    }

    /// [`Ctx::call`] of the log: a guest's last words before it aborts are often that it has no memory, so they do not show that it goes on.
    pub(crate) fn call_of_log(&mut self) -> wasmtime::Result<()> {
        self.count_call(1)
    }

    fn count_call(&mut self, calls: u64) -> wasmtime::Result<()> {
        self.meter.calls = self.meter.calls.checked_sub(calls).ok_or(LimitHit::HostCalls)?;
        self.charge(CALL_FUEL)
    }

    /// Charges what a socket costs the node, where the run may still have one: what is refused out of hand costs nothing but the call.
    pub(crate) fn charge_opening(&mut self, microseconds: u64) -> wasmtime::Result<()> {
        let price = if self.meter.sockets > 0 { microseconds.saturating_mul(FUEL_PER_MICROSECOND) } else { 0 };
        self.charge(price)
    }

    /// Charges bytes that were carried across.
    pub(crate) fn charge_bytes(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.charge(bytes as u64 / BYTES_PER_FUEL)
    }

    /// Owes fuel. What cannot be paid ends the run: here, at the next epoch, or when it is done.
    pub(crate) fn charge(&mut self, fuel: u64) -> wasmtime::Result<()> {
        self.meter.fuel_owed = self.meter.fuel_owed.saturating_add(fuel);
        if self.meter.fuel_owed > self.meter.fuel_left { Err(LimitHit::Fuel.into()) } else { Ok(()) }
    }

    /// Keeps something of the host's behind a handle.
    pub(crate) fn hold<T: Send + 'static>(&mut self, held: T) -> wasmtime::Result<Resource<T>> {
        let handle = self.table.push(held).map_err(|_full| LimitHit::Handles)?;
        self.meter.handles += 1;
        self.meter.handles_peak = self.meter.handles_peak.max(self.meter.handles);
        Ok(handle)
    }

    /// Gives it back.
    pub(crate) fn let_go<T: 'static>(&mut self, handle: Resource<T>) -> wasmtime::Result<T> {
        let held = self.table.delete(handle)?;
        self.meter.handles -= 1;
        Ok(held)
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
        if cut < message.len() || self.meter.log_lines == 0 {
            self.logs_cut = true;
        }
        if self.meter.log_lines == 0 || (cut == 0 && !message.is_empty()) {
            return;
        }
        self.meter.log_bytes -= cut;
        self.meter.log_lines -= 1;
        self.logs.push(LogLine { level, message: escaped(message, cut) });
    }
}

/// Waits for `work` until `deadline`.
pub(crate) async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(TokioInstant::from_std(deadline), work).await.ok()
}
