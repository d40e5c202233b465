//! Down, or out of capacity? The judgement over two readings: a pure function.
//!
//! Rates need a reading before this one; without it nothing is called saturated that only a change could
//! show. Every reason of [`Reason`] that holds is given, so a frozen instance that also hit its memory
//! limit says both. What cannot be asked of this kernel is never a reason.

use crate::reading::{Freezer, Reading, Stall};

/// What an instance is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstanceState {
    /// Nothing is wrong that the kernel can see.
    Running,
    /// It runs, and lacks something.
    Saturated,
    /// The freezer holds it.
    Frozen,
    /// No process of it lives, or its leader is stopped.
    Stopped,
    /// Its cgroup or its process is no more.
    Gone,
}

impl InstanceState {
    /// All five, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Running, Self::Saturated, Self::Frozen, Self::Stopped, Self::Gone];

    /// The value of the label `state`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Saturated => "saturated",
            Self::Frozen => "frozen",
            Self::Stopped => "stopped",
            Self::Gone => "gone",
        }
    }
}

/// What an instance can lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// CPU time.
    Cpu,
    /// Memory.
    Memory,
    /// Tasks.
    Pids,
    /// Descriptors.
    Fds,
    /// Block devices.
    Disk,
    /// Network.
    Network,
}

impl Resource {
    /// All six, in the order in which they are shown.
    pub const ALL: [Self; 6] = [Self::Cpu, Self::Memory, Self::Pids, Self::Fds, Self::Disk, Self::Network];

    /// The value of the label `resource`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Fds => "fds",
            Self::Disk => "disk",
            Self::Network => "network",
        }
    }
}

/// Why an instance is in its state. This is the documented list of `sonde_instance_state_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The freezer holds it: v1 `freezer.state`, v2 `cgroup.events` `frozen`.
    Freezer,
    /// Its leader is stopped by a signal (state `T`).
    Sigstop,
    /// Its leader is stopped by a debugger (state `t`).
    Traced,
    /// No process of it lives, but its cgroup does.
    Exited,
    /// The kernel killed a process of it for want of memory since the last reading.
    OomKilled,
    /// Throttled in at least a quarter of the CFS periods since the last reading.
    CpuThrottled,
    /// The working set is at 95 % of the memory limit or above, or the limit was hit since the last reading while memory stalled it.
    MemoryLimit,
    /// As many tasks as it may have, or a fork was refused since the last reading.
    PidsLimit,
    /// A process has 95 % or more of the descriptors that it may open.
    FdsLimit,
    /// For at least a quarter of the time since the last reading every task waited for a device.
    IoPressure,
    /// For at least a quarter of the time since the last reading every task waited for memory.
    MemoryPressure,
    /// An interface dropped packets on the way out since the last reading.
    NetworkDrops,
    /// The cgroup was removed, or the process of a process group ended.
    Removed,
}

impl Reason {
    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Freezer => "freezer",
            Self::Sigstop => "sigstop",
            Self::Traced => "traced",
            Self::Exited => "exited",
            Self::OomKilled => "oom_killed",
            Self::CpuThrottled => "cpu_throttled",
            Self::MemoryLimit => "memory_limit",
            Self::PidsLimit => "pids_limit",
            Self::FdsLimit => "fds_limit",
            Self::IoPressure => "io_pressure",
            Self::MemoryPressure => "memory_pressure",
            Self::NetworkDrops => "network_drops",
            Self::Removed => "removed",
        }
    }
}

/// What could not be read at a reading, for the agent's own counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadProblem {
    /// Which file, by its last component.
    pub file: &'static str,
    /// Why.
    pub reason: ProblemReason,
}

/// Why a file gave nothing though it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemReason {
    /// The agent may not.
    Denied,
    /// No descriptors left.
    Descriptors,
    /// Read, but not what it should be.
    Malformed,
    /// Longer than any such file may be.
    TooLong,
    /// Any other error of the kernel, by its number.
    Errno(i32),
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// In one word.
    pub state: InstanceState,
    /// What it lacks, in the order of [`Resource::ALL`], without repeats.
    pub saturated: Vec<Resource>,
    /// Why, in the order in which they were looked for, without repeats.
    pub reasons: Vec<Reason>,
}

/// A share, as a fraction without floats.
struct Share(u64, u64);
/// Throttled or stalled for this share of the time is saturation.
const STALLED: Share = Share(1, 4);
/// At this share of a limit, the limit is reached.
const FULL: Share = Share(19, 20);

impl Share {
    fn reached(&self, part: u64, whole: u64) -> bool {
        whole > 0 && u128::from(part) * u128::from(self.1) >= u128::from(whole) * u128::from(self.0)
    }
}

impl Judgement {
    /// Of an instance that is no more.
    pub fn gone(reason: Reason) -> Self {
        Self { state: InstanceState::Gone, saturated: Vec::new(), reasons: vec![reason] }
    }

    fn lacks(&mut self, resource: Resource, reason: Reason) {
        if !self.saturated.contains(&resource) {
            self.saturated.push(resource);
        }
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }
}

/// Judges a reading in the light of the one before.
pub fn judge(previous: Option<&Reading>, current: &Reading) -> Judgement {
    let mut judgement = Judgement { state: InstanceState::Running, saturated: Vec::new(), reasons: Vec::new() };
    judge_levels(current, &mut judgement);
    if let Some(previous) = previous {
        judge_changes(previous, current, &mut judgement);
    }
    let halted = halted(current);
    if let Some((_, reason)) = halted {
        if reason == Reason::Exited {
            // What does not run lacks nothing; but what the kernel killed says so.
            judgement.saturated.clear();
            judgement.reasons.retain(|reason| *reason == Reason::OomKilled);
        }
        judgement.reasons.insert(0, reason);
    }
    judgement.state = match halted {
        Some((state, _)) => state,
        None if !judgement.saturated.is_empty() => InstanceState::Saturated,
        None => InstanceState::Running,
    };
    judgement.saturated.sort_by_key(|resource| *resource as usize);
    judgement
}

/// Whether it stands still, and why.
fn halted(current: &Reading) -> Option<(InstanceState, Reason)> {
    if current.live_processes == Some(0) {
        return Some((InstanceState::Stopped, Reason::Exited));
    }
    if current.freezer == Some(Freezer::Frozen) {
        return Some((InstanceState::Frozen, Reason::Freezer));
    }
    match current.leader?.state {
        b'T' => Some((InstanceState::Stopped, Reason::Sigstop)),
        b't' => Some((InstanceState::Stopped, Reason::Traced)),
        _ => None,
    }
}

/// What one reading shows by itself.
fn judge_levels(current: &Reading, judgement: &mut Judgement) {
    let memory = current.memory.working_set_bytes;
    if let (Some(used), Some(limit)) = (memory, current.limits.memory_bytes)
        && FULL.reached(used, limit)
    {
        judgement.lacks(Resource::Memory, Reason::MemoryLimit);
    }
    if let (Some(tasks), Some(limit)) = (current.pids.tasks, current.limits.tasks)
        && tasks >= limit
    {
        judgement.lacks(Resource::Pids, Reason::PidsLimit);
    }
    if let Some((open, limit)) = current.descriptors.and_then(|fds| fds.fullest)
        && FULL.reached(open, limit)
    {
        judgement.lacks(Resource::Fds, Reason::FdsLimit);
    }
}

/// What only the change since the reading before shows.
fn judge_changes(previous: &Reading, current: &Reading, judgement: &mut Judgement) {
    let elapsed = current.taken_at.saturating_duration_since(previous.taken_at);
    let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    if let (Some(before), Some(now)) = (previous.throttling, current.throttling)
        && STALLED.reached(
            now.throttled_periods.saturating_sub(before.throttled_periods),
            now.periods.saturating_sub(before.periods),
        )
    {
        judgement.lacks(Resource::Cpu, Reason::CpuThrottled);
    }
    if rose(previous.memory.oom_kills, current.memory.oom_kills) {
        judgement.lacks(Resource::Memory, Reason::OomKilled);
    }
    // A full page cache hits the limit all day long and lacks nothing: a hit counts where tasks
    // waited for it, or where this kernel cannot say whether they did.
    let stalled = match (previous.pressure.memory, current.pressure.memory) {
        (Some(before), Some(now)) => now.some_us > before.some_us,
        _ => true,
    };
    if stalled && rose(previous.memory.limit_hits, current.memory.limit_hits) {
        judgement.lacks(Resource::Memory, Reason::MemoryLimit);
    }
    if rose(previous.pids.limit_hits, current.pids.limit_hits) {
        judgement.lacks(Resource::Pids, Reason::PidsLimit);
    }
    if waited(previous.pressure.io, current.pressure.io, elapsed_us) {
        judgement.lacks(Resource::Disk, Reason::IoPressure);
    }
    if waited(previous.pressure.memory, current.pressure.memory, elapsed_us) {
        judgement.lacks(Resource::Memory, Reason::MemoryPressure);
    }
    if transmit_drops_rose(previous, current) {
        judgement.lacks(Resource::Network, Reason::NetworkDrops);
    }
}

fn rose(before: Option<u64>, now: Option<u64>) -> bool {
    matches!((before, now), (Some(before), Some(now)) if now > before)
}

fn waited(before: Option<Stall>, now: Option<Stall>, elapsed_us: u64) -> bool {
    let full = |stall: Option<Stall>| stall.and_then(|stall| stall.full_us);
    match (full(before), full(now)) {
        (Some(before), Some(now)) => STALLED.reached(now.saturating_sub(before), elapsed_us),
        _ => false,
    }
}

fn transmit_drops_rose(previous: &Reading, current: &Reading) -> bool {
    let (Some(before), Some(now)) = (&previous.network, &current.network) else {
        return false;
    };
    now.iter().any(|interface| {
        before.iter().any(|old| old.name == interface.name && interface.transmit_dropped > old.transmit_dropped)
    })
}

#[cfg(test)]
mod tests;
