//! When each placed sensor runs: just ahead of its target's next scrape, and at its least rhythm when nobody scrapes.
//!
//! Each of a few threads owns the timing and the runs of some targets; everything else sends it messages, so there is nothing to lock and
//! a run wakes no other thread. A scrape
//! never waits for a run: it only tells the schedule that it happened. Scrapes that are close share a run; a sensor never runs oftener than its
//! grant says, nor twice at once. Runs are tasks of their own, bounded in number; one that panics is a failure of that run only.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
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

/// Runs in flight at once on one thread. All threads together stay below the engines' places.
const PLACES: usize = 32;

/// Of them, for one target: whoever has many sensors that wait on a server holds back only their own.
const PLACES_OF_TARGET: usize = 4;

/// Threads at most: more could not all have their places.
const MOST_THREADS: usize = CONCURRENT_RUNS as usize / PLACES;

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
    /// Starts `threads` threads, at least one; all sensors of one target share one.
    ///
    /// # Errors
    /// A thread or its runtime cannot be started.
    pub fn start(threads: usize) -> io::Result<Self> {
        let shards: io::Result<Vec<Shard>> = (0..threads.clamp(1, MOST_THREADS)).map(start_shard).collect();
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

    /// Takes a sensor away. A run in flight ends by itself and is recorded in its slot; a successor of the same name waits for that.
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
struct Timed {
    slot: Arc<Slot>,
    running: bool,
    /// Taken away while it ran: it goes when the run ends.
    removed: bool,
    last_start: Option<Instant>,
    /// How long runs lately took, waiting for a place included.
    duration: Duration,
    /// The only entry of the heap that counts for this slot.
    due: Instant,
}

#[derive(Default)]
struct Driver {
    timed: HashMap<u64, Timed>,
    next_id: u64,
    targets: HashMap<TargetId, Target>,
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    running: JoinSet<RunReport>,
    ids_of_tasks: HashMap<Id, u64>,
    /// Slots whose predecessor of the same name is still running, by that one's id.
    successors: HashMap<u64, Arc<Slot>>,
    /// Due, and waiting for a place.
    waiting: VecDeque<(u64, Instant)>,
}

#[derive(Default)]
struct Target {
    rhythms: Rhythms,
    slots: Vec<u64>,
    running: usize,
}

impl Driver {
    async fn drive(mut self, mut inbox: mpsc::Receiver<Message>) {
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
            Message::Place(slot) => self.place(slot, now),
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

    fn place(&mut self, slot: Arc<Slot>, now: Instant) {
        let ends = |timed: &Timed| timed.removed && timed.slot.name == slot.name;
        if let Some(predecessor) = self.find(slot.target, ends) {
            self.successors.insert(predecessor, slot);
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.targets.entry(slot.target).or_default().slots.push(id);
        let timed =
            Timed { slot, running: false, removed: false, last_start: None, duration: Duration::ZERO, due: now };
        self.timed.insert(id, timed);
        self.heap.push(Reverse((now, id)));
    }

    fn remove(&mut self, slot: &Arc<Slot>) {
        self.successors.retain(|_, successor| !Arc::ptr_eq(successor, slot));
        let Some(id) = self.find(slot.target, |timed| Arc::ptr_eq(&timed.slot, slot)) else { return };
        match self.timed.get_mut(&id) {
            Some(timed) if timed.running => timed.removed = true,
            _ => self.drop_slot(id),
        }
    }

    /// The slot of a target that is meant.
    fn find(&self, target: TargetId, is_meant: impl Fn(&Timed) -> bool) -> Option<u64> {
        let slots = &self.targets.get(&target)?.slots;
        slots.iter().copied().find(|id| self.timed.get(id).is_some_and(&is_meant))
    }

    fn drop_slot(&mut self, id: u64) {
        let Some(timed) = self.timed.remove(&id) else { return };
        let target = timed.slot.target;
        if let Some(known) = self.targets.get_mut(&target) {
            known.slots.retain(|slot| *slot != id);
            if known.slots.is_empty() && !self.successors.contains_key(&id) {
                self.targets.remove(&target);
            }
        }
    }

    /// Works out when a slot runs next and puts it on the heap.
    fn plan(&mut self, id: u64, now: Instant) {
        let Some(timed) = self.timed.get_mut(&id) else { return };
        let Some(last_start) = timed.last_start else { return };
        if timed.running || timed.removed {
            return;
        }
        let grant = &timed.slot.grant;
        let mut due = last_start + grant.interval;
        let covered = last_start + FRESH;
        let rhythms = &self.targets[&timed.slot.target].rhythms;
        if let Some(scrape) = rhythms.next_after(covered.max(now), now) {
            let lead = (LEAD + timed.duration * 2).min(LONGEST_LEAD);
            due = due.min(scrape - lead);
        }
        let due = due.max(last_start + grant.min_interval);
        if due != timed.due {
            timed.due = due;
            self.heap.push(Reverse((due, id)));
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((due, id))) = self.heap.peek().copied() {
            if due > now {
                break;
            }
            self.heap.pop();
            let Some(timed) = self.timed.get_mut(&id) else { continue };
            if timed.due != due || timed.running {
                continue;
            }
            timed.running = true;
            timed.last_start = Some(now);
            self.waiting.push_back((id, now));
        }
        self.start_waiting();
    }

    /// Starts what waits, first come first served, but for targets that have all the places one may have.
    fn start_waiting(&mut self) {
        let mut held = VecDeque::new();
        while self.running.len() < PLACES {
            let Some((id, since)) = self.waiting.pop_front() else { break };
            let Some(timed) = self.timed.get(&id) else { continue };
            if timed.removed {
                self.ended(id, None);
                continue;
            }
            let target = self.targets.get_mut(&timed.slot.target).expect("a placed slot has its target");
            if target.running == PLACES_OF_TARGET {
                held.push_back((id, since));
                continue;
            }
            target.running += 1;
            let slot = timed.slot.clone();
            slot.note_held_back(since.elapsed());
            let task = self.running.spawn(async move { slot.sensor.run(slot.input()).await });
            self.ids_of_tasks.insert(task.id(), id);
        }
        held.append(&mut self.waiting);
        self.waiting = held;
    }

    fn finished(&mut self, done: Result<(Id, RunReport), tokio::task::JoinError>) {
        let (task, report) = match done {
            Ok((task, report)) => (task, Some(report)),
            Err(error) => (error.id(), None),
        };
        let Some(id) = self.ids_of_tasks.remove(&task) else { return };
        let Some(timed) = self.timed.get(&id) else { return };
        if let Some(target) = self.targets.get_mut(&timed.slot.target) {
            target.running -= 1;
        }
        let report = report.unwrap_or_else(|| panicked(&timed.slot));
        self.ended(id, Some(report));
        self.start_waiting();
    }

    /// A run is over, or was taken away before it began: what it brought is kept, and what comes next is planned.
    fn ended(&mut self, id: u64, report: Option<RunReport>) {
        let now = Instant::now();
        let Some(timed) = self.timed.get_mut(&id) else { return };
        timed.running = false;
        if let Some(report) = report {
            let took = timed.last_start.map_or(Duration::ZERO, |start| now.duration_since(start));
            timed.duration = (timed.duration + took) / 2;
            timed.slot.record(report);
        }
        if timed.removed {
            self.drop_slot(id);
            if let Some(successor) = self.successors.remove(&id) {
                self.place(successor, now);
            }
        } else {
            self.plan(id, now);
        }
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
