//! The reader of a process group: a leader and its descendants, summed from `/proc`.
//!
//! CPU is user and system time of the living plus what each has of the children that it waited for, so that the
//! sum does not fall when a child ends. A child that nobody waits for takes its share along; the
//! sum is then held where it was until the living have made up for it, because a counter must not fall: that would be a reset to
//! Prometheus, and all that the living have used would be counted once more. What is held ([`HeldTicks`]) therefore outlives the reader
//! and goes to the next one of the same instance; only another agent begins without it.
//! There is no cgroup, so there are no limits, no pressure and no page cache to tell of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::cgroup_reader::SELDOM;
use crate::descriptors::{self, FileLimits};
use crate::mounts::Roots;
use crate::process;
use crate::reader::{started_unix_seconds, ticks_per_second};
use crate::reading::{Cpu, Gone, LeaderState, Reading};
use crate::starvation;
use crate::state::{ProblemReason, ReadProblem};

/// Nanoseconds in a second.
const NS_PER_SECOND: u64 = 1_000_000_000;

/// The most ticks that a process group was ever said to have used. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct HeldTicks(Arc<Ticks>);

#[derive(Debug, Default)]
struct Ticks {
    user: AtomicU64,
    system: AtomicU64,
}

impl HeldTicks {
    /// Raises what is held to what was seen, and gives what is held now: in user mode, in the kernel.
    fn raise(&self, user: u64, system: u64) -> (u64, u64) {
        let raise = |held: &AtomicU64, seen: u64| held.fetch_max(seen, Ordering::Relaxed).max(seen);
        (raise(&self.0.user, user), raise(&self.0.system, system))
    }
}

#[derive(Debug)]
pub(crate) struct GroupReader {
    roots: Arc<Roots>,
    pid: u32,
    start_ticks: u64,
    started_unix_seconds: f64,
    pub(crate) held: HeldTicks,
    file_limits: FileLimits,
    file_limits_read_at: Option<Instant>,
}

impl GroupReader {
    pub(crate) fn new(roots: Arc<Roots>, pid: u32, start_ticks: u64) -> Self {
        Self {
            roots,
            pid,
            start_ticks,
            started_unix_seconds: started_unix_seconds(start_ticks),
            held: HeldTicks::default(),
            file_limits: FileLimits::new(),
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
            user = user.saturating_add(stat.user_ticks).saturating_add(stat.children_user_ticks);
            system = system.saturating_add(stat.system_ticks).saturating_add(stat.children_system_ticks);
            if process::is_live(stat.state) {
                threads = stat.threads.saturating_add(threads);
                pages = stat.resident_pages.saturating_add(pages);
                live.push(pid);
            }
        }
        let state = self.leader_state();
        let (false, Ok(state)) = (starvation::was_noted(), state) else {
            return without_descriptors(reading);
        };
        let (user, system) = self.held.raise(user, system);
        let ns = |ticks: u64| ticks.saturating_mul(NS_PER_SECOND / ticks_per_second());
        reading.cpu = Some(Cpu {
            usage_ns: ns(user.saturating_add(system)),
            user_ns: Some(ns(user)),
            system_ns: Some(ns(system)),
        });
        reading.memory.rss_bytes = Some(pages.saturating_mul(rustix::param::page_size() as u64));
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
        let due = self.file_limits_read_at.is_none_or(|at| now.saturating_duration_since(at) >= SELDOM);
        if due {
            self.file_limits.clear();
            self.file_limits_read_at = Some(now);
        }
        reading.descriptors = descriptors::count(&self.roots, live, &mut self.file_limits);
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::mounts::Mounts;

    const PAIR: [(u32, &str); 2] = [(7, "8 "), (8, "")];

    /// A leader and a child of its, each with so many ticks.
    fn write(roots: &Roots, ticks: u64) {
        for (pid, children) in PAIR {
            let task = roots.proc.join(format!("{pid}/task/{pid}"));
            fs::create_dir_all(&task).unwrap();
            fs::write(task.join("children"), children).unwrap();
            let stat = format!("{pid} (x) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 1 0 0 20 0 1 0 500 0 9 0 0\n");
            fs::write(roots.proc.join(format!("{pid}/stat")), stat).unwrap();
        }
    }

    fn usage_ns(reader: &mut GroupReader) -> u64 {
        let mut reading = Reading::empty();
        reader.read(&mut reading).unwrap();
        reading.cpu.unwrap().usage_ns
    }

    #[test]
    fn a_counter_does_not_fall_with_a_child_nor_with_the_reader() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        let mounts = Mounts::default();
        let roots = Arc::new(Roots {
            proc: at("proc"),
            sys: at("sys"),
            run: at("run"),
            lib: at("lib"),
            mounts,
            datasets: Default::default(),
        });
        write(&roots, 100);
        let mut first = GroupReader::new(roots.clone(), 7, 500);
        let all = usage_ns(&mut first);
        assert_eq!(all, 202 * NS_PER_SECOND / ticks_per_second());
        // Nobody waited for the child, and its share is lost.
        fs::write(roots.proc.join("7/task/7/children"), "").unwrap();
        assert_eq!(usage_ns(&mut first), all);
        let mut next = GroupReader::new(roots.clone(), 7, 500);
        next.held = first.held.clone();
        drop(first);
        assert_eq!(usage_ns(&mut next), all, "another reader of the same life");
        // Another life begins anew.
        let mut other = GroupReader::new(roots, 7, 500);
        assert!(usage_ns(&mut other) < all);
    }

    #[test]
    fn nothing_overflows() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        let mounts = Mounts::default();
        let roots = Arc::new(Roots {
            proc: at("proc"),
            sys: at("sys"),
            run: at("run"),
            lib: at("lib"),
            mounts,
            datasets: Default::default(),
        });
        write(&roots, u64::MAX);
        assert_eq!(usage_ns(&mut GroupReader::new(roots, 7, 500)), u64::MAX);
    }
}
