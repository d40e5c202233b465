//! The agent's end of one runner: a task that moves messages, and nothing that a stuck or lying runner could hold up.
//!
//! The driver never waits for a runner: what it sends is queued here, bounded by the places of the runner, and what comes back arrives as
//! an event. The runner is waited for, and it waits for the driver: no more is read from it than the driver takes. A runner that breaks
//! the protocol is as good as dead.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Event;
use crate::ticket::RunnerNumber;
use crate::wire::{self, Inbox, MOST_FRAME_BYTES, Outbox, ToRunner, WireError};
use crate::workers::{Room, Started, Workers};

/// Which life of a room's runner is meant: events of an earlier one are stale.
pub(super) type Life = u64;

/// Bytes that may wait for a runner when another answer of the kernel's is to be sent to it. Orders are bounded by places; answers, by
/// this: a runner that asks and does not read is not honest.
const MOST_UNREAD_BYTES: usize = 2 * MOST_FRAME_BYTES;

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("its channel broke")]
    Wire(#[from] WireError),
    #[error("it does not read what it asked for")]
    Unread,
}

/// A runner that can be given orders. The process ends with it.
pub(super) struct Link {
    pub(super) number: RunnerNumber,
    orders: mpsc::UnboundedSender<(ToRunner, Option<OwnedFd>)>,
    workers: Arc<dyn Workers>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // Its channel closes too, but only an honest runner would heed that.
        self.workers.kill(self.number);
    }
}

impl Link {
    /// Begins to talk to a runner that was started. It is ended when the link is dropped, and where it cannot be talked to.
    pub(super) fn open(
        room: Room,
        life: Life,
        started: Started,
        workers: Arc<dyn Workers>,
        events: mpsc::Sender<Event>,
    ) -> std::io::Result<Self> {
        let (orders, given) = mpsc::unbounded_channel();
        let link = Self { number: started.number, orders, workers };
        let (inbox, outbox) = wire::polled(started.socket, false)?;
        tokio::spawn(async move {
            let why = match converse(inbox, outbox, given, room, life, &events).await {
                Ok(()) => "it ended".to_owned(),
                Err(error) => crate::chain(&error),
            };
            let _ = events.send(Event::Ended { room, life, why }).await;
        });
        Ok(link)
    }

    /// Queues an order.
    pub(super) fn send(&self, order: ToRunner, descriptor: Option<OwnedFd>) {
        // If its task has ended, the event that says so is on its way.
        let _ = self.orders.send((order, descriptor));
    }
}

/// Moves messages until either side ends.
async fn converse(
    mut inbox: Inbox,
    mut outbox: Outbox,
    mut orders: mpsc::UnboundedReceiver<(ToRunner, Option<OwnedFd>)>,
    room: Room,
    life: Life,
    events: &mpsc::Sender<Event>,
) -> Result<(), LinkError> {
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(mut order) = order else { return Ok(()) };
                loop {
                    if matches!(order.0, ToRunner::Kstats { .. }) && outbox.waiting_bytes() > MOST_UNREAD_BYTES {
                        return Err(LinkError::Unread);
                    }
                    outbox.push(&order.0, order.1);
                    match orders.try_recv() {
                        Ok(next) => order = next,
                        Err(_) => break,
                    }
                }
            }
            message = inbox.next() => match message? {
                Some((message, _)) => {
                    // Waits until the driver has taken what was said before.
                    if events.send(Event::Said { room, life, message }).await.is_err() {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            },
            flushed = outbox.flush(), if !outbox.is_empty() => flushed?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use sonde_manifest::Class;

    use super::*;
    use crate::broker::Kstat;
    use crate::schedule::nobody::Nobody;
    use crate::workers::Sharing;

    #[tokio::test]
    async fn answers_do_not_pile_up_for_who_does_not_read_them() {
        let (here, _there) = UnixStream::pair().unwrap();
        let (events, mut said) = mpsc::channel(1);
        let room = Room { class: Class::Small, sharing: Sharing::Light };
        let link = Link::open(room, 1, Started { number: 1, socket: here.into() }, Arc::new(Nobody), events).unwrap();
        let group = || Kstat { module: "m".into(), name: "n".repeat(4 << 20), statistics: Vec::new() };
        for run in 0..20 {
            link.send(ToRunner::Kstats { run, answer: Ok(vec![group()]) }, None);
        }
        let Some(Event::Ended { why, .. }) = said.recv().await else { panic!("it goes on") };
        assert_eq!(why, "it does not read what it asked for");
    }
}
