//! The threads that read the kernel: few, plain, and nobody else's.
//!
//! Kernel files can block (a busy lock, a stuck file system below one of them), so reading never happens on the
//! threads that serve. Two, because parallel readers only fight over the kernel's locks and one that is stuck must not stop the rest.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// Threads that read.
const THREADS: usize = 2;
/// Readings waiting for a thread; over this a scrape gets the last one.
const QUEUE: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Runs readings, in the order they were asked for.
pub struct ReadingThreads {
    jobs: SyncSender<Job>,
}

impl ReadingThreads {
    /// Starts the threads. They end when this is dropped.
    pub fn start() -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..THREADS {
            let queue = queue.clone();
            thread::Builder::new().name(format!("reading-{number}")).spawn(move || work(&queue))?;
        }
        Ok(Self { jobs })
    }

    /// Queues a reading; drops it where the queue is full, which its waiter sees as a closed channel.
    pub fn run(&self, job: Job) {
        let _ = self.jobs.try_send(job);
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // One instance's reading that panics is that instance's loss; the thread goes on.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("a reading ended in a panic; this is a defect of the agent");
        }
    }
}
