//! A runner: the process that holds wasmtime and runs in flight, and nothing else.
//!
//! It is given its two sockets as descriptors 0 and 1 (agent, broker) and closes the jail around itself before it reads a byte from
//! either. From the agent come compiled code and orders to run, to the broker go tickets; it decides nothing, keeps nothing between
//! runs but code, and ends when either side does. Everything that it says is judged by whoever reads it.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::fcntl_dupfd_cloexec;
use sonde_host::wire::{self, Answer, FromRunner, Inbox, Outbox, Outcome, RunOrder, ToRunner, WireError};
use sonde_host::{Digest, Grant, LogLevel, RunFailure, Usage};
use sonde_jail::{Jail, LayerReport};
use sonde_manifest::Class;
use tokio::sync::{mpsc, oneshot};
use wasmtime::component::Component;

use crate::engine::{EngineError, Sandbox};
use crate::fair::FairTasks;
use crate::remote::{BrokerLink, KstatsQuestion, RemoteBroker};
use crate::run::{Program, RunInput, sentence};

/// How much less than the epoch's thread the one that runs sensors counts, where both want the same core.
const NICENESS: i32 = 10;

/// What the last panic said. There is no standard error to say it on.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Why a runner ended otherwise than by its agent.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error("its sockets are not there")]
    Sockets(#[source] std::io::Error),
    #[error("its event loop cannot be made")]
    Runtime(#[source] std::io::Error),
    #[error("the sandbox cannot be made")]
    Engine(#[source] EngineError),
    #[error("the agent's channel broke")]
    Wire(#[source] WireError),
    #[error("code cannot be taken in")]
    Code(#[source] std::io::Error),
}

/// The life of a runner. Returns when its agent has closed the channel.
///
/// # Errors
/// See [`RunnerError`].
pub fn run(jail: &Jail, class: Class, places: usize) -> Result<(), RunnerError> {
    let layers = jail.enter();
    std::panic::set_hook(Box::new(|panic| {
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunnerError::Runtime)?;
    let _inside = runtime.enter();
    let agent = wire::polled(duplicate(std::io::stdin())?, true).map_err(RunnerError::Sockets)?;
    let broker = wire::polled(duplicate(std::io::stdout())?, true).map_err(RunnerError::Sockets)?;
    let sandbox = Sandbox::new(class, places).map_err(RunnerError::Engine)?;
    // Runs on this thread make way for the epoch's, which was started before and preempts them.
    let _ = rustix::process::setpriority_process(None, NICENESS);
    runtime.block_on(Runner::serve(sandbox, agent, broker, layers))
}

fn duplicate(descriptor: impl std::os::fd::AsFd) -> Result<OwnedFd, RunnerError> {
    // Below 3 are the given ones; any other number will do.
    fcntl_dupfd_cloexec(descriptor, 3).map_err(|error| RunnerError::Sockets(error.into()))
}

/// All that a runner has.
pub(crate) struct Runner {
    sandbox: Arc<Sandbox>,
    /// Code by digest, or why it cannot be run.
    programs: HashMap<Digest, Result<Program, RunFailure>>,
    tasks: FairTasks<Outcome>,
    /// Runs that wait for kstats.
    asking: HashMap<u64, oneshot::Sender<Answer>>,
    link: Arc<BrokerLink>,
    questions: mpsc::UnboundedSender<KstatsQuestion>,
    outbox: Outbox,
}

impl Runner {
    /// Talks to agent and broker until the agent ends.
    pub(crate) async fn serve(
        sandbox: Arc<Sandbox>,
        (mut inbox, outbox): (Inbox, Outbox),
        (from_broker, to_broker): (Inbox, Outbox),
        layers: Vec<LayerReport>,
    ) -> Result<(), RunnerError> {
        let (link, brokering) = BrokerLink::new(from_broker, to_broker);
        let mut brokering = std::pin::pin!(brokering);
        let (questions, mut asked) = mpsc::unbounded_channel();
        let (programs, tasks, asking) = Default::default();
        let mut runner = Self { sandbox, programs, tasks, asking, link, questions, outbox };
        runner.outbox.push(&FromRunner::Ready { layers }, None);
        loop {
            tokio::select! {
                biased;
                message = inbox.next() => match message.map_err(RunnerError::Wire)? {
                    Some((message, descriptor)) => runner.take(message, descriptor)?,
                    None => return Ok(()),
                },
                // Without the broker there is nothing to be opened any more; the agent will end this process.
                _ = &mut brokering => return Ok(()),
                Some(question) = asked.recv() => runner.ask(question),
                (run, outcome) = runner.tasks.next() => runner.done(run, outcome),
                flushed = runner.outbox.flush(), if !runner.outbox.is_empty() => flushed.map_err(RunnerError::Wire)?,
            }
        }
    }

    fn take(&mut self, message: ToRunner, descriptor: Option<OwnedFd>) -> Result<(), RunnerError> {
        match message {
            ToRunner::Load { digest } => {
                let missing = || WireError::NoDescriptor;
                let code = File::from(descriptor.ok_or_else(missing).map_err(RunnerError::Wire)?);
                let loaded = self.load(&code).map_err(RunnerError::Code)?;
                let fault = loaded.as_ref().err().map(ToString::to_string);
                self.programs.insert(digest, loaded);
                self.outbox.push(&FromRunner::Loaded { digest, fault }, None);
            }
            ToRunner::Unload { digest } => drop(self.programs.remove(&digest)),
            ToRunner::Run(order) => self.start(order),
            ToRunner::Kstats { run, answer } => {
                if let Some(asking) = self.asking.remove(&run) {
                    let _ = asking.send(answer);
                }
            }
        }
        Ok(())
    }

    /// Takes compiled code in. The outer error is the machine's, the inner one the code's.
    fn load(&self, code: &File) -> std::io::Result<Result<Program, RunFailure>> {
        // By position: the descriptor's own is shared with every process that has it.
        let mut bytes = vec![0; usize::try_from(code.metadata()?.len()).unwrap_or(usize::MAX)];
        code.read_exact_at(&mut bytes, 0)?;
        #[allow(unsafe_code, reason = "compiled code can only be taken in so; see below")]
        // SAFETY: the bytes come from the agent alone, which verified them by a key that only it has, as what a compile
        // worker of this same build made; wasmtime checks version and settings itself.
        let component = unsafe { Component::deserialize(&self.sandbox.engine, &bytes) };
        let unusable = |message| RunFailure::Start { message };
        Ok(match component {
            Ok(component) => {
                Program::new(self.sandbox.clone(), &component).map_err(|message| RunFailure::World { message })
            }
            Err(error) => Err(unusable(format!("its compiled code cannot be used: {}", sentence(&error)))),
        })
    }

    fn start(&mut self, order: RunOrder) {
        let program = match self.programs.get(&order.digest) {
            Some(Ok(program)) => program.clone(),
            Some(Err(failure)) => return self.done(order.run, failed(failure.clone())),
            None => {
                let failure = RunFailure::Start { message: "its code is not there".into() };
                return self.done(order.run, failed(failure));
            }
        };
        let Ok(grant) = wire::decode::<Grant>(&order.grant) else {
            let failure = RunFailure::Internal { message: "the grant cannot be read".into() };
            return self.done(order.run, failed(failure));
        };
        let broker = RemoteBroker {
            link: self.link.clone(),
            questions: self.questions.clone(),
            run: order.run,
            ticket: order.ticket,
            opened: AtomicU32::new(0),
        };
        let input = RunInput {
            grant: Arc::new(grant),
            broker: Arc::new(broker),
            state: order.state.into(),
            account: order.account,
        };
        let call = order.call;
        self.tasks.push(
            order.run,
            order.account,
            order.weight,
            survived(async move { program.run(call, input).await }),
        );
    }

    fn done(&mut self, run: u64, outcome: Outcome) {
        self.asking.remove(&run);
        self.outbox.push(&FromRunner::Done { run, outcome }, None);
    }

    fn ask(&mut self, question: KstatsQuestion) {
        let KstatsQuestion { run, module, reply } = question;
        self.asking.insert(run, reply);
        self.outbox.push(&FromRunner::AskKstats { run, module }, None);
    }
}

/// A panic in the node's own code for a run is that run's alone.
async fn survived(run: impl Future<Output = Outcome>) -> Outcome {
    let mut run = std::pin::pin!(run);
    let unwound = || {
        let message = std::mem::take(&mut *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner));
        RunFailure::Internal { message: format!("a panic: {message}") }
    };
    std::future::poll_fn(|context| {
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.as_mut().poll(context)));
        polled.unwrap_or_else(|_| std::task::Poll::Ready(failed(unwound())))
    })
    .await
}

/// Of a run that never began.
fn failed(failure: RunFailure) -> Outcome {
    Outcome { result: Err(failure), usage: Usage::default(), logs: Vec::new(), logs_cut: false, state: None }
}

/// What a runner says for the node's log when it cannot go on. Nobody may be there to hear it.
pub fn last_words(error: &dyn std::error::Error) {
    let message = sonde_host::chain(error);
    let Ok(socket) = duplicate(std::io::stdin()) else { return };
    let Ok((_, mut outbox)) = wire::blocking(socket, false) else { return };
    outbox.push(&FromRunner::Log { level: LogLevel::Error, message }, None);
    let _ = outbox.flush_blocking();
}
