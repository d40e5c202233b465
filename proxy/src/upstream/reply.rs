//! The body of an agent's answer: passed on as it comes, until the scraper's deadline and not longer.

use std::pin::Pin;
use std::sync::Arc;
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

/// See the module. Its place in flight is given back when it is dropped.
pub struct ReplyBody {
    incoming: Incoming,
    line: Option<Line>,
    link: Arc<Link>,
    deadline: Pin<Box<Sleep>>,
    _place: Slot,
}

impl std::fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyBody").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

impl ReplyBody {
    pub(super) fn new(incoming: Incoming, line: Line, link: Arc<Link>, place: Slot, deadline: Instant) -> Self {
        let deadline = Box::pin(tokio::time::sleep_until(deadline.into()));
        Self { incoming, line: Some(line), link, deadline, _place: place }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(|source| Cut::Agent { source }))),
            Poll::Pending => match self.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Cut::Late))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ReplyBody {
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
