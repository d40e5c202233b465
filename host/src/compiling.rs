//! Compiling, from the agent's side: one worker process a component, one at a time, with a bound for everything it may do.
//!
//! The worker is given the bytes and gives code back; it is ended at its deadline, and its own limits of CPU and
//! memory end it before that. What it says is bounded here. A worker that was taken over by what it compiled can
//! return code of its choosing for that one sensor, which then runs in the runner's jail as if wasmtime had been escaped from there.

use std::sync::Arc;
use std::time::Duration;

use sonde_manifest::Class;
use tokio::sync::{OnceCell, Semaphore};

use crate::code_cache::MOST_CODE_BYTES;
use crate::wire::{self, CompileFault, CompileOrder, CompileReply, CompilerHello, Inbox, Outbox, WireError};
use crate::workers::{NotStarted, Started, Workers};

/// Longest compilation. The worker has 20 s of CPU; on a busy machine those take longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Longest start of a worker, and longest until it has said what it is.
const GREETING: Duration = Duration::from_secs(20);

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("the compile worker cannot be started")]
    Start(#[source] NotStarted),
    /// The component's doing: the same bytes will do it again.
    #[error("it does not compile: {0}")]
    Component(String),
    /// It took more than a compilation may.
    #[error("compiling it took more CPU, memory or time than a compilation may")]
    TooDear,
    /// Not by its own doing, perhaps: the node was busy.
    #[error("compiling it took longer than {DEADLINE:?}, and is tried again")]
    Late,
    #[error("the compile worker failed: {0}")]
    Worker(String),
}

impl CompileError {
    /// Whether the same bytes may compile another time.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Start(_) | Self::Worker(_) | Self::Late)
    }
}

/// Compiles, one component after the other.
pub struct Compiling {
    workers: Arc<dyn Workers>,
    turn: Semaphore,
    hello: OnceCell<CompilerHello>,
}

/// Ends the worker, however the work on it ends.
struct Ending<'a> {
    workers: &'a dyn Workers,
    number: u64,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.workers.kill(self.number);
    }
}

impl Compiling {
    pub fn new(workers: Arc<dyn Workers>) -> Self {
        Self { workers, turn: Semaphore::new(1), hello: OnceCell::new() }
    }

    /// What the compiler makes code for. Asks a worker, once.
    ///
    /// # Errors
    /// A worker cannot be started or says nothing.
    pub async fn hello(&self) -> Result<&CompilerHello, CompileError> {
        self.hello
            .get_or_try_init(|| async {
                let started = self.start().await?;
                let _ending = Ending { workers: &*self.workers, number: started.number };
                let hello = greeted(started).await?.2;
                for report in &hello.layers {
                    if let Some(fault) = &report.fault {
                        let (layer, fault) = (report.layer.as_str(), crate::failure::tame(fault));
                        tracing::warn!(layer, fault, "the compile worker lacks a layer of its jail");
                    }
                }
                Ok(hello)
            })
            .await
    }

    /// Code for a component of a class.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub async fn compile(&self, class: Class, component: &[u8]) -> Result<Vec<u8>, CompileError> {
        let _turn = self.turn.acquire().await.expect("nobody closes the semaphore");
        let expected = self.hello().await?;
        let started = self.start().await?;
        let _ending = Ending { workers: &*self.workers, number: started.number };
        let (inbox, outbox, hello) = greeted(started).await?;
        if hello.compatibility != expected.compatibility {
            // Its code would be kept under what another makes, and refused by every runner.
            return Err(CompileError::Worker("it is of another build than the one before".into()));
        }
        match tokio::time::timeout(DEADLINE, ask(inbox, outbox, class, component)).await {
            Ok(Ok(code)) => code,
            // The kernel ended it, by the limits that it was given.
            Ok(Err(WireError::Read(_))) => Err(CompileError::TooDear),
            Err(_) => Err(CompileError::Late),
            Ok(Err(error)) => Err(CompileError::Worker(error.to_string())),
        }
    }

    async fn start(&self) -> Result<Started, CompileError> {
        let late = |_| Err(NotStarted(format!("it did not start within {GREETING:?}")));
        let started = tokio::time::timeout(GREETING, self.workers.start_compiler()).await;
        started.unwrap_or_else(late).map_err(CompileError::Start)
    }
}

/// The worker's first word. What goes wrong until then is not the component's doing, of which it has not seen a byte.
async fn greeted(started: Started) -> Result<(Inbox, Outbox, CompilerHello), CompileError> {
    let worker = |why: &str| CompileError::Worker(why.to_owned());
    let (mut inbox, outbox) =
        wire::polled(started.socket, false).map_err(|error| CompileError::Worker(error.to_string()))?;
    match tokio::time::timeout(GREETING, inbox.next::<CompilerHello>()).await {
        Ok(Ok(Some((hello, _)))) => Ok((inbox, outbox, hello)),
        Ok(Ok(None)) => Err(worker("it ended before it said what it is")),
        Ok(Err(error)) => Err(CompileError::Worker(error.to_string())),
        Err(_) => Err(worker("it does not answer")),
    }
}

async fn ask(
    mut inbox: Inbox,
    mut outbox: Outbox,
    class: Class,
    component: &[u8],
) -> Result<Result<Vec<u8>, CompileError>, WireError> {
    outbox.push(&CompileOrder { class, component_bytes: component.len() as u64 }, None);
    outbox.push_bytes(component);
    outbox.flush().await?;
    let ended = || WireError::Read(std::io::ErrorKind::UnexpectedEof.into());
    let (reply, _) = inbox.next::<CompileReply>().await?.ok_or_else(ended)?;
    Ok(match reply {
        CompileReply::Compiled { code_bytes } if code_bytes <= MOST_CODE_BYTES => {
            Ok(inbox.bytes(code_bytes as usize).await?)
        }
        CompileReply::Compiled { .. } => Err(CompileError::TooDear),
        CompileReply::Refused(CompileFault::Compile(why)) => Err(CompileError::Component(crate::failure::tame(&why))),
        CompileReply::Refused(CompileFault::Worker(why)) => Err(CompileError::Worker(crate::failure::tame(&why))),
    })
}
