//! Files of cgroup v1 controllers (kernel's Documentation/admin-guide/cgroup-v1).
//!
//! Units differ from v2: CPU time is in nanoseconds, and "unlimited" memory is a number, the largest
//! that fits in whole pages. `total_*` of `memory.stat` counts what is below as well, and is what a
//! container's figures mean; without a prefix it is the cgroup's own.

use crate::bytes;
use crate::reading::{DeviceIo, DeviceLimit, Freezer, Memory, Throttling};

/// Above this a limit is none: `LONG_MAX` rounded down to pages of 4 to 64 KiB and more is still above.
const UNLIMITED_BYTES: u64 = 1 << 62;

/// `memory.limit_in_bytes` and its like; `None` for a limit that is none.
pub fn memory_limit(text: &[u8]) -> Option<u64> {
    bytes::single(text).filter(|limit| *limit < UNLIMITED_BYTES)
}

/// `cpu.cfs_quota_us`; `None` for -1.
pub fn cpu_quota_us(text: &[u8]) -> Option<u64> {
    let quota = bytes::signed(bytes::lines(text).next()?)?;
    u64::try_from(quota).ok()
}

/// `cpu.stat`: throttling. `nr_periods` is there with or without a quota; with none it says nothing.
pub fn throttling(text: &[u8]) -> Option<Throttling> {
    let (mut periods, mut throttled, mut time) = (None, None, None);
    let (mut burst_periods, mut burst_ns) = (None, None);
    bytes::pairs(text, |key, value| match key {
        b"nr_periods" => periods = Some(value),
        b"nr_throttled" => throttled = Some(value),
        b"throttled_time" => time = Some(value),
        b"nr_bursts" => burst_periods = Some(value),
        b"burst_time" => burst_ns = Some(value),
        _ => {}
    });
    let (periods, throttled_periods, throttled_ns) = (periods?, throttled?, time?);
    Some(Throttling { periods, throttled_periods, throttled_ns, burst_periods, burst_ns })
}

/// `cpu.stat.local`: for how long it was held, in nanoseconds.
pub fn held_ns(text: &[u8]) -> Option<u64> {
    bytes::value_of(text, b"throttled_time")
}

/// `memory.stat` into `memory`; the working set is worked out by [`Memory::set_working_set`].
/// Gives back what of the page cache is inactive.
pub fn memory_stat(text: &[u8], memory: &mut Memory) -> Option<u64> {
    let mut inactive_file = None;
    bytes::pairs(text, |key, value| {
        let slot = match key {
            b"total_cache" => &mut memory.cache_bytes,
            b"total_rss" => &mut memory.rss_bytes,
            b"total_swap" => &mut memory.swap_bytes,
            b"total_mapped_file" => &mut memory.mapped_file_bytes,
            b"total_pgfault" => &mut memory.pgfault,
            b"total_pgmajfault" => &mut memory.pgmajfault,
            b"pgfault" => &mut memory.own_pgfault,
            b"pgmajfault" => &mut memory.own_pgmajfault,
            b"total_inactive_file" => &mut inactive_file,
            b"total_active_file" => &mut memory.active_file_bytes,
            b"total_dirty" => &mut memory.file_dirty_bytes,
            b"total_writeback" => &mut memory.file_writeback_bytes,
            b"total_workingset_refault_file" => &mut memory.refaults_file,
            b"total_workingset_refault_anon" => &mut memory.refaults_anon,
            _ => match key.strip_prefix(b"total_").and_then(part_of) {
                Some(part) => &mut memory.part_bytes[part],
                None => return,
            },
        };
        *slot = Some(value);
    });
    memory.inactive_file_bytes = inactive_file;
    inactive_file
}

/// Which of [`MEMORY_PARTS`] a key of v1's `memory.stat` is, without its `total_`. v1 has its own word for one of them.
fn part_of(key: &[u8]) -> Option<usize> {
    let name = if key == b"rss_huge" { b"anon_thp" } else { key };
    crate::reading::memory_part(name)
}

/// `memory.oom_control` into `memory`: how many processes were killed (missing on old kernels), and whether tasks wait.
pub fn oom_control(text: &[u8], memory: &mut Memory) {
    bytes::pairs(text, |key, value| match key {
        b"oom_kill" => memory.oom_kills = Some(value),
        b"under_oom" => memory.under_oom = Some(value),
        _ => {}
    });
}

/// `freezer.state`.
pub fn freezer(text: &[u8]) -> Option<Freezer> {
    match bytes::lines(text).next()? {
        b"THAWED" => Some(Freezer::Thawed),
        b"FREEZING" => Some(Freezer::Freezing),
        b"FROZEN" => Some(Freezer::Frozen),
        _ => None,
    }
}

/// What a `blkio` file counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlkioUnit {
    /// `…io_service_bytes…`.
    Bytes,
    /// `…io_serviced…`.
    Operations,
}

/// `blkio.throttle.io_service_bytes` or `…io_serviced`: lines `MAJ:MIN Read 12`, merged into
/// `devices` by their numbers. The line `Total` of all devices is left out.
pub fn blkio(text: &[u8], unit: BlkioUnit, devices: &mut Vec<DeviceIo>) {
    for line in bytes::lines(text) {
        let mut fields = bytes::fields(line);
        let (Some(number), Some(direction), Some(value)) =
            (fields.next().and_then(device_number), fields.next(), fields.next().and_then(bytes::number))
        else {
            continue;
        };
        let Some(device) = device_mut(devices, number) else { continue };
        match (unit, direction) {
            (BlkioUnit::Bytes, b"Read") => device.read_bytes = Some(value),
            (BlkioUnit::Bytes, b"Write") => device.written_bytes = Some(value),
            (BlkioUnit::Operations, b"Read") => device.reads = Some(value),
            (BlkioUnit::Operations, b"Write") => device.writes = Some(value),
            (BlkioUnit::Bytes, b"Discard") => device.discarded_bytes = Some(value),
            (BlkioUnit::Operations, b"Discard") => device.discards = Some(value),
            _ => {}
        }
    }
}

/// `blkio.throttle.*_device`: lines `MAJ:MIN N`, merged into `limits`; `take` says which number it is.
pub fn device_limits(text: &[u8], limits: &mut Vec<DeviceLimit>, take: fn(&mut DeviceLimit) -> &mut Option<u64>) {
    for line in bytes::lines(text) {
        let mut fields = bytes::fields(line);
        let number = fields.next().and_then(device_number);
        if let (Some(number), Some(value)) = (number, fields.next().and_then(bytes::number))
            && let Some(limit) = device_limit_mut(limits, number)
        {
            *take(limit) = Some(value);
        }
    }
}

/// Block devices of one instance at most, the first in the kernel's order. Who may make loop or device-mapper devices can make thousands,
/// and each is a dozen series.
pub(crate) const DEVICES_MAX: usize = 256;

/// The limits of a device; none where it is one too many.
pub(crate) fn device_limit_mut<'d>(limits: &'d mut Vec<DeviceLimit>, number: &str) -> Option<&'d mut DeviceLimit> {
    let known = limits.iter().position(|limit| limit.device == number);
    if known.is_none() && limits.len() < DEVICES_MAX {
        limits.push(DeviceLimit { device: number.to_owned(), ..DeviceLimit::default() });
        return limits.last_mut();
    }
    limits.get_mut(known?)
}

/// `MAJ:MIN`, checked.
pub(crate) fn device_number(field: &[u8]) -> Option<&str> {
    let colon = field.iter().position(|byte| *byte == b':')?;
    bytes::number(&field[..colon])?;
    bytes::number(&field[colon + 1..])?;
    std::str::from_utf8(field).ok()
}

/// The entry of a device, none where it is one too many; there are a handful, so a scan is cheaper than a map.
pub(crate) fn device_mut<'d>(devices: &'d mut Vec<DeviceIo>, number: &str) -> Option<&'d mut DeviceIo> {
    let known = devices.iter().position(|device| device.number == number);
    if known.is_none() && devices.len() < DEVICES_MAX {
        devices.push(DeviceIo { device: number.to_owned(), number: number.to_owned(), ..DeviceIo::default() });
        return devices.last_mut();
    }
    devices.get_mut(known?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(some: &[(&str, u64)]) -> [Option<u64>; crate::reading::MEMORY_PARTS.len()] {
        crate::reading::MEMORY_PARTS.map(|part| some.iter().find(|(name, _)| *name == part).map(|(_, value)| *value))
    }

    #[test]
    fn limits() {
        for (text, expected) in [
            ("67108864\n", Some(67_108_864)),
            ("9223372036854771712\n", None),
            ("9223372036854710272\n", None),
            ("18446744073709551615\n", None),
            ("0\n", Some(0)),
            ("-1\n", None),
            ("", None),
            ("6710", None),
        ] {
            assert_eq!(memory_limit(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(cpu_quota_us(b"50000\n"), Some(50_000));
        assert_eq!(cpu_quota_us(b"-1\n"), None);
        assert_eq!(cpu_quota_us(b"x\n"), None);
    }

    #[test]
    fn throttling_table() {
        let text = b"nr_periods 255\nnr_throttled 250\nthrottled_time 12592706252\nnr_bursts 2\nburst_time 3\n";
        let mut expected = Throttling {
            periods: 255,
            throttled_periods: 250,
            throttled_ns: 12_592_706_252,
            burst_periods: Some(2),
            burst_ns: Some(3),
        };
        assert_eq!(throttling(text), Some(expected));
        // Before bursts, and with a last line that was cut.
        (expected.burst_periods, expected.burst_ns) = (None, None);
        let old = b"nr_periods 255\nnr_throttled 250\nthrottled_time 12592706252\nnr_bursts 2";
        assert_eq!(throttling(old), Some(expected));
        assert_eq!(held_ns(b"throttled_time 7\n"), Some(7));
        assert_eq!(held_ns(b"throttled_time 7"), None);
        assert_eq!(held_ns(b"throttled_usec 7\n"), None);
        assert_eq!(throttling(b"nr_periods 255\nnr_throttled 250\nthrottled_time 125"), None);
        assert_eq!(throttling(b""), None);
        assert_eq!(throttling(b"nr_periods x\nnr_throttled 1\nthrottled_time 1\n"), None);
    }

    #[test]
    fn memory_table() {
        let mut memory = Memory::default();
        let inactive = memory_stat(
            b"cache 1\nrss 2\npgfault 3\npgmajfault 4\ntotal_cache 2039808\ntotal_rss 65536\ntotal_mapped_file 1613824\n\
              total_swap 0\ntotal_pgfault 666\ntotal_pgmajfault 1\ntotal_inactive_file 253952\ntotal_unevictable 0\n\
              total_active_file 5\ntotal_dirty 6\ntotal_writeback 7\ntotal_workingset_refault_file 8\n\
              total_workingset_refault_anon 9\ntotal_rss_huge 10\ntotal_shmem 18446744073709551615\nshmem 11\n",
            &mut memory,
        );
        assert_eq!(inactive, Some(253_952));
        let expected = Memory {
            cache_bytes: Some(2_039_808),
            rss_bytes: Some(65_536),
            swap_bytes: Some(0),
            mapped_file_bytes: Some(1_613_824),
            pgfault: Some(666),
            pgmajfault: Some(1),
            own_pgfault: Some(3),
            own_pgmajfault: Some(4),
            inactive_file_bytes: Some(253_952),
            active_file_bytes: Some(5),
            file_dirty_bytes: Some(6),
            file_writeback_bytes: Some(7),
            refaults_file: Some(8),
            refaults_anon: Some(9),
            part_bytes: parts(&[("unevictable", 0), ("anon_thp", 10), ("shmem", u64::MAX)]),
            ..Memory::default()
        };
        assert_eq!(memory, expected);
        let mut none = Memory::default();
        assert_eq!(memory_stat(b"total_cache\ngarbage\n\xff\xfe 3\n", &mut none), None);
        assert_eq!(none, Memory::default());
    }

    #[test]
    fn small_ones() {
        for (text, kills, under_oom) in [
            (&b"oom_kill_disable 0\nunder_oom 1\noom_kill 7\n"[..], Some(7), Some(1)),
            (b"oom_kill_disable 0\nunder_oom 0\n", None, Some(0)),
            (b"oom_kill_disable 0\nunder_oom 0", None, None),
            (b"", None, None),
        ] {
            let mut memory = Memory::default();
            oom_control(text, &mut memory);
            assert_eq!((memory.oom_kills, memory.under_oom), (kills, under_oom));
        }
        let mut limits = Vec::new();
        device_limits(b"8:0 1048576\n8:16 x\nbad 1\n7:0 5", &mut limits, |limit| &mut limit.read_bytes);
        device_limits(b"8:0 10\n", &mut limits, |limit| &mut limit.writes);
        let expected = DeviceLimit {
            device: "8:0".into(),
            read_bytes: Some(1_048_576),
            writes: Some(10),
            ..DeviceLimit::default()
        };
        assert_eq!(limits, [expected]);
        assert_eq!(freezer(b"FROZEN\n"), Some(Freezer::Frozen));
        assert_eq!(freezer(b"THAWED\n"), Some(Freezer::Thawed));
        assert_eq!(freezer(b"FREEZING\n"), Some(Freezer::Freezing));
        assert_eq!(freezer(b"FROZ"), None);
        assert_eq!(freezer(b"?\n"), None);
    }

    #[test]
    fn blkio_table() {
        let mut devices = Vec::new();
        blkio(
            b"8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 1\n8:0 Total 12288\n8:0 Discard 512\n7:1 Read 1\nx Read 2\n8: Read 3\nTotal 12289\n",
            BlkioUnit::Bytes,
            &mut devices,
        );
        blkio(b"8:0 Read 1\n8:0 Write 2\n8:0 Discard 3\nTotal 3\n", BlkioUnit::Operations, &mut devices);
        let expected = [
            DeviceIo {
                device: "8:0".into(),
                number: "8:0".into(),
                read_bytes: Some(4096),
                written_bytes: Some(8192),
                reads: Some(1),
                writes: Some(2),
                discarded_bytes: Some(512),
                discards: Some(3),
                ..DeviceIo::default()
            },
            DeviceIo { device: "7:1".into(), number: "7:1".into(), read_bytes: Some(1), ..DeviceIo::default() },
        ];
        assert_eq!(devices, expected);
        let mut none = Vec::new();
        blkio(b"Total 0\n", BlkioUnit::Bytes, &mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn devices_are_bounded() {
        let lines: String = (0..DEVICES_MAX + 9).map(|n| format!("7:{n} Read 1\n7:{n} Write 2\n")).collect();
        let (mut devices, mut limits) = (Vec::new(), Vec::new());
        blkio(lines.as_bytes(), BlkioUnit::Bytes, &mut devices);
        assert_eq!((devices.len(), devices[255].written_bytes), (DEVICES_MAX, Some(2)));
        // One that is known is still filled when there is no more room.
        blkio(b"7:300 Read 8\n7:0 Read 9\n", BlkioUnit::Operations, &mut devices);
        assert_eq!((devices.len(), devices[0].reads), (DEVICES_MAX, Some(9)));
        let lines: String = (0..DEVICES_MAX + 9).map(|n| format!("7:{n} 5\n")).collect();
        device_limits(lines.as_bytes(), &mut limits, |limit| &mut limit.reads);
        assert_eq!((limits.len(), limits[255].reads), (DEVICES_MAX, Some(5)));
    }
}
