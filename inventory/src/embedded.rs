//! The store of a single proxy: one file, held by one process.
//!
//! One thread owns the file. What waits to be written when it comes round is written in one transaction, each change checked against what
//! those before it left, so that a hundred reports at once cost one write to the disk. The catalogues that follow are changed after the disk has it and
//! before whoever asked is told. Who speaks is not written: after a restart every node has one lease's time to be heard.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::artifacts::{Bytes, Kept};
use crate::catalogue::Catalogue;
use crate::change::{Change, Key, Snapshot};
use crate::sensor::ArtifactDigest;
use crate::store::{Health, LEASE, StoreError, Tally};
use crate::write::{Write, WriteError};

mod file;

use file::File;

/// Changes that wait: more are kept waiting outside.
const QUEUE: usize = 256;
/// Changes that one transaction takes up.
const MOST_TOGETHER: usize = 64;
/// How often it is looked whose lease has ended.
const LEASE_BEAT: Duration = Duration::from_millis(200);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

struct Shared {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    health: Arc<Mutex<Health>>,
    /// Until when each node speaks.
    leases: Mutex<HashMap<Uuid, Instant>>,
    followers: Mutex<Vec<Arc<Catalogue>>>,
    tally: Tally,
}

type Reply = oneshot::Sender<Result<(), WriteError>>;

enum Job {
    Write(Vec<Write>, Reply),
    Follow(Arc<Catalogue>, oneshot::Sender<Result<Vec<Uuid>, StoreError>>),
    Artifact(Artifact),
}

/// What is asked of the artifacts.
enum Artifact {
    Put(ArtifactDigest, Bytes, u64, Reply),
    Get(ArtifactDigest, oneshot::Sender<Result<Option<Bytes>, WriteError>>),
    List(oneshot::Sender<Result<Vec<Kept>, WriteError>>),
    Drop(ArtifactDigest, u64, Reply),
}

impl Embedded {
    /// Opens the file, or makes it, for this user alone.
    ///
    /// # Errors
    /// It cannot be made or opened, or another process holds it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let made = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|source| StoreError::Create { path: path.to_owned(), source })?;
        let file = File::open(path)?;
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let health = Arc::new(Mutex::new(Health::Current));
        let owner = Owner { file, path: path.to_owned(), followers: Vec::new(), health: health.clone() };
        let thread = std::thread::Builder::new().name("inventory".into()).spawn(move || owner.run(waiting));
        let thread = thread.map_err(|source| StoreError::Thread { source })?;
        Ok(Self {
            shared: Arc::new(Shared {
                jobs: Mutex::new(Some(jobs)),
                thread: Mutex::new(Some(thread)),
                health,
                leases: Mutex::default(),
                followers: Mutex::default(),
                tally: Tally::default(),
            }),
        })
    }

    fn jobs(&self) -> Option<mpsc::Sender<Job>> {
        lock(&self.shared.jobs).clone()
    }

    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<(), WriteError> {
        let closed = || WriteError::Unavailable { why: StoreError::Closed.to_string() };
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs().ok_or_else(closed)?;
        jobs.send(Job::Write(writes, reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    pub(crate) async fn put_artifact(
        &self,
        sha256: ArtifactDigest,
        bytes: Bytes,
        at_ms: u64,
    ) -> Result<(), WriteError> {
        self.ask(|reply| Artifact::Put(sha256, bytes, at_ms, reply)).await
    }

    pub(crate) async fn artifact(&self, sha256: ArtifactDigest) -> Result<Option<Bytes>, WriteError> {
        self.ask(|reply| Artifact::Get(sha256, reply)).await
    }

    pub(crate) async fn artifacts(&self) -> Result<Vec<Kept>, WriteError> {
        self.ask(Artifact::List).await
    }

    /// Drops one, unless it was put anew since it was listed.
    pub(crate) async fn drop_artifact(&self, kept: &Kept) -> Result<(), WriteError> {
        self.ask(|reply| Artifact::Drop(kept.sha256, kept.put_at_ms, reply)).await
    }

    async fn ask<T>(
        &self,
        asked: impl FnOnce(oneshot::Sender<Result<T, WriteError>>) -> Artifact,
    ) -> Result<T, WriteError> {
        let closed = || WriteError::Unavailable { why: StoreError::Closed.to_string() };
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs().ok_or_else(closed)?;
        jobs.send(Job::Artifact(asked(reply))).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    pub(crate) async fn follow(&self, catalogue: Arc<Catalogue>) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs().ok_or(StoreError::Closed)?;
        jobs.send(Job::Follow(catalogue.clone(), reply)).await.map_err(|_| StoreError::Closed)?;
        let nodes = answer.await.map_err(|_| StoreError::Closed)??;
        let until = Instant::now() + LEASE;
        let mut leases = lock(&self.shared.leases);
        for node in nodes {
            leases.entry(node).or_insert(until);
        }
        let mut followers = lock(&self.shared.followers);
        catalogue.apply(leases.keys().map(|node| Change::Lease(*node)));
        followers.push(catalogue);
        if followers.len() == 1 {
            tokio::spawn(end_leases(Arc::downgrade(&self.shared)));
        }
        Ok(())
    }

    pub(crate) fn heard(&self, node: Uuid) {
        let mut leases = lock(&self.shared.leases);
        if leases.insert(node, Instant::now() + LEASE).is_none() {
            // With the lock held: nobody ends a lease that begins.
            self.shared.tell(|| Change::Lease(node));
        }
    }

    pub(crate) fn health(&self) -> Health {
        lock(&self.shared.health).clone()
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    pub(crate) async fn close(&self) {
        drop(lock(&self.shared.jobs).take());
        let Some(thread) = lock(&self.shared.thread).take() else { return };
        // It ends when it has done what waits.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

impl Shared {
    fn tell(&self, change: impl Fn() -> Change) {
        for follower in lock(&self.followers).iter() {
            follower.apply([change()]);
        }
    }

    fn end_leases(&self, now: Instant) {
        let mut leases = lock(&self.leases);
        let ended: Vec<Uuid> = leases.iter().filter(|(_, until)| **until <= now).map(|(node, _)| *node).collect();
        for node in ended {
            leases.remove(&node);
            self.tell(|| Change::Gone(Key::Lease(node)));
        }
    }
}

async fn end_leases(shared: Weak<Shared>) {
    let mut beat = tokio::time::interval(LEASE_BEAT);
    loop {
        beat.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        shared.end_leases(Instant::now());
    }
}

/// What the thread has.
struct Owner {
    file: File,
    path: PathBuf,
    followers: Vec<Arc<Catalogue>>,
    health: Arc<Mutex<Health>>,
}

impl Owner {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut writes = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Write(write, reply) => writes.push((write, reply)),
                    Job::Artifact(asked) => self.artifact(asked),
                    Job::Follow(catalogue, reply) => {
                        // What was asked for before is in what is read.
                        self.write(std::mem::take(&mut writes));
                        drop(reply.send(self.follow(catalogue)));
                    }
                }
                next = if writes.len() < MOST_TOGETHER { jobs.try_recv().ok() } else { None };
            }
            self.write(writes);
        }
    }

    fn follow(&mut self, catalogue: Arc<Catalogue>) -> Result<Vec<Uuid>, StoreError> {
        let snapshot: Snapshot = self.file.read_all()?;
        // One that is known to be silent has had its time.
        let speaking = snapshot.nodes.iter().filter(|node| node.silent_since_ms.is_none());
        let nodes = speaking.map(|node| node.id).collect();
        catalogue.replace(snapshot);
        self.followers.push(catalogue);
        Ok(nodes)
    }

    fn artifact(&self, asked: Artifact) {
        let failed = |source: redb::Error| {
            tracing::error!(error = %source, "an artifact could not be kept or read");
            WriteError::Unavailable { why: format!("{} cannot be used: {source}", self.path.display()) }
        };
        match asked {
            Artifact::Put(sha256, bytes, at_ms, reply) => {
                drop(reply.send(self.file.put_artifact(sha256, &bytes, at_ms).map_err(failed)));
            }
            Artifact::Get(sha256, reply) => drop(reply.send(self.file.artifact(sha256).map_err(failed))),
            Artifact::List(reply) => drop(reply.send(self.file.artifacts().map_err(failed))),
            Artifact::Drop(sha256, at_ms, reply) => {
                drop(reply.send(self.file.drop_artifact(sha256, at_ms).map_err(failed)));
            }
        }
    }

    fn write(&mut self, asked: Vec<(Vec<Write>, Reply)>) {
        if asked.is_empty() {
            return;
        }
        let (writes, replies): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let outcomes = match self.file.write(&writes) {
            Ok(outcomes) => {
                self.set_health(None);
                outcomes
            }
            Err(error) => {
                let why = format!("{} cannot be written: {error}", self.path.display());
                self.set_health(Some(&why));
                writes.iter().map(|_| Err(WriteError::Unavailable { why: why.clone() })).collect()
            }
        };
        let done = writes.into_iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        let changes: Vec<Change> = done.flat_map(|(writes, _)| writes).map(Write::into_change).collect();
        if !changes.is_empty() {
            for follower in &self.followers {
                follower.apply(changes.iter().cloned());
            }
        }
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            drop(reply.send(outcome));
        }
    }

    fn set_health(&self, why: Option<&str>) {
        let mut health = lock(&self.health);
        match (why, &*health) {
            (Some(why), Health::Current) => {
                tracing::error!(why, "the inventory takes no changes; what is known is still served");
                *health = Health::Behind { since: Instant::now(), why: why.to_owned() };
            }
            (None, Health::Behind { .. }) => {
                tracing::info!("the inventory takes changes again");
                *health = Health::Current;
            }
            _ => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
