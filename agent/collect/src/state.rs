//! Down, or out of capacity? The judgement over two readings: a pure function.
//!
//! Rates need an earlier reading; without it nothing is called saturated that only a change could
//! show. Which earlier one that is, [`Judge`] decides. Every reason of [`Reason`] that holds is given, so a frozen
//! instance that also hit its memory limit says both. What cannot be asked of this kernel is never a reason.

mod judge;

pub use judge::{Judge, WINDOW, judge};

/// What an instance is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstanceState {
    /// Nothing is wrong that the kernel can see.
    Running,
    /// It runs, and lacks something.
    Saturated,
    /// The freezer holds it.
    Frozen,
    /// No process of it lives, or the one that its runtime started does not, or its leader is stopped.
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

/// Why an instance is in its state. This is the documented list of `sonde_instance_state_reason`. What happened
/// *lately* happened since the reading that [`Judge`] compares with.
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
    /// The process that its runtime started has ended, and others of it live on.
    MainExited,
    /// The kernel killed a process of it for want of memory lately; of what has exited, before it did.
    OomKilled,
    /// Throttled in at least a quarter of the CFS periods lately.
    CpuThrottled,
    /// The working set is at 95 % of the memory limit or above, or the limit was hit lately while memory stalled it.
    MemoryLimit,
    /// As many tasks as it may have, or a fork was refused lately.
    PidsLimit,
    /// A process has 95 % or more of the descriptors that it may open.
    FdsLimit,
    /// For at least a quarter of the time, lately, every task waited for a device.
    IoPressure,
    /// A file system that it can write to has no room left, or no inode.
    DiskFull,
    /// For at least a quarter of the time, lately, every task waited for memory.
    MemoryPressure,
    /// An interface, loopback among them, dropped packets on the way out lately: it is down, or lacks room.
    NetworkDrops,
    /// An interface that has carried packets, loopback among them, is down.
    NetworkDown,
    /// The cgroup was removed, or the process of a process group ended.
    Removed,
    /// It was removed before anything of it could be read.
    Unread,
}

impl Reason {
    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Freezer => "freezer",
            Self::Sigstop => "sigstop",
            Self::Traced => "traced",
            Self::Exited => "exited",
            Self::MainExited => "main_exited",
            Self::OomKilled => "oom_killed",
            Self::CpuThrottled => "cpu_throttled",
            Self::MemoryLimit => "memory_limit",
            Self::PidsLimit => "pids_limit",
            Self::FdsLimit => "fds_limit",
            Self::IoPressure => "io_pressure",
            Self::DiskFull => "disk_full",
            Self::MemoryPressure => "memory_pressure",
            Self::NetworkDrops => "network_drops",
            Self::NetworkDown => "network_down",
            Self::Removed => "removed",
            Self::Unread => "unread",
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

impl ProblemReason {
    /// All words for it.
    pub const WORDS: [&str; 5] = ["denied", "descriptors", "malformed", "too_long", "error"];

    /// Which of [`WORDS`](Self::WORDS), by its place there.
    pub fn word(self) -> usize {
        match self {
            Self::Denied => 0,
            Self::Descriptors => 1,
            Self::Malformed => 2,
            Self::TooLong => 3,
            Self::Errno(_) => 4,
        }
    }
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

#[cfg(test)]
mod tests;
