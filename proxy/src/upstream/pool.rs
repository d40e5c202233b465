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

/// Requests in a row that a shared connection has not answered before it is used no more. It may be that its packets are lost and others are not (a
/// firewall has forgotten it), and TCP takes a quarter of an hour to say so; an agent that is slow costs a handshake now and then.
const MOST_UNANSWERED: u32 = 3;
/// Who gave up sooner says nothing of the connection: an agent may take so long for its kernel, and nobody is to have connections made by hanging up.
const PATIENT: Duration = Duration::from_millis(500);

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
    /// Requests in a row that were given up.
    unanswered: AtomicU32,
}

impl Shared {
    fn is_of_use(&self) -> bool {
        !self.sender.is_closed() && self.unanswered.load(Ordering::Relaxed) < MOST_UNANSWERED
    }
}

/// A connection as one request has it.
#[derive(Debug)]
pub(super) enum Line {
    Alone(Option<http1::SendRequest<Empty<Bytes>>>),
    Shared(Stream),
}

/// One request's part of a shared connection.
#[derive(Debug)]
pub(super) struct Stream {
    shared: Arc<Shared>,
    /// Since when it waits for an answer.
    asked: Option<tokio::time::Instant>,
}

impl Stream {
    fn on(shared: &Arc<Shared>) -> Self {
        shared.streams.fetch_add(1, Ordering::Relaxed);
        Self { shared: shared.clone(), asked: None }
    }

    async fn send(&mut self, request: Sent) -> hyper::Result<Response<Incoming>> {
        self.asked = Some(tokio::time::Instant::now());
        let response = self.shared.sender.clone().send_request(request).await;
        // What ends under a request may not say yet that it is closed, and who asks again is not to get it again.
        let response = response.inspect_err(|_| self.shared.unanswered.store(MOST_UNANSWERED, Ordering::Relaxed))?;
        self.asked = None;
        self.shared.unanswered.store(0, Ordering::Relaxed);
        Ok(response)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.streams.fetch_sub(1, Ordering::Relaxed);
        let was_patient = self.asked.is_some_and(|asked| asked.elapsed() >= PATIENT);
        self.shared.unanswered.fetch_add(u32::from(was_patient), Ordering::Relaxed);
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
            Self::Shared(stream) => stream.send(request).await,
        }
    }
}

impl Pool {
    /// A connection that is there and has room.
    pub(super) fn take(&self) -> Option<Line> {
        let mut shared = self.shared();
        shared.retain(|one| one.is_of_use());
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
        let shared = Arc::new(Shared { sender, streams: AtomicU32::new(0), unanswered: AtomicU32::new(0) });
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
        self.shared().retain(|one| one.is_of_use());
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

#[cfg(test)]
mod tests {
    use hyper::server::conn::http2 as server;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    use super::*;

    /// A shared connection to somebody who answers `/now`, and holds his peace to all else.
    async fn connection() -> Pool {
        let (here, there) = tokio::io::duplex(1 << 16);
        let service = service_fn(|request: Request<Incoming>| async move {
            if request.uri().path() != "/now" {
                std::future::pending::<()>().await;
            }
            Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        tokio::spawn(server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(there), service));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(here)).await.unwrap();
        tokio::spawn(connection);
        let pool = Pool::default();
        drop(pool.add_shared(sender));
        pool
    }

    /// Whether there was a connection, and an answer on it.
    async fn ask(pool: &Pool, path: &str) -> Option<bool> {
        let mut line = pool.take()?;
        let request = Request::get(format!("https://agent{path}")).body(Empty::new()).unwrap();
        Some(tokio::time::timeout(Duration::from_secs(1), line.send(request)).await.is_ok_and(|sent| sent.is_ok()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_answers_nothing_is_left() {
        let pool = connection().await;
        for _ in 0..2 {
            for _ in 1..MOST_UNANSWERED {
                assert_eq!(ask(&pool, "/never").await, Some(false));
            }
            assert_eq!(ask(&pool, "/now").await, Some(true), "it answers in between, and is kept");
        }
        for _ in 0..MOST_UNANSWERED * 2 {
            let hanging_up = tokio::time::timeout(PATIENT / 2, ask(&pool, "/never")).await;
            assert!(hanging_up.is_err(), "whoever hangs up costs nobody a connection");
        }
        for _ in 0..MOST_UNANSWERED {
            assert_eq!(ask(&pool, "/never").await, Some(false));
        }
        assert_eq!(ask(&pool, "/now").await, None);
        assert_eq!(pool.count(), 0);
    }
}
