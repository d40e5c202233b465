//! What changes seldom: the caps of an instance, read anew every few seconds rather than at each reading.
//!
//! v1's controllers are asked where they are mounted, the cgroup2 tree for what they do not have. A limit that is not set
//! is `None`, as is one that this kernel has not. Two facts come from the leader: which CPUs it may run on (which
//! is its cpuset in any layout, less what it forbade itself), and how many descriptors it may open.

use std::path::Path;

use rustix::process::Pid;

use crate::cgroup_v1::{self, device_limits};
use crate::found::CgroupDirs;
use crate::leader::Leader;
use crate::mounts::{Controller, Roots};
use crate::reading::{DeviceLimit, HugePages, Limits, Ulimit};
use crate::source::Buffer;
use crate::{bytes, cgroup_v2, node};

/// The caps as last read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caps {
    pub(crate) limits: Limits,
    pub(crate) device_limits: Vec<DeviceLimit>,
    pub(crate) huge_pages: Vec<HugePages>,
}

/// v1's files of limits on devices, and which of them each is.
type DeviceLimitFile = (&'static str, fn(&mut DeviceLimit) -> &mut Option<u64>);
const DEVICE_LIMITS_V1: [DeviceLimitFile; 4] = [
    ("blkio.throttle.read_bps_device", |limit| &mut limit.read_bytes),
    ("blkio.throttle.write_bps_device", |limit| &mut limit.written_bytes),
    ("blkio.throttle.read_iops_device", |limit| &mut limit.reads),
    ("blkio.throttle.write_iops_device", |limit| &mut limit.writes),
];

impl Caps {
    /// Takes limits that were read anew; what is the leader's and the huge pages stay.
    pub(crate) fn take(&mut self, new: Self) {
        let leaders = OfLeader { cpus_allowed: self.limits.cpus_allowed, open_files: self.limits.open_files };
        (self.limits, self.device_limits) = (new.limits, new.device_limits);
        self.set_leaders(leaders);
    }

    pub(crate) fn set_leaders(&mut self, leaders: OfLeader) {
        (self.limits.cpus_allowed, self.limits.open_files) = (leaders.cpus_allowed, leaders.open_files);
    }
}

/// What the leader may have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfLeader {
    pub(crate) cpus_allowed: Option<u64>,
    pub(crate) open_files: Option<Ulimit>,
}

/// Reads what is set for the cgroups.
pub(crate) fn read(cgroups: &CgroupDirs, roots: &Roots, buffer: &mut Buffer) -> Caps {
    let mut from = From { cgroups, buffer };
    let mut caps = Caps::default();
    from.cpu(&mut caps.limits);
    from.memory(&mut caps.limits);
    caps.limits.tasks = from.first(Controller::Pids, "pids.max", "pids.max").as_deref().and_then(cgroup_v2::limit);
    from.devices(roots, &mut caps.device_limits);
    caps
}

/// Reads what the cgroup2 tree tells of huge pages.
pub(crate) fn huge_pages(cgroups: &CgroupDirs, roots: &Roots, buffer: &mut Buffer) -> Vec<HugePages> {
    let mut all = Vec::new();
    From { cgroups, buffer }.huge_pages(roots, &mut all);
    all
}

/// Asks what the leader may have.
pub(crate) fn of_leader(leader: &Leader, roots: &Roots, buffer: &mut Buffer) -> OfLeader {
    let directory = leader.directory(roots);
    let cpus_allowed =
        cpus_of(leader).or_else(|| buffer.read_path(&directory.join("status")).ok().and_then(cpus_allowed));
    let open_files = buffer.read_path(&directory.join("limits")).ok().and_then(open_files);
    // What was asked by number is the leader's only if it has not ended meanwhile.
    if leader.is_alive() { OfLeader { cpus_allowed, open_files } } else { OfLeader::default() }
}

/// On how many CPUs it may run, by the call for it: `status` tells the same, and much more that the kernel has to gather. None of a fixture's,
/// and where there are more CPUs than the call has room for.
fn cpus_of(leader: &Leader) -> Option<u64> {
    let pid = leader.pidfd.as_ref().and(Pid::from_raw(i32::try_from(leader.pid).ok()?))?;
    let cpus = rustix::thread::sched_getaffinity(Some(pid)).ok()?;
    Some(u64::from(cpus.count())).filter(|count| *count > 0)
}

struct From<'r> {
    cgroups: &'r CgroupDirs,
    buffer: &'r mut Buffer,
}

impl From<'_> {
    fn text(&mut self, directory: Option<&Path>, name: &str) -> Option<Vec<u8>> {
        self.buffer.read_path(&directory?.join(name)).ok().map(<[u8]>::to_vec)
    }

    fn v2(&mut self, name: &str) -> Option<Vec<u8>> {
        self.text(self.cgroups.v2.as_deref(), name)
    }

    /// Of the v1 controller where it is mounted, else of the cgroup2 tree.
    fn first(&mut self, controller: Controller, v1: &str, v2: &str) -> Option<Vec<u8>> {
        match self.cgroups.v1(controller) {
            Some(directory) => self.text(Some(directory), v1),
            None => self.v2(v2),
        }
    }

    fn cpu(&mut self, limits: &mut Limits) {
        let cpu = self.cgroups.v1(Controller::Cpu);
        let burst = self.first(Controller::Cpu, "cpu.cfs_burst_us", "cpu.max.burst");
        limits.cpu_burst_us = burst.as_deref().and_then(bytes::single).filter(|burst| *burst > 0);
        if cpu.is_some() {
            limits.cpu_quota_us = self.text(cpu, "cpu.cfs_quota_us").as_deref().and_then(cgroup_v1::cpu_quota_us);
            limits.cpu_period_us = self.text(cpu, "cpu.cfs_period_us").as_deref().and_then(bytes::single);
            limits.cpu_shares = self.text(cpu, "cpu.shares").as_deref().and_then(bytes::single);
            return;
        }
        if let Some(max) = self.v2("cpu.max") {
            cgroup_v2::cpu_max(&max, limits);
        }
        limits.cpu_weight = self.v2("cpu.weight").as_deref().and_then(bytes::single);
        limits.cpu_shares = limits.cpu_weight.map(cgroup_v2::shares_of_weight);
    }

    fn memory(&mut self, limits: &mut Limits) {
        let memory = self.cgroups.v1(Controller::Memory);
        if memory.is_some() {
            let mut v1 = |name| self.text(memory, name).as_deref().and_then(cgroup_v1::memory_limit);
            limits.memory_bytes = v1("memory.limit_in_bytes");
            limits.memory_swap_bytes = v1("memory.memsw.limit_in_bytes");
            limits.memory_reservation_bytes = v1("memory.soft_limit_in_bytes");
            return;
        }
        let mut v2 = |name| self.v2(name).as_deref().and_then(cgroup_v2::limit);
        limits.memory_bytes = v2("memory.max");
        limits.memory_high_bytes = v2("memory.high");
        limits.memory_min_bytes = v2("memory.min").filter(|min| *min > 0);
        limits.memory_reservation_bytes = v2("memory.low").filter(|low| *low > 0);
        limits.swap_bytes = v2("memory.swap.max");
        limits.memory_swap_bytes = match (limits.memory_bytes, limits.swap_bytes) {
            (Some(memory), Some(swap)) => memory.checked_add(swap),
            _ => None,
        };
    }

    fn devices(&mut self, roots: &Roots, limits: &mut Vec<DeviceLimit>) {
        let blkio = self.cgroups.v1(Controller::Blkio);
        for (name, take) in DEVICE_LIMITS_V1 {
            if let Some(text) = self.text(blkio, name) {
                device_limits(&text, limits, take);
            }
        }
        if blkio.is_none()
            && let Some(text) = self.v2("io.max")
        {
            cgroup_v2::io_max(&text, limits);
        }
        for limit in limits {
            limit.device = node::device_name(roots, &limit.device);
        }
    }

    fn huge_pages(&mut self, roots: &Roots, all: &mut Vec<HugePages>) {
        if self.cgroups.v2.is_none() {
            return;
        }
        let Ok(sizes) = std::fs::read_dir(roots.sys.join("kernel/mm/hugepages")) else {
            return;
        };
        for size in sizes.flatten() {
            let Some(page_size) = size.file_name().to_str().and_then(page_size) else {
                continue;
            };
            let usage = self.v2(&format!("hugetlb.{page_size}.current"));
            let Some(usage_bytes) = usage.as_deref().and_then(bytes::single) else {
                continue;
            };
            let events = self.v2(&format!("hugetlb.{page_size}.events"));
            let limit_hits = events.as_deref().and_then(cgroup_v2::max_events);
            all.push(HugePages { page_size, usage_bytes: Some(usage_bytes), limit_hits });
        }
        all.sort_by(|one, other| one.page_size.cmp(&other.page_size));
    }
}

/// How the hugetlb controller writes the size of `hugepages-2048kB`: `2MB`.
fn page_size(directory: &str) -> Option<String> {
    let kib: u64 = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kib {
        0..1024 => format!("{kib}KB"),
        1024..1_048_576 => format!("{}MB", kib >> 10),
        _ => format!("{}GB", kib >> 20),
    })
}

/// How many CPUs `Cpus_allowed_list:` of `/proc/<pid>/status` names: `0-3,8`.
pub fn cpus_allowed(status: &[u8]) -> Option<u64> {
    let line = bytes::lines(status).find_map(|line| line.strip_prefix(b"Cpus_allowed_list:"))?;
    line.trim_ascii().split(|byte| *byte == b',').try_fold(0u64, |sum, range| {
        let mut ends = range.splitn(2, |byte| *byte == b'-');
        let first = bytes::number(ends.next()?)?;
        let last = ends.next().map_or(Some(first), bytes::number)?;
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// The soft limit of `Max open files` in `/proc/<pid>/limits`.
pub fn open_files(limits: &[u8]) -> Option<Ulimit> {
    let line = bytes::lines(limits).find_map(|line| line.strip_prefix(b"Max open files "))?;
    match bytes::fields(line).next()? {
        b"unlimited" => Some(Ulimit::Unlimited),
        digits => bytes::number(digits).map(Ulimit::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_leader() {
        for (text, expected) in [
            (&b"Name:\tx\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n"[..], Some(4)),
            (b"Cpus_allowed_list:\t0-3,8,10-11\n", Some(7)),
            (b"Cpus_allowed_list:\t0\n", Some(1)),
            (b"Cpus_allowed_list:\t\n", None),
            (b"Cpus_allowed_list:\t3-1\n", None),
            (b"Cpus_allowed_list:\t0-18446744073709551615\n", None),
            (b"Cpus_allowed_list:\t0-3", None),
            (b"", None),
        ] {
            assert_eq!(cpus_allowed(text), expected, "{:?}", String::from_utf8_lossy(text));
        }
        for (text, expected) in [
            (
                &b"Max open files            1024                 524288               files\n"[..],
                Some(Ulimit::At(1024)),
            ),
            (b"Max open files  unlimited unlimited files\n", Some(Ulimit::Unlimited)),
            (b"Max open files  -1 2 files\n", None),
            (b"Max open files\n", None),
            (b"", None),
        ] {
            assert_eq!(open_files(text), expected, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn sizes_of_huge_pages() {
        for (name, size) in [
            ("hugepages-64kB", Some("64KB")),
            ("hugepages-2048kB", Some("2MB")),
            ("hugepages-1048576kB", Some("1GB")),
            ("hugepages-kB", None),
            ("hugepages-2048", None),
            ("x", None),
        ] {
            assert_eq!(page_size(name).as_deref(), size, "{name}");
        }
    }
}
