//! When an instance is read: at the scrape, once for all who ask at that moment, and not oftener than the floor.
//!
//! Who may have a reading of their own is [`Floor`](crate::floor::Floor)'s matter, and [`flight`] sees to it that they share one. Whoever
//! may not, or when the kernel does not answer in time, gets the last reading, and `sonde_reading_age_seconds` says how old it is.

pub(crate) mod flight;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sonde_collect::state::Judge;
use sonde_collect::{InstanceReader, Judgement, Reading};

use crate::floor::Scraper;
use crate::reading_threads::ReadingThreads;
use flight::{Ask, Flights};

/// A scrape waits no longer than this for the kernel. A reading takes a tenth of a millisecond.
pub const READ_DEADLINE: Duration = Duration::from_millis(500);

/// Who is not a scraper and content with values of this age takes anybody's reading: he wants to know the state, not to make a rate of it.
pub const CONTENT: Duration = Duration::from_secs(5);

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

/// One instance's reader, and who may have it read.
pub struct Gate {
    reader: Arc<Mutex<(InstanceReader, Judge)>>,
    /// Whose readings these wait for; none is the operator, who waits for nobody.
    owner: Option<Arc<str>>,
    /// What came of the last reading; never [`Answer::NotInTime`].
    flights: Flights<Answer>,
}

impl Gate {
    pub fn new(reader: InstanceReader, owner: Option<Arc<str>>) -> Self {
        Self { reader: Arc::new(Mutex::new((reader, Judge::default()))), owner, flights: Flights::default() }
    }

    /// The floor in force for it where the operator has set `floor`.
    pub(crate) fn floor(&self, floor: Duration, threads: &ReadingThreads) -> Duration {
        threads.floor(self.owner.as_ref(), floor)
    }

    /// A reading for `scraper`: fresh where it may have one, else the last. Waits no longer than `wait`.
    pub async fn read(&self, scraper: Scraper, floor: Duration, wait: Duration, threads: &ReadingThreads) -> Answer {
        if let Some(Answer::Gone) = self.flights.last() {
            return Answer::Gone;
        }
        let reader = self.reader.clone();
        let take = move |_| take(&mut reader.lock().unwrap_or_else(PoisonError::into_inner));
        let ask = Ask { scraper, owner: self.owner.clone(), floor, wait };
        self.flights.read(ask, threads, take).await.unwrap_or(Answer::NotInTime)
    }
}

impl Gate {
    /// What the last reading came to, if there was one.
    pub(crate) fn last(&self) -> Option<Answer> {
        self.flights.last()
    }
}

fn take((reader, judge): &mut (InstanceReader, Judge)) -> Answer {
    let Ok(mut reading) = reader.read() else { return Answer::Gone };
    let judgement = judge.judge(&reading);
    reading.cpu_lately = judge.cpu_lately(&reading);
    Answer::Taken(Arc::new(Taken { reading, judgement }))
}
