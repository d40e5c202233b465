//! The yardstick: bare wasmtime doing what a run does at least, on the same component.
//!
//! Only with the feature `bench`. A store without data, imports that trap, instantiate, call `collect`, lift what it
//! returns, drop: no grant, no limiter, no deadline, no check, no schedule. The engine's configuration is the host's own, so the ratio is
//! the host's share and not wasmtime's; that configuration is private, which is why this is here and not in the benchmark. Of no use to a product: it
//! refuses nothing.

use std::sync::Arc;

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Store};

use crate::bindings::sonde::sensor::types::{Batch, Failure};
use crate::engine::{EngineError, Sandbox};
use sonde_manifest::Class;

/// As many as a runner has.
const PLACES: usize = 64;

/// A component on bare wasmtime.
pub struct Bare {
    engine: Engine,
    pre: InstancePre<()>,
    sandbox: Arc<Sandbox>,
}

impl Bare {
    /// Compiles a component of class small.
    ///
    /// # Errors
    /// Whatever wasmtime says.
    pub fn new(bytes: &[u8]) -> wasmtime::Result<Self> {
        let set_up = |error: EngineError| wasmtime::Error::msg(error.to_string());
        let sandbox = Sandbox::compiling(Class::Small, PLACES).map_err(set_up)?;
        let engine = sandbox.engine.clone();
        let component = Component::from_binary(&engine, bytes)?;
        let mut linker = Linker::<()>::new(&engine);
        linker.define_unknown_imports_as_traps(&component)?;
        let pre = linker.instantiate_pre(&component)?;
        Ok(Self { engine, pre, sandbox })
    }

    /// One run. Returns how many samples came, so that the work cannot be left out.
    ///
    /// # Errors
    /// Whatever wasmtime or the sensor says.
    pub async fn run(&self, fuel: u64) -> wasmtime::Result<usize> {
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(fuel)?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let instance = self.pre.instantiate_async(&mut store).await?;
        let collect = instance.get_typed_func::<(), (Result<Batch, Failure>,)>(&mut store, "collect")?;
        let (batch,) = collect.call_async(&mut store, ()).await?;
        let batch = batch.map_err(|failure| wasmtime::Error::msg(failure.message))?;
        Ok(batch.numbers.len())
    }

    /// Keeps the epochs moving, as they do while the host runs.
    pub fn running(&self) -> impl Sized {
        self.sandbox.running()
    }
}
