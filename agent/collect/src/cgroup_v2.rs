//! Files of a cgroup2 directory (kernel's Documentation/admin-guide/cgroup-v2.rst).
//!
//! CPU time is in microseconds, a missing limit is the word `max`, and counters take in what is below.
//! Which fields a file has depends on the controllers that are enabled there and on the kernel, so each
//! is optional; in a hybrid layout `cpu.stat` has usage but no throttling.

use crate::bytes;
use crate::cgroup_v1::{device_limit_mut, device_mut, device_number};
use crate::reading::{Cpu, DeviceIo, DeviceLimit, Freezer, Limits, Memory, Throttling, memory_part};

/// Nanoseconds in a microsecond.
const NS_PER_US: u64 = 1_000;

/// `memory.max`, `pids.max` and their like; `None` for `max`.
pub fn limit(text: &[u8]) -> Option<u64> {
    bytes::single(text)
}

/// `cpu.max` into `limits`: `max 100000` or `50000 100000`, in microseconds.
pub fn cpu_max(text: &[u8], limits: &mut Limits) {
    let mut fields = bytes::lines(text).next().unwrap_or_default().splitn(2, |byte| *byte == b' ');
    limits.cpu_quota_us = fields.next().and_then(bytes::number);
    limits.cpu_period_us = fields.next().and_then(bytes::number);
}

/// The v1 shares that a `cpu.weight` (1 to 10,000) stands for: the inverse of what runc and crun
/// write, weight = 1 + (shares - 2) * 9999 / 262142.
pub fn shares_of_weight(weight: u64) -> u64 {
    2 + weight.clamp(1, 10_000).saturating_sub(1) * 262_142 / 9_999
}

/// `cpu.stat`: CPU time, and throttling where the controller is enabled.
pub fn cpu_stat(text: &[u8]) -> (Option<Cpu>, Option<Throttling>) {
    let (mut usage, mut user, mut system) = (None, None, None);
    let (mut periods, mut throttled, mut time) = (None, None, None);
    let (mut burst_periods, mut burst) = (None, None);
    bytes::pairs(text, |key, value| {
        let slot = match key {
            b"usage_usec" => &mut usage,
            b"user_usec" => &mut user,
            b"system_usec" => &mut system,
            b"nr_periods" => &mut periods,
            b"nr_throttled" => &mut throttled,
            b"throttled_usec" => &mut time,
            b"nr_bursts" => &mut burst_periods,
            b"burst_usec" => &mut burst,
            _ => return,
        };
        *slot = Some(value);
    });
    let ns = |us: u64| us.checked_mul(NS_PER_US);
    let cpu =
        usage.and_then(ns).map(|usage_ns| Cpu { usage_ns, user_ns: user.and_then(ns), system_ns: system.and_then(ns) });
    let throttling = match (periods, throttled, time.and_then(ns)) {
        (Some(periods), Some(throttled_periods), Some(throttled_ns)) => {
            let burst_ns = burst.and_then(ns);
            Some(Throttling { periods, throttled_periods, throttled_ns, burst_periods, burst_ns })
        }
        _ => None,
    };
    (cpu, throttling)
}

/// `memory.stat` into `memory`. Gives back what of the page cache is inactive.
pub fn memory_stat(text: &[u8], memory: &mut Memory) -> Option<u64> {
    let mut inactive_file = None;
    bytes::pairs(text, |key, value| {
        let slot = match key {
            b"anon" => &mut memory.rss_bytes,
            b"file" => &mut memory.cache_bytes,
            b"kernel" => &mut memory.kernel_bytes,
            b"file_mapped" => &mut memory.mapped_file_bytes,
            b"pgfault" => &mut memory.pgfault,
            b"pgmajfault" => &mut memory.pgmajfault,
            b"inactive_file" => &mut inactive_file,
            b"active_file" => &mut memory.active_file_bytes,
            b"file_dirty" => &mut memory.file_dirty_bytes,
            b"file_writeback" => &mut memory.file_writeback_bytes,
            b"pgscan" => &mut memory.pages_scanned,
            b"pgscan_direct" => &mut memory.pages_scanned_direct,
            b"pgsteal" => &mut memory.pages_stolen,
            b"workingset_refault_file" => &mut memory.refaults_file,
            b"workingset_refault_anon" => &mut memory.refaults_anon,
            _ => match memory_part(key) {
                Some(part) => &mut memory.part_bytes[part],
                None => return,
            },
        };
        *slot = Some(value);
    });
    memory.inactive_file_bytes = inactive_file;
    inactive_file
}

/// `memory.events` into `memory`: limit hits (`max`), kills and the rest.
pub fn memory_events(text: &[u8], memory: &mut Memory) {
    bytes::pairs(text, |key, value| match key {
        b"low" => memory.events.low = Some(value),
        b"high" => memory.events.high = Some(value),
        b"max" => {
            memory.limit_hits = Some(value);
            memory.events.max = Some(value);
        }
        b"oom" => memory.events.oom = Some(value),
        b"oom_kill" => memory.oom_kills = Some(value),
        b"oom_group_kill" => memory.events.oom_group_kill = Some(value),
        _ => {}
    });
}

/// `memory.swap.events` into `memory`.
pub fn swap_events(text: &[u8], memory: &mut Memory) {
    bytes::pairs(text, |key, value| match key {
        b"max" => memory.events.swap_max = Some(value),
        b"fail" => memory.events.swap_fail = Some(value),
        _ => {}
    });
}

/// `pids.events` and `hugetlb.SIZE.events`: how often the limit was hit.
pub fn max_events(text: &[u8]) -> Option<u64> {
    bytes::value_of(text, b"max")
}

/// `cpu.stat.local`: for how long it was held, in nanoseconds.
pub fn held_ns(text: &[u8]) -> Option<u64> {
    bytes::value_of(text, b"throttled_usec")?.checked_mul(NS_PER_US)
}

/// `io.max` into `limits`: lines `MAJ:MIN rbps=1 wbps=max riops=2 wiops=max`.
pub fn io_max(text: &[u8], limits: &mut Vec<DeviceLimit>) {
    assignments(text, |number, key, value| {
        let Some(limit) = device_limit_mut(limits, number) else { return };
        let slot = match key {
            b"rbps" => &mut limit.read_bytes,
            b"wbps" => &mut limit.written_bytes,
            b"riops" => &mut limit.reads,
            b"wiops" => &mut limit.writes,
            _ => return,
        };
        *slot = Some(value);
    });
}

/// `cgroup.events`: whether it is frozen. The key is missing before Linux 5.2.
pub fn freezer(text: &[u8]) -> Option<Freezer> {
    let mut frozen = None;
    bytes::pairs(text, |key, value| {
        if key == b"frozen" {
            frozen = match value {
                0 => Some(Freezer::Thawed),
                1 => Some(Freezer::Frozen),
                _ => None,
            };
        }
    });
    frozen
}

/// `io.stat` into `devices`: lines `MAJ:MIN rbytes=1 wbytes=2 rios=3 wios=4 …`. A line may be a device's numbers alone.
pub fn io_stat(text: &[u8], devices: &mut Vec<DeviceIo>) {
    assignments(text, |number, key, value| {
        let Some(device) = device_mut(devices, number) else { return };
        let slot = match key {
            b"rbytes" => &mut device.read_bytes,
            b"wbytes" => &mut device.written_bytes,
            b"rios" => &mut device.reads,
            b"wios" => &mut device.writes,
            b"dbytes" => &mut device.discarded_bytes,
            b"dios" => &mut device.discards,
            b"cost.usage" => &mut device.cost.usage_us,
            b"cost.wait" => &mut device.cost.wait_us,
            b"cost.indebt" => &mut device.cost.debt_us,
            b"cost.indelay" => &mut device.cost.delay_us,
            _ => return,
        };
        *slot = Some(value);
    });
}

/// Lines `MAJ:MIN key=1 key=2 …`: hands each whole number to `take` with its device's numbers and its key.
fn assignments<'t>(text: &'t [u8], mut take: impl FnMut(&'t str, &'t [u8], u64)) {
    for line in bytes::lines(text) {
        let mut fields = bytes::fields(line);
        let Some(number) = fields.next().and_then(device_number) else {
            continue;
        };
        for field in fields {
            if let Some(at) = field.iter().position(|byte| *byte == b'=')
                && let Some(value) = bytes::number(&field[at + 1..])
            {
                take(number, &field[..at], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::MemoryEvents;

    #[test]
    fn cpu_stat_table() {
        let cpu = |usage, user, system| Some(Cpu { usage_ns: usage, user_ns: user, system_ns: system });
        let throttling = Some(Throttling {
            periods: 4,
            throttled_periods: 3,
            throttled_ns: 2_000,
            burst_periods: Some(5),
            burst_ns: None,
        });
        for (text, expected) in [
            (
                "usage_usec 12808448\nuser_usec 12796623\nsystem_usec 11825\nnice_usec 0\n",
                (cpu(12_808_448_000, Some(12_796_623_000), Some(11_825_000)), None),
            ),
            (
                "usage_usec 1\nuser_usec 1\nsystem_usec 0\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\nnr_bursts 5\nburst_usec 18446744073709551615\n",
                (cpu(1_000, Some(1_000), Some(0)), throttling),
            ),
            ("usage_usec 7\n", (cpu(7_000, None, None), None)),
            // 2^64-1 microseconds do not fit in nanoseconds: absent, not wrapped.
            ("usage_usec 18446744073709551615\nuser_usec 1\n", (None, None)),
            ("usage_usec 7\nuser_usec 5", (cpu(7_000, None, None), None)),
            ("", (None, None)),
            ("usage_usec\n", (None, None)),
        ] {
            assert_eq!(cpu_stat(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!(limit(b"max\n"), None);
        assert_eq!(limit(b"67108864\n"), Some(67_108_864));
        for (text, quota, period) in [
            ("max 100000\n", None, Some(100_000)),
            ("5000 100000\n", Some(5_000), Some(100_000)),
            ("5000\n", Some(5_000), None),
            ("5000 1000", None, None),
            ("", None, None),
        ] {
            let mut limits = Limits::default();
            cpu_max(text.as_bytes(), &mut limits);
            assert_eq!((limits.cpu_quota_us, limits.cpu_period_us), (quota, period), "{text:?}");
        }
        assert_eq!(shares_of_weight(1), 2);
        assert_eq!(shares_of_weight(10_000), 262_144);
        assert_eq!(shares_of_weight(u64::MAX), 262_144);
    }

    #[test]
    fn memory() {
        let mut memory = Memory::default();
        let inactive = memory_stat(
            b"anon 1\nfile 2\nkernel 3\nfile_mapped 4\ninactive_file 5\npgfault 6\npgmajfault 7\nsock 8\n\
              active_file 9\nfile_dirty 10\nfile_writeback 11\npgscan 12\npgscan_direct 13\npgsteal 14\n\
              workingset_refault_file 15\nworkingset_refault_anon 18446744073709551615\nunheard_of 1\nzswap 3",
            &mut memory,
        );
        memory_events(b"low 0\nhigh 0\nmax 9\noom 1\noom_kill 10\noom_group_kill 0\n", &mut memory);
        swap_events(b"high 1\nmax 4\nfail x\n", &mut memory);
        assert_eq!(inactive, Some(5));
        let expected = Memory {
            rss_bytes: Some(1),
            cache_bytes: Some(2),
            kernel_bytes: Some(3),
            mapped_file_bytes: Some(4),
            pgfault: Some(6),
            pgmajfault: Some(7),
            limit_hits: Some(9),
            oom_kills: Some(10),
            inactive_file_bytes: Some(5),
            active_file_bytes: Some(9),
            file_dirty_bytes: Some(10),
            file_writeback_bytes: Some(11),
            pages_scanned: Some(12),
            pages_scanned_direct: Some(13),
            pages_stolen: Some(14),
            refaults_file: Some(15),
            refaults_anon: Some(u64::MAX),
            part_bytes: crate::reading::MEMORY_PARTS.map(|part| (part == "sock").then_some(8)),
            events: MemoryEvents {
                low: Some(0),
                high: Some(0),
                max: Some(9),
                oom: Some(1),
                oom_group_kill: Some(0),
                swap_max: Some(4),
                swap_fail: None,
            },
            ..Memory::default()
        };
        assert_eq!(memory, expected);
        for (text, hits) in [(&b"max 3\n"[..], Some(3)), (b"max 3", None), (b"maximum 3\n", None), (b"", None)] {
            assert_eq!(max_events(text), hits);
        }
        assert_eq!(held_ns(b"throttled_usec 7\n"), Some(7_000));
        assert_eq!(held_ns(b"throttled_usec 18446744073709551615\n"), None);
        assert_eq!(held_ns(b"throttled_time 7\n"), None);
    }

    #[test]
    fn events_and_io() {
        assert_eq!(freezer(b"populated 1\nfrozen 1\n"), Some(Freezer::Frozen));
        assert_eq!(freezer(b"populated 1\nfrozen 0\n"), Some(Freezer::Thawed));
        assert_eq!(freezer(b"populated 1\n"), None);
        assert_eq!(freezer(b"frozen 18446744073709551615\n"), None);
        let mut devices = Vec::new();
        io_stat(
            b"8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7 cost.wait=8\n7:0 \n9:0 rbytes=x wios=1\n8:0 rbytes=99",
            &mut devices,
        );
        assert_eq!(devices.len(), 2);
        assert_eq!(devices[0].written_bytes, Some(2));
        assert_eq!((devices[0].discarded_bytes, devices[0].discards), (Some(5), Some(6)));
        assert_eq!(
            (devices[0].cost.usage_us, devices[0].cost.wait_us, devices[0].cost.debt_us),
            (Some(7), Some(8), None)
        );
        assert_eq!(devices[1].device, "9:0");
        assert_eq!((devices[1].read_bytes, devices[1].writes), (None, Some(1)));
        let mut limits = Vec::new();
        io_max(
            b"8:16 rbps=2097152 wbps=max riops=max wiops=120\n8:0 rbps=max wbps=max\nx rbps=1\n8:1 rbps=9",
            &mut limits,
        );
        let expected = DeviceLimit {
            device: "8:16".into(),
            read_bytes: Some(2_097_152),
            writes: Some(120),
            ..DeviceLimit::default()
        };
        assert_eq!(limits, [expected]);
    }
}
