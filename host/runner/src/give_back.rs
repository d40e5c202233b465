//! Giving large memories back to the kernel, on a thread of its own.
//!
//! The kernel takes some 0.1 ms for each MiB that was touched, and whoever drops a store waits for that: on the thread that polls runs all the
//! others would. This thread does nothing else, so that nobody who holds tokio's blocking threads, by a file that does not answer, holds it too.
//! A run has its place until its memory is given back.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use wasmtime::Store;

use crate::ctx::Ctx;
use crate::run::thread_cpu;

/// Memory that is given back so; less is given back where it was used, which takes less than the handing over.
pub(crate) const MUCH_BYTES: u64 = 4 << 20;

type Given = (Store<Ctx>, oneshot::Sender<Duration>);

/// The way to the thread, which is started when it is first needed.
#[derive(Default)]
pub(crate) struct GiveBack(Mutex<Option<Sender<Given>>>);

impl GiveBack {
    /// Drops what a run had; says what CPU that took. Where there is no thread it is done here.
    pub(crate) async fn give(&self, store: Store<Ctx>) -> Duration {
        let (done, taken) = oneshot::channel();
        let unsent = {
            let mut way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if way.is_none() {
                *way = start();
            }
            match way.as_ref() {
                Some(thread) => thread.send((store, done)).err().map(|unsent| unsent.0),
                None => Some((store, done)),
            }
        };
        if let Some((store, _)) = unsent {
            return dropped(store);
        }
        taken.await.unwrap_or_default()
    }
}

fn start() -> Option<Sender<Given>> {
    let (sender, given) = channel::<Given>();
    let work = move || {
        for (store, done) in given {
            // Nobody may be waiting any more.
            let _ = done.send(dropped(store));
        }
    };
    thread::Builder::new().name("giving-back".into()).spawn(work).ok().map(|_| sender)
}

fn dropped(store: Store<Ctx>) -> Duration {
    let before = thread_cpu();
    drop(store);
    thread_cpu().saturating_sub(before)
}
