//! The engine of a size class: all are configured alike but for how much memory a run may have.
//!
//! Every knob is here and says why. Proposals that no sensor needs are off; memories are small, bounds-checked and
//! pooled; fuel and epochs are both on, because each has missed something that the other saw
//! (GHSA-2hw9, `call_ref` before 48.0.8). A runner's engine cannot compile, a compile worker's runs nothing; what decides whether code of the one fits the
//! other is the same function for both.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use sonde_host::{
    CORE_INSTANCES, DESCRIPTIONS, MEMORIES, MEMORIES_OF_MODULE, TABLE_ELEMENTS, TABLES, TABLES_OF_MODULE,
};
use sonde_manifest::Class;
use wasmtime::component::Linker;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OperatorCost, PoolingAllocationConfig, VariableOperatorCost,
};

use crate::capability;
use crate::ctx::Ctx;
use crate::give_back::GiveBack;

/// How often every engine's epoch moves on, and so how long a run computes before it yields to the
/// others. A run that asks a server has some four turns to wait for, each behind whoever computes: so it is short. Preemption costs a
/// few hundred nanoseconds, and the clock stands still between groups of runs.
pub(crate) const EPOCH: Duration = Duration::from_micros(500);

/// The ticker stops when no run has been in flight for this long: between two groups of runs there is nothing to preempt.
const TICKER_LINGERS: Duration = Duration::from_millis(2);

/// What wasmtime keeps for an instance beside its memories and tables: of a core instance, and of a component's.
const MAX_CORE_INSTANCE_BYTES: usize = 512 << 10;
const MAX_COMPONENT_INSTANCE_BYTES: usize = 256 << 10;

/// Bytes of a memory, a table and a stack that stay resident (and are zeroed by hand) between runs,
/// in place of a page fault for each: most of what a fresh run costs. A sensor linked with a 32 KiB
/// stack has all that it touches in the first 128 KiB.
const MEMORY_KEEP_RESIDENT: usize = 128 << 10;
const TABLE_KEEP_RESIDENT: usize = 16 << 10;
const STACK_KEEP_RESIDENT: usize = 32 << 10;

/// A guest's stack, and the whole stack of a run; host calls live in the difference.
const WASM_STACK: usize = 256 << 10;
const RUN_STACK: usize = 1 << 20;

/// A data segment far from zero is not made into a dense image larger than this.
const DENSE_IMAGE_BYTES: u64 = 1 << 20;

/// Why the sandbox could not be set up. The node's fault, never a sensor's.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the engine for {} sensors cannot be made on this machine", class.name())]
    Engine { class: Class, source: wasmtime::Error },
    #[error("the capabilities cannot be linked")]
    Link { source: wasmtime::Error },
    #[error("the epoch thread cannot be started")]
    Ticker { source: std::io::Error },
}

/// An engine, all of the world's capabilities linked once, and the clock that preempts what runs: what a run may use of the capabilities is the
/// grant's matter, not the linker's.
pub(crate) struct Sandbox {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Ctx>,
    pub(crate) give_back: GiveBack,
    ticker: Arc<Ticker>,
}

impl Sandbox {
    /// For `places` runs at once, and the descriptions beside them. It runs code and compiles none.
    pub(crate) fn new(class: Class, places: usize) -> Result<Arc<Self>, EngineError> {
        let mut config = config(class, places);
        #[cfg(feature = "compiler")]
        config.enable_compiler(false);
        Self::of(class, &mut config)
    }

    /// One that compiles too: for trials in one process, and for the yardstick.
    #[cfg(feature = "compiler")]
    pub(crate) fn compiling(class: Class, places: usize) -> Result<Arc<Self>, EngineError> {
        Self::of(class, &mut config(class, places))
    }

    fn of(class: Class, config: &mut Config) -> Result<Arc<Self>, EngineError> {
        let engine = Engine::new(config).map_err(|source| EngineError::Engine { class, source })?;
        let mut linker = Linker::new(&engine);
        capability::link(&mut linker).map_err(|source| EngineError::Link { source })?;
        let ticker = Ticker::start(engine.clone())?;
        Ok(Arc::new(Self { engine, linker, give_back: GiveBack::default(), ticker }))
    }

    /// Keeps the epoch moving until the returned guard is dropped.
    pub(crate) fn running(&self) -> Running {
        self.ticker.running()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.ticker.stop();
    }
}

/// The engine that compiles for a class and runs nothing.
#[cfg(feature = "compiler")]
pub(crate) fn compiler(class: Class) -> Result<Engine, EngineError> {
    let mut config = config(class, 1);
    // Nothing is instantiated: no pools.
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config).map_err(|source| EngineError::Engine { class, source })
}

fn config(class: Class, places: usize) -> Config {
    let memory_bytes = class.memory_bytes();
    let mut costs = OperatorCost::default();
    // Growing is bounded by the limiter; its price only has to be more than nothing.
    costs.variable = VariableOperatorCost { memory_grow_per_page: u8::MAX, ..costs.variable };

    let mut config = Config::new();
    #[cfg(feature = "compiler")]
    config.strategy(wasmtime::Strategy::Cranelift);
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(memory_bytes as usize, places)))
        .consume_fuel(true)
        .operator_cost(costs)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(RUN_STACK)
        .async_stack_zeroing(true)
        // A reservation no larger than the class makes every access bounds-checked, and masked
        // against speculation, in place of 4 GiB of guard pages.
        .memory_reservation(memory_bytes)
        .memory_guaranteed_dense_image_size(DENSE_IMAGE_BYTES)
        .memory_init_cow(false)
        // Not compiled in at all: async components, parallel compilation, core dumps.
        .wasm_component_model(true)
        .concurrency_support(false)
        .wasm_threads(false)
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_tail_call(false)
        .wasm_stack_switching(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        // A trap's backtrace costs up to 126 µs and is of no use to the node.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false);
    config
}

/// Places for what the precheck lets through: the numbers are its own. What each run may need at most is set aside for all of them, so that no mixture of sensors runs out of one thing while places are
/// left. It is address space; once used, the resident bytes above.
fn pool(memory_bytes: usize, places: usize) -> PoolingAllocationConfig {
    let places = u32::try_from(places + DESCRIPTIONS).expect("no machine has so much memory");
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(places * CORE_INSTANCES)
        .total_memories(places * MEMORIES)
        .total_tables(places * TABLES)
        .total_stacks(places)
        .total_gc_heaps(0)
        .max_component_instance_size(MAX_COMPONENT_INSTANCE_BYTES)
        .max_core_instance_size(MAX_CORE_INSTANCE_BYTES)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memories_per_module(MEMORIES_OF_MODULE)
        .max_tables_per_module(TABLES_OF_MODULE)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(memory_bytes)
        .max_unused_warm_slots(places)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT);
    pool
}

/// One thread that moves the engine's epoch on while anything runs, and sleeps without a timer while nothing does. Its own thread
/// and not a task: a busy executor must not be able to stop the clock that preempts it.
struct Ticker {
    engine: Engine,
    in_flight: AtomicUsize,
    parked: AtomicBool,
    stopped: AtomicBool,
    thread: OnceLock<thread::Thread>,
}

impl Ticker {
    fn start(engine: Engine) -> Result<Arc<Self>, EngineError> {
        let ticker = Arc::new(Self {
            engine,
            in_flight: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let ticking = ticker.clone();
        let handle = thread::Builder::new()
            .name("epoch".into())
            .spawn(move || {
                let mut last_busy = Instant::now();
                while !ticking.stopped.load(Ordering::SeqCst) {
                    last_busy = ticking.tick(last_busy);
                }
            })
            .map_err(|source| EngineError::Ticker { source })?;
        ticker.thread.get_or_init(|| handle.thread().clone());
        Ok(ticker)
    }

    fn tick(&self, last_busy: Instant) -> Instant {
        let now = Instant::now();
        let busy = self.in_flight.load(Ordering::SeqCst) > 0;
        if !busy && now.duration_since(last_busy) > TICKER_LINGERS {
            self.parked.store(true, Ordering::SeqCst);
            // Whoever began or stopped before the line above is seen here; whoever did after it has seen `parked`, or wakes anyway.
            if self.in_flight.load(Ordering::SeqCst) == 0 && !self.stopped.load(Ordering::SeqCst) {
                thread::park();
            }
            self.parked.store(false, Ordering::SeqCst);
            return last_busy;
        }
        thread::sleep(EPOCH);
        self.engine.increment_epoch();
        if busy { now } else { last_busy }
    }

    /// Ends the thread, asleep or not.
    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn running(self: &Arc<Self>) -> Running {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
        Running { ticker: self.clone() }
    }
}

/// A run in flight.
pub(crate) struct Running {
    ticker: Arc<Ticker>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ticker.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than the clock lingers, on a busy machine.
    const SOON: Duration = Duration::from_secs(20);

    fn until(what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + SOON;
        while !holds() {
            assert!(Instant::now() < deadline, "{what} not within {SOON:?}");
            thread::yield_now();
        }
    }

    #[test]
    fn the_clock_sleeps_wakes_and_ends() {
        let sandbox = Sandbox::new(Class::Small, 1).unwrap();
        let ticker = Arc::downgrade(&sandbox.ticker);
        let is_parked = || ticker.upgrade().is_some_and(|ticker| ticker.parked.load(Ordering::SeqCst));
        until("asleep", is_parked);
        let running = sandbox.running();
        until("awake", || !is_parked());
        drop(running);
        until("asleep again", is_parked);
        drop(sandbox);
        until("ended", || ticker.strong_count() == 0);
    }
}
