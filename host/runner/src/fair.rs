//! The runs in flight, polled fairly between accounts.
//!
//! A run that computes yields at every epoch, half a millisecond; whose turn it is then is decided here. Each account has a virtual
//! time, which moves on by the time that its runs were polled for over its weight, and the account furthest behind is polled next. So one
//! run of one account gets as much of the runner as a hundred spinning ones of another, and a run that has only just something to do is
//! before those that have had their share.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::engine::EPOCH;

/// Polling goes on so long before sockets and timers have a turn.
const SLICE: Duration = EPOCH;

/// The wakers' side: who is ready, and whom to tell.
#[derive(Default)]
struct Woken {
    ready: Mutex<Vec<u64>>,
    driver: Mutex<Option<Waker>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct TaskWaker {
    id: u64,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        lock(&self.woken.ready).push(self.id);
        let driver = lock(&self.woken.driver).clone();
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

struct Task<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    account: u64,
    waker: Waker,
    /// In its lane's queue already.
    queued: bool,
}

struct Lane {
    weight: f64,
    /// Seconds over weight.
    time: f64,
    tasks: usize,
    ready: VecDeque<u64>,
}

/// Runs in flight.
pub(crate) struct FairTasks<T> {
    tasks: HashMap<u64, Task<T>>,
    lanes: HashMap<u64, Lane>,
    now: f64,
    woken: Arc<Woken>,
}

impl<T> Default for FairTasks<T> {
    fn default() -> Self {
        Self { tasks: HashMap::new(), lanes: HashMap::new(), now: 0.0, woken: Arc::default() }
    }
}

impl<T> FairTasks<T> {
    /// Adds a run; it is ready.
    pub(crate) fn push(
        &mut self,
        id: u64,
        account: u64,
        weight: u32,
        future: impl Future<Output = T> + Send + 'static,
    ) {
        let waker = Waker::from(Arc::new(TaskWaker { id, woken: self.woken.clone() }));
        self.tasks.insert(id, Task { future: Box::pin(future), account, waker, queued: false });
        let now = self.now;
        let lane =
            self.lanes.entry(account).or_insert(Lane { weight: 1.0, time: now, tasks: 0, ready: VecDeque::new() });
        lane.weight = f64::from(weight.max(1));
        lane.tasks += 1;
        self.queue(id);
    }

    /// Puts a run at its lane's end.
    fn queue(&mut self, id: u64) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if std::mem::replace(&mut task.queued, true) {
            return;
        }
        let now = self.now;
        if let Some(lane) = self.lanes.get_mut(&task.account) {
            if lane.ready.is_empty() {
                // Who waited has saved nothing up.
                lane.time = lane.time.max(now);
            }
            lane.ready.push_back(id);
        }
    }

    /// The next run that ends, with what it came to. Never, while there is none.
    pub(crate) async fn next(&mut self) -> (u64, T) {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<(u64, T)> {
        {
            let mut driver = lock(&self.woken.driver);
            if !driver.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                *driver = Some(context.waker().clone());
            }
        }
        let began = Instant::now();
        loop {
            let woken = std::mem::take(&mut *lock(&self.woken.ready));
            for id in woken {
                self.queue(id);
            }
            let Some(id) = self.pick() else { return Poll::Pending };
            if let Some(done) = self.poll(id) {
                return Poll::Ready((id, done));
            }
            if began.elapsed() >= SLICE {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// The run that is next, out of its queue.
    fn pick(&mut self) -> Option<u64> {
        let ready = self.lanes.values_mut().filter(|lane| !lane.ready.is_empty());
        let lane = ready.min_by(|a, b| a.time.total_cmp(&b.time))?;
        self.now = self.now.max(lane.time);
        let id = lane.ready.pop_front()?;
        self.tasks.get_mut(&id)?.queued = false;
        Some(id)
    }

    fn poll(&mut self, id: u64) -> Option<T> {
        let task = self.tasks.get_mut(&id)?;
        let (account, began) = (task.account, Instant::now());
        let waker = task.waker.clone();
        let polled = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        let lane = self.lanes.get_mut(&account)?;
        lane.time += began.elapsed().as_secs_f64() / lane.weight;
        let Poll::Ready(done) = polled else { return None };
        self.tasks.remove(&id);
        lane.tasks -= 1;
        // What an account owes outlasts its last run, until the others have caught up.
        let now = self.now;
        self.lanes.retain(|_, lane| lane.tasks > 0 || lane.time > now);
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Computes for a millisecond at each poll, so often.
    fn spinning(polls: u32, counted: Arc<AtomicU64>) -> impl Future<Output = ()> + Send {
        let mut left = polls;
        poll_fn(move |context| {
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(1) {
                std::hint::spin_loop();
            }
            counted.fetch_add(1, Ordering::Relaxed);
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[tokio::test]
    async fn one_run_is_worth_a_crowd_of_anothers() {
        let mut tasks = FairTasks::default();
        let (crowd, single) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        for id in 0..50 {
            tasks.push(id, 1, 100, spinning(1_000, crowd.clone()));
        }
        tasks.push(99, 2, 100, spinning(50, single.clone()));
        assert_eq!(tasks.next().await.0, 99);
        let crowd = crowd.load(Ordering::Relaxed);
        // While the one had 50 polls, all of the crowd together had as many.
        assert!((25..=100).contains(&crowd), "{crowd}");
    }

    #[tokio::test]
    async fn a_run_that_waits_takes_no_turn_and_is_found_again() {
        let mut tasks = FairTasks::default();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        tasks.push(1, 1, 100, async move { receiver.await.unwrap() });
        tasks.push(2, 1, 100, async {});
        assert_eq!(tasks.next().await.0, 2);
        sender.send(()).unwrap();
        assert_eq!(tasks.next().await.0, 1);
        assert!(tasks.lanes.values().all(|lane| lane.tasks == 0) && tasks.tasks.is_empty());
        tasks.push(3, 2, 100, async {});
        assert_eq!(tasks.next().await.0, 3);
        assert!(tasks.lanes.len() <= 2, "who has been caught up with is forgotten");
    }
}
