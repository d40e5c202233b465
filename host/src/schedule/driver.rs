//! When: one thread's clock of slots, driven by due times, by scrapes, and by runs that end.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::grid::{Grid, step};
use super::rooms::Rooms;
use super::{Event, Message, Shared, TargetId};
use crate::digest::Digest;
use crate::grant::Grant;
use crate::rhythm::Rhythms;
use crate::slot::Slot;

/// A result younger than this serves a scrape. Below the second that is promised, by more than a lead.
const FRESH: Duration = Duration::from_millis(800);

/// How long before a predicted scrape a run starts: a margin for a busy node, and twice what a run lately took.
const LEAD: Duration = Duration::from_millis(150);
const LONGEST_LEAD: Duration = Duration::from_millis(750);

/// What runners say that the driver has not taken yet: those who say more wait. Each is up to a frame (16 MiB).
const EVENTS: usize = 8;
/// Messages that are taken in one go before what they made due is started.
const BATCH: usize = 256;
/// Stale entries of the heap that are not worth clearing.
const STALE: usize = 64;

/// Any far instant will do while nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// A slot's place in time.
struct Timed {
    slot: Arc<Slot>,
    /// Waiting for a place, or in flight.
    running: bool,
    /// Taken away while it ran: it goes when the run ends.
    removed: bool,
    last_start: Option<Instant>,
    /// How long runs lately took, waiting for a place included.
    duration: Duration,
    /// The only entry of the heap that counts for this slot.
    due: Instant,
    /// When it would be due if nothing were held against it.
    wished: Instant,
    /// Its second run is behind it, whose time is its own so that what was placed together does not run together for ever.
    spread: bool,
}

/// How long after its first run a slot runs for the second time: half to all of the interval, evenly over slots (by the golden ratio), and as
/// much later for those that may not run so soon.
fn second_after(id: u64, grant: &Grant) -> Duration {
    let half = grant.interval / 2;
    let phase = (id as f64 * 0.618_033_988_749_895).fract();
    half.max(grant.min_interval) + half.mul_f64(phase)
}

#[derive(Default)]
struct Target {
    rhythms: Rhythms,
    slots: Vec<u64>,
}

pub(super) struct Driver {
    rooms: Rooms,
    events: mpsc::Receiver<Event>,
    timed: HashMap<u64, Timed>,
    next_id: u64,
    targets: HashMap<TargetId, Target>,
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Slots whose predecessor of the same name is still running, by that one's id.
    successors: HashMap<u64, Vec<Arc<Slot>>>,
    /// Slots of each digest: what has none left need not be held by any runner.
    of_digest: HashMap<Digest, usize>,
    grid: Grid,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        let (timed, targets, heap, successors, of_digest) = Default::default();
        let (rooms, grid) = (Rooms::new(shared, sender), Grid::new(Instant::now()));
        Self { rooms, events, timed, next_id: 0, targets, heap, successors, of_digest, grid }
    }

    pub(super) async fn drive(mut self, mut inbox: mpsc::Receiver<Message>) {
        loop {
            self.start_due();
            let look_again = self.rooms.start_waiting(Instant::now());
            self.take_ended();
            let due = self.heap.peek().map(|Reverse((due, _))| *due);
            let next = [due, look_again].into_iter().flatten().min().unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                message = inbox.recv() => {
                    let Some(message) = message else { return self.end() };
                    self.take(message);
                    for _ in 1..BATCH {
                        let Ok(message) = inbox.try_recv() else { break };
                        self.take(message);
                    }
                }
                Some(event) = self.events.recv() => {
                    let now = Instant::now();
                    self.rooms.take(event, now);
                    for _ in 1..EVENTS {
                        let Ok(event) = self.events.try_recv() else { break };
                        self.rooms.take(event, now);
                    }
                    self.take_ended();
                }
                () = sleep_until(TokioInstant::from_std(next)) => {}
            }
        }
    }

    /// Nobody has a handle any more. Processes that were started and not taken in yet must not be left behind.
    fn end(mut self) {
        self.events.close();
        while let Ok(event) = self.events.try_recv() {
            self.rooms.discard(event);
        }
    }

    fn take(&mut self, message: Message) {
        let now = Instant::now();
        match message {
            Message::Place(slot) => self.place(slot, now),
            Message::Remove(slot) => self.remove(&slot),
            Message::Release(slot) => self.release(&slot, now),
            Message::Warm => self.rooms.warm(now),
            Message::Describe(describe) => self.rooms.describe(describe, now),
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
            self.successors.entry(predecessor).or_default().push(slot);
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.targets.entry(slot.target).or_default().slots.push(id);
        *self.of_digest.entry(slot.sensor.digest).or_default() += 1;
        let timed = Timed {
            slot,
            running: false,
            removed: false,
            last_start: None,
            duration: Duration::ZERO,
            due: now,
            wished: now,
            spread: false,
        };
        self.timed.insert(id, timed);
        self.push(now, id);
    }

    /// Puts a slot's due time on the heap, and what was put there before in vain off it: a scrape or a removal leaves such behind, and far ones would
    /// heap up.
    fn push(&mut self, due: Instant, id: u64) {
        self.heap.push(Reverse((due, id)));
        if self.heap.len() > 2 * self.timed.len() + STALE {
            let mut kept = std::mem::take(&mut self.heap).into_vec();
            kept.retain(|Reverse((due, id))| self.timed.get(id).is_some_and(|timed| timed.due == *due));
            kept.sort_unstable();
            kept.dedup();
            self.heap = kept.into();
        }
    }

    fn remove(&mut self, slot: &Arc<Slot>) {
        self.successors.retain(|_, waiting| {
            waiting.retain(|successor| !Arc::ptr_eq(successor, slot));
            !waiting.is_empty()
        });
        let Some(id) = self.find(slot.target, |timed| Arc::ptr_eq(&timed.slot, slot)) else { return };
        match self.timed.get_mut(&id) {
            // What only waits for a place is taken out of the queue; what runs ends by itself.
            Some(timed) if timed.running && !self.rooms.forget(id) => timed.removed = true,
            _ => self.drop_slot(id),
        }
    }

    fn release(&mut self, slot: &Arc<Slot>, now: Instant) {
        self.rooms.release(&slot.sensor.digest);
        slot.release();
        if let Some(id) = self.find(slot.target, |timed| Arc::ptr_eq(&timed.slot, slot)) {
            self.plan(id, now);
        }
    }

    /// The slot of a target that is meant.
    fn find(&self, target: TargetId, is_meant: impl Fn(&Timed) -> bool) -> Option<u64> {
        let slots = &self.targets.get(&target)?.slots;
        slots.iter().copied().find(|id| self.timed.get(id).is_some_and(&is_meant))
    }

    fn drop_slot(&mut self, id: u64) {
        let Some(timed) = self.timed.remove(&id) else { return };
        let (target, digest) = (timed.slot.target, timed.slot.sensor.digest);
        let left = self.of_digest.get_mut(&digest).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            self.of_digest.remove(&digest);
            self.rooms.unload(&digest);
        }
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
        let standing = timed.slot.standing();
        if timed.running || timed.removed || standing.quarantine.is_some() {
            return;
        }
        let grant = &timed.slot.grant;
        let after = if timed.spread { grant.interval } else { second_after(id, grant) };
        let mut wished = self.grid.not_before(last_start + after, grant.interval);
        let covered = last_start + FRESH;
        let rhythms = &self.targets[&timed.slot.target].rhythms;
        if let Some(scrape) = rhythms.next_after(covered.max(now), now) {
            let lead = (LEAD + timed.duration * 2).min(LONGEST_LEAD);
            wished = wished.min(self.grid.not_after(scrape - lead, grant.interval));
        }
        let wished = wished.max(last_start + grant.min_interval);
        let due = standing.not_before.map_or(wished, |not_before| wished.max(not_before));
        timed.wished = wished;
        if due != timed.due {
            timed.due = due;
            self.push(due, id);
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
            timed.running = self.rooms.wait(id, timed.slot.clone(), now);
            timed.spread = timed.last_start.is_some();
            if timed.wished < due {
                timed.slot.note_backed_off(due - timed.wished);
            }
            // A wake-up is always a little late, and that must not add up.
            let punctual = now.duration_since(due) < step(timed.slot.grant.interval) && timed.last_start.is_some();
            timed.last_start = Some(if punctual { due } else { now });
        }
    }

    /// Runs that are over, or were taken away before they began: what comes next is planned.
    fn take_ended(&mut self) {
        let now = Instant::now();
        for id in self.rooms.take_ended() {
            let Some(timed) = self.timed.get_mut(&id) else { continue };
            timed.running = false;
            let took = timed.last_start.map_or(Duration::ZERO, |start| now.duration_since(start));
            timed.duration = (timed.duration + took) / 2;
            if timed.removed {
                self.drop_slot(id);
                for successor in self.successors.remove(&id).unwrap_or_default() {
                    self.place(successor, now);
                }
            } else {
                self.plan(id, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::AtomicU64;

    use sonde_manifest::Manifest;

    use super::*;
    use crate::accounts::{Accounts, Share};
    use crate::check::Reserved;
    use crate::digest::Digest;
    use crate::schedule::nobody::Nobody;
    use crate::schedule::suspects::Suspects;
    use crate::schedule::{Placement, Settings};
    use crate::sensor::Sensor;
    use crate::slot::{Kernel, KstatsFuture};
    use crate::standing::StandingRules;
    use crate::wire::{self, Outcome, batch};
    use crate::workers::Workers;

    impl Kernel for Nobody {
        fn kstats(&self, _: String) -> KstatsFuture<'_> {
            Box::pin(std::future::pending())
        }
    }

    fn driver() -> Driver {
        let (workers, settings): (Arc<dyn Workers>, _) = (Arc::new(Nobody), Settings::default());
        let (suspects, facts, next_run) = (Suspects::default(), Arc::default(), AtomicU64::new(0));
        Driver::new(Arc::new(Shared { settings, workers, key: None, suspects, facts, next_run }))
    }

    fn slot() -> Arc<Slot> {
        let manifest = "name = \"a\"\nversion = \"0.1.0\"\ndescription = \"A.\"\ninterval = \"600s\"";
        let manifest = Manifest::parse(manifest).unwrap();
        let grant = Arc::new(Grant::nothing(&manifest));
        let result = Ok(wire::encode(&batch::Description::Dynamic).into());
        let outcome = Outcome { result, usage: Default::default(), logs: vec![], logs_cut: false, state: None };
        let code = File::open("/dev/null").unwrap();
        let reserved = Arc::<Reserved>::default();
        let sensor = Sensor::described(manifest, Digest::of(b"a"), code, outcome, reserved).unwrap();
        let placement = Placement {
            target: TargetId(1),
            name: "a".into(),
            sensor: Arc::new(sensor),
            grant,
            account: Accounts::default().account("a", &Share::DEFAULT),
            doors: None,
            kernel: Arc::new(Nobody),
            state: Vec::new(),
        };
        Arc::new(Slot::new(placement, StandingRules::default()))
    }

    #[test]
    fn what_is_due_no_more_does_not_heap_up() {
        let mut driver = driver();
        let now = Instant::now();
        driver.place(slot(), now);
        driver.timed.get_mut(&0).expect("it was placed").last_start = Some(now);
        for number in 1..10_000_u32 {
            let slot = slot();
            driver.place(slot.clone(), now + Duration::from_secs(3600));
            driver.remove(&slot);
            // Scrapes of every rhythm, each of which is another prediction.
            let at = now + Duration::from_millis(250) * number;
            driver.targets.get_mut(&TargetId(1)).expect("it was placed").rhythms.observe(u64::from(number % 7), at);
            driver.plan(0, at);
        }
        assert!(driver.heap.len() <= 2 * driver.timed.len() + STALE, "{}", driver.heap.len());
        let due = driver.timed[&0].due;
        assert!(driver.heap.iter().any(|Reverse(entry)| *entry == (due, 0)), "what counts is still there");
    }

    #[test]
    fn what_was_placed_together_does_not_run_together() {
        let interval = Duration::from_secs(16);
        for (min_interval, soonest) in [(1, 8), (8, 8), (12, 12), (16, 16)] {
            let min_interval = Duration::from_secs(min_interval);
            let grant = Grant { interval, min_interval, ..Grant::clone(&slot().grant) };
            let mut of_second = [0_u32; 32];
            for id in 0..1_000 {
                of_second[second_after(id, &grant).as_secs() as usize] += 1;
            }
            for (second, count) in of_second.into_iter().enumerate() {
                let some = (soonest..soonest + 8).contains(&second);
                assert!(
                    if some { (115..=135).contains(&count) } else { count == 0 },
                    "{min_interval:?} {second} {count}"
                );
            }
        }
    }
}
