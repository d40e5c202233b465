//! Reading one instance again and again: descriptors kept open between readings, closed on drop.
//!
//! A reader belongs to one life of an instance. After each reading it checks that the cgroup is still the one it was made for
//! (or the process still the one), and otherwise throws the values away and answers [`Gone`]: a later container of the same name never lends
//! its numbers to this one. Whoever drops the reader closes its network files, which would otherwise
//! keep a dead container's network namespace alive.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rustix::time::ClockId;

use crate::cgroup_reader::CgroupReader;
use crate::events::{Events, Noticed};
use crate::found::{Found, Kind};
use crate::group_reader::GroupReader;
pub use crate::group_reader::HeldTicks;
use crate::mounts::Roots;
use crate::reading::{Gone, Reading};
use crate::source::Buffer;
pub use crate::source::FdBudget;
use crate::space::{SpacePool, Watch};
use crate::transport::Headers;

/// What a reading works with and nobody keeps. A thread's own and not a reader's: readers are thousands, and two threads read.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) buffer: Buffer,
    pub(crate) headers: Headers,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Reads one instance.
#[derive(Debug)]
pub struct InstanceReader {
    found: Arc<Found>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Cgroup(Box<CgroupReader>),
    Processes(GroupReader),
}

impl InstanceReader {
    /// Opens what is read each time, as far as the budget goes.
    pub fn new(found: Arc<Found>, roots: Arc<Roots>, budget: &FdBudget) -> Self {
        let source = match found.kind {
            Kind::Cgroup => {
                let (found, budget) = (found.clone(), budget.clone());
                let opened = |scratch: &mut Scratch| CgroupReader::new(found, roots, budget, &mut scratch.buffer);
                Source::Cgroup(Box::new(SCRATCH.with_borrow_mut(opened)))
            }
            Kind::Processes { pid, start_ticks, .. } => Source::Processes(GroupReader::new(roots, pid, start_ticks)),
        };
        Self { found, source }
    }

    /// Has the space of the root's file system asked on `pool` as well. A process group has none of its own.
    #[must_use]
    pub fn with_space(mut self, pool: &SpacePool, roots: Arc<Roots>) -> Self {
        if let Source::Cgroup(source) = &mut self.source {
            source.watch_space(Watch::new(pool.clone(), roots));
        }
        self
    }

    /// Has what the kernel says of it by itself listened to as well; `before` is what was noticed by an earlier reader of the same life. Of a
    /// process group it says nothing.
    #[must_use]
    pub fn with_events(mut self, events: &Events, before: Option<Arc<Noticed>>) -> Self {
        if let Source::Cgroup(source) = &mut self.source {
            source.listen(events, before);
        }
        self
    }

    /// What was noticed of it, where it is listened to.
    pub fn noticed(&self) -> Option<Arc<Noticed>> {
        match &self.source {
            Source::Cgroup(source) => source.noticed().cloned(),
            Source::Processes(_) => None,
        }
    }

    /// What it holds back of a counter that must not fall; nothing where the kernel itself sees to that.
    pub fn held(&self) -> Option<HeldTicks> {
        match &self.source {
            Source::Cgroup(_) => None,
            Source::Processes(source) => Some(source.held.clone()),
        }
    }

    /// Goes on from what a reader before it held, of the same life of the same instance.
    #[must_use]
    pub fn with_held(mut self, held: Option<HeldTicks>) -> Self {
        if let (Source::Processes(source), Some(held)) = (&mut self.source, held) {
            source.held = held;
        }
        self
    }

    /// Which instance this reads.
    pub fn found(&self) -> &Arc<Found> {
        &self.found
    }

    /// One reading, now. `Err(Gone)` is final.
    pub fn read(&mut self) -> Result<Reading, Gone> {
        let began = Instant::now();
        let mut reading = Reading::empty();
        reading.taken_at = began;
        reading.taken_at_unix = SystemTime::now();
        match &mut self.source {
            Source::Cgroup(source) => SCRATCH.with_borrow_mut(|scratch| source.read(&mut reading, scratch))?,
            Source::Processes(source) => source.read(&mut reading)?,
        }
        reading.took_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if let Source::Processes(_) = self.source {
            reading.took.cpu_ns = reading.took_ns;
        }
        Ok(reading)
    }
}

/// When a process started, in seconds since 1970, from its start in ticks since boot.
pub(crate) fn started_unix_seconds(start_ticks: u64) -> f64 {
    let since_boot = rustix::time::clock_gettime(ClockId::Boottime);
    let now = rustix::time::clock_gettime(ClockId::Realtime);
    let seconds = |time: rustix::time::Timespec| time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    // To a hundredth, which is what a tick is: the two clocks are not read in the same instant.
    let boot = seconds(now) - seconds(since_boot);
    ((boot + start_ticks as f64 / ticks_per_second() as f64) * 100.0).round() / 100.0
}

/// `USER_HZ`: the unit of times in `/proc/<pid>/stat`.
pub(crate) fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}
