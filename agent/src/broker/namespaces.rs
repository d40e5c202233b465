//! Entering an instance's network namespace, and knowing who else is in it.
//!
//! One thread does nothing else: it enters, runs a short job that must not block (make a socket, list
//! listeners), and comes home. If it cannot come home it ends, and a new one is started, so no later job ever runs in the wrong namespace.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;
use uuid::Uuid;

/// The namespace that the agent itself is in, as the thread sees it.
const HOME: &str = "/proc/thread-self/ns/net";

type Job = Box<dyn FnOnce(&Visitor) + Send>;

/// Runs jobs one after the other on a thread that may enter network namespaces.
#[derive(Default)]
pub struct NamespaceThread {
    jobs: Mutex<Option<Sender<Job>>>,
}

/// What a job may do on the thread: visit a namespace.
pub(super) struct Visitor {
    home: File,
    lost: std::cell::Cell<bool>,
}

impl Visitor {
    /// Runs `work` inside the namespace and comes home.
    pub(super) fn visit<T>(&self, namespace: &File, work: impl FnOnce() -> T) -> io::Result<T> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let result = work();
        if let Err(error) = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network)) {
            self.lost.set(true);
            return Err(error.into());
        }
        Ok(result)
    }
}

impl NamespaceThread {
    /// Runs a job on the thread and waits for what it returns. `None` where the thread is lost.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Visitor) -> T + Send + 'static) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |visitor| drop(done.send(work(visitor))));
        self.send(job);
        result.await.ok()
    }

    fn send(&self, job: Job) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let unsent = match jobs.as_ref() {
            Some(sender) => match sender.send(job) {
                Ok(()) => return,
                Err(error) => error.0,
            },
            None => job,
        };
        match start() {
            Ok(sender) => {
                let _ = sender.send(unsent);
                *jobs = Some(sender);
            }
            Err(error) => tracing::error!(%error, "the thread that enters network namespaces cannot be started"),
        }
    }
}

fn start() -> io::Result<Sender<Job>> {
    let (sender, jobs) = channel::<Job>();
    thread::Builder::new().name("namespaces".into()).spawn(move || {
        let Ok(home) = File::open(HOME) else { return };
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

/// Which instances, of which owners, are in which network namespace.
#[derive(Default)]
pub struct Owners {
    known: Mutex<HashMap<Uuid, (u64, Arc<str>)>>,
}

impl Owners {
    /// Notes where an instance lives.
    pub fn note(&self, instance: Uuid, namespace: u64, owner: &Arc<str>) {
        self.lock().insert(instance, (namespace, owner.clone()));
    }

    /// Forgets an instance.
    pub fn forget(&self, instance: Uuid) {
        self.lock().remove(&instance);
    }

    /// Whether an instance of another owner is in the namespace.
    pub(super) fn shared(&self, namespace: u64, owner: &str) -> bool {
        self.lock().values().any(|(known, other)| *known == namespace && **other != *owner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, (u64, Arc<str>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
