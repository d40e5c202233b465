//! Entering an instance's network namespace.
//!
//! One thread does nothing else: it enters, runs a short job that must not block (make a socket, list
//! listeners), and comes home. If it cannot come home it ends, and a new one is started, so no later job ever runs in the wrong namespace.
//! Since all connects of the node pass through it, what can take long is done before, elsewhere; a job nobody waits for any
//! more is passed over; and when too many wait, the next is refused.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sonde_host::BrokerError;
use tokio::sync::oneshot;

/// The namespace that the agent itself is in, as the thread sees it.
const HOME: &str = "/proc/thread-self/ns/net";
/// Jobs waiting: several for each run that there can be at once, at some 20 µs each.
const QUEUE: usize = 1024;

type Job = Box<dyn FnOnce(&Visitor) + Send>;

/// Runs jobs one after the other on a thread that may enter network namespaces.
#[derive(Default)]
pub(crate) struct NamespaceThread {
    jobs: Mutex<Option<SyncSender<Job>>>,
}

/// What a job may do on the thread: visit a namespace.
pub(super) struct Visitor {
    home: File,
    lost: std::cell::Cell<bool>,
}

impl Visitor {
    /// Runs `work` inside the namespace and comes home.
    pub(super) fn visit<T>(&self, namespace: &File, work: impl FnOnce() -> T) -> io::Result<T> {
        // Who is there already needs no privilege to stay: an agent that is not root still reaches its neighbours on the host's network.
        if is_same(namespace, &self.home)? {
            return Ok(work());
        }
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let result = work();
        if let Err(error) = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network)) {
            self.lost.set(true);
            return Err(error.into());
        }
        Ok(result)
    }
}

fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

impl NamespaceThread {
    /// Runs a job on the thread and waits for what it returns. A job whose waiter has gone is not run.
    ///
    /// # Errors
    /// The queue is full, or the thread cannot be started or was lost.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Visitor) -> T + Send + 'static,
    ) -> Result<T, BrokerError> {
        let (done, result) = oneshot::channel();
        self.send(Box::new(move |visitor| {
            if !done.is_closed() {
                drop(done.send(work(visitor)));
            }
        }))?;
        result.await.map_err(|_| {
            BrokerError::Other("the node's way into network namespaces was lost; the next run has a new one".into())
        })
    }

    fn send(&self, job: Job) -> Result<(), BrokerError> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let unsent = match jobs.as_ref() {
            None => job,
            Some(sender) => match sender.try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(job)) => job,
                Err(TrySendError::Full(_)) => {
                    return Err(BrokerError::Other(format!("{QUEUE} connections are waiting to be made on this node")));
                }
            },
        };
        let cannot = |error| BrokerError::Other(format!("the node cannot enter network namespaces: {error}"));
        let sender = start().map_err(cannot)?;
        // Nobody else has the new queue, so there is room in it.
        let _ = sender.try_send(unsent);
        *jobs = Some(sender);
        Ok(())
    }
}

fn start() -> io::Result<SyncSender<Job>> {
    let (sender, jobs) = sync_channel::<Job>(QUEUE);
    let home = File::open(HOME)?;
    thread::Builder::new().name("namespaces".into()).spawn(move || {
        let visitor = Visitor { home, lost: std::cell::Cell::new(false) };
        while let Ok(job) = jobs.recv() {
            job(&visitor);
            if visitor.lost.get() {
                tracing::error!("a thread could not leave an instance's network namespace and was ended");
                return;
            }
        }
    })?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[tokio::test]
    async fn a_full_queue_refuses_and_what_nobody_waits_for_is_passed_over() {
        let thread = NamespaceThread::default();
        let (release, held) = channel::<()>();
        let (begun, begins) = channel();
        let blocker = move |_: &Visitor| {
            begun.send(()).unwrap();
            let _ = held.recv();
        };
        let mut blocked = Box::pin(thread.run(blocker));
        assert!(queued(&mut blocked).await);
        begins.recv().unwrap();
        let mut waiting: Vec<_> = (0..QUEUE).map(|_| Box::pin(thread.run(|_| panic!("nobody waits for it")))).collect();
        for job in &mut waiting {
            assert!(queued(job).await);
        }
        let refused = thread.run(|_| ()).await.unwrap_err();
        assert!(refused.to_string().contains("are waiting to be made"), "{refused}");
        drop(waiting);
        release.send(()).unwrap();
        blocked.await.unwrap();
        // The queue still holds what is passed over; there is room again once the thread has been through it.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while let Err(error) = thread.run(|_| ()).await {
            assert!(std::time::Instant::now() < deadline, "{error}");
            tokio::task::yield_now().await;
        }
    }

    /// Polls once: so that a job is queued.
    async fn queued<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> bool {
        std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }
}
