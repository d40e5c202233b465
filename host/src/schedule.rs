//! When each placed sensor runs: just ahead of its target's next scrape, and at its least rhythm when nobody scrapes.
//!
//! Each of a few threads owns the timing and the runs of some targets; everything else sends it messages, so there is nothing to lock and
//! a run wakes no other thread. A scrape
//! never waits for a run: it only tells the schedule that it happened. Scrapes that are close share a run; a sensor never runs oftener than its
//! grant says, nor twice at once. Runs are tasks of their own, bounded in number; one that panics is a failure of that run only.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant as TokioInstant, sleep_until};

use crate::broker::Broker;
use crate::engine::CONCURRENT_RUNS;
use crate::failure::RunFailure;
use crate::grant::Grant;
use crate::rhythm::Rhythms;
use crate::run::{RunReport, Usage};
use crate::sensor::Sensor;
use crate::slot::Slot;

/// Messages waiting for the schedule. Scrapes over this are not learnt from; nothing else is lost.
const QUEUE: usize = 4096;

/// A result younger than this serves a scrape. Below the second that is promised, by more than a lead.
const FRESH: Duration = Duration::from_millis(800);

/// How long before a predicted scrape a run starts: a margin for a busy node, and twice what a run lately took.
const LEAD: Duration = Duration::from_millis(150);
const LONGEST_LEAD: Duration = Duration::from_millis(750);

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
    pub broker: Arc<dyn Broker>,
    /// What it stored before the agent was restarted, or empty.
    pub state: Vec<u8>,
}

enum Message {
    Place(Arc<Slot>),
    Remove(Arc<Slot>),
    Scraped { target: TargetId, scraper: u64, at: Instant },
}

/// One thread, its runtime and its driver. Runs never leave it, so a run costs no wake-up of another thread.
#[derive(Debug)]
struct Shard {
    messages: mpsc::Sender<Message>,
    runtime: Handle,
}

/// The handle on the scheduling threads, which end when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Schedule {
    shards: Arc<[Shard]>,
}

impl Schedule {
    /// Starts `threads` threads; all sensors of one target share one.
    ///
    /// # Errors
    /// A thread or its runtime cannot be started.
    pub fn start(threads: usize) -> io::Result<Self> {
        let shards: io::Result<Vec<Shard>> = (0..threads.max(1)).map(start_shard).collect();
        Ok(Self { shards: shards?.into() })
    }

    /// Where else sensors' code may run: when they are loaded and describe themselves.
    pub fn runtime(&self) -> &Handle {
        &self.shards[0].runtime
    }

    /// Places a sensor. Its first run starts at once.
    pub async fn place(&self, placement: Placement) -> Arc<Slot> {
        let slot = Arc::new(Slot::new(placement));
        self.send(slot.target, Message::Place(slot.clone())).await;
        slot
    }

    /// Takes a sensor away. A run in flight ends by itself and is recorded nowhere else than in its slot.
    pub async fn remove(&self, slot: Arc<Slot>) {
        self.send(slot.target, Message::Remove(slot)).await;
    }

    /// Notes that `scraper` has just scraped `target`. Never waits.
    pub fn scraped(&self, target: TargetId, scraper: u64) {
        let _ = self.shard(target).messages.try_send(Message::Scraped { target, scraper, at: Instant::now() });
    }

    async fn send(&self, target: TargetId, message: Message) {
        // A driver ends only with the last sender; there is nothing to tell it then.
        let _ = self.shard(target).messages.send(message).await;
    }

    fn shard(&self, target: TargetId) -> &Shard {
        &self.shards[(target.0 % self.shards.len() as u64) as usize]
    }
}

fn start_shard(number: usize) -> io::Result<Shard> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (messages, inbox) = mpsc::channel(QUEUE);
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name(format!("sensors-{number}"))
        .spawn(move || runtime.block_on(Driver::default().drive(inbox)))?;
    Ok(Shard { messages, runtime: handle })
}

/// A slot's place in time.
struct Placed {
    slot: Arc<Slot>,
    running: bool,
    last_start: Option<Instant>,
    last_finish: Option<Instant>,
    /// How long runs lately took.
    duration: Duration,
    /// The only entry of the heap that counts for this slot.
    due: Instant,
}

#[derive(Default)]
struct Driver {
    placed: HashMap<u64, Placed>,
    next_id: u64,
    targets: HashMap<TargetId, Target>,
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    running: JoinSet<(Duration, RunReport)>,
    slots_of_tasks: HashMap<Id, u64>,
    places: Option<Arc<Semaphore>>,
}

#[derive(Default)]
struct Target {
    rhythms: Rhythms,
    slots: Vec<u64>,
}

impl Driver {
    async fn drive(mut self, mut inbox: mpsc::Receiver<Message>) {
        self.places = Some(Arc::new(Semaphore::new(CONCURRENT_RUNS as usize)));
        // Any far instant will do while nothing is due.
        let idle = Duration::from_secs(3600);
        loop {
            self.start_due();
            let due = self.heap.peek().map_or_else(|| Instant::now() + idle, |Reverse((due, _))| *due);
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                Some(done) = self.running.join_next_with_id() => self.finished(done),
                () = sleep_until(TokioInstant::from_std(due)) => {}
            }
        }
    }

    fn take(&mut self, message: Message) {
        let now = Instant::now();
        match message {
            Message::Place(slot) => {
                let id = self.next_id;
                self.next_id += 1;
                self.targets.entry(slot.target).or_default().slots.push(id);
                let placed = Placed {
                    slot,
                    running: false,
                    last_start: None,
                    last_finish: None,
                    duration: Duration::ZERO,
                    due: now,
                };
                self.placed.insert(id, placed);
                self.heap.push(Reverse((now, id)));
            }
            Message::Remove(slot) => self.remove(&slot),
            Message::Scraped { target, scraper, at } => {
                let Some(known) = self.targets.get_mut(&target) else { return };
                known.rhythms.observe(scraper, at);
                for id in known.slots.clone() {
                    self.plan(id, now);
                }
            }
        }
    }

    fn remove(&mut self, slot: &Arc<Slot>) {
        let Some(target) = self.targets.get_mut(&slot.target) else { return };
        let placed = &self.placed;
        let is_it = |id: &u64| placed.get(id).is_some_and(|known| Arc::ptr_eq(&known.slot, slot));
        let Some(index) = target.slots.iter().position(is_it) else { return };
        let id = target.slots.swap_remove(index);
        if target.slots.is_empty() {
            self.targets.remove(&slot.target);
        }
        self.placed.remove(&id);
    }

    /// Works out when a slot runs next and puts it on the heap.
    fn plan(&mut self, id: u64, now: Instant) {
        let Some(placed) = self.placed.get_mut(&id) else { return };
        let Some(last_start) = placed.last_start else { return };
        if placed.running {
            return;
        }
        let grant = &placed.slot.grant;
        let mut due = last_start + grant.interval;
        let covered = placed.last_finish.unwrap_or(last_start) + FRESH;
        let rhythms = &self.targets[&placed.slot.target].rhythms;
        if let Some(scrape) = rhythms.next_after(covered.max(now), now) {
            let lead = (LEAD + placed.duration * 2).min(LONGEST_LEAD);
            due = due.min((scrape - lead).max(last_start + grant.min_interval));
        }
        let due = due.max(last_start + grant.min_interval);
        if due != placed.due {
            placed.due = due;
            self.heap.push(Reverse((due, id)));
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((due, id))) = self.heap.peek().copied() {
            if due > now {
                return;
            }
            self.heap.pop();
            let Some(placed) = self.placed.get_mut(&id) else { continue };
            if placed.due != due || placed.running {
                continue;
            }
            placed.running = true;
            placed.last_start = Some(now);
            let slot = placed.slot.clone();
            let places = self.places.clone().expect("made before the first run");
            let task = self.running.spawn(async move {
                let waiting = Instant::now();
                let _place = places.acquire_owned().await;
                let held_back = waiting.elapsed();
                (held_back, slot.sensor.run(slot.input()).await)
            });
            self.slots_of_tasks.insert(task.id(), id);
        }
    }

    fn finished(&mut self, done: Result<(Id, (Duration, RunReport)), tokio::task::JoinError>) {
        let now = Instant::now();
        let (task, outcome) = match done {
            Ok((task, outcome)) => (task, Some(outcome)),
            Err(error) => (error.id(), None),
        };
        let Some(id) = self.slots_of_tasks.remove(&task) else { return };
        let Some(placed) = self.placed.get_mut(&id) else { return };
        let (held_back, report) = outcome.unwrap_or_else(|| (Duration::ZERO, panicked(&placed.slot)));
        placed.duration = (placed.duration + report.usage.wall) / 2;
        placed.slot.record(report, held_back);
        placed.running = false;
        placed.last_finish = Some(now);
        self.plan(id, now);
    }
}

/// The report of a run that ended in a panic of ours.
fn panicked(slot: &Slot) -> RunReport {
    tracing::error!(sensor = %slot.name, digest = %slot.sensor.digest, "a run ended in a panic; this is a defect of the node");
    RunReport {
        result: Err(RunFailure::Internal { message: "a panic, which the node's log has".into() }),
        usage: Usage::default(),
        logs: Vec::new(),
        logs_cut: false,
        state: None,
    }
}
