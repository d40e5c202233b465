//! One run: a fresh instance, one call, thrown away.
//!
//! Fuel is the budget; the epoch makes a run yield every millisecond and, with that, lets the wall deadline
//! end what fuel does not see. The store is dropped whatever happens, so nothing of a run is left for the next. What
//! it used is counted in thread CPU time around each poll, because wasmtime loses fuel that was burnt before a trap.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant as TokioInstant, timeout_at};
use wasmtime::{Store, Trap};

use crate::bindings::sonde::sensor::types::{Description, Failure};
use crate::broker::{Broker, NoInstance};
use crate::check::{Collected, check_batch};
use crate::ctx::{Ctx, LogLine};
use crate::failure::{LimitHit, RunFailure, tame};
use crate::grant::Grant;
use crate::sensor::Sensor;

/// Live component handles of a run: its connections and what its own toolchain makes.
const COMPONENT_HANDLES: usize = 256;

/// What a run used, for the account and for the author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// All of the limit where the run trapped: wasmtime does not say how much it was.
    pub fuel: u64,
    pub cpu: Duration,
    pub wall: Duration,
    pub memory_peak_bytes: usize,
    pub host_calls: u64,
    pub sockets: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub log_bytes: u64,
}

/// What came of a run.
#[derive(Debug)]
pub struct RunReport {
    pub result: Result<Collected, RunFailure>,
    pub usage: Usage,
    pub logs: Vec<LogLine>,
    /// Lines or parts of lines were over the limit and are missing.
    pub logs_cut: bool,
    /// State to keep; only from a run that succeeded and stored some.
    pub state: Option<Vec<u8>>,
}

/// What a run is given beside its sensor.
#[derive(Clone)]
pub struct RunInput {
    pub grant: Arc<Grant>,
    pub broker: Arc<dyn Broker>,
    /// What an earlier run stored, or empty.
    pub state: Arc<[u8]>,
}

impl Sensor {
    /// Runs the sensor once. Never fails as a call: what went wrong is in the report.
    pub async fn run(&self, input: RunInput) -> RunReport {
        let _running = self.engines.running();
        let mut store = self.store(&input.grant, input.broker, input.state);
        let called = {
            let work = async {
                let world = self.pre.instantiate_async(&mut store).await?;
                world.call_collect(&mut store).await
            };
            bounded(&input.grant, work).await
        };
        let result = match called.result {
            Some(Ok(Ok(batch))) => check_batch(batch, &self.families, &input.grant.limits, &self.reserved),
            Some(Ok(Err(Failure { reason, message }))) => {
                Err(RunFailure::Sensor { reason: reason.into(), message: tame(&message) })
            }
            Some(Err(error)) => Err(classify(&error, store.data())),
            None => Err(RunFailure::Deadline { limit: input.grant.limits.wall }),
        };
        let mut report = report(&mut store, called.cpu, result);
        if report.result.is_err() {
            report.state = None;
        }
        report
    }

    /// Asks the sensor what it is. Used once, when it is loaded. Waits for one of the places that descriptions have, before its time begins.
    pub(crate) async fn describe(&self) -> Result<Description, RunFailure> {
        let _place = self.engines.describing.acquire().await.expect("the semaphore is never closed");
        let _running = self.engines.running();
        let grant = Arc::new(Grant::nothing(&self.manifest));
        let mut store = self.store(&grant, Arc::new(NoInstance), Arc::from([]));
        let called = {
            let work = async {
                let world = self.pre.instantiate_async(&mut store).await?;
                world.call_describe(&mut store).await
            };
            bounded(&grant, work).await
        };
        match called.result {
            Some(Ok(description)) => Ok(description),
            Some(Err(error)) => Err(classify(&error, store.data())),
            None => Err(RunFailure::Deadline { limit: grant.limits.wall }),
        }
    }

    fn store(&self, grant: &Arc<Grant>, broker: Arc<dyn Broker>, state: Arc<[u8]>) -> Store<Ctx> {
        let limits = &grant.limits;
        let mut store = Store::new(&self.class.engine, Ctx::new(grant.clone(), broker, state));
        store.limiter(|ctx| &mut ctx.memory);
        store.set_fuel(limits.fuel).expect("the engine was made to consume fuel");
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_hostcall_fuel(limits.boundary_bytes as usize);
        store.set_max_component_handles(COMPONENT_HANDLES);
        store
    }
}

struct Bounded<T> {
    /// `None` where the deadline came first.
    result: Option<T>,
    cpu: Duration,
}

/// Drives `work` until the wall deadline and adds up the CPU time of its polls.
async fn bounded<T>(grant: &Grant, work: impl Future<Output = T>) -> Bounded<T> {
    let deadline = TokioInstant::now() + grant.limits.wall;
    let mut work = pin!(timeout_at(deadline, work));
    let mut cpu = Duration::ZERO;
    let result = poll_fn(|context| {
        let before = thread_cpu();
        let polled = work.as_mut().poll(context);
        cpu += thread_cpu().saturating_sub(before);
        polled
    })
    .await;
    Bounded { result: result.ok(), cpu }
}

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn report(store: &mut Store<Ctx>, cpu: Duration, result: Result<Collected, RunFailure>) -> RunReport {
    let fuel_left = store.get_fuel().unwrap_or(0);
    let ctx = store.data_mut();
    let limits = &ctx.grant.limits;
    let trapped = matches!(
        &result,
        Err(RunFailure::Fuel { .. }
            | RunFailure::Memory { .. }
            | RunFailure::Stack
            | RunFailure::Trap { .. }
            | RunFailure::Boundary { .. }
            | RunFailure::HostCalls { .. })
    );
    let receiving = ctx.meter.receiving.take().map_or(0, |received| received.load(Ordering::Relaxed));
    RunReport {
        usage: Usage {
            fuel: if trapped { limits.fuel } else { limits.fuel - fuel_left },
            cpu,
            wall: Instant::now().duration_since(ctx.started),
            memory_peak_bytes: ctx.memory.peak_bytes(),
            host_calls: limits.host_calls - ctx.meter.calls,
            sockets: limits.sockets - ctx.meter.sockets,
            bytes_in: limits.bytes_in - ctx.meter.bytes_in + receiving,
            bytes_out: limits.bytes_out - ctx.meter.bytes_out,
            log_bytes: limits.log_bytes - ctx.meter.log_bytes as u64,
        },
        result,
        logs: std::mem::take(&mut ctx.logs),
        logs_cut: ctx.logs_cut,
        state: ctx.stored_state.take(),
    }
}

/// What wasmtime says when a call carries more than `set_hostcall_fuel`; its error type is private.
const BOUNDARY_MESSAGE: &str = "fuel allocated for hostcalls has been exhausted";

/// Why a run ended before it returned.
///
/// A refused growth is not an error in itself: the guest sees it and may do with less. `memory` is said where the guest aborts (an
/// `unreachable`, which is what languages make of an allocation that failed) or cannot even start, and being refused was the last thing
/// that happened: since then it has neither grown nor called the host for anything but its log. Every other trap is a `trap`, however often memory was refused before.
fn classify(error: &wasmtime::Error, ctx: &Ctx) -> RunFailure {
    let limits = &ctx.grant.limits;
    let memory = RunFailure::Memory { limit_bytes: ctx.grant.memory_bytes };
    if let Some(hit) = error.downcast_ref::<LimitHit>() {
        return match hit {
            LimitHit::HostCalls => RunFailure::HostCalls { limit: limits.host_calls },
            LimitHit::Memory => memory,
        };
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return RunFailure::Start { message: "all places to run are taken".into() };
    }
    let message = error.root_cause().to_string();
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => return RunFailure::Fuel { limit: limits.fuel },
        Some(Trap::StackOverflow) => return RunFailure::Stack,
        None if message.contains(BOUNDARY_MESSAGE) => {
            return RunFailure::Boundary { limit_bytes: limits.boundary_bytes };
        }
        Some(Trap::UnreachableCodeReached) | None if ctx.memory.just_refused() => return memory,
        _ => {}
    }
    let message = message.strip_prefix("wasm trap: ").unwrap_or(&message);
    RunFailure::Trap { message: tame(message) }
}
