//! One run: a fresh instance, one call, thrown away.
//!
//! Fuel is the budget, what the node's own calls cost included: wasmtime counts the guest's, the meter the calls', and both together are held
//! to the limit at each call, at each epoch and at the end. The epoch makes a run yield every half a millisecond, and that is where its CPU
//! time and its wall deadline are held to, which see what fuel does not. The store is dropped whatever happens, so nothing of a run is
//! left for the next. CPU is counted around each poll, because wasmtime loses fuel that was burnt before a trap.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_bytes::ByteBuf;
use sonde_host::wire::{Call, Outcome, encode};
use sonde_host::{Grant, RunFailure, SensorReason, Usage, tame};
use tokio::time::{Instant as TokioInstant, timeout_at};
use wasmtime::component::Component;
use wasmtime::{AsContextMut, Store, Trap, UpdateDeadline};

use crate::bindings::SensorPre;
use crate::bindings::sonde::sensor::types::{Failure, FailureReason};
use crate::broker::Broker;
use crate::ctx::{Ctx, LimitHit};
use crate::engine::Sandbox;
use crate::give_back::MUCH_BYTES;

/// Code that can be run: a component, linked.
#[derive(Clone)]
pub(crate) struct Program {
    pre: SensorPre<Ctx>,
    sandbox: Arc<Sandbox>,
}

/// What a run is given beside its code.
#[derive(Clone)]
pub struct RunInput {
    pub grant: Arc<Grant>,
    pub broker: Arc<dyn Broker>,
    /// What an earlier run stored, or empty.
    pub state: Arc<[u8]>,
    /// Whose run it is, by any number: what of an account blocks leaves room for others.
    pub account: u64,
}

impl Program {
    /// Links a component of this sandbox's engine.
    ///
    /// # Errors
    /// The sentence says what of the world it does not fit.
    pub(crate) fn new(sandbox: Arc<Sandbox>, component: &Component) -> Result<Self, String> {
        let linked = sandbox.linker.instantiate_pre(component).and_then(SensorPre::new);
        let pre = linked.map_err(|error| sentence(&error))?;
        Ok(Self { pre, sandbox })
    }

    /// Runs it once. Never fails as a call: what went wrong is in the outcome.
    pub(crate) async fn run(&self, call: Call, input: RunInput) -> Outcome {
        let _running = self.sandbox.running();
        let grant = input.grant.clone();
        let mut store = store(&self.sandbox, input);
        let called = {
            let work = async {
                let world = self.pre.instantiate_async(&mut store).await?;
                match call {
                    Call::Describe => Ok(Ok(encoded(&world.call_describe(&mut store).await?))),
                    Call::Collect => Ok(world.call_collect(&mut store).await?.map(|batch| encoded(&batch))),
                }
            };
            bounded(&grant, work).await
        };
        let result = match called.result {
            Ended::Done(Ok(Ok(bytes))) => within_result(bytes, &grant),
            Ended::Done(Ok(Err(failure))) => Err(said(failure)),
            Ended::Done(Err(error)) => Err(classify(&error, store.data())),
            Ended::Deadline => Err(RunFailure::Deadline { limit: grant.limits.wall }),
            Ended::Cpu => Err(RunFailure::Cpu { limit: Duration::from_millis(grant.limits.cpu_ms) }),
        };
        let mut outcome = outcome(&mut store, called.cpu, result);
        if outcome.usage.memory_peak_bytes > MUCH_BYTES {
            outcome.usage.cpu += self.sandbox.give_back.give(store).await;
        }
        outcome
    }
}

/// All that one run has, with its limits set.
fn store(sandbox: &Sandbox, input: RunInput) -> Store<Ctx> {
    let limits = input.grant.limits.clone();
    let ctx = Ctx::new(input.grant, input.broker, input.account, input.state);
    let mut store = Store::new(&sandbox.engine, ctx);
    store.limiter(|ctx| &mut ctx.memory);
    store.set_fuel(limits.fuel).expect("the engine was made to consume fuel");
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| {
        still_pays(&mut store)?;
        Ok(UpdateDeadline::Yield(1))
    });
    store.set_hostcall_fuel(limits.boundary_bytes as usize);
    store.set_max_component_handles(limits.handles as usize);
    store
}

/// Ends a run whose calls of the node cost more than its own instructions have left.
///
/// The store's fuel itself is never touched: a function keeps it in a register over an epoch, and writes back what it knew. For the same
/// reason what the store has here is what it had at the last call or return, and never less than what is true.
fn still_pays(store: &mut impl AsContextMut<Data = Ctx>) -> wasmtime::Result<()> {
    let mut store = store.as_context_mut();
    let left = store.get_fuel()?;
    let meter = &mut store.data_mut().meter;
    meter.fuel_left = left;
    if meter.fuel_owed > left { Err(LimitHit::Fuel.into()) } else { Ok(()) }
}

fn encoded(lifted: &impl Serialize) -> Vec<u8> {
    encode(lifted)
}

fn within_result(bytes: Vec<u8>, grant: &Grant) -> Result<ByteBuf, RunFailure> {
    let limit_bytes = grant.limits.result_bytes;
    if bytes.len() as u64 > limit_bytes { Err(RunFailure::Result { limit_bytes }) } else { Ok(ByteBuf::from(bytes)) }
}

fn said(failure: Failure) -> RunFailure {
    let reason = match failure.reason {
        FailureReason::Unreachable => SensorReason::Unreachable,
        FailureReason::Timeout => SensorReason::Timeout,
        FailureReason::Unauthorized => SensorReason::Unauthorized,
        FailureReason::Protocol => SensorReason::Protocol,
        FailureReason::Misconfigured => SensorReason::Misconfigured,
        FailureReason::Denied => SensorReason::Denied,
        FailureReason::Other => SensorReason::Other,
    };
    RunFailure::Sensor { reason, message: tame(&failure.message) }
}

/// An error of wasmtime's on one line; it quotes names that the sensor chose.
pub(crate) fn sentence(error: &wasmtime::Error) -> String {
    tame(&error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

enum Ended<T> {
    Done(T),
    Deadline,
    Cpu,
}

struct Bounded<T> {
    result: Ended<T>,
    cpu: Duration,
}

/// Drives `work` until it has used its CPU or its wall time, and adds up the CPU time of its polls.
async fn bounded<T>(grant: &Grant, work: impl Future<Output = T>) -> Bounded<T> {
    let deadline = TokioInstant::now() + grant.limits.wall;
    let most = Duration::from_millis(grant.limits.cpu_ms);
    let mut work = pin!(timeout_at(deadline, work));
    let mut cpu = Duration::ZERO;
    let result = poll_fn(|context| {
        let before = thread_cpu();
        let polled = work.as_mut().poll(context);
        cpu += thread_cpu().saturating_sub(before);
        match polled {
            Poll::Ready(Ok(done)) => Poll::Ready(Ended::Done(done)),
            Poll::Ready(Err(_)) => Poll::Ready(Ended::Deadline),
            Poll::Pending if cpu > most => Poll::Ready(Ended::Cpu),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    Bounded { result, cpu }
}

/// CPU time of this thread (clock_gettime(2)).
pub(crate) fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn outcome(store: &mut Store<Ctx>, cpu: Duration, result: Result<ByteBuf, RunFailure>) -> Outcome {
    let left = store.get_fuel().unwrap_or(0);
    let ctx = store.data_mut();
    let limits = &ctx.grant.limits;
    let left = left.checked_sub(ctx.meter.fuel_owed);
    let trapped = result.as_ref().is_err_and(RunFailure::is_misbehaviour)
        && !matches!(result, Err(RunFailure::Deadline { .. } | RunFailure::Cpu { .. } | RunFailure::Result { .. }));
    let result = match left {
        // Its last calls of the node cost more than it had.
        None if result.is_ok() => Err(RunFailure::Fuel { limit: limits.fuel }),
        _ => result,
    };
    let receiving = ctx.meter.receiving.take().map_or(0, |received| received.load(Ordering::Relaxed));
    Outcome {
        usage: Usage {
            fuel: if trapped { limits.fuel } else { limits.fuel - left.unwrap_or(0) },
            cpu,
            wall: Instant::now().duration_since(ctx.started),
            memory_peak_bytes: ctx.memory.peak_bytes() as u64,
            host_calls: limits.host_calls - ctx.meter.calls,
            handles_peak: ctx.meter.handles_peak as u64,
            sockets: limits.sockets - ctx.meter.sockets,
            bytes_in: limits.bytes_in - ctx.meter.bytes_in + receiving,
            bytes_out: limits.bytes_out - ctx.meter.bytes_out,
            log_bytes: limits.log_bytes - ctx.meter.log_bytes as u64,
            log_lines: limits.log_lines - ctx.meter.log_lines as u64,
            result_bytes: result.as_ref().map_or(0, |bytes| bytes.len() as u64),
        },
        state: ctx.stored_state.take().filter(|_| result.is_ok()).map(ByteBuf::from),
        result,
        logs: std::mem::take(&mut ctx.logs),
        logs_cut: ctx.logs_cut,
    }
}

/// What wasmtime says when a call carries more than `set_hostcall_fuel`, and when there are more handles than
/// `set_max_component_handles`; its error types are private.
const BOUNDARY_MESSAGE: &str = "fuel allocated for hostcalls has been exhausted";
const HANDLES_MESSAGE: &str = "store handle limit exceeded";

/// Why a run ended before it returned.
///
/// A refused growth is not an error in itself: the guest sees it and may do with less. `memory` is said where the guest aborts (an
/// `unreachable`, which is what languages make of an allocation that failed) or cannot even start, and being refused was the last thing
/// that happened: since then it has neither grown nor called the host for anything but its log. Every other trap is a `trap`, however often memory was refused before.
fn classify(error: &wasmtime::Error, ctx: &Ctx) -> RunFailure {
    let limits = &ctx.grant.limits;
    let memory = RunFailure::Memory { limit_bytes: ctx.grant.memory_bytes };
    let handles = RunFailure::Handles { limit: limits.handles };
    if let Some(hit) = error.downcast_ref::<LimitHit>() {
        return match hit {
            LimitHit::Fuel => RunFailure::Fuel { limit: limits.fuel },
            LimitHit::HostCalls => RunFailure::HostCalls { limit: limits.host_calls },
            LimitHit::Memory => memory,
            LimitHit::Handles => handles,
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
        None if message.contains(HANDLES_MESSAGE) => return handles,
        Some(Trap::UnreachableCodeReached) | None if ctx.memory.just_refused() => return memory,
        _ => {}
    }
    let message = message.strip_prefix("wasm trap: ").unwrap_or(&message);
    RunFailure::Trap { message: tame(message) }
}

#[cfg(all(test, feature = "compiler"))]
mod tests {
    use super::*;
    use crate::broker::NoInstance;
    use sonde_manifest::{Class, Manifest};

    /// Makes so many resources of its own as it starts, which the world gives it no other place for.
    fn making(resources: u32) -> String {
        format!(
            r#"(component
                (type $own (resource (rep i32)))
                (core func $new (canon resource.new $own))
                (core module $m
                    (import "" "new" (func $new (param i32) (result i32)))
                    (func $start (local i32)
                        (loop
                            (drop (call $new (local.get 0)))
                            (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                            (br_if 0 (i32.lt_u (local.get 0) (i32.const {resources})))))
                    (start $start))
                (core instance (instantiate $m (with "" (instance (export "new" (func $new)))))))"#
        )
    }

    #[tokio::test]
    async fn handles_of_a_components_own_resources() {
        let sandbox = Sandbox::compiling(Class::Small, 1).unwrap();
        let manifest = "name = \"t\"\nversion = \"0.1.0\"\ninterval = \"1s\"\n[limits]\nhandles = 8\n";
        let grant = Arc::new(Grant::nothing(&Manifest::parse(manifest).unwrap()));
        for (resources, ends) in [(8, None), (9, Some(RunFailure::Handles { limit: 8 }))] {
            let component = Component::new(&sandbox.engine, wat::parse_str(making(resources)).unwrap()).unwrap();
            let input =
                RunInput { grant: grant.clone(), broker: Arc::new(NoInstance), state: Arc::from([]), account: 0 };
            let mut store = store(&sandbox, input);
            let made = sandbox.linker.instantiate_async(&mut store, &component).await;
            assert_eq!(made.err().map(|error| classify(&error, store.data())), ends);
        }
    }
}
