//! One runner's channel: requests come in, each is judged, and what is honoured is opened beside the others.
//!
//! The runner is the side that may have been taken over. A request that no honest runner can make ends the channel, and the runner with it; an
//! honest one's mistakes are answered. Requests in flight are bounded, and a runner that does not read its answers is not read from, and
//! in the end not kept. However fast one asks, the others have their turn.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sonde_host::wire::{Descriptor, Inbox, OpenReply, OpenRequest, Opened, Opening, Outbox, WireError};
use sonde_host::{BrokerError, RunnerNumber};
use tokio::task::JoinSet;
use tokio::task::coop::consume_budget;

use crate::doors::{DoorKeeper, Refusal};
use crate::opening::{InstanceBroker, OpeningRoom};
use crate::process::Instances;
use crate::protocol::Doors;

/// Openings of one runner at once: several for each run that it has places for.
const AT_ONCE: usize = 512;
/// Answers that may wait to be read.
const UNREAD_BYTES: usize = 1 << 20;
/// Descriptors among them: each is one of the broker's own, and a file also holds one of its instance's places.
const UNREAD_DESCRIPTORS: usize = 64;
/// Longest that answers wait to be read. A runner's loop reads whenever it turns, a thousand times a second.
const UNREAD_FOR: Duration = Duration::from_secs(10);
/// Longest request: a ticket, and a path of the kernel's longest (`PATH_MAX`).
pub(crate) const REQUEST_BYTES: usize = 8 << 10;

/// Why a runner's channel ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    #[error("its channel broke")]
    Wire(#[source] WireError),
    #[error("it asked for what no honest runner asks for: {0}")]
    Dishonest(Refusal),
    #[error("it has not read its answers for {} s", UNREAD_FOR.as_secs())]
    Unread,
}

/// What all channels work with.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(crate) keeper: Arc<Mutex<DoorKeeper>>,
    pub(crate) instances: Arc<Mutex<Instances>>,
    pub(crate) room: Arc<OpeningRoom>,
}

type Reply = (OpenReply, Option<Descriptor>);

/// Serves a runner until it ends.
pub(crate) async fn serve(
    number: RunnerNumber,
    opener: Opener,
    mut inbox: Inbox,
    mut outbox: Outbox,
) -> Result<(), ChannelError> {
    let mut opening: JoinSet<Reply> = JoinSet::new();
    let mut unread_since = None;
    loop {
        // What is read already is taken without waiting for anything, which would leave the others waiting.
        consume_budget().await;
        let takes_more = opening.len() < AT_ONCE
            && outbox.waiting_bytes() < UNREAD_BYTES
            && outbox.waiting_descriptors() < UNREAD_DESCRIPTORS;
        unread_since = (!outbox.is_empty()).then(|| unread_since.unwrap_or_else(Instant::now));
        let unread_until = unread_since.unwrap_or_else(Instant::now) + UNREAD_FOR;
        tokio::select! {
            request = inbox.next::<OpenRequest>(), if takes_more => {
                let Some((request, _)) = request.map_err(ChannelError::Wire)? else { return Ok(()) };
                let honoured = opener.keeper.lock().unwrap_or_else(PoisonError::into_inner).honour(number, &request);
                match honoured {
                    Ok((doors, patience)) => {
                        let (opener, deadline) = (opener.clone(), Instant::now() + patience);
                        opening.spawn(async move { opener.open(request, doors, deadline).await });
                    }
                    Err(refusal) if refusal.is_innocent() => {
                        let result = Err(BrokerError::Denied(refusal.to_string()));
                        outbox.push(&OpenReply { id: request.id, result }, None);
                    }
                    Err(refusal) => return Err(ChannelError::Dishonest(refusal)),
                }
            }
            Some(opened) = opening.join_next() => {
                // A panic in one opening is that opening's alone: its run waits to its deadline.
                if let Ok((reply, descriptor)) = opened {
                    outbox.push_with(&reply, descriptor);
                }
            }
            flushed = outbox.flush(), if !outbox.is_empty() => flushed.map_err(ChannelError::Wire)?,
            () = tokio::time::sleep_until(unread_until.into()), if unread_since.is_some() => return Err(ChannelError::Unread),
        }
    }
}

impl Opener {
    async fn open(&self, request: OpenRequest, doors: Arc<Doors>, deadline: Instant) -> Reply {
        let opened = match self.instance(&doors) {
            Some(instance) => open(&instance, &doors, request.what, deadline).await,
            None => Err(BrokerError::Gone),
        };
        let (result, descriptor) = match opened {
            Ok((opened, descriptor)) => (Ok(opened), descriptor),
            Err(error) => (Err(error), None),
        };
        (OpenReply { id: request.id, result }, descriptor)
    }

    fn instance(&self, doors: &Doors) -> Option<InstanceBroker> {
        let instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, owner) = instances.get(&doors.instance)?;
        Some(InstanceBroker { room: self.room.clone(), found: found.clone(), owner: owner.clone() })
    }
}

async fn open(
    instance: &InstanceBroker,
    doors: &Doors,
    what: Opening,
    deadline: Instant,
) -> Result<(Opened, Option<Descriptor>), BrokerError> {
    let descriptor: Descriptor = match what {
        Opening::Tcp(port) | Opening::Http(port) => Box::new(instance.tcp(port, deadline).await?),
        Opening::Unix(path) => Box::new(instance.unix_socket(&path, deadline).await?),
        Opening::File(path) => Box::new(instance.file(&path, deadline).await?),
        Opening::Secret(name) => {
            let secret = instance.secret(&doors.secrets(), &name, deadline).await?;
            return Ok((Opened::Secret(secret), None));
        }
        Opening::Processes => return Ok((Opened::Processes(instance.processes(deadline).await?), None)),
    };
    Ok((Opened::Descriptor, Some(descriptor)))
}
