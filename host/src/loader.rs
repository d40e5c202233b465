//! From a file to a sensor that can run: checked, compiled or found compiled, linked, and asked what it is.
//!
//! Loading never leaves half a sensor behind: each step either passes or names the fault, in the order of what it costs. A digest that
//! failed by its own doing is remembered, so that sending it again costs one hash. What is the node's doing is not.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use sonde_manifest::Manifest;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::accounts::Account;
use crate::check::Reserved;
use crate::code_cache::{CodeCache, CodeKey};
use crate::compiling::{CompileError, Compiling};
use crate::digest::Digest;
use crate::failure::RunFailure;
use crate::precheck::{PrecheckError, precheck};
use crate::schedule::Schedule;
use crate::sensor::Sensor;

/// Sensors whose bytes are worked on at once. One compiles at a time; others are checked and found in the cache meanwhile.
const AT_ONCE: usize = 4;
/// Digests remembered for what was wrong with them.
const MOST_REMEMBERED: usize = 4096;

/// Why a file was not loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Precheck(#[from] Arc<PrecheckError>),
    #[error(transparent)]
    Compile(Arc<CompileError>),
    #[error(
        "the account {account:?} has had as many sensors compiled as it may in an hour; the next is taken up again later"
    )]
    TooMany { account: String },
    #[error("it does not describe itself: {0}")]
    Describe(RunFailure),
    #[error("compiled code cannot be kept: {0}")]
    Keep(String),
    #[error("loading was cut off by a defect of the node")]
    Internal,
}

impl LoadError {
    /// Whether the same bytes may load another time: the node was short of something.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Internal | Self::Keep(_) | Self::TooMany { .. } => true,
            Self::Compile(error) => error.is_transient(),
            Self::Describe(failure) => matches!(
                failure,
                RunFailure::Start { .. }
                    | RunFailure::Internal { .. }
                    | RunFailure::Deadline { .. }
                    | RunFailure::Runner { .. }
            ),
            Self::Precheck(_) => false,
        }
    }
}

/// Loads sensors, each digest once.
pub struct Loader {
    reserved: Arc<Reserved>,
    cache: Arc<CodeCache>,
    compiling: Compiling,
    schedule: Schedule,
    /// Sensors whose bytes are worked on: a full folder must not fill the memory and the blocking pool at once.
    turns: Semaphore,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    loaded: HashMap<Digest, Weak<Sensor>>,
    refused: HashMap<Digest, LoadError>,
    /// Digests that are being loaded: who comes with the same bytes meanwhile waits for what comes of it.
    loading: HashMap<Digest, Weak<tokio::sync::Mutex<()>>>,
}

impl Memory {
    fn known(&self, digest: &Digest) -> Option<Result<Arc<Sensor>, LoadError>> {
        if let Some(loaded) = self.loaded.get(digest).and_then(Weak::upgrade) {
            return Some(Ok(loaded));
        }
        self.refused.get(digest).cloned().map(Err)
    }

    /// The turn of a digest.
    fn turn(&mut self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        if let Some(turn) = self.loading.get(&digest).and_then(Weak::upgrade) {
            return turn;
        }
        self.loading.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        self.loading.insert(digest, Arc::downgrade(&turn));
        turn
    }
}

impl Loader {
    pub fn new(reserved: Reserved, cache: CodeCache, compiling: Compiling, schedule: Schedule) -> Self {
        let (reserved, cache, turns) = (Arc::new(reserved), Arc::new(cache), Semaphore::new(AT_ONCE));
        Self { reserved, cache, compiling, schedule, turns, memory: Mutex::default() }
    }

    /// Loads a sensor from the bytes of its file, on an account's compilations.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(&self, bytes: Vec<u8>, account: &Account) -> Result<Arc<Sensor>, LoadError> {
        let (digest, bytes) = {
            let _working = self.working().await;
            blocking(move || (Digest::of(&bytes), bytes)).await?
        };
        let turn = {
            let mut memory = self.memory();
            if let Some(known) = memory.known(&digest) {
                return known;
            }
            memory.turn(digest)
        };
        let _turn = turn.lock().await;
        if let Some(known) = self.memory().known(&digest) {
            return known;
        }
        let loaded = self.load_new(bytes, digest, account).await;
        let mut memory = self.memory();
        match &loaded {
            Ok(sensor) => {
                memory.loaded.retain(|_, sensor| sensor.strong_count() > 0);
                memory.loaded.insert(digest, Arc::downgrade(sensor));
            }
            Err(error) if error.is_transient() => {}
            Err(error) => {
                if memory.refused.len() >= MOST_REMEMBERED {
                    memory.refused.clear();
                }
                memory.refused.insert(digest, error.clone());
            }
        }
        loaded
    }

    /// How many entries of the cache were not believed.
    pub fn rejected_code(&self) -> u64 {
        self.cache.rejected()
    }

    async fn working(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("nobody closes the semaphore")
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load_new(&self, bytes: Vec<u8>, digest: Digest, account: &Account) -> Result<Arc<Sensor>, LoadError> {
        // Not over the description: what takes its time there holds up nobody's loading.
        let working = self.working().await;
        let (checked, bytes) = blocking(move || (precheck(&bytes), bytes)).await?;
        let manifest = checked.map_err(Arc::new)?;
        let code = self.code(&manifest, digest, &bytes, account).await?;
        drop((bytes, working));
        let describing = self.schedule.describe(digest, &manifest, &code);
        let outcome = describing.await.map_err(LoadError::Describe)?;
        let described = Sensor::described(manifest, digest, code, outcome, self.reserved.clone());
        described.map(Arc::new).map_err(LoadError::Describe)
    }

    /// Compiled code: what is kept, or else made now.
    async fn code(
        &self,
        manifest: &Manifest,
        digest: Digest,
        bytes: &[u8],
        account: &Account,
    ) -> Result<File, LoadError> {
        let compile = |error| LoadError::Compile(Arc::new(error));
        let class = manifest.class;
        let compatibility = self.compiling.hello().await.map_err(compile)?.compatibility[class as usize];
        let key = CodeKey { digest, class, compatibility };
        let cache = self.cache.clone();
        if let Some(code) = blocking(move || cache.get(&key)).await? {
            return Ok(code);
        }
        if !account.may_compile() {
            return Err(LoadError::TooMany { account: account.name.to_string() });
        }
        let began = Instant::now();
        let compiled = self.compiling.compile(class, bytes).await;
        // One thread that does nothing else: what it took was CPU, give or take what the node kept it waiting.
        account.spend(began.elapsed());
        let code = compiled.map_err(|error| {
            if error.is_transient() {
                account.did_not_compile();
            }
            compile(error)
        })?;
        let cache = self.cache.clone();
        blocking(move || cache.put(&key, &code)).await?.map_err(|error| LoadError::Keep(error.to_string()))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work).await.map_err(|_panic| LoadError::Internal)
}
