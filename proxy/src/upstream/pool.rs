//! Connections to one agent: a few that many requests share (HTTP/2), or one a request that is used again (HTTP/1.1).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};

/// Requests at once on one connection: what our agent takes.
pub(super) const STREAMS: u32 = 16;
/// Connections that are shared, to one agent.
const SHARED: usize = 4;
/// Connections without a request that are kept.
const IDLE: usize = 16;
/// For so long: an agent's own patience is 300 s, cmon-agent's 120.
const IDLE_FOR: Duration = Duration::from_secs(60);

pub(super) type Sent = Request<Empty<Bytes>>;

#[derive(Debug, Default)]
pub(super) struct Pool {
    shared: Mutex<Vec<Arc<Shared>>>,
    idle: Mutex<Vec<(Instant, http1::SendRequest<Empty<Bytes>>)>>,
}

#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<Empty<Bytes>>,
    streams: AtomicU32,
}

/// A connection as one request has it.
#[derive(Debug)]
pub(super) enum Line {
    Alone(Option<http1::SendRequest<Empty<Bytes>>>),
    Shared(Stream),
}

/// One request's part of a shared connection.
#[derive(Debug)]
pub(super) struct Stream(Arc<Shared>);

impl Stream {
    fn on(shared: &Arc<Shared>) -> Self {
        shared.streams.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Line {
    pub(super) async fn send(&mut self, request: Sent) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Alone(Some(sender)) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            // It is taken out only when the request is over.
            Self::Alone(None) => std::future::pending().await,
            Self::Shared(Stream(shared)) => shared.sender.clone().send_request(request).await,
        }
    }
}

impl Pool {
    /// A connection that is there and has room.
    pub(super) fn take(&self) -> Option<Line> {
        let mut shared = self.shared();
        shared.retain(|one| !one.sender.is_closed());
        let busy = |one: &&Arc<Shared>| one.streams.load(Ordering::Relaxed);
        let least = shared.iter().min_by_key(busy);
        // With as many connections as there may be, the least busy one has to do.
        let is_full = shared.len() >= SHARED;
        if let Some(one) = least.filter(|one| is_full || busy(one) < STREAMS) {
            return Some(Line::Shared(Stream::on(one)));
        }
        drop(shared);
        let mut idle = self.idle();
        while let Some((since, sender)) = idle.pop() {
            if since.elapsed() < IDLE_FOR && !sender.is_closed() {
                return Some(Line::Alone(Some(sender)));
            }
        }
        None
    }

    pub(super) fn add_shared(&self, sender: http2::SendRequest<Empty<Bytes>>) -> Line {
        let shared = Arc::new(Shared { sender, streams: AtomicU32::new(0) });
        let line = Line::Shared(Stream::on(&shared));
        self.shared().push(shared);
        line
    }

    /// Gives back a connection whose request is over, once it can take another.
    pub(super) async fn give_back(&self, mut sender: http1::SendRequest<Empty<Bytes>>) {
        if !matches!(tokio::time::timeout(Duration::from_secs(1), sender.ready()).await, Ok(Ok(()))) {
            return;
        }
        let mut idle = self.idle();
        if idle.len() < IDLE {
            idle.push((Instant::now(), sender));
        }
    }

    /// Closes what nobody uses.
    pub(super) fn sweep(&self) {
        self.idle().retain(|(since, sender)| since.elapsed() < IDLE_FOR && !sender.is_closed());
        self.shared().retain(|one| !one.sender.is_closed());
    }

    /// Lets go of all: those in use end with their requests.
    pub(super) fn clear(&self) {
        self.idle().clear();
        self.shared().clear();
    }

    pub(super) fn count(&self) -> usize {
        self.idle().len() + self.shared().len()
    }

    fn shared(&self) -> MutexGuard<'_, Vec<Arc<Shared>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, http1::SendRequest<Empty<Bytes>>)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
