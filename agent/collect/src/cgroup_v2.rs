//! Files of a cgroup2 directory (kernel's Documentation/admin-guide/cgroup-v2.rst).
//!
//! CPU time is in microseconds, a missing limit is the word `max`, and counters take in what is below.
//! Which fields a file has depends on the controllers that are enabled there and on the kernel, so each
//! is optional; in a hybrid layout `cpu.stat` has usage but no throttling.

use crate::bytes;
use crate::cgroup_v1::{device_mut, device_number};
use crate::reading::{Cpu, DeviceIo, Freezer, Limits, Memory, Throttling};

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
    bytes::pairs(text, |key, value| {
        let slot = match key {
            b"usage_usec" => &mut usage,
            b"user_usec" => &mut user,
            b"system_usec" => &mut system,
            b"nr_periods" => &mut periods,
            b"nr_throttled" => &mut throttled,
            b"throttled_usec" => &mut time,
            _ => return,
        };
        *slot = Some(value);
    });
    let ns = |us: u64| us.checked_mul(NS_PER_US);
    let cpu =
        usage.and_then(ns).map(|usage_ns| Cpu { usage_ns, user_ns: user.and_then(ns), system_ns: system.and_then(ns) });
    let throttling = match (periods, throttled, time.and_then(ns)) {
        (Some(periods), Some(throttled_periods), Some(throttled_ns)) => {
            Some(Throttling { periods, throttled_periods, throttled_ns })
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
            _ => return,
        };
        *slot = Some(value);
    });
    inactive_file
}

/// `memory.events` into `memory`: limit hits (`max`) and kills.
pub fn memory_events(text: &[u8], memory: &mut Memory) {
    bytes::pairs(text, |key, value| match key {
        b"max" => memory.limit_hits = Some(value),
        b"oom_kill" => memory.oom_kills = Some(value),
        _ => {}
    });
}

/// `pids.events`: how often a fork was refused.
pub fn pids_events(text: &[u8]) -> Option<u64> {
    let mut hits = None;
    bytes::pairs(text, |key, value| {
        if key == b"max" {
            hits = Some(value);
        }
    });
    hits
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
    for line in bytes::lines(text) {
        let mut fields = bytes::fields(line);
        let Some(number) = fields.next().and_then(device_number) else {
            continue;
        };
        for field in fields {
            let Some(at) = field.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let value = bytes::number(&field[at + 1..]);
            if value.is_none() {
                continue;
            }
            match &field[..at] {
                b"rbytes" => device_mut(devices, number).read_bytes = value,
                b"wbytes" => device_mut(devices, number).written_bytes = value,
                b"rios" => device_mut(devices, number).reads = value,
                b"wios" => device_mut(devices, number).writes = value,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_stat_table() {
        let cpu = |usage, user, system| Some(Cpu { usage_ns: usage, user_ns: user, system_ns: system });
        let throttling = Some(Throttling { periods: 4, throttled_periods: 3, throttled_ns: 2_000 });
        for (text, expected) in [
            (
                "usage_usec 12808448\nuser_usec 12796623\nsystem_usec 11825\nnice_usec 0\n",
                (cpu(12_808_448_000, Some(12_796_623_000), Some(11_825_000)), None),
            ),
            (
                "usage_usec 1\nuser_usec 1\nsystem_usec 0\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\nnr_bursts 0\n",
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
            b"anon 1\nfile 2\nkernel 3\nfile_mapped 4\ninactive_file 5\npgfault 6\npgmajfault 7\nsock 8\n",
            &mut memory,
        );
        memory_events(b"low 0\nhigh 0\nmax 9\noom 1\noom_kill 10\noom_group_kill 0\n", &mut memory);
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
            ..Memory::default()
        };
        assert_eq!(memory, expected);
        assert_eq!(pids_events(b"max 3\n"), Some(3));
        assert_eq!(pids_events(b"max 3"), None);
    }

    #[test]
    fn events_and_io() {
        assert_eq!(freezer(b"populated 1\nfrozen 1\n"), Some(Freezer::Frozen));
        assert_eq!(freezer(b"populated 1\nfrozen 0\n"), Some(Freezer::Thawed));
        assert_eq!(freezer(b"populated 1\n"), None);
        assert_eq!(freezer(b"frozen 18446744073709551615\n"), None);
        let mut devices = Vec::new();
        io_stat(
            b"8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:0 \n9:0 rbytes=x wios=1\n8:0 rbytes=99",
            &mut devices,
        );
        assert_eq!(devices.len(), 2);
        assert_eq!(devices[0].written_bytes, Some(2));
        assert_eq!(devices[1].device, "9:0");
        assert_eq!((devices[1].read_bytes, devices[1].writes), (None, Some(1)));
    }
}
