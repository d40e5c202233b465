//! One pass of native collection over one instance, as numbers.
//!
//! Units are in the names, absence is `None`, and nothing here knows what a dashboard calls a value. A
//! limit that is not set is `None` too: a number that means "unlimited" never leaves the parsers.
//! Counters are the kernel's own and count from the birth of the cgroup, the network namespace or the process.

use std::time::{Instant, SystemTime};

use crate::state::ReadProblem;

/// The instance is no more: its cgroup was removed, or its process has ended or is another one now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the instance is gone")]
pub struct Gone;

/// CPU time, in nanoseconds since birth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// All of it.
    pub usage_ns: u64,
    /// In user mode.
    pub user_ns: Option<u64>,
    /// In the kernel.
    pub system_ns: Option<u64>,
}

/// What the CFS bandwidth controller did. There only while a quota is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Enforcement periods that have passed while it wanted to run.
    pub periods: u64,
    /// Of these, in how many it was throttled.
    pub throttled_periods: u64,
    /// For how long, all CPUs together.
    pub throttled_ns: u64,
}

/// Memory, in bytes unless the name says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Charged now, page cache and all.
    pub usage_bytes: Option<u64>,
    /// The most that was ever charged.
    pub max_usage_bytes: Option<u64>,
    /// Usage without the page cache that is easily dropped (`inactive_file`); what the kubelet goes by.
    pub working_set_bytes: Option<u64>,
    /// Anonymous memory (v1 `total_rss`, v2 `anon`).
    pub rss_bytes: Option<u64>,
    /// Page cache (v1 `total_cache`, v2 `file`).
    pub cache_bytes: Option<u64>,
    /// Swapped out.
    pub swap_bytes: Option<u64>,
    /// Of the page cache, what is mapped.
    pub mapped_file_bytes: Option<u64>,
    /// The kernel's own for it (v2 `kernel`, v1 `memory.kmem.usage_in_bytes` is not read).
    pub kernel_bytes: Option<u64>,
    /// How often the limit was hit (v1 `memory.failcnt`, v2 `memory.events` `max`).
    pub limit_hits: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Page faults of the instance and what is below it.
    pub pgfault: Option<u64>,
    /// Of these, those that had to wait for a device.
    pub pgmajfault: Option<u64>,
    /// Page faults of the cgroup itself (v1 only).
    pub own_pgfault: Option<u64>,
    /// Major ones of the cgroup itself (v1 only).
    pub own_pgmajfault: Option<u64>,
}

impl Memory {
    /// Works out the working set: usage less what of the page cache is inactive, and not below 0.
    pub fn set_working_set(&mut self, inactive_file_bytes: Option<u64>) {
        self.working_set_bytes = match (self.usage_bytes, inactive_file_bytes) {
            (Some(usage), Some(inactive)) => Some(usage.saturating_sub(inactive)),
            _ => None,
        };
    }
}

/// Tasks and processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// Tasks, that is threads.
    pub tasks: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
    /// How often a fork was refused for the limit (`pids.events` `max`).
    pub limit_hits: Option<u64>,
}

/// Open descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptors {
    /// Of all processes together.
    pub open: u64,
    /// The process that is nearest to its own limit: how many it has open, and how many it may.
    pub fullest: Option<(u64, u64)>,
}

/// What the operator or tenant set as caps; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// CFS quota a period.
    pub cpu_quota_us: Option<u64>,
    /// CFS period.
    pub cpu_period_us: Option<u64>,
    /// v1 `cpu.shares`, or what v2's `cpu.weight` amounts to on that scale.
    pub cpu_shares: Option<u64>,
    /// Hard limit of memory.
    pub memory_bytes: Option<u64>,
    /// Soft limit of memory (v1 `soft_limit`, v2 `memory.low`).
    pub memory_reservation_bytes: Option<u64>,
    /// Limit of memory and swap together (v1 `memsw`); on v2, memory's and swap's limits added.
    pub memory_swap_bytes: Option<u64>,
    /// Limit of tasks.
    pub tasks: Option<u64>,
}

/// One resource's pressure stall totals, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    /// At least one task waited.
    pub some_us: u64,
    /// No task could go on. Missing for CPU on older kernels.
    pub full_us: Option<u64>,
}

/// Pressure of the three resources; none where the kernel gives none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Waiting for a CPU.
    pub cpu: Option<Stall>,
    /// Waiting for memory.
    pub memory: Option<Stall>,
    /// Waiting for a device.
    pub io: Option<Stall>,
}

/// What was moved to and from one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceIo {
    /// `/dev/NAME`, or `MAJ:MIN` where the name is not known.
    pub device: String,
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// Bytes written.
    pub written_bytes: Option<u64>,
    /// Reads.
    pub reads: Option<u64>,
    /// Writes.
    pub writes: Option<u64>,
}

/// One network interface, seen from inside the instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Bytes in.
    pub receive_bytes: u64,
    /// Packets in.
    pub receive_packets: u64,
    /// Errors on the way in.
    pub receive_errors: u64,
    /// Dropped on the way in.
    pub receive_dropped: u64,
    /// Bytes out.
    pub transmit_bytes: u64,
    /// Packets out.
    pub transmit_packets: u64,
    /// Errors on the way out.
    pub transmit_errors: u64,
    /// Dropped on the way out.
    pub transmit_dropped: u64,
}

/// Whether the instance is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freezer {
    /// Running freely.
    Thawed,
    /// Asked to, not all tasks there yet.
    Freezing,
    /// All tasks are.
    Frozen,
}

/// The process that leads an instance, as it is at the reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderState {
    /// Its pid on the node.
    pub pid: u32,
    /// `R`, `S`, `D`, `T`, `t`, `Z`, …: proc_pid_stat(5).
    pub state: u8,
}

/// One reading of one instance.
#[derive(Clone, Debug)]
pub struct Reading {
    /// When, on the clock that does not jump: for rates and ages.
    pub taken_at: Instant,
    /// When, on the wall clock.
    pub taken_at_unix: SystemTime,
    /// How long it took.
    pub took_ns: u64,
    /// CPU time.
    pub cpu: Option<Cpu>,
    /// Throttling.
    pub throttling: Option<Throttling>,
    /// Memory.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Descriptors; none where there are too many processes to ask each.
    pub descriptors: Option<Descriptors>,
    /// Caps.
    pub limits: Limits,
    /// Pressure.
    pub pressure: Pressure,
    /// Block devices; none where the kernel keeps no account.
    pub io: Option<Vec<DeviceIo>>,
    /// Network interfaces; none for an instance in the host's network namespace.
    pub network: Option<Vec<Interface>>,
    /// Packets that the loopback of its own network namespace dropped on the way out: it is down. cAdvisor passes
    /// loopback over, and so does `network`.
    pub loopback_transmit_dropped: Option<u64>,
    /// Frozen or not; none where that cannot be asked.
    pub freezer: Option<Freezer>,
    /// The leader; none where no process lives.
    pub leader: Option<LeaderState>,
    /// How many processes live: zombies do not.
    pub live_processes: Option<u64>,
    /// When the instance was made, in seconds since 1970.
    pub started_unix_seconds: Option<f64>,
    /// What could not be read, and why. A file that is not there is no problem: its value is absent.
    pub problems: Vec<ReadProblem>,
}

impl Reading {
    /// A reading that has nothing yet.
    pub fn empty() -> Self {
        Self {
            taken_at: Instant::now(),
            taken_at_unix: SystemTime::now(),
            took_ns: 0,
            cpu: None,
            throttling: None,
            memory: Memory::default(),
            pids: Pids::default(),
            descriptors: None,
            limits: Limits::default(),
            pressure: Pressure::default(),
            io: None,
            network: None,
            loopback_transmit_dropped: None,
            freezer: None,
            leader: None,
            live_processes: None,
            started_unix_seconds: None,
            problems: Vec::new(),
        }
    }
}
