//! One reading of a target at a time: whoever asks while one is under way gets that one.
//!
//! A flight ends in one place only, when its job is dropped: done, panicked, or never begun because the queue was full. Nobody
//! else clears it, so a newer one is never cleared by mistake. A flight that is stuck stays up: another
//! reading of the same target would be stuck beside it and take one more thread with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{CONTENT, READ_DEADLINE};
use crate::floor::{Floor, Scraper};
use crate::reading_threads::ReadingThreads;

/// Who asks for a reading, and what they are allowed.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) scraper: Scraper,
    /// Whose target it is; none is the operator's, and the node itself.
    pub(crate) owner: Option<Arc<str>>,
    /// The operator's floor; an overloaded node has a higher one.
    pub(crate) floor: Duration,
    /// Longest wait; never over [`READ_DEADLINE`].
    pub(crate) wait: Duration,
}

/// The readings of one target: the last, and the one under way.
pub(crate) struct Flights<T> {
    inner: Arc<Mutex<Inner<T>>>,
}

struct Inner<T> {
    last: Option<T>,
    /// When that was there.
    landed_at: Option<Instant>,
    /// Closed when the flight has ended.
    flight: Option<watch::Receiver<()>>,
    floor: Floor,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner { last: None, landed_at: None, flight: None, floor: Floor::default() })),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A reading that panicked has left nothing half done that matters: values are replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A flight's end, whatever ends it.
struct Landing<T> {
    inner: Arc<Mutex<Inner<T>>>,
    /// Dropped after the flight is cleared, which wakes those who wait.
    _flight: watch::Sender<()>,
}

impl<T: Clone> Landing<T> {
    fn last(&self) -> Option<T> {
        lock(&self.inner).last.clone()
    }

    fn land(&self, taken: T) {
        let mut inner = lock(&self.inner);
        (inner.last, inner.landed_at) = (Some(taken), Some(Instant::now()));
    }
}

impl<T> Inner<T> {
    /// Whether somebody's reading of late is what is asked for.
    fn contents(&self, ask: &Ask, floor: Duration, now: Instant) -> bool {
        let is_content = ask.scraper == Scraper::Anybody && ask.floor >= CONTENT;
        is_content && self.landed_at.is_some_and(|at| now.saturating_duration_since(at) < floor)
    }
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        lock(&self.inner).flight = None;
    }
}

impl<T: Clone + Send + 'static> Flights<T> {
    /// What the last reading gave.
    pub(crate) fn last(&self) -> Option<T> {
        lock(&self.inner).last.clone()
    }

    /// A reading for whoever asks: a fresh one where the floor admits it, else the last, also when the kernel takes too
    /// long. `None` if there is neither. `take` reads, given what was read before; it runs only if no flight is up.
    pub(crate) async fn read(
        &self,
        ask: Ask,
        threads: &ReadingThreads,
        take: impl FnOnce(Option<T>) -> T + Send + 'static,
    ) -> Option<T> {
        let floor = threads.floor(ask.owner.as_ref(), ask.floor);
        let (mut flight, landing) = {
            let mut inner = lock(&self.inner);
            let now = Instant::now();
            let fresh = !inner.contents(&ask, floor, now) && inner.floor.admits(ask.scraper, floor, now);
            match (&inner.flight, &inner.last) {
                (Some(flight), _) => (flight.clone(), None),
                (None, Some(last)) if !fresh => return Some(last.clone()),
                (None, _) => {
                    let (sender, flight) = watch::channel(());
                    inner.flight = Some(flight.clone());
                    (flight, Some(Landing { inner: self.inner.clone(), _flight: sender }))
                }
            }
        };
        // Not under the lock: a job that finds no place in the queue is dropped, and with it the landing.
        if let Some(landing) = landing {
            threads.run(ask.owner, Box::new(move || landing.land(take(landing.last()))));
        }
        if tokio::time::timeout(ask.wait.min(READ_DEADLINE), flight.changed()).await.is_err() {
            threads.relieve();
        }
        self.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    fn ask(wait: Duration) -> Ask {
        Ask { scraper: Scraper::Anybody, owner: None, floor: Duration::ZERO, wait }
    }

    #[tokio::test]
    async fn all_who_ask_at_once_share_one_reading() {
        let threads = ReadingThreads::start().unwrap();
        let (flights, taken) = (Flights::default(), Arc::new(AtomicU32::new(0)));
        let (release, held) = mpsc::channel::<()>();
        let count = taken.clone();
        let first = flights.read(ask(READ_DEADLINE), &threads, move |last: Option<u32>| {
            assert_eq!(last, None);
            held.recv().unwrap();
            count.fetch_add(1, Ordering::SeqCst)
        });
        let second = async {
            let count = taken.clone();
            let read = flights.read(ask(READ_DEADLINE), &threads, move |_| 100 + count.fetch_add(1, Ordering::SeqCst));
            let released = async { release.send(()).unwrap() };
            tokio::join!(read, released).0
        };
        assert_eq!(tokio::join!(first, second), (Some(0), Some(0)));
        assert_eq!(taken.load(Ordering::SeqCst), 1);
        assert_eq!(flights.read(ask(READ_DEADLINE), &threads, |last| last.unwrap() + 7).await, Some(7));
    }

    #[tokio::test]
    async fn who_is_content_with_less_takes_what_others_have_read() {
        let threads = ReadingThreads::start().unwrap();
        let flights = Flights::default();
        let of = |scraper, floor| Ask { scraper, floor, ..ask(READ_DEADLINE) };
        let (scraper, now) = (Scraper::Connection(1), Duration::ZERO);
        assert_eq!(flights.read(of(Scraper::Anybody, CONTENT), &threads, |_| 1).await, Some(1), "there is none yet");
        assert_eq!(flights.read(of(scraper, CONTENT), &threads, |_| 2).await, Some(2), "a scraper has its own");
        assert_eq!(flights.read(of(Scraper::Anybody, CONTENT), &threads, |_| 3).await, Some(2));
        assert_eq!(
            flights.read(of(Scraper::Anybody, now), &threads, |_| 4).await,
            Some(4),
            "who wants it now has it now"
        );
    }

    #[tokio::test]
    async fn a_panic_ends_its_flight_and_leaves_the_last() {
        let threads = ReadingThreads::start().unwrap();
        let flights = Flights::default();
        assert_eq!(flights.read(ask(READ_DEADLINE), &threads, |_| 1).await, Some(1));
        let panicking = |_| panic!("on purpose");
        assert_eq!(flights.read(ask(READ_DEADLINE), &threads, panicking).await, Some(1));
        // A first panic can take longer than anybody waits for a reading: what unwinding needs has to come from the disk. Until its flight has ended,
        // whoever asks joins it.
        let deadline = Instant::now() + Duration::from_secs(60);
        while flights.read(ask(READ_DEADLINE), &threads, |_| 2).await != Some(2) {
            assert!(Instant::now() < deadline, "the flight is still up");
        }
    }

    #[tokio::test]
    async fn a_stuck_reading_holds_one_thread_however_often_it_is_asked_for() {
        let threads = ReadingThreads::start().unwrap();
        let (stuck, well) = (Flights::default(), Flights::default());
        let (release, held) = mpsc::channel::<()>();
        let begun = Arc::new(AtomicU32::new(0));
        let count = begun.clone();
        let short = ask(Duration::from_millis(1));
        let take = move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = held.recv();
            5
        };
        assert_eq!(stuck.read(short.clone(), &threads, take).await, None);
        for _ in 0..20 {
            let count = begun.clone();
            assert_eq!(stuck.read(short.clone(), &threads, move |_| count.fetch_add(1, Ordering::SeqCst)).await, None);
        }
        assert_eq!(well.read(ask(READ_DEADLINE), &threads, |_| 9).await, Some(9));
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        release.send(()).unwrap();
        assert_eq!(stuck.read(ask(READ_DEADLINE), &threads, |_| 0).await.map(|got| got == 5 || got == 0), Some(true));
    }
}
