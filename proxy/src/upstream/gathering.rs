//! Requests to one agent that come at once, in one write.
//!
//! A write costs more than all the rest of a request: on its way through the kernel it wakes whoever reads. A task that asks wakes the connection's, which the
//! runtime runs next, so each request would be a write of its own. Here the connection waits for its turn behind all that are ready to run, and then
//! finds all that they asked for. It holds nothing back for any time: with nobody else to run, its turn is at once.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

/// Drives a connection that many share, until it ends.
pub(super) async fn gathering(connection: impl Future) {
    let mut connection = pin!(connection);
    while poll_once(connection.as_mut()).await.is_pending() {
        woken().await;
        tokio::task::yield_now().await;
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Resolves when the task is woken, by whatever was polled before.
async fn woken() {
    let mut is_woken = false;
    poll_fn(|_| if std::mem::replace(&mut is_woken, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    /// A connection that counts how often it has something to send, and how much.
    async fn sent(asking: usize) -> (usize, usize) {
        let (ask, mut asked) = mpsc::unbounded_channel::<()>();
        let (writes, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, heard) = (writes.clone(), requests.clone());
        let connection = poll_fn(move |cx| {
            let mut now = 0;
            let ended = loop {
                match asked.poll_recv(cx) {
                    Poll::Ready(Some(())) => now += 1,
                    Poll::Ready(None) => break Poll::Ready(()),
                    Poll::Pending => break Poll::Pending,
                }
            };
            counted.fetch_add(usize::from(now > 0), Ordering::Relaxed);
            heard.fetch_add(now, Ordering::Relaxed);
            ended
        });
        let driven = tokio::spawn(gathering(connection));
        tokio::task::yield_now().await;
        for _ in 0..asking {
            let ask = ask.clone();
            tokio::spawn(async move { ask.send(()) });
        }
        drop(ask);
        driven.await.unwrap();
        (writes.load(Ordering::Relaxed), requests.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn those_who_ask_at_once_share_a_write_and_all_are_heard() {
        assert_eq!(sent(1).await, (1, 1));
        assert_eq!(sent(16).await, (1, 16));
    }
}
