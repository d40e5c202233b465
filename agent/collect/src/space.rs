//! How full a file system is: asked apart, on threads of its own, and never waited for.
//!
//! `statfs` takes 1.5 µs, or for ever: a stuck NFS server or a FUSE daemon that does not answer holds whoever asks. So a
//! reading only leaves a question here and takes the last answer there is, with its age; a question in flight is not
//! asked again, one that took long is asked seldom, and of threads there are few. Answers stop coming when all of
//! them are stuck; readings do not.
//!
//! A tenant can make such a file system, and as many processes as he likes. So one instance has one question in flight, whoever leads
//! it; one owner's hold no more than [`OWNED_THREADS`] threads, in however many instances; and a question that waits holds no descriptor.
//!
//! Which file system an instance's root is may be of a tenant's making. It is opened as a mere handle (`O_PATH`), its
//! mount is found by number in the process's own mount table, and only kinds that the kernel serves out of itself
//! ([`KINDS`]) are asked at all: never FUSE, NFS or another that somebody else answers for. An overlay can still hide
//! one of these below it, which is what the threads are for. Nothing a tenant wrote (a mount's source) is
//! handed on; ZFS writes that of its own mounts itself.
//! Beside its root, an instance's other mounts are asked which of them is fullest ([`fullest`]).

mod file_system;
mod fullest;
pub mod mount_table;
mod of_node;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use file_system::KINDS;
use file_system::{device_of, handle_number, said};
use mount_table::mounts_of;
pub use of_node::NodeSpace;
use rustix::fs::{Mode, OFlags};

use crate::leader::{self, Leader};
use crate::mounts::Roots;
pub use crate::reading::{FileSystem, Space};
use crate::source::Buffer;

/// A file system is asked no oftener than this; space is not lost in less.
const EVERY: Duration = Duration::from_secs(5);
/// Nor sooner than this many times what the last answer took: a slow one may hold a small part of one thread only.
const REST: u32 = 60;
/// Threads at most. Each may come to be stuck.
const THREADS: usize = 8;
/// Threads that one owner's questions may hold at a time; what they ask is mostly told in microseconds.
const OWNED_THREADS: usize = 2;
/// A thread that had nothing to do for this long ends.
const IDLE: Duration = Duration::from_secs(10);
/// Questions that wait at most: more than there are instances on a node.
const QUEUE: usize = 4096;

/// Where an answer is left.
#[derive(Debug, Default)]
struct Slot(Mutex<Answer>);

#[derive(Debug, Default)]
struct Answer {
    last: Option<(Instant, Told)>,
    in_flight: bool,
    /// What is in flight is about a root that the instance has no more: its answer is nobody's.
    outdated: bool,
    next: Option<Instant>,
}

/// What came of a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    /// The file system that was asked for; none where its kind is not asked.
    file_system: Option<FileSystem>,
    /// Of those that an instance can write to, the one with the least left.
    fullest: Option<FileSystem>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self, now: Instant) -> Lately {
        let answer = self.lock();
        let Some((at, told)) = &answer.last else { return Lately::default() };
        let age = now.saturating_duration_since(*at);
        let space = |file_system: &FileSystem| Space { file_system: file_system.clone(), age };
        Lately { space: told.file_system.as_ref().map(space), fullest: told.fullest.as_ref().map(space) }
    }
}

/// The last answer, at a reading.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lately {
    pub(crate) space: Option<Space>,
    pub(crate) fullest: Option<Space>,
}

/// Whose file system it is.
#[derive(Debug)]
enum Whose {
    /// That of a process's root, by its pid and start: a handle on it is taken when the question is.
    Root { pid: u32, start_ticks: u64 },
    /// A mount of the node, by its number, and its point as seen from the first process, or from ours.
    Mount { first: PathBuf, number: u64, point: PathBuf },
}

struct Question {
    whose: Whose,
    /// Whose threads these are that ask it; none is the operator.
    owner: Option<Arc<str>>,
    roots: Arc<Roots>,
    slot: Arc<Slot>,
}

/// The threads that ask. Clones share them.
#[derive(Clone, Default)]
pub struct SpacePool {
    crew: Arc<Crew>,
    /// On whose behalf it is asked here.
    owner: Option<Arc<str>>,
}

impl std::fmt::Debug for SpacePool {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("SpacePool").field("threads", &self.crew.lock().threads).finish()
    }
}

#[derive(Default)]
struct Crew {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Question>,
    threads: usize,
    idle: usize,
    /// Threads that are at an owner's questions.
    owned: HashMap<Arc<str>, usize>,
}

impl State {
    /// Where the first question is whose owner does not hold as many threads as he may.
    fn next(&self) -> Option<usize> {
        let may = |question: &Question| {
            let held = question.owner.as_ref().and_then(|owner| self.owned.get(owner));
            held.is_none_or(|held| *held < OWNED_THREADS)
        };
        self.queue.iter().position(may)
    }

    fn take(&mut self) -> Option<Question> {
        let at = self.next()?;
        let question = self.queue.remove(at)?;
        if let Some(owner) = &question.owner {
            *self.owned.entry(owner.clone()).or_default() += 1;
        }
        Some(question)
    }

    fn give_back(&mut self, owner: Option<&Arc<str>>) {
        if let Some(owner) = owner
            && let Some(held) = self.owned.get_mut(owner)
        {
            *held -= 1;
            if *held == 0 {
                self.owned.remove(owner);
            }
        }
    }
}

impl Crew {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpacePool {
    /// Threads there are now, stuck ones among them.
    pub fn threads(&self) -> usize {
        self.crew.lock().threads
    }

    /// The same threads, for questions about what is an owner's: of these he may hold a few. The operator's own need none.
    #[must_use]
    pub fn of_owner(&self, owner: Arc<str>) -> Self {
        Self { crew: self.crew.clone(), owner: Some(owner) }
    }

    /// Leaves a question if it is time for it.
    fn ask(&self, slot: &Arc<Slot>, roots: &Arc<Roots>, now: Instant, whose: Whose) {
        let mut answer = slot.lock();
        if answer.in_flight || answer.next.is_some_and(|next| now < next) {
            return;
        }
        answer.next = Some(now + EVERY);
        let (roots, slot) = (roots.clone(), slot.clone());
        answer.in_flight = self.put(Question { whose, owner: self.owner.clone(), roots, slot });
    }

    /// Whether there was room for it.
    fn put(&self, question: Question) -> bool {
        let mut state = self.crew.lock();
        if state.queue.len() >= QUEUE {
            return false;
        }
        state.queue.push_back(question);
        if state.idle >= state.queue.len() || state.threads >= THREADS {
            self.crew.work.notify_one();
            return true;
        }
        let crew = self.crew.clone();
        let started = thread::Builder::new().name("space".to_owned()).spawn(move || work(&crew));
        state.threads += usize::from(started.is_ok());
        if state.threads == 0 {
            // Nobody would ever take it: it is asked again when it is time.
            state.queue.pop_back();
            return false;
        }
        true
    }
}

fn work(crew: &Crew) {
    let mut buffer = Buffer::default();
    let mut state = crew.lock();
    loop {
        if let Some(question) = state.take() {
            drop(state);
            let began = Instant::now();
            let said = answer(&question, &mut buffer);
            let now = Instant::now();
            let mut answer = question.slot.lock();
            answer.in_flight = false;
            answer.next = Some(now + EVERY.max((now - began).saturating_mul(REST)));
            let outdated = std::mem::take(&mut answer.outdated);
            if let Some(said) = said.filter(|_| !outdated) {
                answer.last = Some((now, said));
            }
            drop(answer);
            state = crew.lock();
            state.give_back(question.owner.as_ref());
            continue;
        }
        state.idle += 1;
        let (woken, timeout) = crew.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
        state = woken;
        state.idle -= 1;
        // What still waits then is of those who hold their threads, and these take it.
        if timeout.timed_out() && state.next().is_none() {
            state.threads -= 1;
            return;
        }
    }
}

/// Asks: this may never come back. None where what it is about is not there any more.
fn answer(question: &Question, buffer: &mut Buffer) -> Option<Told> {
    let (leader, process, path) = match &question.whose {
        Whose::Root { pid, start_ticks } => {
            let leader = leader::hold(&question.roots, *pid, Some(*start_ticks))?;
            let process = leader.directory(&question.roots);
            let root = process.join("root");
            (Some(leader), process, root)
        }
        Whose::Mount { first, point, .. } => {
            (None, first.clone(), first.join("root").join(point.strip_prefix("/").ok()?))
        }
    };
    let handle = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let number = handle_number(&handle, &question.roots, buffer)?;
    let mounts = buffer.read_path(&process.join("mountinfo")).ok()?;
    let mount = mounts_of(mounts).find(|mount| mount.number == number)?;
    // Of what somebody else answers for, not even this is asked.
    let only = (mount.kind.is_some() && fullest::is_the_nodes(&handle, &question.roots)).then_some(number);
    let writable = if leader.is_some() { fullest::writable(mounts, only) } else { Vec::new() };
    let same = match &question.whose {
        Whose::Root { .. } => leader.as_ref().is_some_and(Leader::is_alive),
        Whose::Mount { number: wanted, .. } => *wanted == number,
    };
    if !same {
        return None;
    }
    let dataset = if mount.kind == Some("zfs") { mount.dataset() } else { None };
    let said = |kind| said(&handle, kind, device_of(&question.roots, mount.device, kind), dataset);
    let file_system = mount.kind.and_then(said);
    let fullest = fullest::fullest(&handle, writable, &question.roots, buffer);
    Some(Told { file_system, fullest })
}

/// Keeps asking for the root of one instance.
#[derive(Debug)]
pub(crate) struct Watch {
    pool: SpacePool,
    roots: Arc<Roots>,
    slot: Arc<Slot>,
    /// Pid and start of the process whose root the slot is about.
    of: Option<(u32, u64)>,
}

impl Watch {
    pub(crate) fn new(pool: SpacePool, roots: Arc<Roots>) -> Self {
        Self { pool, roots, slot: Arc::default(), of: None }
    }

    /// Asks, if it is time. Another leader may have another root: what the one before was told is not its. But it has no time of its
    /// own: what is in flight is waited for, and when to ask again stays.
    pub(crate) fn ask(&mut self, leader: &Leader, now: Instant) {
        let of = Some((leader.pid, leader.start_ticks));
        if self.of != of {
            self.of = of;
            let mut answer = self.slot.lock();
            (answer.last, answer.outdated) = (None, answer.in_flight);
        }
        let whose = Whose::Root { pid: leader.pid, start_ticks: leader.start_ticks };
        self.pool.ask(&self.slot, &self.roots, now, whose);
    }

    /// The last answer.
    pub(crate) fn last(&self, now: Instant) -> Lately {
        self.slot.last(now)
    }
}

#[cfg(test)]
mod tests;
