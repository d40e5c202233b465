//! From readings to a verdict: what one shows by itself, and what has changed since an earlier one.
//!
//! Anybody's scrape is a reading. Compared with the reading just before, an OOM kill would be told to one of two
//! scrapers, and a throttled instance would seem to run whenever nothing was enforced in the few milliseconds between
//! theirs. [`Judge`] therefore compares with one that is at least [`WINDOW`] old where there is one, so that each scraper is
//! told what happened since its own last scrape, or in the last seconds at least. It keeps the few counters that are
//! compared and not the readings.

use std::time::{Duration, Instant};

use super::{InstanceState, Judgement, Reason, Resource};
use crate::reading::{CpuLately, Freezer, Interface, Reading, Stall, Throttling};

/// How far back the reading lies that others are compared with, where they come that fast: more than a few of the
/// kernel's CFS periods, less than scrapers commonly wait, so that of one scraper alone each reading is compared with the one before.
pub const WINDOW: Duration = Duration::from_secs(5);

/// What a file system said longer ago than this is no news: it does not answer any more, or takes seconds each time.
const SPACE_HOLDS: Duration = Duration::from_secs(120);

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

/// What of a reading a later one is compared with.
#[derive(Clone, Debug)]
struct Before {
    taken_at: Instant,
    cpu_ns: Option<u64>,
    throttling: Option<Throttling>,
    oom_kills: Option<u64>,
    memory_limit_hits: Option<u64>,
    forks_refused: Option<u64>,
    memory: Option<Stall>,
    io: Option<Stall>,
    loopback_dropped: Option<u64>,
    /// By interface.
    transmit_dropped: Vec<(String, u64)>,
}

impl Before {
    fn of(reading: &Reading) -> Self {
        let interfaces = reading.network.iter().flatten();
        Self {
            taken_at: reading.taken_at,
            cpu_ns: reading.cpu.map(|cpu| cpu.usage_ns),
            throttling: reading.throttling,
            oom_kills: reading.memory.oom_kills,
            memory_limit_hits: reading.memory.limit_hits,
            forks_refused: reading.pids.limit_hits,
            memory: reading.pressure.memory,
            io: reading.pressure.io,
            loopback_dropped: reading.loopback.as_ref().map(|loopback| loopback.transmit_dropped),
            transmit_dropped: interfaces.map(|one| (one.name.clone(), one.transmit_dropped)).collect(),
        }
    }
}

/// Judges the readings of one instance, in the order in which they were taken.
#[derive(Debug, Default)]
pub struct Judge {
    /// At least [`WINDOW`] older than the newest reading.
    reference: Option<Before>,
    /// Will be the next reference, once it is old enough.
    next: Option<Before>,
}

impl Judge {
    /// What the newest reading means.
    pub fn judge(&mut self, current: &Reading) -> Judgement {
        // What has exited stays compared with its last life: what killed it is its reason for as long as it lies there.
        let lives = current.live_processes != Some(0);
        if lives
            && let Some(next) = &self.next
            && current.taken_at.saturating_duration_since(next.taken_at) >= WINDOW
        {
            self.reference = self.next.take();
        }
        let judgement = judge_against(self.reference.as_ref().or(self.next.as_ref()), current);
        if lives && self.next.is_none() {
            self.next = Some(Before::of(current));
        }
        judgement
    }

    /// CPU time since the reading that `current`, just judged, was compared with.
    pub fn cpu_lately(&self, current: &Reading) -> Option<CpuLately> {
        let before = self.reference.as_ref().or(self.next.as_ref())?;
        let over = current.taken_at.saturating_duration_since(before.taken_at);
        let over_ns = u64::try_from(over.as_nanos()).ok().filter(|ns| *ns > 0)?;
        Some(CpuLately { used_ns: current.cpu?.usage_ns.checked_sub(before.cpu_ns?)?, over_ns })
    }
}

/// Judges a reading in the light of an earlier one.
pub fn judge(previous: Option<&Reading>, current: &Reading) -> Judgement {
    judge_against(previous.map(Before::of).as_ref(), current)
}

fn judge_against(previous: Option<&Before>, current: &Reading) -> Judgement {
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
        if reason == Reason::MainExited && is_frozen(current) {
            judgement.reasons.push(Reason::Freezer);
        }
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
    // What is left is not the service, and does not go on as it when it is let.
    if current.main_lives == Some(false) && current.live_processes.is_some() {
        return Some((InstanceState::Stopped, Reason::MainExited));
    }
    if is_frozen(current) {
        return Some((InstanceState::Frozen, Reason::Freezer));
    }
    match current.leader?.state {
        b'T' => Some((InstanceState::Stopped, Reason::Sigstop)),
        b't' => Some((InstanceState::Stopped, Reason::Traced)),
        _ => None,
    }
}

fn is_frozen(current: &Reading) -> bool {
    current.freezer == Some(Freezer::Frozen)
}

/// Whether it is down and was not always: tunnels that the kernel makes in each network namespace are, and nobody misses them.
fn went_down(interface: &Interface) -> bool {
    interface.up == Some(false) && (interface.receive_packets > 0 || interface.transmit_packets > 0)
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
    if let Some(space) = &current.fullest_space
        && space.age <= SPACE_HOLDS
        && space.file_system.is_full()
    {
        judgement.lacks(Resource::Disk, Reason::DiskFull);
    }
    if current.network.iter().flatten().chain(&current.loopback).any(went_down) {
        judgement.lacks(Resource::Network, Reason::NetworkDown);
    }
}

/// What only the change since an earlier reading shows.
fn judge_changes(previous: &Before, current: &Reading, judgement: &mut Judgement) {
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
    if rose(previous.oom_kills, current.memory.oom_kills) {
        judgement.lacks(Resource::Memory, Reason::OomKilled);
    }
    // A full page cache hits the limit all day long and lacks nothing: a hit counts where tasks
    // waited for it, or where this kernel cannot say whether they did.
    let stalled = match (previous.memory, current.pressure.memory) {
        (Some(before), Some(now)) => now.some_us > before.some_us,
        _ => true,
    };
    if stalled && rose(previous.memory_limit_hits, current.memory.limit_hits) {
        judgement.lacks(Resource::Memory, Reason::MemoryLimit);
    }
    if rose(previous.forks_refused, current.pids.limit_hits) {
        judgement.lacks(Resource::Pids, Reason::PidsLimit);
    }
    if waited(previous.io, current.pressure.io, elapsed_us) {
        judgement.lacks(Resource::Disk, Reason::IoPressure);
    }
    if waited(previous.memory, current.pressure.memory, elapsed_us) {
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

fn transmit_drops_rose(previous: &Before, current: &Reading) -> bool {
    let of_interface = |name: &str| previous.transmit_dropped.iter().find(|(old, _)| old == name);
    let on_an_interface = current.network.iter().flatten().any(|interface| {
        of_interface(&interface.name).is_some_and(|(_, dropped)| interface.transmit_dropped > *dropped)
    });
    let of_loopback = current.loopback.as_ref().map(|loopback| loopback.transmit_dropped);
    on_an_interface || rose(previous.loopback_dropped, of_loopback)
}
