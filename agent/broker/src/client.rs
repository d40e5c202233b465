//! The agent's end: starts the broker, tells it what there is, and has it start the sandbox's processes.
//!
//! [`launch`] is called while the agent has one thread, so that the agent can give its privileges up behind it; [`Launched::connect`] once
//! there is a runtime. Telling never waits: the broker reads as fast as it is told, and if it has ended there is nobody to tell.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sonde_collect::Found;
use sonde_host::wire::{self, Inbox, Outbox, WireError};
use sonde_host::{
    DoorsNumber, Grant, NotStarted, Room, RunnerNumber, Sharing, Started, Starting, TicketKey, Workers, places,
};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::protocol::{Doors, FromBroker, ToBroker};

/// What our processes are called in lists of processes.
pub(crate) const NAME: &str = "sonde";

/// Longest wait for the broker to end.
const STOPPING: std::time::Duration = std::time::Duration::from_secs(5);

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the broker {} cannot be started", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("there are no random numbers for the key of tickets")]
    Key(#[source] io::Error),
    #[error("the broker's channel cannot be used")]
    Channel(#[source] io::Error),
}

/// A broker that was started and not yet talked to.
pub struct Launched {
    child: Child,
    socket: OwnedFd,
    key: TicketKey,
}

/// Starts a broker as `PROGRAM broker ARGUMENTS`.
///
/// # Errors
/// See [`ClientError`].
pub fn launch(program: &Path, arguments: &[OsString]) -> Result<Launched, ClientError> {
    let key = TicketKey::random().map_err(ClientError::Key)?;
    let (socket, of_child) = UnixStream::pair().map_err(ClientError::Channel)?;
    let mut command = Command::new(program);
    command
        .arg0(NAME)
        .arg("broker")
        .args(arguments)
        // The agent alone speaks to the service manager.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_PID")
        .env_remove("WATCHDOG_USEC")
        .stdin(OwnedFd::from(of_child))
        .stdout(Stdio::null())
        .process_group(0);
    let child = command.spawn().map_err(|source| ClientError::Start { program: program.to_owned(), source })?;
    Ok(Launched { child, socket: socket.into(), key })
}

impl Launched {
    /// What tickets are written with.
    pub fn key(&self) -> TicketKey {
        self.key.clone()
    }

    /// The broker's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Begins to talk to it, on the current runtime. `runner_memory_bytes` is what all runs in flight in one runner may have.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn connect(self, runner_memory_bytes: u64) -> Result<Arc<Client>, ClientError> {
        let Self { mut child, socket, key } = self;
        let (inbox, mut outbox) = wire::polled(socket, true).map_err(ClientError::Channel)?;
        outbox.push(&ToBroker::Key(key), None);
        let (told, tell) = mpsc::unbounded_channel();
        let (ending, ended) = watch::channel(false);
        let client = Arc::new(Client {
            told,
            waiting: Mutex::default(),
            telling: Mutex::default(),
            next: AtomicU64::new(0),
            runner_memory_bytes,
            stopping: AtomicBool::new(false),
            ended,
        });
        let answers = client.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(&answers, inbox, outbox, tell).await
                && !answers.stopping.load(Ordering::Relaxed)
            {
                tracing::error!(error = sonde_host::chain(&error), "the broker's channel broke");
            }
            // Nobody waits for an answer that will not come. First it is said, then those who did not hear it are let go: the other
            // way round, who came in between would wait for ever.
            let _ = ending.send(true);
            answers.waiting().clear();
            answers.telling().clear();
            let reaped = tokio::task::spawn_blocking(move || child.wait());
            if let Ok(Ok(status)) = reaped.await {
                tracing::debug!(%status, "the broker has ended");
            }
        });
        Ok(client)
    }
}

/// The broker, as the agent has it.
pub struct Client {
    told: mpsc::UnboundedSender<ToBroker>,
    /// Who waits for a process.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<Started, NotStarted>>>>,
    /// Who waits to hear that something was taken in.
    telling: Mutex<HashMap<DoorsNumber, oneshot::Sender<()>>>,
    next: AtomicU64,
    runner_memory_bytes: u64,
    /// It has been told to stop: it may close what it has not read.
    stopping: AtomicBool,
    ended: watch::Receiver<bool>,
}

async fn converse(
    client: &Client,
    mut inbox: Inbox,
    mut outbox: Outbox,
    mut tell: mpsc::UnboundedReceiver<ToBroker>,
) -> Result<(), WireError> {
    loop {
        tokio::select! {
            message = tell.recv() => match message {
                Some(message) => outbox.push(&message, None),
                None => return Ok(()),
            },
            said = inbox.next::<FromBroker>() => {
                match said? {
                    Some((FromBroker::Started { request, result }, socket)) => client.started(request, result, socket),
                    Some((FromBroker::Told { number }, _)) => {
                        // Who asked may have given up waiting.
                        let _ = client.telling().remove(&number).map(|heard| heard.send(()));
                    }
                    None => return Ok(()),
                }
            }
            flushed = outbox.flush(), if !outbox.is_empty() => flushed?,
        }
    }
}

impl Client {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Result<Started, NotStarted>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn telling(&self) -> MutexGuard<'_, HashMap<DoorsNumber, oneshot::Sender<()>>> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self, request: u64, result: Result<RunnerNumber, String>, socket: Option<OwnedFd>) {
        let started = match (result, socket) {
            (Ok(number), Some(socket)) => Ok(Started { number, socket }),
            (Ok(_), None) => Err(NotStarted("the broker gave no channel".into())),
            (Err(why), _) => Err(NotStarted(why)),
        };
        let unwanted = match self.waiting().remove(&request) {
            Some(waiting) => waiting.send(started).err(),
            None => Some(started),
        };
        // Whoever asked has given up: what was started for them must not live on.
        if let Some(Ok(started)) = unwanted {
            self.kill(started.number);
        }
    }

    fn tell(&self, message: ToBroker) {
        let _ = self.told.send(message);
    }

    /// An instance lives, and whose it is.
    pub fn note(&self, found: &Found, owner: &str) {
        self.tell(ToBroker::Note { found: Box::new(found.clone()), owner: owner.to_owned() });
    }

    /// An instance is gone.
    pub fn forget(&self, instance: Uuid) {
        self.tell(ToBroker::Forget { instance });
    }

    /// What a sensor's runs on an instance may have opened; `None` where that is nothing. Waits until the broker knows; good until
    /// the returned doors are dropped.
    pub async fn doors(
        self: &Arc<Self>,
        instance: Uuid,
        grant: &Grant,
        secrets: &BTreeMap<String, PathBuf>,
    ) -> Option<OpenDoors> {
        if !grant.opens_anything() {
            return None;
        }
        let doors = Box::new(Doors::of(instance, grant, secrets));
        let (number, known) = self.tell_and_hear(|number| ToBroker::Doors { number, doors });
        // Known; or there is no broker any more, or one that does not get to it, and then runs are refused what they ask for.
        let _ = tokio::time::timeout(STOPPING, known).await;
        Some(OpenDoors { client: self.clone(), number })
    }

    /// Resolves to true when the broker has said that it is at work, to false when it has ended.
    pub async fn ping(&self) -> bool {
        let (_, answered) = self.tell_and_hear(|number| ToBroker::Ping { number });
        answered.await.is_ok()
    }

    /// Tells what is answered by its number; the receiver hears of it, or is closed when there is no broker any more.
    fn tell_and_hear(&self, message: impl FnOnce(u64) -> ToBroker) -> (DoorsNumber, oneshot::Receiver<()>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (told, known) = oneshot::channel();
        self.telling().insert(number, told);
        self.tell(message(number));
        if *self.ended.borrow() {
            self.telling().clear();
        }
        (number, known)
    }

    /// Has the broker end its children and itself; resolves when it has.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.tell(ToBroker::Stop);
        if tokio::time::timeout(STOPPING, self.ended()).await.is_err() {
            tracing::warn!("the broker does not end; it will when this process has");
        }
    }

    /// Resolves when the broker has ended.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await;
    }

    async fn start(&self, order: impl FnOnce(u64) -> ToBroker) -> Result<Started, NotStarted> {
        let gone = || NotStarted("the broker has ended".into());
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        let (started, answer) = oneshot::channel();
        self.waiting().insert(request, started);
        // Looked at behind the insertion; see where it is said.
        if *self.ended.borrow() {
            self.waiting().remove(&request);
            return Err(gone());
        }
        self.tell(order(request));
        answer.await.map_err(|_| gone())?
    }
}

/// Doors that the broker was told of.
pub struct OpenDoors {
    client: Arc<Client>,
    number: DoorsNumber,
}

impl OpenDoors {
    pub fn number(&self) -> DoorsNumber {
        self.number
    }
}

impl Drop for OpenDoors {
    fn drop(&mut self) {
        self.client.tell(ToBroker::Close { number: self.number });
    }
}

impl Workers for Client {
    fn start_runner(&self, room: Room) -> Starting<'_> {
        let memory_bytes = self.runner_memory_bytes;
        let places = if room.sharing == Sharing::Solitary { 1 } else { places(memory_bytes, room.class) as u64 };
        let gives_way = room.sharing.gives_way();
        let order =
            move |request| ToBroker::StartRunner { request, class: room.class, places, memory_bytes, gives_way };
        Box::pin(self.start(order))
    }

    fn start_compiler(&self) -> Starting<'_> {
        Box::pin(self.start(|request| ToBroker::StartCompiler { request }))
    }

    fn kill(&self, number: RunnerNumber) {
        self.tell(ToBroker::Kill { number });
    }
}
