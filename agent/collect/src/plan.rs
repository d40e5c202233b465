//! Which files of a cgroup are read at each reading, in which order, and into which part of it.
//!
//! One table and one function, so that a file more is a row and a line. Files of both generations
//! stand in the table: which of them are there is found out when a reader opens, never by the kernel's
//! version. Where v1 and v2 tell the same, v1 stands first and is taken.

use crate::cgroup_v1::{self, BlkioUnit};
use crate::mounts::Controller;
use crate::reading::{Reading, Took};
use crate::{bytes, cgroup_v2, pressure};

/// A file of the plan, by what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    CpuacctUsage,
    CpuacctUser,
    CpuacctSystem,
    CpuStatV1,
    CpuLocal,
    MemoryUsage,
    MemoryMaxUsage,
    MemoryStatV1,
    MemoryFailcnt,
    MemoryOomControl,
    MemoryKernel,
    MemoryStatV2,
    MemoryEvents,
    MemorySwapV2,
    MemorySwapEvents,
    PidsCurrent,
    PidsEvents,
    PidsPeak,
    BlkioBytes,
    BlkioOperations,
    IoStat,
    FreezerV1,
    CgroupEvents,
    CpuStatV2,
    CpuPressure,
    MemoryPressure,
    IoPressure,
}

/// A part of a reading whose time is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Cpu,
    Memory,
    Devices,
    /// Whose time nobody asks for.
    Other,
}

impl Part {
    /// Where its time is kept.
    pub(crate) fn of(self, took: &mut Took) -> Option<&mut u64> {
        match self {
            Self::Cpu => Some(&mut took.cpu_ns),
            Self::Memory => Some(&mut took.memory_ns),
            Self::Devices => Some(&mut took.devices_ns),
            Self::Other => None,
        }
    }
}

impl Item {
    /// Which part it belongs to.
    pub(crate) fn part(self) -> Part {
        match self {
            Self::CpuacctUsage | Self::CpuacctUser | Self::CpuacctSystem | Self::CpuStatV1 => Part::Cpu,
            Self::CpuLocal | Self::CpuStatV2 | Self::CpuPressure => Part::Cpu,
            Self::MemoryUsage | Self::MemoryMaxUsage | Self::MemoryStatV1 | Self::MemoryFailcnt => Part::Memory,
            Self::MemoryOomControl | Self::MemoryKernel | Self::MemoryStatV2 | Self::MemoryEvents => Part::Memory,
            Self::MemorySwapV2 | Self::MemorySwapEvents | Self::MemoryPressure => Part::Memory,
            Self::BlkioBytes | Self::BlkioOperations | Self::IoStat | Self::IoPressure => Part::Devices,
            Self::PidsCurrent | Self::PidsEvents | Self::PidsPeak => Part::Other,
            Self::FreezerV1 | Self::CgroupEvents => Part::Other,
        }
    }
}

/// Where a file of the plan is: a v1 controller's directory, or the cgroup2 one.
pub(crate) type Place = Option<Controller>;

/// In the order of reading: usage before what is subtracted from it, v1 before v2.
pub(crate) const PLAN: [(Item, Place, &str); 32] = [
    (Item::CpuacctUsage, Some(Controller::Cpuacct), "cpuacct.usage"),
    (Item::CpuStatV2, None, "cpu.stat"),
    (Item::CpuacctUser, Some(Controller::Cpuacct), "cpuacct.usage_user"),
    (Item::CpuacctSystem, Some(Controller::Cpuacct), "cpuacct.usage_sys"),
    (Item::CpuStatV1, Some(Controller::Cpu), "cpu.stat"),
    (Item::CpuLocal, Some(Controller::Cpu), "cpu.stat.local"),
    (Item::CpuLocal, None, "cpu.stat.local"),
    (Item::MemoryUsage, Some(Controller::Memory), "memory.usage_in_bytes"),
    (Item::MemoryUsage, None, "memory.current"),
    (Item::MemoryMaxUsage, Some(Controller::Memory), "memory.max_usage_in_bytes"),
    (Item::MemoryMaxUsage, None, "memory.peak"),
    (Item::MemoryStatV1, Some(Controller::Memory), "memory.stat"),
    (Item::MemoryStatV2, None, "memory.stat"),
    (Item::MemoryFailcnt, Some(Controller::Memory), "memory.failcnt"),
    (Item::MemoryOomControl, Some(Controller::Memory), "memory.oom_control"),
    (Item::MemoryKernel, Some(Controller::Memory), "memory.kmem.usage_in_bytes"),
    (Item::MemoryEvents, None, "memory.events"),
    (Item::MemorySwapV2, None, "memory.swap.current"),
    (Item::MemorySwapEvents, None, "memory.swap.events"),
    (Item::PidsCurrent, Some(Controller::Pids), "pids.current"),
    (Item::PidsCurrent, None, "pids.current"),
    (Item::PidsEvents, Some(Controller::Pids), "pids.events"),
    (Item::PidsEvents, None, "pids.events"),
    (Item::PidsPeak, None, "pids.peak"),
    (Item::BlkioBytes, Some(Controller::Blkio), "blkio.throttle.io_service_bytes_recursive"),
    (Item::BlkioOperations, Some(Controller::Blkio), "blkio.throttle.io_serviced_recursive"),
    (Item::IoStat, None, "io.stat"),
    (Item::FreezerV1, Some(Controller::Freezer), "freezer.state"),
    (Item::CgroupEvents, None, "cgroup.events"),
    (Item::CpuPressure, None, "cpu.pressure"),
    (Item::MemoryPressure, None, "memory.pressure"),
    (Item::IoPressure, None, "io.pressure"),
];

/// Which file, once it is there, leaves another of the plan with nothing to tell. The cgroup2 tree splits CPU time in one file, where v1
/// needs two; and v1's freezer has the word where it is mounted.
pub(crate) fn is_told_by(item: Item) -> Option<Item> {
    match item {
        Item::CpuacctUser | Item::CpuacctSystem => Some(Item::CpuStatV2),
        Item::CgroupEvents => Some(Item::FreezerV1),
        _ => None,
    }
}

/// Parses one file into the reading; gives back the inactive page cache where the file tells it.
pub(crate) fn take(item: Item, text: &[u8], reading: &mut Reading) -> Option<u64> {
    let memory = &mut reading.memory;
    match item {
        Item::CpuacctUsage => {
            if let Some(usage_ns) = bytes::single(text) {
                reading.cpu.get_or_insert_default().usage_ns = usage_ns;
            }
        }
        Item::CpuacctUser => set(reading.cpu.as_mut().map(|cpu| &mut cpu.user_ns), text),
        Item::CpuacctSystem => set(reading.cpu.as_mut().map(|cpu| &mut cpu.system_ns), text),
        Item::CpuStatV1 => reading.throttling = cgroup_v1::throttling(text),
        Item::CpuLocal => reading.held_ns = cgroup_v1::held_ns(text).or_else(|| cgroup_v2::held_ns(text)),
        Item::CpuStatV2 => {
            let (cpu, throttling) = cgroup_v2::cpu_stat(text);
            match (&mut reading.cpu, cpu) {
                (Some(mine), Some(theirs)) => {
                    mine.user_ns = theirs.user_ns;
                    mine.system_ns = theirs.system_ns;
                }
                (mine, theirs) => *mine = theirs,
            }
            reading.throttling = reading.throttling.or(throttling);
        }
        Item::MemoryUsage => memory.usage_bytes = bytes::single(text),
        Item::MemoryMaxUsage => memory.max_usage_bytes = bytes::single(text),
        Item::MemoryStatV1 => return cgroup_v1::memory_stat(text, memory),
        Item::MemoryStatV2 => return cgroup_v2::memory_stat(text, memory),
        Item::MemoryFailcnt => memory.limit_hits = bytes::single(text),
        Item::MemoryOomControl => cgroup_v1::oom_control(text, memory),
        Item::MemoryKernel => memory.kernel_bytes = bytes::single(text),
        Item::MemoryEvents => cgroup_v2::memory_events(text, memory),
        Item::MemorySwapV2 => memory.swap_bytes = bytes::single(text),
        Item::MemorySwapEvents => cgroup_v2::swap_events(text, memory),
        Item::PidsCurrent => reading.pids.tasks = bytes::single(text),
        Item::PidsEvents => reading.pids.limit_hits = cgroup_v2::max_events(text),
        Item::PidsPeak => reading.pids.peak = bytes::single(text),
        Item::BlkioBytes => cgroup_v1::blkio(text, BlkioUnit::Bytes, reading.io.get_or_insert_default()),
        Item::BlkioOperations => {
            cgroup_v1::blkio(text, BlkioUnit::Operations, reading.io.get_or_insert_default());
        }
        Item::IoStat => cgroup_v2::io_stat(text, reading.io.get_or_insert_default()),
        Item::FreezerV1 => reading.freezer = cgroup_v1::freezer(text),
        Item::CgroupEvents => reading.freezer = cgroup_v2::freezer(text),
        Item::CpuPressure => reading.pressure.cpu = pressure::parse(text),
        Item::MemoryPressure => reading.pressure.memory = pressure::parse(text),
        Item::IoPressure => reading.pressure.io = pressure::parse(text),
    }
    None
}

fn set(slot: Option<&mut Option<u64>>, text: &[u8]) {
    if let Some(slot) = slot {
        *slot = bytes::single(text);
    }
}
