//! When each placed sensor runs, and where: just ahead of its target's next scrape, at its least rhythm when nobody scrapes, in a
//! runner that it shares with whom the operator allows.
//!
//! Each of a few threads owns the timing, the queue and the runners of some targets; everything else sends it messages, so there is
//! nothing to lock and a run wakes no other thread. A scrape never waits for a run: it only tells the schedule that it
//! happened. Scrapes that are close share a run; a sensor never runs oftener than its grant says, nor twice at once.
//! `driver` decides when, `rooms` and `room` where, `fair_queue` who first, `suspects` who alone; `replies` is what comes of it.

mod driver;
mod fair_queue;
mod grid;
mod link;
#[cfg(test)]
mod nobody;
mod replies;
mod room;
mod rooms;
mod suspects;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sonde_jail::LayerReport;
use sonde_manifest::{Class, Manifest};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};

use crate::accounts::Account;
use crate::digest::Digest;
use crate::failure::RunFailure;
use crate::grant::Grant;
use crate::sensor::Sensor;
use crate::slot::{Kernel, Slot};
use crate::standing::StandingRules;
use crate::ticket::{DoorsNumber, TicketKey};
use crate::wire::{self, FromRunner, Outcome};
use crate::workers::{NotStarted, Room, Started, Workers};

pub use rooms::DESCRIPTIONS;

use driver::Driver;
use link::Life;
use suspects::Suspects;

/// Messages waiting for the schedule. Scrapes over this are not learnt from; nothing else is lost.
const QUEUE: usize = 4096;

/// What is scraped: an instance, by a number that the caller chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u64);

/// A sensor to be run on an instance.
pub struct Placement {
    pub target: TargetId,
    /// What it is called on this instance.
    pub name: Arc<str>,
    pub sensor: Arc<Sensor>,
    pub grant: Arc<Grant>,
    pub account: Arc<Account>,
    /// What the broker was told that its runs may open.
    pub doors: Option<DoorsNumber>,
    pub kernel: Arc<dyn Kernel>,
    /// What it stored before the agent was restarted, or empty.
    pub state: Vec<u8>,
}

/// Who shares a runner, as the operator's policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunnersFor {
    /// One for all accounts.
    #[default]
    All,
    /// One for each account.
    Account,
}

/// How runs are placed.
#[derive(Debug, Clone)]
pub struct Settings {
    pub threads: usize,
    pub runners_for: RunnersFor,
    /// What all runs in flight in one runner may have together; its own cgroup has a little more.
    pub runner_memory_bytes: u64,
    pub standing: StandingRules,
    /// Components that one runner holds at once.
    pub loaded: usize,
    pub patience: Patience,
}

/// How long the schedule waits for processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a runner to be started.
    pub starting: Duration,
    /// For a run past its deadline, until its runner is taken for stuck. Inside, the deadline is held to a poll.
    pub overdue: Duration,
    /// Without work, until a runner is ended.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { starting: Duration::from_secs(10), overdue: Duration::from_secs(3), idle: Duration::from_secs(300) }
    }
}

/// What a runner's runs may have together, unless the operator says otherwise.
pub const RUNNER_MEMORY_BYTES: u64 = 1 << 30;

/// Components held by one runner. Each is three mappings and a descriptor, of 65,530 and what `NOFILE` says.
pub const LOADED: usize = 2_048;

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 1,
            runners_for: RunnersFor::All,
            runner_memory_bytes: RUNNER_MEMORY_BYTES,
            standing: StandingRules::default(),
            loaded: LOADED,
            patience: Patience::default(),
        }
    }
}

impl Settings {
    /// Runs of a class that one runner holds at once: as many as its memory is enough for, whatever they do.
    pub fn places(&self, class: Class) -> usize {
        places(self.runner_memory_bytes, class)
    }
}

/// Runs of a class that fit into so much memory, at least one.
pub fn places(memory_bytes: u64, class: Class) -> usize {
    (memory_bytes / class.memory_bytes()).max(1) as usize
}

/// What the schedule says about itself.
#[derive(Debug, Default)]
pub struct Facts {
    pub runners_started: AtomicU64,
    /// By themselves, or because they were stuck or broke the protocol; not those that were only not needed any more.
    pub runners_ended: AtomicU64,
    pub runs_in_flight: AtomicU64,
    layers: Mutex<Option<Vec<LayerReport>>>,
}

impl Facts {
    /// What encloses the runner that was started last; `None` before there was one.
    pub fn layers(&self) -> Option<Vec<LayerReport>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_layers(&self, layers: Vec<LayerReport>) {
        *self.layers.lock().unwrap_or_else(PoisonError::into_inner) = Some(layers);
    }

    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A description that is asked for.
struct Describe {
    digest: Digest,
    class: Class,
    code: File,
    encoded_grant: Vec<u8>,
    wall: Duration,
    reply: oneshot::Sender<Result<Outcome, RunFailure>>,
}

enum Message {
    Place(Arc<Slot>),
    Remove(Arc<Slot>),
    Release(Arc<Slot>),
    Scraped { target: TargetId, scraper: u64, at: Instant },
    Describe(Box<Describe>),
    Warm,
}

/// What comes from outside the thread while it drives.
enum Event {
    Started { room: Room, life: Life, started: Result<Started, NotStarted> },
    Said { room: Room, life: Life, message: FromRunner },
    Ended { room: Room, life: Life, why: String },
    Kstats { room: Room, life: Life, run: u64, answer: wire::Answer },
}

/// What all threads share.
struct Shared {
    settings: Settings,
    workers: Arc<dyn Workers>,
    key: Option<TicketKey>,
    suspects: Suspects,
    facts: Arc<Facts>,
    next_run: AtomicU64,
}

/// One thread, its runtime and its driver. What it drives never leaves it, so a run wakes no other thread of the agent.
#[derive(Debug)]
struct Shard {
    messages: mpsc::Sender<Message>,
    runtime: Handle,
}

/// The handle on the scheduling threads, which end when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Schedule {
    shards: Arc<[Shard]>,
    facts: Arc<Facts>,
    rules: StandingRules,
}

impl Schedule {
    /// Starts the threads; all sensors of one target share one. Without a key nothing can be opened.
    ///
    /// # Errors
    /// A thread or its runtime cannot be started.
    pub fn start(settings: Settings, workers: Arc<dyn Workers>, key: Option<TicketKey>) -> io::Result<Self> {
        let (threads, rules, facts) = (settings.threads.max(1), settings.standing, Arc::<Facts>::default());
        let suspects = Suspects::default();
        let next_run = AtomicU64::new(0);
        let shared = Arc::new(Shared { settings, workers, key, suspects, facts: facts.clone(), next_run });
        let shards: io::Result<Vec<Shard>> = (0..threads).map(|number| start_shard(number, shared.clone())).collect();
        Ok(Self { shards: shards?.into(), facts, rules })
    }

    /// Where else work of the sandbox may be done: loading.
    pub fn runtime(&self) -> &Handle {
        &self.shards[0].runtime
    }

    /// The scheduling threads, for whoever wants to know whether they are at work.
    pub fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.shards.iter().map(|shard| &shard.runtime)
    }

    pub fn facts(&self) -> Arc<Facts> {
        self.facts.clone()
    }

    /// Places a sensor. Its first run starts at once.
    pub async fn place(&self, placement: Placement) -> Arc<Slot> {
        let slot = Arc::new(Slot::new(placement, self.rules));
        self.send(slot.target, Message::Place(slot.clone())).await;
        slot
    }

    /// Takes a sensor away. A run in flight ends by itself and is recorded in its slot; a successor of the same name waits for that.
    pub async fn remove(&self, slot: Arc<Slot>) {
        self.send(slot.target, Message::Remove(slot)).await;
    }

    /// Forgets what is held against a sensor, and against its digest: it runs again.
    pub async fn release(&self, slot: Arc<Slot>) {
        self.send(slot.target, Message::Release(slot)).await;
    }

    /// Notes that `scraper` has just scraped `target`. Never waits.
    pub fn scraped(&self, target: TargetId, scraper: u64) {
        let _ = self.shard(target).messages.try_send(Message::Scraped { target, scraper, at: Instant::now() });
    }

    /// Starts a runner before anything is due, so that what this machine's jail lacks is said at once and not at the first sensor.
    pub async fn warm(&self) {
        self.send(TargetId(0), Message::Warm).await;
    }

    /// Asks compiled code what it is, without an instance.
    pub(crate) async fn describe(
        &self,
        digest: Digest,
        manifest: &Manifest,
        code: &File,
    ) -> Result<Outcome, RunFailure> {
        let lost = || RunFailure::Internal { message: "the schedule has ended".into() };
        let code = code.try_clone().map_err(|error| RunFailure::Start { message: error.to_string() })?;
        let (reply, answer) = oneshot::channel();
        let encoded_grant = wire::encode(&Grant::nothing(manifest));
        let (class, wall) = (manifest.class, manifest.limits.wall);
        let describe = Describe { digest, class, code, encoded_grant, wall, reply };
        // Which thread does not matter; the digest spreads them.
        let target = TargetId(u64::from(digest.0[0]));
        self.send(target, Message::Describe(Box::new(describe))).await;
        answer.await.map_err(|_| lost())?.map_err(RunFailure::tamed)
    }

    async fn send(&self, target: TargetId, message: Message) {
        // A driver ends only with the last sender; there is nothing to tell it then.
        let _ = self.shard(target).messages.send(message).await;
    }

    fn shard(&self, target: TargetId) -> &Shard {
        &self.shards[(target.0 % self.shards.len() as u64) as usize]
    }
}

fn start_shard(number: usize, shared: Arc<Shared>) -> io::Result<Shard> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (messages, inbox) = mpsc::channel(QUEUE);
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name(format!("sensors-{number}"))
        .spawn(move || runtime.block_on(Driver::new(shared).drive(inbox)))?;
    Ok(Shard { messages, runtime: handle })
}
