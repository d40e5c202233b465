//! What the kernel reports of an instance by itself: OOM kills, limits hit, and that somebody changed a limit.
//!
//! A counter that is read at a scrape tells nothing of an instance that is gone before the next one. So the kernel is asked to say when
//! it counts: v1's memory by an eventfd on `memory.oom_control`, all else by inotify, for the kernel modifies
//! `memory.events` and `pids.events` as it counts. One thread sleeps until something is said, and then reads the counts of whom it is
//! about. Watches on its directories see every write to a limit, so that limits are read when they are others and not at every scrape.
//! What cannot be watched (no watches left, no descriptor, no `cgroup.event_control`) costs the news and no reading, and is counted ([`Unheard`]):
//! counts are then seen at the next scrape, as are refused forks under v1, and kills in a v1 cgroup for the whole node's want of memory.
//! A tenant can make events as he likes; so a storm is looked at in slower and slower steps, and each instance once a look.

mod counts;
mod registry;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags};
use rustix::io::Errno;

pub use counts::{Counts, Noticed, Totals};
use registry::{Files, Registry};

use crate::found::Found;
use crate::source::{Buffer, FdBudget};
use crate::unheard::{Of, Unheard, Why};

/// Watches at most: five an instance with v1's controllers, three without.
const WATCHES_MAX: usize = 16_384;
/// Of what the kernel gives a user in all; whoever looks for instances needs some too.
const WATCHES_SHARE: usize = 4;
/// Room for some hundred events at once.
const EVENTS_BYTES: usize = 16 * 1024;
/// Between two looks: the first is at once, and while there is news at each, the pause doubles to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);
/// v1 says that memory is out before anybody is killed: it is looked again so long afterwards, as long as nobody was.
const AGAIN: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(4),
    Duration::from_millis(16),
    Duration::from_millis(64),
    Duration::from_millis(256),
];

/// What `epoll` says is ready; an eventfd's is the instance's number.
const INOTIFY: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;

/// Hears of all instances. Clones are the same; the thread ends with the last.
#[derive(Clone, Debug)]
pub struct Events(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.lock().ended = true;
        let _ = rustix::io::write(&self.inner.wake, &1_u64.to_ne_bytes());
    }
}

#[derive(Debug)]
struct Inner {
    epoll: OwnedFd,
    inotify: OwnedFd,
    wake: OwnedFd,
    registry: Mutex<Registry>,
    totals: Arc<Totals>,
    started_at: SystemTime,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One instance is listened to for as long as this lives.
#[derive(Debug)]
pub(crate) struct Listening {
    inner: Arc<Inner>,
    number: u64,
    pub(crate) noticed: Arc<Noticed>,
    /// Whether every write to a limit of it is seen.
    pub(crate) sees_limits: bool,
}

impl Listening {
    /// The same again, of files that may be others now.
    pub(crate) fn anew(self, found: &Found, budget: &FdBudget) -> Self {
        let (inner, noticed) = (self.inner.clone(), self.noticed.clone());
        drop(self);
        Self::begin(inner, noticed, found, budget)
    }

    fn begin(inner: Arc<Inner>, noticed: Arc<Noticed>, found: &Found, budget: &FdBudget) -> Self {
        let (number, sees_limits) = inner.lock().add(&inner.inotify, &inner.epoll, found, budget, noticed.clone());
        Self { inner, number, noticed, sees_limits }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // The eventfd is closed with it, which takes it out of epoll and out of the kernel's list.
        let unwatched = self.inner.lock().remove(self.number);
        for descriptor in unwatched {
            // It fails where the directory went first, which is just as well.
            let _ = inotify::remove_watch(&self.inner.inotify, descriptor);
        }
    }
}

impl Events {
    /// Starts listening, to nobody yet. What cannot be heard is counted there.
    pub fn start(unheard: Arc<Unheard>) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &inotify, epoll::EventData::new_u64(INOTIFY), epoll::EventFlags::IN)?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let registry = Mutex::new(Registry::of_at_most(watches_allowed(), unheard));
        let started_at = SystemTime::now();
        let inner = Arc::new(Inner { epoll, inotify, wake, registry, totals: Arc::default(), started_at });
        let listening = inner.clone();
        thread::Builder::new().name("events".into()).spawn(move || listen(&listening))?;
        Ok(Self(Arc::new(Handle { inner })))
    }

    /// What was counted of all instances since the start, those that are gone among them.
    pub fn totals(&self) -> Arc<Totals> {
        self.0.inner.totals.clone()
    }

    /// Listens to an instance; `before` is what was noticed of the same life by another reader.
    pub(crate) fn listen_to(&self, found: &Found, budget: &FdBudget, before: Option<Arc<Noticed>>) -> Listening {
        let inner = self.0.inner.clone();
        // Of what was made since, all is news that is counted; of what was there before, what is counted from now on.
        let is_new = found.created.is_some_and(|created| created >= inner.started_at);
        let made = || Noticed::new(inner.totals.clone(), is_new.then(Counts::default));
        let noticed = before.unwrap_or_else(|| Arc::new(made()));
        let listening = Listening::begin(inner, noticed, found, budget);
        listening.noticed.saw(Files::of(found).read(&mut Buffer::default()));
        listening
    }
}

/// So many watches may be ours.
fn watches_allowed() -> usize {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok();
    let limit = limit.and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(0);
    (limit / WATCHES_SHARE).min(WATCHES_MAX)
}

/// Whom there is to look at now, and whom later.
#[derive(Default)]
struct Due {
    now: Vec<u64>,
    /// Which of [`AGAIN`] comes next for whom, and when.
    again: Vec<(Instant, u64, usize)>,
}

impl Due {
    fn at_once(&mut self, number: u64) {
        if !self.now.contains(&number) {
            self.now.push(number);
        }
    }

    /// v1 has said that it wants for memory.
    fn and_again(&mut self, number: u64, now: Instant) {
        self.at_once(number);
        if !self.again.iter().any(|(_, other, _)| *other == number) {
            self.again.push((now + AGAIN[0], number, 0));
        }
    }

    fn ripe(&mut self, now: Instant) {
        for at in (0..self.again.len()).rev() {
            let (when, number, step) = self.again[at];
            if when > now {
                continue;
            }
            self.at_once(number);
            match AGAIN.get(step + 1) {
                Some(pause) => self.again[at] = (now + *pause, number, step + 1),
                None => drop(self.again.swap_remove(at)),
            }
        }
    }

    fn until(&self, now: Instant) -> Option<Duration> {
        self.again.iter().map(|(when, ..)| when.saturating_duration_since(now)).min()
    }
}

fn listen(inner: &Inner) {
    let (mut due, mut buffer, mut pause) = (Due::default(), Buffer::default(), SHORTEST_PAUSE);
    let mut looked_at = Instant::now();
    loop {
        let ready = wait(inner, due.until(Instant::now()));
        let now = Instant::now();
        for number in ready {
            match number {
                WAKE => {}
                INOTIFY => hear(inner, &mut due),
                number => {
                    inner.lock().hush(number);
                    due.and_again(number, now);
                }
            }
        }
        due.ripe(now);
        let registry = inner.lock();
        if registry.ended {
            return;
        }
        let files: Vec<_> = due.now.drain(..).filter_map(|number| registry.files(number)).collect();
        drop(registry);
        for (files, noticed) in &files {
            noticed.saw(files.read(&mut buffer));
        }
        pause =
            if now.duration_since(looked_at) < LONGEST_PAUSE { (pause * 2).min(LONGEST_PAUSE) } else { SHORTEST_PAUSE };
        looked_at = now;
        if !files.is_empty() {
            thread::sleep(pause);
        }
    }
}

/// Sleeps until something is said, or for so long.
fn wait(inner: &Inner, most: Option<Duration>) -> Vec<u64> {
    // A tick more, so as not to wake before the time.
    let timeout = most.map(|most| most + Duration::from_micros(500));
    let timeout =
        timeout.map(|most| Timespec { tv_sec: most.as_secs() as i64, tv_nsec: i64::from(most.subsec_nanos()) });
    let mut ready = Vec::with_capacity(64);
    match epoll::wait(&inner.epoll, rustix::buffer::spare_capacity(&mut ready), timeout.as_ref()) {
        Ok(_) => ready.into_iter().map(|event: epoll::Event| event.data.u64()).collect(),
        Err(Errno::INTR) => Vec::new(),
        // Nothing can be waited for; and nothing must spin.
        Err(errno) => {
            inner.lock().unheard.refused(Of::Limits, errno);
            thread::sleep(LONGEST_PAUSE);
            Vec::new()
        }
    }
}

/// Takes all that inotify has to say.
fn hear(inner: &Inner, due: &mut Due) {
    let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
    let mut events = inotify::Reader::new(&inner.inotify, &mut buffer);
    let mut registry = inner.lock();
    loop {
        let event = match events.next() {
            Ok(event) => event,
            Err(Errno::INTR) => continue,
            Err(_) => return,
        };
        let flags = event.events();
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            registry.unheard.note(Of::Limits, Why::Overflow);
            registry.all_changed().for_each(|number| due.at_once(number));
        } else if flags.contains(ReadFlags::IGNORED) {
            registry.forget(event.wd());
        } else {
            let name = event.file_name().map(std::ffi::CStr::to_bytes);
            registry.changed(event.wd(), name).for_each(|number| due.at_once(number));
        }
    }
}

#[cfg(test)]
mod tests;
