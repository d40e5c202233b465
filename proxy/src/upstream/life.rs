//! When a node was last heard, whatever it said: bytes on any of its connections, below TLS, where a slow link's single packets show.
//!
//! A new connection that does not come to be tells nothing of who is at fault. Where bytes of the same node still come it is slow, and where none do it
//! is away.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Of one node.
#[derive(Debug)]
pub(super) struct Life {
    since: Instant,
    /// In ms since then, and 1 more; 0 is never.
    heard: AtomicU64,
}

impl Default for Life {
    fn default() -> Self {
        Self { since: Instant::now(), heard: AtomicU64::new(0) }
    }
}

impl Life {
    /// Whether it was heard so recently.
    pub(super) fn is_within(&self, time: Duration) -> bool {
        let heard = self.heard.load(Ordering::Relaxed);
        let ago = || self.since.elapsed().saturating_sub(Duration::from_millis(heard - 1));
        heard > 0 && ago() < time
    }

    fn note(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.heard.store(now + 1, Ordering::Relaxed);
    }
}

/// A connection that notes when something came.
#[derive(Debug)]
pub(super) struct Listened<S> {
    stream: S,
    life: Arc<Life>,
}

impl<S> Listened<S> {
    pub(super) fn new(stream: S, life: &Arc<Life>) -> Self {
        Self { stream, life: life.clone() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Listened<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.life.note();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listened<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_comes_is_life_and_its_end_is_none() {
        let life = Arc::<Life>::default();
        let (mut far, near) = tokio::io::duplex(16);
        let mut near = Listened::new(near, &life);
        let long = Duration::from_secs(3600);
        near.write_all(b"hello").await.unwrap();
        assert!(!life.is_within(long), "what we say is no sign of theirs");
        far.write_all(b"x").await.unwrap();
        assert_eq!(near.read(&mut [0; 4]).await.unwrap(), 1);
        assert!(life.is_within(long) && !life.is_within(Duration::ZERO));
        let fresh = Arc::<Life>::default();
        let (far, near) = tokio::io::duplex(16);
        drop(far);
        assert_eq!(Listened::new(near, &fresh).read(&mut [0; 4]).await.unwrap(), 0);
        assert!(!fresh.is_within(long));
    }
}
