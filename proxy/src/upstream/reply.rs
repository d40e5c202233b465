//! The body of an agent's answer: passed on as it comes, until the scraper's deadline and not longer.
//!
//! Whoever reads it may stop reading, and then nobody polls it. So what it holds (a place at the node, a stream of a connection that others share, what
//! has come of it) lies where [`Replies::end_late`] finds it too, once a second: a scraper that reads slowly, or not at all, keeps nothing of a node's
//! beyond its own time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::link::Link;
use super::pool::Line;
use super::slots::Slot;

/// Why a body was broken off.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    #[error("the agent broke off")]
    Agent { source: hyper::Error },
    #[error("the scraper's time is over")]
    Late,
}

/// See the module.
pub struct ReplyBody {
    shared: Arc<Shared>,
    deadline: Pin<Box<Sleep>>,
}

/// None once its time is over.
#[derive(Debug)]
struct Shared(Mutex<Option<Held>>);

/// What goes back when the body has gone, or has had its time.
struct Held {
    incoming: Incoming,
    line: Option<Line>,
    link: Arc<Link>,
    _place: Slot,
}

/// The bodies of one node that are on their way.
#[derive(Debug, Default)]
pub(super) struct Replies(Mutex<Vec<(Instant, Weak<Shared>)>>);

impl Replies {
    /// A body, known here until it is dropped.
    pub(super) fn begin(
        &self,
        incoming: Incoming,
        line: Line,
        link: &Arc<Link>,
        place: Slot,
        until: Instant,
    ) -> ReplyBody {
        let held = Held { incoming, line: Some(line), link: link.clone(), _place: place };
        // What has come whole with its head is read at once, and holds nothing that others wait for.
        let is_whole = held.incoming.is_end_stream();
        let shared = Arc::new(Shared(Mutex::new(Some(held))));
        if !is_whole {
            self.lock().push((until, Arc::downgrade(&shared)));
        }
        ReplyBody { shared, deadline: Box::pin(tokio::time::sleep_until(until.into())) }
    }

    /// Takes back what is held past its time, and forgets what has gone.
    pub(super) fn end_late(&self, now: Instant) {
        let mut late = Vec::new();
        self.lock().retain(|(until, shared)| match shared.upgrade() {
            Some(shared) if *until <= now => {
                late.push(shared);
                false
            }
            Some(_) => true,
            None => false,
        });
        // Dropped without our lock: they give back to the link.
        for shared in late {
            let held = shared.lock().take();
            drop(held);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Weak<Shared>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyBody").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Self { shared, deadline } = self.get_mut();
        let mut held = shared.lock();
        let Some(passing) = held.as_mut() else { return Poll::Ready(Some(Err(Cut::Late))) };
        match Pin::new(&mut passing.incoming).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(|source| Cut::Agent { source }))),
            Poll::Pending => deadline.as_mut().poll(cx).map(|()| Some(Err(Cut::Late))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.shared.lock().as_ref().is_some_and(|held| held.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.shared.lock().as_ref().map_or_else(SizeHint::default, |held| held.incoming.size_hint())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A connection whose body was not read to its end is no good for another request.
        let is_over = self.incoming.is_end_stream();
        if let (Some(Line::Alone(Some(sender))), true) = (self.line.take(), is_over) {
            let link = self.link.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { link.pool.give_back(sender).await });
            }
        }
    }
}
