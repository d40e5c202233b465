//! One runner, as its thread knows it: what it was given, what runs in it, and what waits for it.
//!
//! Whatever a runner may say is kept count of here, because it must have been asked for: a run, code, a few lines of log. So a runner that
//! says anything else is known for what it is, and none can make the agent work without end.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::fair_queue::FairQueue;
use super::link::{Life, Link};
use super::{Describe, Shared};
use crate::accounts::{Held, Share};
use crate::digest::Digest;
use crate::failure::RunFailure;
use crate::slot::Slot;
use crate::ticket::Ticket;
use crate::wire::{Call, RunOrder, ToRunner};
use crate::workers::{Room, Sharing};

/// What a run is charged before it is known what it took, so that one account's burst is not all started at once.
pub(super) const ADVANCE: Duration = Duration::from_millis(1);

/// The least that a run is charged, whatever it took: it had a place, and who would be charged nothing would always be first.
pub(super) const LEAST: Duration = Duration::from_micros(100);

/// How soon a runner that died is started again: the first time at once, then ever later.
const RESTART: Duration = Duration::from_millis(100);
const LONGEST_RESTART: Duration = Duration::from_secs(5);

/// Longest that an account held by its cpu bound is not looked at: its share may be changed meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A run that is due.
pub(super) struct Due {
    pub(super) id: u64,
    pub(super) slot: Arc<Slot>,
    pub(super) since: Instant,
}

pub(super) enum Work {
    Run { id: u64, slot: Arc<Slot> },
    Describe(Box<Describe>),
}

pub(super) struct InFlight {
    pub(super) work: Work,
    pub(super) began: Instant,
    overdue_at: Instant,
    /// A question of its is being answered; an honest run has one at a time.
    pub(super) asking: bool,
    pub(super) questions: u64,
}

impl InFlight {
    fn new(work: Work, began: Instant, patience: Duration) -> Self {
        Self { work, began, overdue_at: began + patience, asking: false, questions: 0 }
    }

    pub(super) fn digest(&self) -> &Digest {
        match &self.work {
            Work::Run { slot, .. } => &slot.sensor.digest,
            Work::Describe(describe) => &describe.digest,
        }
    }
}

pub(super) enum State {
    Absent,
    Starting,
    Open(Link),
    /// The last one died, or could not be started.
    Cooling(Instant),
}

/// Compiled code that a runner holds at once, in bytes: half of what its cgroup gives it beside the memories of runs.
const CODE_BYTES: u64 = 256 << 20;

/// A run that is overdue is looked at again after so long, and the runner taken for stuck if it still is.
const OVERDUE_TWICE: Duration = Duration::from_millis(250);

/// A component that a runner holds.
#[derive(Debug, Clone, Copy)]
struct Loaded {
    /// When it was last of use, as the room counts.
    used: u64,
    bytes: u64,
}

pub(super) struct RunnerRoom {
    name: Room,
    pub(super) state: State,
    /// Of which runner this is: no two of a thread have the same.
    pub(super) life: Life,
    /// Deaths since a run last ended well.
    pub(super) deaths: u32,
    pub(super) places: usize,
    pub(super) in_flight: HashMap<u64, InFlight>,
    pub(super) of_account: HashMap<u64, usize>,
    /// Components that it holds.
    loaded: HashMap<Digest, Loaded>,
    uses: u64,
    /// When a run was first seen to be overdue.
    overdue_since: Option<Instant>,
    /// How often it has yet to say of a digest that it is loaded, or not.
    unanswered: HashMap<Digest, u32>,
    pub(super) ready: bool,
    pub(super) lines_said: u32,
    pub(super) queue: FairQueue<Due>,
    pub(super) describes: VecDeque<Box<Describe>>,
    pub(super) idle_since: Instant,
}

impl RunnerRoom {
    pub(super) fn new(name: Room, places: usize, now: Instant) -> Self {
        let (in_flight, of_account, loaded, unanswered, queue, describes) = Default::default();
        Self {
            name,
            state: State::Absent,
            life: 0,
            deaths: 0,
            places,
            in_flight,
            of_account,
            loaded,
            uses: 0,
            overdue_since: None,
            unanswered,
            ready: false,
            lines_said: 0,
            queue,
            describes,
            idle_since: now,
        }
    }

    pub(super) fn wants_nothing(&self) -> bool {
        self.in_flight.is_empty() && self.queue.is_empty() && self.describes.is_empty()
    }

    /// How many of what is in flight are descriptions.
    pub(super) fn describing(&self) -> usize {
        self.in_flight.values().filter(|run| matches!(run.work, Work::Describe(_))).count()
    }

    /// Whether one more run may be in flight. Who is to be alone is so beside descriptions too.
    pub(super) fn has_place(&self) -> bool {
        let taken = match self.name.sharing {
            Sharing::Solitary => self.in_flight.len(),
            Sharing::Light | Sharing::Heavy | Sharing::Account(_) => self.in_flight.len() - self.describing(),
        };
        taken < self.places
    }

    /// Whether a run is unreported although the runner had time enough, and we had time to read: after a stop of the agent's own,
    /// reports are there and only not yet read.
    pub(super) fn is_stuck(&mut self, now: Instant) -> bool {
        if !self.in_flight.values().any(|run| run.overdue_at <= now) {
            self.overdue_since = None;
            return false;
        }
        let since = *self.overdue_since.get_or_insert(now);
        now.saturating_duration_since(since) >= OVERDUE_TWICE
    }

    /// When this room needs looking at although nothing happens: a run would be overdue, or an account may run again.
    pub(super) fn wakes(&self, now: Instant) -> Option<Instant> {
        let overdue = self.in_flight.values().map(|run| run.overdue_at).min();
        let overdue = overdue.map(|at| self.overdue_since.map_or(at, |since| at.max(since + OVERDUE_TWICE)));
        let held = self.queue.firsts().filter_map(|due| due.slot.account.held_until(now)).min();
        [overdue, held.map(|until| until.min(now + LOOK_AGAIN))].into_iter().flatten().min()
    }

    /// The runner is there.
    pub(super) fn opened(&mut self, link: Link) {
        self.loaded.clear();
        self.unanswered.clear();
        self.ready = false;
        self.lines_said = 0;
        self.state = State::Open(link);
    }

    /// The runner is no more, or never was; the next one is not started at once for ever.
    pub(super) fn cool(&mut self, now: Instant) {
        let wait = if self.deaths == 0 { Duration::ZERO } else { RESTART * (1 << (self.deaths - 1).min(10)) };
        self.deaths = self.deaths.saturating_add(1);
        self.of_account.clear();
        self.state = State::Cooling(now + wait.min(LONGEST_RESTART));
    }

    /// Whether an account may have one more run in flight here.
    pub(super) fn account_may(
        of_account: &HashMap<u64, usize>,
        places: usize,
        due: &Due,
        now: Instant,
    ) -> Result<(), Held> {
        let account = &due.slot.account;
        let most = ((places as f64 * account.share().places).ceil() as usize).max(1);
        if of_account.get(&account.number).is_some_and(|running| *running >= most) {
            return Err(Held::Share);
        }
        account.held_until(now).map_or(Ok(()), |_| Err(Held::Cpu))
    }

    /// A run of an account has ended.
    pub(super) fn left(&mut self, account: u64) {
        if let Some(running) = self.of_account.get_mut(&account) {
            *running -= 1;
            if *running == 0 {
                self.of_account.remove(&account);
            }
        }
    }

    pub(super) fn order_run(&mut self, shared: &Shared, due: Due, now: Instant) -> Result<(), RunFailure> {
        let Due { id, slot, .. } = due;
        debug_assert_eq!(self.name.class, slot.sensor.manifest.class);
        self.load(shared, slot.sensor.digest, &slot.sensor.code)?;
        let State::Open(link) = &self.state else { return Err(gone()) };
        let run = shared.next_run.fetch_add(1, Ordering::Relaxed);
        let (account, weight) = (slot.account.number, slot.account.share().weight);
        let order = RunOrder {
            run,
            digest: slot.sensor.digest,
            call: Call::Collect,
            account,
            weight,
            grant: slot.encoded_grant.clone(),
            state: slot.state().to_vec(),
            ticket: ticket(shared, link, run, &slot),
        };
        link.send(ToRunner::Run(order), None);
        self.queue.charge(account, weight, ADVANCE, Duration::ZERO);
        *self.of_account.entry(account).or_default() += 1;
        let wall = slot.grant.limits.wall;
        self.gave(shared, run, Work::Run { id, slot }, wall, now);
        Ok(())
    }

    pub(super) fn order_description(&mut self, shared: &Shared, describe: Box<Describe>, now: Instant) {
        if let Err(failure) = self.load(shared, describe.digest, &describe.code) {
            let _ = describe.reply.send(Err(failure));
            return;
        }
        let State::Open(link) = &self.state else {
            let _ = describe.reply.send(Err(gone()));
            return;
        };
        let run = shared.next_run.fetch_add(1, Ordering::Relaxed);
        let order = RunOrder {
            run,
            digest: describe.digest,
            call: Call::Describe,
            // Nobody's: an account has no number so high.
            account: u64::MAX,
            weight: Share::DEFAULT.weight,
            grant: describe.encoded_grant.clone(),
            state: Vec::new(),
            ticket: None,
        };
        link.send(ToRunner::Run(order), None);
        let wall = describe.wall;
        self.gave(shared, run, Work::Describe(describe), wall, now);
    }

    fn gave(&mut self, shared: &Shared, run: u64, work: Work, wall: Duration, now: Instant) {
        shared.facts.runs_in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_flight.insert(run, InFlight::new(work, now, wall + shared.settings.patience.overdue));
    }

    /// Sees to it that the runner has the code; what was longest of no use makes room.
    fn load(&mut self, shared: &Shared, digest: Digest, code: &File) -> Result<(), RunFailure> {
        let State::Open(link) = &self.state else { return Err(gone()) };
        self.uses += 1;
        if let Some(loaded) = self.loaded.get_mut(&digest) {
            loaded.used = self.uses;
            return Ok(());
        }
        let unusable = |error: std::io::Error| RunFailure::Start { message: error.to_string() };
        let code = reopened(code).map_err(unusable)?;
        let bytes = code.metadata().map_err(unusable)?.len();
        let mut held: u64 = self.loaded.values().map(|loaded| loaded.bytes).sum();
        while (self.loaded.len() >= shared.settings.loaded || held + bytes > CODE_BYTES)
            && let Some((oldest, gone)) =
                self.loaded.iter().min_by_key(|(_, loaded)| loaded.used).map(|(d, l)| (*d, *l))
        {
            held -= gone.bytes;
            self.loaded.remove(&oldest);
            link.send(ToRunner::Unload { digest: oldest }, None);
        }
        self.loaded.insert(digest, Loaded { used: self.uses, bytes });
        *self.unanswered.entry(digest).or_default() += 1;
        // Its class is the room's; a runner has one engine.
        link.send(ToRunner::Load { digest }, Some(code.into()));
        Ok(())
    }

    /// The runner need not hold this code any more.
    pub(super) fn unload(&mut self, digest: &Digest) {
        if self.loaded.remove(digest).is_some()
            && let State::Open(link) = &self.state
        {
            link.send(ToRunner::Unload { digest: *digest }, None);
        }
    }

    /// The runner says that it has code, or cannot have it. False where it was not given any.
    pub(super) fn answered(&mut self, digest: &Digest, usable: bool) -> bool {
        let Some(left) = self.unanswered.get_mut(digest) else { return false };
        *left -= 1;
        if *left == 0 {
            self.unanswered.remove(digest);
        }
        if !usable {
            self.loaded.remove(digest);
        }
        true
    }
}

/// The same file with a position of its own: one that is shared would stand at the end after the first runner has read, and any
/// runner could move it while another reads.
fn reopened(code: &File) -> std::io::Result<File> {
    File::open(format!("/proc/self/fd/{}", code.as_raw_fd()))
}

fn gone() -> RunFailure {
    RunFailure::Start { message: "the runner has just ended".into() }
}

/// What the broker will ask for, where the run may open anything.
fn ticket(shared: &Shared, link: &Link, run: u64, slot: &Slot) -> Option<Ticket> {
    let (key, doors) = (shared.key.as_ref()?, slot.doors?);
    Some(key.ticket(run, link.number, doors, slot.grant.limits.wall))
}
