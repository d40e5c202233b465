//! Loading and running in one process: for an author's trial, for tests of the sandbox itself, and for the yardstick.
//!
//! The same checks, the same engine but that it compiles, the same run, the same judgement; no other process and no jail. It has no
//! place in an agent, and an agent cannot use it by mistake: its runs are given a broker by the caller.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{MemfdFlags, memfd_create};
use sonde_host::wire::Call;
use sonde_host::{
    Churn, Digest, Grant, PrecheckError, RUNNER_MEMORY_BYTES, Reserved, RunFailure, RunReport, Sensor, places, precheck,
};
use sonde_manifest::Class;
use wasmtime::component::Component;

use crate::broker::NoInstance;
use crate::engine::{EngineError, Sandbox};
use crate::pieces;
use crate::run::{Program, RunInput, sentence};

/// Why a file was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error(transparent)]
    Precheck(#[from] PrecheckError),
    #[error("it does not compile: {0}")]
    Compile(String),
    #[error("it does not fit the world sonde:sensor@0.1.0: {0}")]
    World(String),
    #[error("it does not describe itself")]
    Describe(#[source] RunFailure),
    #[error("the sandbox is not ready")]
    Engine(#[source] EngineError),
    #[error("there is no memory to keep the code in")]
    Memory(#[source] std::io::Error),
}

/// A sensor and its code.
pub struct LocalSensor {
    pub sensor: Sensor,
    program: Program,
}

/// Loads sensors into this process.
pub struct LocalLoader {
    reserved: Arc<Reserved>,
    sandboxes: Mutex<HashMap<Class, Arc<Sandbox>>>,
}

impl LocalLoader {
    pub fn new(reserved: Reserved) -> Self {
        Self { reserved: Arc::new(reserved), sandboxes: Mutex::default() }
    }

    fn sandbox(&self, class: Class) -> Result<Arc<Sandbox>, EngineError> {
        let mut sandboxes = self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sandboxes.get(&class) {
            return Ok(known.clone());
        }
        let made = Sandbox::compiling(class, places(RUNNER_MEMORY_BYTES, class))?;
        sandboxes.insert(class, made.clone());
        Ok(made)
    }

    /// Loads a sensor from the bytes of its file. Compiles on this thread.
    ///
    /// # Errors
    /// See [`LocalError`].
    pub async fn load(&self, bytes: &[u8]) -> Result<LocalSensor, LocalError> {
        let manifest = precheck(bytes)?;
        let sandbox = self.sandbox(manifest.class).map_err(LocalError::Engine)?;
        let cut = pieces::cut(bytes).map_err(LocalError::Compile)?;
        let component = Component::from_binary(&sandbox.engine, &cut);
        let component = component.map_err(|error| LocalError::Compile(sentence(&error)))?;
        let program = Program::new(sandbox, &component).map_err(LocalError::World)?;
        let grant = Arc::new(Grant::nothing(&manifest));
        let input = RunInput { grant, broker: Arc::new(NoInstance), state: Arc::from([]), account: 0 };
        let outcome = program.run(Call::Describe, input).await;
        let code = code(&component).map_err(LocalError::Memory)?;
        let sensor = Sensor::described(manifest, Digest::of(bytes), code, outcome, self.reserved.clone());
        Ok(LocalSensor { sensor: sensor.map_err(LocalError::Describe)?, program })
    }
}

/// The component's code, as a cache would keep it.
fn code(component: &Component) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("code", MemfdFlags::CLOEXEC)?);
    let code = component.serialize().map_err(|error| std::io::Error::other(error.to_string()))?;
    file.write_all(&code)?;
    Ok(file)
}

impl LocalSensor {
    /// Runs the sensor once. Never fails as a call: what went wrong is in the report.
    pub async fn run(&self, input: RunInput) -> RunReport {
        self.judged(input, None).await
    }

    /// One run of several on an instance: `churn` knows the series of those before, and learns this one's.
    pub async fn run_after(&self, input: RunInput, churn: &mut Churn) -> RunReport {
        self.judged(input, Some(churn)).await
    }

    async fn judged(&self, input: RunInput, churn: Option<&mut Churn>) -> RunReport {
        let grant = input.grant.clone();
        let outcome = self.program.run(Call::Collect, input).await;
        self.sensor.judge(outcome, &grant, churn)
    }
}
