//! The runners of one thread: which there are, who waits for which, and when one is started or ended.
//!
//! A runner is started when something of its room is due, and again when it dies. Everything that was in flight in it then failed for the
//! reason `runner` and is suspected; what waited goes on waiting, suspects in a room where they are alone: one run at a time, each in a process
//! that has seen no other. A runner that does not end a run by its deadline is ended itself: the limits inside it are
//! the first line, this is the last. Places are bounded by the runner's memory, per account and per target.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sonde_manifest::Class;
use tokio::sync::mpsc;

use super::link::{Life, Link};
use super::room::{Due, InFlight, RunnerRoom, State, Work};
use super::suspects::Standing;
use super::{Describe, Event, Facts, RunnersFor, Shared, TargetId};
use crate::accounts::Held;
use crate::digest::Digest;
use crate::failure::RunFailure;
use crate::slot::Slot;
use crate::workers::{NotStarted, Room, Sharing, Started};

/// Runs of one target at once: whoever has many sensors that wait on a server holds back only their own.
const OF_TARGET: usize = 4;

/// Sensors that describe themselves at once in a runner. They have places of their own there, so that loading one never costs a run its place,
/// nor a full house the loading.
pub const DESCRIPTIONS: usize = 8;

/// All runners of a thread.
pub(super) struct Rooms {
    pub(super) shared: Arc<Shared>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) rooms: HashMap<Room, RunnerRoom>,
    pub(super) of_target: HashMap<TargetId, usize>,
    /// Slots whose runs have ended since the driver last asked.
    pub(super) ended: Vec<u64>,
    lives: Life,
}

impl Rooms {
    pub(super) fn new(shared: Arc<Shared>, events: mpsc::Sender<Event>) -> Self {
        let (rooms, of_target) = Default::default();
        Self { shared, events, rooms, of_target, ended: Vec::new(), lives: 0 }
    }

    /// A slot's run is due. False where it may not run at all.
    pub(super) fn wait(&mut self, id: u64, slot: Arc<Slot>, now: Instant) -> bool {
        let sharing = match self.shared.settings.runners_for {
            RunnersFor::All if slot.is_heavy() => Sharing::Heavy,
            RunnersFor::All => Sharing::Light,
            RunnersFor::Account => Sharing::Account(slot.account.number),
        };
        let Some(sharing) = self.sharing(&slot.sensor.digest, sharing) else {
            quarantine(&slot);
            return false;
        };
        self.push(sharing, Due { id, slot, since: now }, now);
        true
    }

    /// How a sensor may be run that would be run so; `None` where not at all.
    fn sharing(&self, digest: &Digest, otherwise: Sharing) -> Option<Sharing> {
        match self.shared.suspects.standing(digest) {
            Standing::Never => None,
            Standing::Alone => Some(Sharing::Solitary),
            Standing::Good => Some(otherwise),
        }
    }

    fn push(&mut self, sharing: Sharing, due: Due, now: Instant) {
        let account = &due.slot.account;
        let (number, weight, target) = (account.number, account.share().weight, due.slot.target);
        let room = Room { class: due.slot.sensor.manifest.class, sharing };
        self.room(room, now).queue.push(number, weight, target, due);
    }

    /// Something wants to be described.
    pub(super) fn describe(&mut self, describe: Box<Describe>, now: Instant) {
        let Some(sharing) = self.sharing(&describe.digest, Sharing::Heavy) else {
            let message = "runners died of it; it is quarantined on this node".into();
            let _ = describe.reply.send(Err(RunFailure::Start { message }));
            return;
        };
        self.room(Room { class: describe.class, sharing }, now).describes.push_back(describe);
    }

    fn room(&mut self, room: Room, now: Instant) -> &mut RunnerRoom {
        let settings = &self.shared.settings;
        let places = if room.sharing == Sharing::Solitary { 1 } else { settings.places(room.class) };
        self.rooms.entry(room).or_insert_with(|| RunnerRoom::new(room, places, now))
    }

    /// Slots whose runs have ended.
    pub(super) fn take_ended(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.ended)
    }

    /// Starts runners that are wanted, and in those that there are what waits. Returns when to look again, if nothing happens.
    pub(super) fn start_waiting(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        // Suspects last: those that wait in the others' rooms are moved to theirs on the way.
        for solitary in [false, true] {
            let is_meant = |name: &&Room| (name.sharing == Sharing::Solitary) == solitary;
            let names: Vec<Room> = self.rooms.keys().filter(is_meant).copied().collect();
            for name in names {
                next = [next, self.look_after(name, now)].into_iter().flatten().min();
            }
        }
        next
    }

    /// No slot has this digest any more.
    pub(super) fn unload(&mut self, digest: &Digest) {
        for room in self.rooms.values_mut() {
            room.unload(digest);
        }
    }

    fn look_after(&mut self, name: Room, now: Instant) -> Option<Instant> {
        let room = self.rooms.get_mut(&name)?;
        if room.is_stuck(now) {
            self.died(name, "a run was not ended at its deadline", now);
        }
        let room = self.rooms.get_mut(&name)?;
        if room.wants_nothing() {
            let closes = room.idle_since + self.shared.settings.patience.idle;
            if closes > now {
                return Some(closes);
            }
            self.rooms.remove(&name);
            return None;
        }
        room.idle_since = now;
        match room.state {
            State::Absent => self.start_runner(name),
            State::Cooling(until) if until <= now => self.start_runner(name),
            State::Cooling(until) => return Some(until),
            // Whatever comes of it is an event.
            State::Starting => return None,
            State::Open(_) => self.fill(name, now),
        }
        self.rooms.get(&name)?.wakes(now)
    }

    /// Starts the runner that most sensors will share.
    pub(super) fn warm(&mut self, now: Instant) {
        let name = Room { class: Class::Small, sharing: Sharing::Light };
        self.room(name, now);
        self.start_runner(name);
    }

    fn start_runner(&mut self, name: Room) {
        self.lives += 1;
        let Some(room) = self.rooms.get_mut(&name) else { return };
        room.life = self.lives;
        room.state = State::Starting;
        let (life, workers, events) = (room.life, self.shared.workers.clone(), self.events.clone());
        let patience = self.shared.settings.patience.starting;
        tokio::spawn(async move {
            let late = |_| Err(NotStarted(format!("it did not start within {patience:?}")));
            let started = tokio::time::timeout(patience, workers.start_runner(name)).await.unwrap_or_else(late);
            if let Err(mpsc::error::SendError(Event::Started { started: Ok(started), .. })) =
                events.send(Event::Started { room: name, life, started }).await
            {
                workers.kill(started.number);
            }
        });
    }

    /// Gives a runner what waits, as far as there are places.
    fn fill(&mut self, name: Room, now: Instant) {
        while self.describe_next(name, now) {}
        while self.start_next(name, now) {}
    }

    fn describe_next(&mut self, name: Room, now: Instant) -> bool {
        let Some(room) = self.rooms.get_mut(&name) else { return false };
        let free = match name.sharing {
            Sharing::Solitary => room.in_flight.is_empty(),
            Sharing::Light | Sharing::Heavy | Sharing::Account(_) => room.describing() < DESCRIPTIONS.min(room.places),
        };
        if !free {
            return false;
        }
        let Some(describe) = room.describes.pop_front() else { return false };
        if describe.reply.is_closed() {
            return true;
        }
        if self.sharing(&describe.digest, name.sharing) != Some(name.sharing) {
            self.describe(describe, now);
        } else if let Some(room) = self.rooms.get_mut(&name) {
            room.order_description(&self.shared, describe, now);
        }
        true
    }

    fn start_next(&mut self, name: Room, now: Instant) -> bool {
        let Self { shared, rooms, of_target, .. } = self;
        let Some(room) = rooms.get_mut(&name).filter(|room| room.has_place()) else { return false };
        let RunnerRoom { queue, of_account, places, .. } = room;
        let account_may = |due: &Due| RunnerRoom::account_may(of_account, *places, due, now);
        let may = |due: &Due| {
            let running = of_target.get(&due.slot.target).copied().unwrap_or(0);
            if running >= OF_TARGET { Err(Held::Share) } else { Ok(()) }
        };
        let Some(waiting) = queue.pick(account_may, may) else { return false };
        let due = waiting.item;
        let (id, slot) = (due.id, due.slot.clone());
        // What is held against it may have come up while it waited.
        match shared.suspects.standing(&slot.sensor.digest) {
            Standing::Never => {
                quarantine(&slot);
                self.ended.push(id);
                return true;
            }
            Standing::Alone if name.sharing != Sharing::Solitary => {
                self.push(Sharing::Solitary, due, now);
                return true;
            }
            Standing::Alone | Standing::Good => {}
        }
        slot.note_held(waiting.why, now.saturating_duration_since(due.since));
        match room.order_run(shared, due, now) {
            Ok(()) => *of_target.entry(slot.target).or_default() += 1,
            Err(failure) => {
                slot.fail(failure);
                self.ended.push(id);
            }
        }
        true
    }

    pub(super) fn started(&mut self, name: Room, life: Life, started: Result<Started, NotStarted>, now: Instant) {
        let (workers, events) = (self.shared.workers.clone(), self.events.clone());
        let opened = started
            .map_err(|error| error.to_string())
            .and_then(|started| Link::open(name, life, started, workers, events).map_err(|error| error.to_string()));
        let Some(room) = self.rooms.get_mut(&name) else { return };
        match opened {
            Ok(link) => {
                Facts::count(&self.shared.facts.runners_started);
                room.opened(link);
            }
            Err(why) => {
                tracing::error!(class = name.class.name(), why, "a runner cannot be started");
                room.cool(now);
                // What waits must not wait in silence.
                let failure = RunFailure::Start { message: format!("the runner cannot be started: {why}") };
                while let Some(waiting) = room.queue.pick(|_| Ok(()), |_| Ok(())) {
                    waiting.item.slot.fail(failure.clone());
                    self.ended.push(waiting.item.id);
                }
                for describe in room.describes.drain(..) {
                    let _ = describe.reply.send(Err(failure.clone()));
                }
            }
        }
    }

    /// A runner is gone, or is to be: what ran in it failed and is suspected.
    pub(super) fn died(&mut self, name: Room, why: &str, now: Instant) {
        let Self { shared, rooms, of_target, ended, .. } = self;
        let Some(room) = rooms.get_mut(&name) else { return };
        Facts::count(&shared.facts.runners_ended);
        let victims: Vec<InFlight> = room.in_flight.drain().map(|(_, run)| run).collect();
        let class = name.class.name();
        let suspects: Vec<String> = victims.iter().map(|run| run.digest().to_string()).collect();
        tracing::error!(class, why, ?suspects, "a runner ended; another is started");
        shared.facts.runs_in_flight.fetch_sub(victims.len() as u64, Ordering::Relaxed);
        // Its link goes with it, and with that the process.
        room.cool(now);
        for victim in victims {
            // Elsewhere another that ran before may have laid the mine.
            shared.suspects.suspect(*victim.digest(), name.sharing == Sharing::Solitary);
            let failure = RunFailure::Runner { message: why.to_owned() };
            match victim.work {
                Work::Describe(describe) => drop(describe.reply.send(Err(failure))),
                Work::Run { id, slot } => {
                    leave(of_target, slot.target);
                    slot.fail(failure);
                    ended.push(id);
                }
            }
        }
    }

    /// A slot was taken away: it waits no longer. One that runs ends by itself.
    pub(super) fn forget(&mut self, id: u64) -> bool {
        self.rooms.values_mut().any(|room| room.queue.remove(|due| due.id == id))
    }

    pub(super) fn release(&self, digest: &Digest) {
        self.shared.suspects.release(digest);
    }
}

fn quarantine(slot: &Slot) {
    slot.quarantine_digest("runners died of it; a new version, or a release by hand, lets it run again");
}

pub(super) fn leave(of_target: &mut HashMap<TargetId, usize>, target: TargetId) {
    if let Some(running) = of_target.get_mut(&target) {
        *running -= 1;
        if *running == 0 {
            of_target.remove(&target);
        }
    }
}
