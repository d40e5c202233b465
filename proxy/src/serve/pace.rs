//! How fast a connection must go: heads that come, answers that are read, streams that are not thrown away.
//!
//! One sweep a second looks at all connections, so that an idle one costs no timer. What breaks the pace is ended, whoever it is: a connection
//! that does nothing within its bounds may stay until another needs its place.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// From the handshake to the first request.
const FIRST_REQUEST: Duration = Duration::from_secs(15);
/// From a head's first byte to its last.
const HEAD: Duration = Duration::from_secs(10);
/// So long nothing of an answer may be taken.
const BLOCKED: Duration = Duration::from_secs(15);
/// So long an answer may take as a whole, from its first byte: twice the longest scrape that we know of.
const ANSWER: Duration = Duration::from_secs(120);
/// Without any request: longer than a Prometheus lets a connection idle (5 minutes).
const IDLE: Duration = Duration::from_secs(330);
/// Requests that are given up before they are answered, within [`GIVEN_UP_WITHIN`]: a scraper gives up one a target and interval at most; who makes
/// streams to throw them away makes thousands (CVE-2023-44487).
const GIVEN_UP: u32 = 200;
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(10);

/// Why a connection was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    NoRequest,
    SlowHead,
    SlowReader,
    Idle,
    Resets,
}

impl Broken {
    pub(crate) const ALL: [Self; 5] = [Self::NoRequest, Self::SlowHead, Self::SlowReader, Self::Idle, Self::Resets];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoRequest => "no_request",
            Self::SlowHead => "slow_head",
            Self::SlowReader => "slow_reader",
            Self::Idle => "idle",
            Self::Resets => "resets",
        }
    }
}

/// All connections' paces.
#[derive(Debug, Default)]
pub(crate) struct Paces {
    all: Mutex<HashMap<u64, Arc<Pace>>>,
}

impl Paces {
    pub(crate) fn add(&self, id: u64) -> Arc<Pace> {
        let pace = Arc::new(Pace::new(Instant::now()));
        self.lock().insert(id, pace.clone());
        pace
    }

    pub(crate) fn remove(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// Ends those that break the pace; why each did.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<Broken> {
        let all = self.lock();
        all.values().filter_map(|pace| pace.broken(now).filter(|broken| pace.end(*broken))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Pace>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's.
#[derive(Debug)]
pub(crate) struct Pace {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug)]
struct State {
    quiet_since: Instant,
    is_asked: bool,
    head_since: Option<Instant>,
    blocked_since: Option<Instant>,
    /// Requests without an answer yet.
    asked: u32,
    /// Answers that are being read, by number: when each began.
    answers: Vec<(u64, Instant)>,
    next: u64,
    given_up: u32,
    given_up_since: Instant,
    broken: Option<Broken>,
}

impl Pace {
    fn new(now: Instant) -> Self {
        let state = State {
            quiet_since: now,
            is_asked: false,
            head_since: None,
            blocked_since: None,
            asked: 0,
            answers: Vec::new(),
            next: 0,
            given_up: 0,
            given_up_since: now,
            broken: None,
        };
        Self { state: Mutex::new(state), ended: Notify::new() }
    }

    /// Resolves when the connection has broken its pace.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    fn end(&self, broken: Broken) -> bool {
        let is_new = self.lock().broken.replace(broken).is_none();
        self.ended.notify_one();
        is_new
    }

    fn broken(&self, now: Instant) -> Option<Broken> {
        let state = self.lock();
        let longer = |since: Instant, than: Duration| now.saturating_duration_since(since) > than;
        let is_quiet = state.asked == 0 && state.answers.is_empty();
        if state.broken == Some(Broken::Resets) {
            Some(Broken::Resets)
        } else if state.head_since.is_some_and(|since| longer(since, HEAD)) {
            Some(Broken::SlowHead)
        } else if !state.is_asked && longer(state.quiet_since, FIRST_REQUEST) {
            Some(Broken::NoRequest)
        } else if state.blocked_since.is_some_and(|since| longer(since, BLOCKED))
            || state.answers.iter().any(|(_, since)| longer(*since, ANSWER))
        {
            Some(Broken::SlowReader)
        } else if is_quiet && longer(state.quiet_since, IDLE) {
            Some(Broken::Idle)
        } else {
            None
        }
    }

    /// A request's head has come.
    pub(crate) fn asked(self: &Arc<Self>) -> Asked {
        let mut state = self.lock();
        state.is_asked = true;
        state.head_since = None;
        state.asked += 1;
        Asked { pace: self.clone(), answer: None, is_finished: false }
    }

    fn read(&self) {
        let mut state = self.lock();
        if state.asked == 0 && state.answers.is_empty() {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    fn wrote(&self, is_blocked: bool) {
        let mut state = self.lock();
        if is_blocked {
            state.blocked_since.get_or_insert_with(Instant::now);
        } else {
            state.blocked_since = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request, until its answer is read or given up.
#[derive(Debug)]
pub(crate) struct Asked {
    pace: Arc<Pace>,
    answer: Option<u64>,
    is_finished: bool,
}

impl Asked {
    /// The answer begins.
    pub(crate) fn answers(&mut self) {
        let mut state = self.pace.lock();
        let number = state.next;
        state.next += 1;
        state.answers.push((number, Instant::now()));
        self.answer = Some(number);
    }

    /// The answer has gone whole.
    pub(crate) fn finished(&mut self) {
        self.is_finished = true;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.pace.lock();
        state.asked -= 1;
        state.quiet_since = now;
        state.answers.retain(|(number, _)| Some(*number) != self.answer);
        if self.is_finished {
            return;
        }
        if now.saturating_duration_since(state.given_up_since) > GIVEN_UP_WITHIN {
            (state.given_up, state.given_up_since) = (0, now);
        }
        state.given_up += 1;
        if state.given_up > GIVEN_UP && state.broken.is_none() {
            state.broken = Some(Broken::Resets);
            drop(state);
            self.pace.ended.notify_one();
        }
    }
}

/// A stream whose pace is kept.
pub(crate) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    /// Between heads HTTP/2 has frames of other kinds: there only requests count.
    has_heads: bool,
}

impl<S> Paced<S> {
    pub(crate) fn new(stream: S, pace: Arc<Pace>, has_heads: bool) -> Self {
        Self { stream, pace, has_heads }
    }

    fn wrote<T>(&self, result: Poll<T>) -> Poll<T> {
        self.pace.wrote(result.is_pending());
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.has_heads && buffer.filled().len() > before {
            self.pace.read();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.wrote(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn each_way_to_be_slow_is_found_and_said_once() {
        let paces = Paces::default();
        let (silent, head, blocked, reading) = (paces.add(1), paces.add(2), paces.add(3), paces.add(4));
        head.asked().finished();
        head.read();
        drop(blocked.asked());
        blocked.wrote(true);
        let mut asked = reading.asked();
        asked.answers();
        assert_eq!(paces.sweep(later(9)), []);
        assert_eq!(paces.sweep(later(11)), [Broken::SlowHead]);
        let mut broken = paces.sweep(later(16));
        broken.sort_by_key(|broken| broken.name());
        assert_eq!(broken, [Broken::NoRequest, Broken::SlowReader]);
        assert_eq!(paces.sweep(later(121)), [Broken::SlowReader], "an answer as a whole");
        (1..=4).for_each(|id| paces.remove(id));
        drop((asked, silent));
        assert!(paces.lock().is_empty());
    }

    #[test]
    fn a_head_that_is_read_and_an_answer_that_flows_are_in_their_bounds() {
        let paces = Paces::default();
        let pace = paces.add(1);
        pace.read();
        let mut asked = pace.asked();
        pace.wrote(true);
        pace.wrote(false);
        asked.answers();
        asked.finished();
        drop(asked);
        assert_eq!(paces.sweep(later(300)), []);
        assert_eq!(paces.sweep(later(331)), [Broken::Idle]);
    }

    #[tokio::test]
    async fn streams_that_are_thrown_away_end_the_connection() {
        let pace = Paces::default().add(1);
        for _ in 0..GIVEN_UP {
            drop(pace.asked());
        }
        assert_eq!(pace.broken(Instant::now()), None);
        drop(pace.asked());
        pace.ended().await;
        assert_eq!(pace.broken(Instant::now()), Some(Broken::Resets));
    }
}
