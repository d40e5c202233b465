//! From a file to a sensor that can run: checked, compiled, linked, and asked what it is.
//!
//! A loaded sensor is shared by everything that runs the same bytes. Loading never leaves half a sensor behind: each
//! step either passes or names the fault, in the order of what it costs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use sonde_manifest::Manifest;
use wasmtime::component::Component;

use crate::bindings::SensorPre;
use crate::check::{Families, Reserved, check_description};
use crate::ctx::Ctx;
use crate::engine::{ClassEngine, EngineError, Engines};
use crate::failure::{RunFailure, tame};
use crate::precheck::{Digest, PrecheckError, precheck};

/// Why a file was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
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
    #[error("loading was cut off by a defect of the node")]
    Internal,
}

impl LoadError {
    /// Whether the same bytes may load another time: the node was short of something.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Engine(_) | Self::Internal => true,
            Self::Describe(failure) => {
                matches!(failure, RunFailure::Start { .. } | RunFailure::Internal { .. } | RunFailure::Deadline { .. })
            }
            Self::Precheck(_) | Self::Compile(_) | Self::World(_) => false,
        }
    }
}

/// A sensor, ready to run. Cheap to share, dear to make.
pub struct Sensor {
    pub manifest: Manifest,
    pub digest: Digest,
    pub(crate) families: Families,
    pub(crate) reserved: Arc<Reserved>,
    pub(crate) pre: SensorPre<Ctx>,
    pub(crate) class: Arc<ClassEngine>,
    pub(crate) engines: Arc<Engines>,
}

impl std::fmt::Debug for Sensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sensor").field("name", &self.manifest.name).field("digest", &self.digest).finish()
    }
}

impl Sensor {
    /// Names and kinds of the families it described, or `None` where they are dynamic.
    pub fn families(&self) -> Option<&[sonde_expo::model::Family]> {
        match &self.families {
            Families::Static(families) => Some(families),
            Families::Dynamic => None,
        }
    }
}

/// Loads sensors, each digest once.
pub struct Loader {
    engines: Arc<Engines>,
    reserved: Arc<Reserved>,
    loaded: Mutex<HashMap<Digest, Weak<Sensor>>>,
}

impl Loader {
    /// Starts the sandbox: the epoch thread now, an engine when a sensor of its class comes.
    pub fn new(reserved: Reserved) -> Result<Self, EngineError> {
        Ok(Self { engines: Arc::new(Engines::new()?), reserved: Arc::new(reserved), loaded: Mutex::default() })
    }

    /// Loads a sensor from the bytes of its file. Compiles on the blocking pool of the current tokio runtime.
    pub async fn load(&self, bytes: Vec<u8>) -> Result<Arc<Sensor>, LoadError> {
        let digest = Digest::of(&bytes);
        if let Some(known) = self.known(digest) {
            return Ok(known);
        }
        let manifest = precheck(&bytes)?;
        let engines = self.engines.clone();
        let reserved = self.reserved.clone();
        let compiling = tokio::task::spawn_blocking(move || compile(&bytes, digest, manifest, engines, reserved));
        let mut sensor = compiling.await.map_err(|_panic| LoadError::Internal)??;
        let description = sensor.describe().await.map_err(LoadError::Describe)?;
        sensor.families =
            check_description(description, &sensor.manifest.limits, &self.reserved).map_err(LoadError::Describe)?;
        let sensor = Arc::new(sensor);
        let mut loaded = self.loaded.lock().expect("no panic while held");
        loaded.retain(|_, sensor| sensor.strong_count() > 0);
        loaded.insert(digest, Arc::downgrade(&sensor));
        Ok(sensor)
    }

    fn known(&self, digest: Digest) -> Option<Arc<Sensor>> {
        self.loaded.lock().expect("no panic while held").get(&digest).and_then(Weak::upgrade)
    }
}

fn compile(
    bytes: &[u8],
    digest: Digest,
    manifest: Manifest,
    engines: Arc<Engines>,
    reserved: Arc<Reserved>,
) -> Result<Sensor, LoadError> {
    let class = engines.class(manifest.class).map_err(LoadError::Engine)?;
    let component =
        Component::from_binary(&class.engine, bytes).map_err(|error| LoadError::Compile(sentence(&error)))?;
    let pre = class
        .linker
        .instantiate_pre(&component)
        .and_then(SensorPre::new)
        .map_err(|error| LoadError::World(sentence(&error)))?;
    Ok(Sensor { manifest, digest, families: Families::Dynamic, reserved, pre, class, engines })
}

/// An error of wasmtime's on one line; it quotes names that the sensor chose.
fn sentence(error: &wasmtime::Error) -> String {
    tame(&error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": "))
}
