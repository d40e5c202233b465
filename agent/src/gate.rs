//! When an instance is read: at the scrape, once for all who ask at that moment, and not oftener than the floor.
//!
//! Who may have a reading of their own is [`Floor`]'s matter. Whoever may not, or when the kernel does not answer in time, gets the
//! last reading, and `sonde_reading_age_seconds` says how old it is.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sonde_collect::state::judge;
use sonde_collect::{InstanceReader, Judgement, Reading};
use tokio::sync::watch;

use crate::floor::{Floor, Scraper};
use crate::reading_threads::ReadingThreads;

/// A scrape waits no longer than this for the kernel. A reading takes a tenth of a millisecond.
pub const READ_DEADLINE: Duration = Duration::from_millis(500);

/// A reading and what it means.
#[derive(Debug)]
pub struct Taken {
    pub reading: Reading,
    pub judgement: Judgement,
}

/// What the gate lets through.
#[derive(Debug, Clone)]
pub enum Answer {
    Taken(Arc<Taken>),
    /// The instance is no more.
    Gone,
    /// The kernel has not answered, and there is no earlier reading.
    NotInTime,
}

#[derive(Debug, Clone)]
enum Flight {
    Flying,
    Landed(Option<Arc<Taken>>),
}

/// One instance's reader, and who may have it read.
pub struct Gate {
    reader: Arc<Mutex<InstanceReader>>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    last: Option<Arc<Taken>>,
    gone: bool,
    flight: Option<watch::Receiver<Flight>>,
    floor: Floor,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A reading that panicked has left nothing half done that matters: values are replaced whole.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Gate {
    pub fn new(reader: InstanceReader) -> Self {
        Self { reader: Arc::new(Mutex::new(reader)), inner: Arc::default() }
    }

    /// A reading for `scraper`: fresh where it may have one, else the last. Waits no longer than `wait`.
    pub async fn read(&self, scraper: Scraper, floor: Duration, wait: Duration, threads: &ReadingThreads) -> Answer {
        let mut flight = {
            let mut inner = lock(&self.inner);
            if inner.gone {
                return Answer::Gone;
            }
            let fresh = inner.floor.admits(scraper, floor, Instant::now());
            match (&inner.flight, &inner.last) {
                (Some(flight), _) => flight.clone(),
                (None, Some(last)) if !fresh => return Answer::Taken(last.clone()),
                (None, _) => {
                    let (landing, flight) = watch::channel(Flight::Flying);
                    inner.flight = Some(flight.clone());
                    self.take_off(landing, threads);
                    flight
                }
            }
        };
        let landed = flight.wait_for(|flight| matches!(flight, Flight::Landed(_)));
        match tokio::time::timeout(wait.min(READ_DEADLINE), landed).await {
            Ok(Ok(landed)) => match &*landed {
                Flight::Landed(Some(taken)) => return Answer::Taken(taken.clone()),
                Flight::Landed(None) => return Answer::Gone,
                Flight::Flying => {}
            },
            // The reading panicked or its thread is stuck: the next scrape may try again only once it has ended.
            Ok(Err(_)) => lock(&self.inner).flight = None,
            Err(_) => {}
        }
        lock(&self.inner).last.clone().map_or(Answer::NotInTime, Answer::Taken)
    }

    fn take_off(&self, landing: watch::Sender<Flight>, threads: &ReadingThreads) {
        let reader = self.reader.clone();
        let inner = self.inner.clone();
        threads.run(Box::new(move || {
            let read = lock(&reader).read();
            let mut inner = lock(&inner);
            let taken = match read {
                Ok(reading) => {
                    let previous = inner.last.as_ref().map(|taken| &taken.reading);
                    let judgement = judge(previous, &reading);
                    Some(Arc::new(Taken { reading, judgement }))
                }
                Err(_gone) => {
                    inner.gone = true;
                    None
                }
            };
            if let Some(taken) = &taken {
                inner.last = Some(taken.clone());
            }
            inner.flight = None;
            landing.send_replace(Flight::Landed(taken));
        }));
    }
}
