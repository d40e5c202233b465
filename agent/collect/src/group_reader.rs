//! The reader of a process group: a leader and its descendants, summed from `/proc`.
//!
//! CPU is user and system time of the living plus what each has of the children that it waited for, so that the
//! sum does not fall when a child ends. A child that nobody waits for takes its share along; the
//! sum is then held where it was until the living have made up for it, because a counter must not fall.
//! There is no cgroup, so there are no limits, no pressure and no page cache to tell of.

use std::sync::Arc;
use std::time::Instant;

use crate::cgroup_reader::{DESCRIPTORS_OF_MAX, LIMITS_EVERY, descriptors};
use crate::mounts::Roots;
use crate::process;
use crate::reader::{started_unix_seconds, ticks_per_second};
use crate::reading::{Cpu, Gone, LeaderState, Reading};
use crate::starvation;
use crate::state::{ProblemReason, ReadProblem};

/// Nanoseconds in a second.
const NS_PER_SECOND: u64 = 1_000_000_000;

#[derive(Debug)]
pub(crate) struct GroupReader {
    roots: Arc<Roots>,
    pid: u32,
    start_ticks: u64,
    started_unix_seconds: f64,
    /// The most ticks seen so far, in user mode and in the kernel.
    most_ticks: (u64, u64),
    file_limits: Vec<(u32, Option<u64>)>,
    file_limits_read_at: Option<Instant>,
}

impl GroupReader {
    pub(crate) fn new(roots: Arc<Roots>, pid: u32, start_ticks: u64) -> Self {
        Self {
            roots,
            pid,
            start_ticks,
            started_unix_seconds: started_unix_seconds(start_ticks),
            most_ticks: (0, 0),
            file_limits: Vec::new(),
            file_limits_read_at: None,
        }
    }

    pub(crate) fn read(&mut self, reading: &mut Reading) -> Result<(), Gone> {
        starvation::forget();
        if self.leader_state().is_err() {
            return without_descriptors(reading);
        }
        let members = process::with_descendants(&self.roots.proc, self.pid);
        let (mut user, mut system, mut threads, mut pages) = (0u64, 0u64, 0u64, 0u64);
        let mut live = Vec::with_capacity(members.len());
        for pid in members {
            let Ok(stat) = process::stat(&self.roots.proc, pid) else {
                continue;
            };
            // A zombie still has its times: they move to its parent only when that waits for it.
            user += stat.user_ticks + stat.children_user_ticks;
            system += stat.system_ticks + stat.children_system_ticks;
            if process::is_live(stat.state) {
                threads += stat.threads;
                pages += stat.resident_pages;
                live.push(pid);
            }
        }
        let state = self.leader_state();
        let (false, Ok(state)) = (starvation::was_noted(), state) else {
            return without_descriptors(reading);
        };
        self.most_ticks = (self.most_ticks.0.max(user), self.most_ticks.1.max(system));
        let ns = |ticks: u64| ticks.saturating_mul(NS_PER_SECOND / ticks_per_second());
        reading.cpu = Some(Cpu {
            usage_ns: ns(self.most_ticks.0 + self.most_ticks.1),
            user_ns: Some(ns(self.most_ticks.0)),
            system_ns: Some(ns(self.most_ticks.1)),
        });
        reading.memory.rss_bytes = Some(pages * rustix::param::page_size() as u64);
        reading.pids.tasks = Some(threads);
        reading.pids.processes = Some(live.len() as u64);
        reading.live_processes = Some(live.len() as u64);
        reading.leader = Some(state);
        reading.started_unix_seconds = Some(self.started_unix_seconds);
        self.count_descriptors(&live, reading);
        Ok(())
    }

    fn count_descriptors(&mut self, live: &[u32], reading: &mut Reading) {
        let now = reading.taken_at;
        let due = self.file_limits_read_at.is_none_or(|at| now.saturating_duration_since(at) >= LIMITS_EVERY);
        if due {
            self.file_limits.clear();
            self.file_limits_read_at = Some(now);
        }
        if live.len() <= DESCRIPTORS_OF_MAX {
            reading.descriptors = descriptors(&self.roots, live, &mut self.file_limits);
        }
    }

    fn leader_state(&self) -> Result<LeaderState, Gone> {
        match process::stat(&self.roots.proc, self.pid) {
            Ok(stat) if stat.start_ticks == self.start_ticks && process::is_live(stat.state) => {
                Ok(LeaderState { pid: stat.pid, state: stat.state })
            }
            _ => Err(Gone),
        }
    }
}

/// What could not be opened for want of descriptors is not gone, and a sum over a part is no sum: nothing is known of the group now.
fn without_descriptors(reading: &mut Reading) -> Result<(), Gone> {
    if !starvation::was_noted() {
        return Err(Gone);
    }
    reading.problems.push(ReadProblem { file: "stat", reason: ProblemReason::Descriptors });
    Ok(())
}
