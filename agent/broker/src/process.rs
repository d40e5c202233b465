//! The broker's life: told by the agent, asked by runners, parent of all that is not trusted.
//!
//! One loop on the main thread, since children die with the thread that made them; what can block has threads of its own. It ends when
//! the agent does, and takes its children with it.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::fcntl_dupfd_cloexec;
use sonde_collect::mounts::RootsError;
use sonde_collect::{Found, Roots};
use sonde_host::RunnerNumber;
use sonde_host::wire::{self, Inbox, Outbox, WireError};
use sonde_jail::cgroup::CgroupRoom;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::doors::DoorKeeper;
use crate::opening::OpeningRoom;
use sonde_listen::raise_descriptors;

use crate::privileges::keep_brokers;
use crate::protocol::{FromBroker, ToBroker};
use crate::runner_channel::{Opener, REQUEST_BYTES, serve};
use crate::spawn::{Role, Spawned, Spawner};

/// Instances that live, and whose they are.
pub(crate) type Instances = HashMap<Uuid, (Arc<Found>, Arc<str>)>;

/// Why the broker ended otherwise than by its agent.
#[derive(Debug, thiserror::Error)]
pub enum BrokerProcessError {
    #[error("the agent's socket is not there")]
    Socket(#[source] std::io::Error),
    #[error("its event loop cannot be made")]
    Runtime(#[source] std::io::Error),
    #[error("the kernel's files are not where they should be")]
    Roots(#[source] RootsError),
    #[error("the agent's channel broke")]
    Wire(#[source] WireError),
    #[error("the agent did not begin with a key")]
    NoKey,
}

/// Serves the agent at descriptor 0 until that closes. Runners are started from `program`, compile workers from `compile_worker`.
///
/// # Errors
/// See [`BrokerProcessError`].
pub fn run(program: PathBuf, compile_worker: PathBuf) -> Result<(), BrokerProcessError> {
    keep_brokers();
    raise_descriptors();
    match sonde_jail::cgroup::sweep() {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "cgroups of an agent that is no more were removed"),
        Err(error) => tracing::debug!(error = sonde_host::chain(&error), "old cgroups cannot be looked for"),
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BrokerProcessError::Runtime)?;
    let ended = runtime.block_on(async {
        let socket = fcntl_dupfd_cloexec(std::io::stdin().as_fd(), 3);
        let socket = socket.map_err(|error| BrokerProcessError::Socket(error.into()))?;
        let (mut inbox, outbox) = wire::polled(socket, false).map_err(BrokerProcessError::Socket)?;
        let Some((ToBroker::Key(key), _)) = inbox.next().await.map_err(BrokerProcessError::Wire)? else {
            return Err(BrokerProcessError::NoKey);
        };
        let roots = Arc::new(Roots::of_this_machine().map_err(BrokerProcessError::Roots)?);
        let opener = Opener {
            keeper: Arc::new(Mutex::new(DoorKeeper::new(key))),
            instances: Arc::default(),
            room: Arc::new(OpeningRoom::new(roots)),
        };
        let broker = Broker {
            opener,
            outbox,
            spawner: Spawner::new(program, compile_worker),
            children: JoinSet::new(),
            kills: HashMap::new(),
            next: 0,
        };
        broker.serve(inbox).await
    });
    // What is stuck in somebody's file system must not keep a process with privileges behind its agent.
    runtime.shutdown_background();
    ended
}

struct Broker {
    opener: Opener,
    outbox: Outbox,
    spawner: Spawner,
    /// One task a child, ending with it.
    children: JoinSet<RunnerNumber>,
    kills: HashMap<RunnerNumber, oneshot::Sender<()>>,
    next: RunnerNumber,
}

impl Broker {
    async fn serve(mut self, mut inbox: Inbox) -> Result<(), BrokerProcessError> {
        let ended = loop {
            tokio::select! {
                message = inbox.next() => match message {
                    Ok(Some((ToBroker::Stop, _)) | None) => break Ok(()),
                    Ok(Some((message, _))) => self.take(message),
                    Err(error) => break Err(BrokerProcessError::Wire(error)),
                },
                Some(ended) = self.children.join_next() => {
                    if let Ok(number) = ended {
                        self.kills.remove(&number);
                    }
                }
                flushed = self.outbox.flush(), if !self.outbox.is_empty() => {
                    if let Err(error) = flushed {
                        break Err(BrokerProcessError::Wire(error));
                    }
                }
            }
        };
        // Dropping what would kill a child is what ends it.
        self.kills.clear();
        while self.children.join_next().await.is_some() {}
        ended
    }

    fn take(&mut self, message: ToBroker) {
        match message {
            // The key is the first message and none after it; the end is seen to where messages are read.
            ToBroker::Key(_) | ToBroker::Stop => {}
            ToBroker::Note { found, owner } => {
                let (found, owner): (Arc<Found>, Arc<str>) = (Arc::from(found), owner.into());
                self.opener.room.owners.note(&found, &owner);
                self.instances(|instances| instances.insert(found.name.uuid, (found, owner)));
            }
            ToBroker::Forget { instance } => {
                self.opener.room.owners.forget(instance);
                self.instances(|instances| instances.remove(&instance));
            }
            ToBroker::Doors { number, doors } => {
                self.doors(|keeper| keeper.set(number, *doors));
                self.outbox.push(&FromBroker::Told { number }, None);
            }
            ToBroker::Ping { number } => self.outbox.push(&FromBroker::Told { number }, None),
            ToBroker::Close { number } => self.doors(|keeper| keeper.close(number)),
            ToBroker::StartRunner { request, class, places, memory_bytes, gives_way } => {
                self.start(request, Role::Runner { class, places, memory_bytes, gives_way });
            }
            ToBroker::StartCompiler { request } => self.start(request, Role::Compiler),
            ToBroker::Kill { number } => drop(self.kills.remove(&number)),
        }
    }

    fn instances<T>(&self, change: impl FnOnce(&mut Instances) -> T) {
        change(&mut self.opener.instances.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn doors<T>(&self, change: impl FnOnce(&mut DoorKeeper) -> T) {
        change(&mut self.opener.keeper.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn start(&mut self, request: u64, role: Role) {
        let started = self.spawn(role).map_err(|error| error.to_string());
        let (result, descriptor) = match started {
            Ok((number, to_agent)) => (Ok(number), Some(to_agent)),
            Err(why) => {
                tracing::error!(?role, why, "a process cannot be started");
                (Err(why), None)
            }
        };
        self.outbox.push(&FromBroker::Started { request, result }, descriptor);
    }

    fn spawn(&mut self, role: Role) -> std::io::Result<(RunnerNumber, std::os::fd::OwnedFd)> {
        let number = self.next;
        self.next += 1;
        let Spawned { child, user, cgroup, to_agent, to_broker } = self.spawner.spawn(number, role)?;
        let channel = to_broker.map(|(inbox, outbox)| (inbox.of_frames_up_to(REQUEST_BYTES), outbox));
        let (kill, killed) = oneshot::channel();
        self.kills.insert(number, kill);
        let opener = self.opener.clone();
        self.children.spawn(async move {
            live(number, child, channel, opener, killed).await;
            // It waits for the kernel to notice, which is nothing for this thread.
            let removed = tokio::task::spawn_blocking(|| cgroup.map(CgroupRoom::remove)).await;
            if let Ok(Some(Err(error))) = removed {
                tracing::warn!(number, error = sonde_host::chain(&error), "a cgroup could not be removed");
            }
            drop(user);
            number
        });
        Ok((number, to_agent))
    }
}

/// A child's life, seen from its parent: until it ends, its channel does, or it is to be ended.
async fn live(
    number: RunnerNumber,
    mut child: tokio::process::Child,
    channel: Option<(Inbox, Outbox)>,
    opener: Opener,
    killed: oneshot::Receiver<()>,
) {
    let serving = async {
        match channel {
            Some((inbox, outbox)) => serve(number, opener, inbox, outbox).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // Reaped here; whether it ended well is the agent's to notice.
        _ = child.wait() => return,
        _ = killed => {}
        served = serving => if let Err(error) = served {
            tracing::error!(runner = number, error = sonde_host::chain(&error), "a runner is ended");
        },
    }
    if let Err(error) = child.kill().await {
        tracing::error!(runner = number, %error, "a runner could not be ended");
    }
}
