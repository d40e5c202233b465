//! One pass of native collection over one instance, as numbers.
//!
//! Units are in the names, absence is `None`, and nothing here knows what a dashboard calls a value. A
//! limit that is not set is `None` too: a number that means "unlimited" never leaves the parsers.
//! Counters are the kernel's own and count from the birth of the cgroup, the network namespace or the process.

mod file_system;
mod memory;

use std::time::{Instant, SystemTime};

pub use file_system::{FileSystem, Space};
pub use memory::{MEMORY_PARTS, Memory, MemoryEvents, memory_part};

use crate::state::ReadProblem;
use crate::transport::Transport;
pub use crate::zfs::Objset;

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
    /// In how many periods it went over the quota on what it had saved up. Missing before Linux 5.14.
    pub burst_periods: Option<u64>,
    /// For how long in all.
    pub burst_ns: Option<u64>,
}

/// Tasks and processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// Tasks, that is threads.
    pub tasks: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
    /// The most tasks there ever were (v2 `pids.peak`).
    pub peak: Option<u64>,
    /// How often a fork was refused for the limit (`pids.events` `max`).
    pub limit_hits: Option<u64>,
    /// Tasks that still run or could, of the cgroup itself.
    pub live_threads: Option<u64>,
    /// Tasks that have ended and that nobody has waited for, or that are just ending. Each still counts against the
    /// limit. None where there are cgroups below: their live tasks are not counted.
    pub zombies: Option<u64>,
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
    /// What may be saved up of the CPU quota.
    pub cpu_burst_us: Option<u64>,
    /// v2's own `cpu.weight`.
    pub cpu_weight: Option<u64>,
    /// CPUs that the leader may run on: its cpuset and its own affinity.
    pub cpus_allowed: Option<u64>,
    /// Above this the kernel throttles and reclaims (v2 `memory.high`).
    pub memory_high_bytes: Option<u64>,
    /// Never reclaimed below this (v2 `memory.min`).
    pub memory_min_bytes: Option<u64>,
    /// Limit of swap alone (v2 `memory.swap.max`).
    pub swap_bytes: Option<u64>,
    /// Descriptors that the leader may open.
    pub open_files: Option<Ulimit>,
}

/// A soft limit of a process, where that there is none is a fact worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ulimit {
    /// There is none.
    Unlimited,
    /// So much.
    At(u64),
}

impl Ulimit {
    /// How much that is; none where there is no limit.
    pub(crate) fn number(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::At(limit) => Some(limit),
        }
    }
}

/// What may be moved to and from one block device a second (v2 `io.max`, v1 `blkio.throttle.*_device`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceLimit {
    /// `/dev/NAME`, or `MAJ:MIN` where the name is not known.
    pub device: String,
    /// Bytes read a second.
    pub read_bytes: Option<u64>,
    /// Bytes written a second.
    pub written_bytes: Option<u64>,
    /// Reads a second.
    pub reads: Option<u64>,
    /// Writes a second.
    pub writes: Option<u64>,
}

/// Huge pages of one size (v2 `hugetlb.SIZE.*`; v1's hierarchy is not read).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HugePages {
    /// As the kernel writes it: `2MB`.
    pub page_size: String,
    /// In use.
    pub usage_bytes: Option<u64>,
    /// How often the limit was hit.
    pub limit_hits: Option<u64>,
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
    /// `MAJ:MIN`.
    pub number: String,
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// Bytes written.
    pub written_bytes: Option<u64>,
    /// Reads.
    pub reads: Option<u64>,
    /// Writes.
    pub writes: Option<u64>,
    /// Bytes discarded.
    pub discarded_bytes: Option<u64>,
    /// Discards.
    pub discards: Option<u64>,
    /// Where the io.cost controller rules the device: its time, in microseconds.
    pub cost: IoCost,
}

/// Of v2's io.cost controller, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCost {
    /// Device time used.
    pub usage_us: Option<u64>,
    /// Waited for device time.
    pub wait_us: Option<u64>,
    /// In debt for what could not be held back.
    pub debt_us: Option<u64>,
    /// Delayed on return to user mode for that debt.
    pub delay_us: Option<u64>,
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
    /// Whether it is up, as far as who set it up is concerned (`IFF_UP`); whether a cable or a peer is at its other end is not said. None
    /// where the kernel does not tell.
    pub up: Option<bool>,
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

/// CPU time between an earlier reading and this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuLately {
    /// Of all CPUs together.
    pub used_ns: u64,
    /// How long that was. Not 0.
    pub over_ns: u64,
}

/// How long parts of a reading took, in nanoseconds. Of a process group the walk through `/proc`, which is all of it, is `cpu`'s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// The files of CPU and pressure.
    pub cpu_ns: u64,
    /// Those of memory.
    pub memory_ns: u64,
    /// Those of block devices.
    pub devices_ns: u64,
    /// The list of interfaces.
    pub interfaces_ns: u64,
    /// TCP, UDP and sockets.
    pub transport_ns: u64,
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
    /// How long parts of it took.
    pub took: Took,
    /// CPU time.
    pub cpu: Option<Cpu>,
    /// Throttling.
    pub throttling: Option<Throttling>,
    /// How long it had tasks to run while its own quota or that of a cgroup above held it (`cpu.stat.local`).
    pub held_ns: Option<u64>,
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
    /// What may be moved to and from block devices; those without a limit are left out.
    pub device_limits: Vec<DeviceLimit>,
    /// Huge pages, by size.
    pub huge_pages: Vec<HugePages>,
    /// Network interfaces; none for an instance in the host's network namespace.
    pub network: Option<Vec<Interface>>,
    /// How many more interfaces it has than `network` takes ([`crate::netdev::INTERFACES_MAX`]); 0 but where somebody makes many, and
    /// none where these are so many that they were not counted.
    pub interfaces_left_out: Option<u64>,
    /// The loopback of its own network namespace. cAdvisor passes loopback over, and so does `network`.
    pub loopback: Option<Interface>,
    /// TCP, UDP and sockets; none for an instance in the host's network namespace.
    pub transport: Option<Transport>,
    /// What ZFS counts of the data set that its root is; none where it is none.
    pub zfs: Option<Objset>,
    /// CPU time of late, where there was an earlier reading to compare with.
    pub cpu_lately: Option<CpuLately>,
    /// The file system of its root, as last told: it is asked apart, and may be older than the rest.
    pub space: Option<Space>,
    /// Of the file systems that it can write to, the one that has the least left, as last told.
    pub fullest_space: Option<Space>,
    /// Frozen or not; none where that cannot be asked.
    pub freezer: Option<Freezer>,
    /// The leader; none where no process lives.
    pub leader: Option<LeaderState>,
    /// Whether the process that its runtime started lives; none where no runtime names one.
    pub main_lives: Option<bool>,
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
            took: Took::default(),
            cpu: None,
            throttling: None,
            held_ns: None,
            memory: Memory::default(),
            pids: Pids::default(),
            descriptors: None,
            limits: Limits::default(),
            pressure: Pressure::default(),
            io: None,
            device_limits: Vec::new(),
            huge_pages: Vec::new(),
            network: None,
            interfaces_left_out: Some(0),
            loopback: None,
            transport: None,
            zfs: None,
            cpu_lately: None,
            space: None,
            fullest_space: None,
            freezer: None,
            leader: None,
            main_lives: None,
            live_processes: None,
            started_unix_seconds: None,
            problems: Vec::new(),
        }
    }
}
