//! The threads that read the kernel: few, plain, and nobody else's.
//!
//! Kernel files can block (a busy lock, a stuck file system below one of them), so reading never happens on the
//! threads that serve. Two, because parallel readers only fight over the kernel's locks. One that is stuck is replaced, so that it
//! does not stop the rest, up to a bound: a stuck thread cannot be ended, and a node on which ten are stuck has no eleventh to lose.
//! Whoever waited for a reading in vain has the threads looked at ([`ReadingThreads::relieve`]); nothing polls. What the readings cost
//! decides whether the floor is raised ([`Overload`]). Whose turn it is, [`queues`] says: no owner takes all threads.

mod queues;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::overload::{Overload, Turn};
use queues::{Job, Owner, Queues, Waiting};

/// Threads that read, stuck ones not counted.
const THREADS: usize = 2;
/// Threads started at most in the place of stuck ones.
const MOST_EXTRA: usize = 8;
/// A reading that takes this long is stuck: a thousand times what one takes, and less than a scrape waits
/// ([`READ_DEADLINE`](crate::gate::READ_DEADLINE)), so that the first who waited in vain finds it so.
const STUCK_AFTER: Duration = Duration::from_millis(400);

/// Runs readings: an owner's, and the operator's, in the order they were asked for.
pub struct ReadingThreads {
    crew: Arc<Crew>,
}

struct Crew {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    queues: Queues,
    busy: Vec<Busy>,
    /// Threads that are not stuck, at work or waiting for it.
    able: usize,
    started: u64,
    stuck_ever: u64,
    overload: Overload,
    ended: bool,
}

/// A thread at work.
struct Busy {
    thread: u64,
    owner: Owner,
    ready: Instant,
    since: Instant,
    stuck: bool,
}

impl Crew {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadingThreads {
    /// Starts the threads. They end when this is dropped.
    pub fn start() -> io::Result<Self> {
        let threads = Self { crew: Arc::new(Crew { state: Mutex::new(State::new()), work: Condvar::new() }) };
        for _ in 0..THREADS {
            start_thread(&threads.crew, &mut threads.crew.lock())?;
        }
        Ok(threads)
    }

    /// Queues a reading of an owner's, none being the operator; drops it where the queue is full, which its waiter sees as a closed channel.
    pub fn run(&self, owner: Option<Arc<str>>, job: Job) {
        let mut state = self.crew.lock();
        let is_owned = owner.is_some();
        match state.queues.push(owner, job, Instant::now()) {
            Ok(()) => {
                drop(state);
                self.crew.work.notify_one();
            }
            Err(job) => {
                // What an owner has too many of is his own matter.
                if !is_owned {
                    state.overload.dropped();
                }
                drop(state);
                drop(job);
                self.relieve();
            }
        }
    }

    /// Replaces the threads that are stuck.
    pub fn relieve(&self) {
        let mut state = self.crew.lock();
        let found = state.find_stuck(Instant::now());
        while state.able < THREADS && state.able + state.stuck() < THREADS + MOST_EXTRA {
            if let Err(error) = start_thread(&self.crew, &mut state) {
                tracing::error!(%error, "no thread can be started in the place of one that is stuck");
                break;
            }
        }
        drop(state);
        if found > 0 {
            self.crew.work.notify_all();
            tracing::warn!(found, since_start = self.stuck_ever(), "readings are stuck in the kernel");
        }
    }

    /// The floor in force for an owner's instances where the operator has set `floor`: higher while the node is overloaded, or that owner's
    /// readings take all that he has of it.
    pub(crate) fn floor(&self, owner: Option<&Arc<str>>, floor: Duration) -> Duration {
        let mut state = self.crew.lock();
        let now = Instant::now();
        let (turn, is_new) = state.overload.look(THREADS, now);
        if is_new {
            state.queues.begin_window(now);
        }
        let of_owner = owner.and_then(|owner| state.queues.overload_of(owner, now).map(|it| it.floor(floor)));
        let in_force = state.overload.floor(floor).max(of_owner.unwrap_or_default());
        drop(state);
        match turn {
            Some(Turn::Raised) => {
                tracing::warn!(
                    "this node is overloaded: it is read seldomer than reading.floor allows, until readings are quick again"
                );
            }
            Some(Turn::Calm) => {
                tracing::info!("the node is not overloaded any more: it is read as often as reading.floor allows");
            }
            None => {}
        }
        in_force
    }

    pub(crate) fn is_overloaded(&self) -> bool {
        self.crew.lock().overload.is_overloaded()
    }

    /// Readings found stuck since the start. A counter for the agent's own metrics.
    pub fn stuck_ever(&self) -> u64 {
        self.crew.lock().stuck_ever
    }
}

impl Drop for ReadingThreads {
    fn drop(&mut self) {
        let mut state = self.crew.lock();
        state.ended = true;
        let unread = std::mem::take(&mut state.queues);
        drop(state);
        drop(unread);
        self.crew.work.notify_all();
    }
}

impl State {
    fn new() -> Self {
        let overload = Overload::new(Instant::now());
        Self { queues: Queues::default(), busy: Vec::new(), able: 0, started: 0, stuck_ever: 0, overload, ended: false }
    }

    fn stuck(&self) -> usize {
        self.busy.iter().filter(|busy| busy.stuck).count()
    }

    /// Notes which readings have become stuck, and says how many.
    fn find_stuck(&mut self, now: Instant) -> usize {
        let mut found = 0;
        for busy in self.busy.iter_mut().filter(|busy| !busy.stuck && now - busy.since >= STUCK_AFTER) {
            busy.stuck = true;
            self.queues.found_stuck(&busy.owner, now);
            found += 1;
        }
        self.able -= found;
        self.stuck_ever += found as u64;
        found
    }

    /// Takes a thread off the busy ones; false where another has taken its place for good, which takes what is ready then.
    fn done(&mut self, thread: u64) -> bool {
        let at = self.busy.iter().position(|busy| busy.thread == thread).expect("it was put there before its job");
        let busy = self.busy.swap_remove(at);
        let now = Instant::now();
        self.queues.done(&busy.owner, busy.stuck, now);
        if !busy.stuck {
            let counted = self.queues.landed(&busy.owner, busy.since, now);
            self.overload.landed(busy.since.saturating_duration_since(busy.ready), counted);
            return true;
        }
        let needed = self.able < THREADS;
        self.able += usize::from(needed);
        needed
    }
}

fn start_thread(crew: &Arc<Crew>, state: &mut State) -> io::Result<()> {
    let number = state.started;
    let of_thread = crew.clone();
    thread::Builder::new().name(format!("reading-{number}")).spawn(move || work(&of_thread, number))?;
    state.started += 1;
    state.able += 1;
    Ok(())
}

fn work(crew: &Crew, me: u64) {
    let mut state = crew.lock();
    while !state.ended {
        let Some(Waiting { owner, ready, job }) = state.queues.take() else {
            state = crew.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.busy.push(Busy { thread: me, owner, ready, since: Instant::now(), stuck: false });
        drop(state);
        // One instance's reading that panics is that instance's loss; the thread goes on.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("a reading ended in a panic; this is a defect of the agent");
        }
        state = crew.lock();
        if !state.done(me) {
            drop(state);
            // What became ready by its end is for another to take.
            crew.work.notify_one();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A job that is stuck until the sender is dropped.
    fn stuck(threads: &ReadingThreads) -> Sender<()> {
        stuck_of(threads, None)
    }

    fn stuck_of(threads: &ReadingThreads, owner: Option<&str>) -> Sender<()> {
        let (release, held) = channel::<()>();
        threads.run(owner.map(Arc::from), Box::new(move || held.recv().unwrap_or(())));
        release
    }

    fn signal(threads: &ReadingThreads) -> Receiver<()> {
        let (done, landed) = channel();
        threads.run(None, Box::new(move || done.send(()).unwrap_or(())));
        landed
    }

    /// Has the threads looked at until the job has run.
    fn relieved(threads: &ReadingThreads, landed: &Receiver<()>, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            threads.relieve();
            if landed.recv_timeout(Duration::from_millis(20)).is_ok() {
                return true;
            }
        }
        false
    }

    #[test]
    fn stuck_threads_are_replaced_up_to_the_bound_and_come_back() {
        let threads = ReadingThreads::start().unwrap();
        let mut held = Vec::new();
        for count in 1..THREADS + MOST_EXTRA {
            held.push(stuck(&threads));
            assert!(relieved(&threads, &signal(&threads), Duration::from_secs(20)), "with {count} stuck");
        }
        held.push(stuck(&threads));
        let last = signal(&threads);
        assert!(!relieved(&threads, &last, STUCK_AFTER * 3), "no thread is left");
        assert_eq!(threads.crew.lock().started, (THREADS + MOST_EXTRA) as u64);
        assert_eq!(threads.stuck_ever(), (THREADS + MOST_EXTRA) as u64);
        held.clear();
        assert!(relieved(&threads, &last, Duration::from_secs(20)));
        let deadline = Instant::now() + Duration::from_secs(20);
        while threads.crew.lock().stuck() > 0 {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        assert_eq!(threads.crew.lock().able, THREADS);
    }

    #[test]
    fn readings_that_found_no_place_raise_the_floor() {
        let threads = ReadingThreads::start().unwrap();
        let floor = Duration::from_secs(1);
        assert_eq!((threads.floor(None, floor), threads.is_overloaded()), (floor, false));
        let held: Vec<_> = (0..THREADS).map(|_| stuck(&threads)).collect();
        let deadline = Instant::now() + Duration::from_secs(20);
        while threads.crew.lock().busy.len() < THREADS {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        for _ in 0..=queues::QUEUE {
            threads.run(None, Box::new(|| ()));
        }
        threads.crew.lock().overload.end_window();
        assert_eq!((threads.floor(None, floor), threads.is_overloaded()), (floor * 2, true));
        drop(held);
    }

    /// Six instances of one owner whose files take 25 ms each to read, all the time; another's and the operator's take nothing.
    #[test]
    fn slow_readings_of_one_owner_wait_for_each_other_and_for_nobody_else() {
        const SIX: usize = 6;
        const SLOW: Duration = Duration::from_millis(25);
        let threads = ReadingThreads::start().unwrap();
        let (floor, mallory, alice) = (Duration::from_secs(1), Arc::<str>::from("mallory"), Arc::<str>::from("alice"));
        let (begun, begins) = channel::<Sender<()>>();
        let ask = || {
            let begun = begun.clone();
            let read = move || {
                let (release, held) = channel();
                begun.send(release).unwrap_or(());
                held.recv().unwrap_or(());
            };
            threads.run(Some(mallory.clone()), Box::new(read));
        };
        (0..SIX).for_each(|_| ask());
        for _ in 0..SIX * 4 {
            let release = begins.recv_timeout(Duration::from_secs(20)).unwrap();
            let since = Instant::now();
            while since.elapsed() < SLOW {
                // While his is read, others are: there is a thread that none of his ever takes.
                for owner in [None, Some(alice.clone())] {
                    let (done, landed) = channel();
                    threads.run(owner, Box::new(move || done.send(()).unwrap_or(())));
                    landed.recv_timeout(Duration::from_secs(20)).unwrap();
                }
                assert_eq!(
                    threads.crew.lock().busy.iter().filter(|busy| busy.owner.as_ref() == Some(&mallory)).count(),
                    1
                );
                assert!(begins.try_recv().is_err(), "two of his are under way");
            }
            // Read again as soon as there is an answer.
            ask();
            drop(release);
        }
        threads.crew.lock().overload.end_window();
        assert_eq!((threads.floor(Some(&alice), floor), threads.floor(None, floor)), (floor, floor));
        assert!(!threads.is_overloaded() && threads.stuck_ever() == 0);
    }

    #[test]
    fn stuck_readings_of_one_owner_leave_threads_to_others() {
        let threads = ReadingThreads::start().unwrap();
        let held: Vec<_> = (0..THREADS + MOST_EXTRA).map(|_| stuck_of(&threads, Some("mallory"))).collect();
        let deadline = Instant::now() + Duration::from_secs(20);
        while threads.stuck_ever() < queues::OWNED_STUCK as u64 {
            assert!(Instant::now() < deadline, "they were not found stuck");
            threads.relieve();
            thread::yield_now();
        }
        // None of the rest is begun, however long it is waited for.
        assert!(relieved(&threads, &signal(&threads), Duration::from_secs(20)));
        let patience = Instant::now() + STUCK_AFTER * 2;
        while Instant::now() < patience {
            threads.relieve();
            assert!(relieved(&threads, &signal(&threads), Duration::from_secs(20)));
        }
        assert_eq!(threads.stuck_ever(), queues::OWNED_STUCK as u64);
        drop(held);
        let (done, landed) = channel();
        threads.run(Some("mallory".into()), Box::new(move || done.send(()).unwrap_or(())));
        assert!(relieved(&threads, &landed, Duration::from_secs(20)), "he has his turn again");
    }

    #[test]
    fn a_panic_costs_no_thread() {
        let threads = ReadingThreads::start().unwrap();
        for _ in 0..THREADS * 4 {
            threads.run(None, Box::new(|| panic!("on purpose")));
        }
        signal(&threads).recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(threads.stuck_ever(), 0);
    }
}
