//! The node's own reading: `/proc/stat`, `loadavg`, `meminfo`, `net/dev`, `diskstats`, `pressure` and
//! what little else a machine's dashboard asks first.
//!
//! Each part is `None` or empty where its file is missing or makes no sense, and none costs another its value. Times
//! are seconds, sizes bytes. Nothing here can block: file systems are asked for their space apart ([`crate::space`]).

pub mod clock;
pub mod network;
pub mod zfs;

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::mounts::Roots;
use crate::reader::ticks_per_second;
use crate::reading::Stall;
use crate::source::{Buffer, FdBudget, Kept};
use crate::space::{NodeSpace, Space};
use crate::{bytes, netdev, pressure};

/// The modes of `/proc/stat`'s `cpu` lines, in order (proc_stat(5)); guest times are within user and nice.
pub const CPU_MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
/// A sector of `/proc/diskstats` is this long, whatever the device's own are.
const SECTOR_BYTES: u64 = 512;

/// One CPU's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    /// Its number, as text.
    pub cpu: String,
    /// Ticks in each of [`CPU_MODES`]. An old kernel has fewer; those are 0 there.
    pub ticks: [u64; CPU_MODES.len()],
}

/// From `/proc/stat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemStat {
    /// CPUs that are online.
    pub cpus: Vec<CpuTimes>,
    /// Interrupts served.
    pub interrupts: Option<u64>,
    /// Context switches.
    pub context_switches: Option<u64>,
    /// Processes and threads made.
    pub forks: Option<u64>,
    /// When the node booted, in seconds since 1970.
    pub boot_unix_seconds: Option<u64>,
    /// Tasks that run or could.
    pub running: Option<u64>,
    /// Tasks that wait for a device.
    pub blocked: Option<u64>,
}

/// One block device, from `/proc/diskstats`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its name.
    pub device: String,
    /// Fields 4 to 14: reads, merged, sectors, ms; the same of writes; in flight, ms busy, ms weighted.
    pub fields: [u64; 11],
    /// Fields 15 to 20: discards, merged, sectors, ms (since Linux 4.18), flushes, ms (since 5.5).
    pub later: [Option<u64>; 6],
}

impl Disk {
    /// Bytes read.
    pub fn read_bytes(&self) -> u64 {
        self.fields[2].saturating_mul(SECTOR_BYTES)
    }

    /// Bytes written.
    pub fn written_bytes(&self) -> u64 {
        self.fields[6].saturating_mul(SECTOR_BYTES)
    }
}

/// One line of `/proc/meminfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLine {
    /// Its name, with parentheses turned to underscores: `Active_anon`.
    pub name: String,
    /// Its value: bytes, or a number of huge pages.
    pub value: u64,
    /// Whether it is bytes.
    pub is_bytes: bool,
}

/// One reading of the node.
#[derive(Clone, Debug)]
pub struct NodeReading {
    /// When, on the clock that does not jump.
    pub taken_at: Instant,
    /// When, on the wall clock.
    pub taken_at_unix: SystemTime,
    /// CPU and more.
    pub stat: SystemStat,
    /// Load over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Memory.
    pub memory: Vec<MemoryLine>,
    /// Network interfaces of the host, loopback among them: name and the 16 numbers of `net/dev`.
    pub network: Vec<(String, [u64; 16])>,
    /// Whole block devices.
    pub disks: Vec<Disk>,
    /// What `/proc/vmstat` counts of paging, swapping and kills: the names that node_exporter has by default.
    pub vmstat: Vec<(String, u64)>,
    /// Protocols, sockets and interfaces.
    pub transport: network::Network,
    /// File systems by mount point, as last told.
    pub file_systems: Vec<(String, Space)>,
    /// ZFS; none where there is none.
    pub zfs: Option<zfs::Zfs>,
    /// Pressure of CPU, memory, io.
    pub pressure: [Option<Stall>; 3],
    /// Open files of the whole node, and how many there can be.
    pub files: Option<(u64, u64)>,
    /// How well the clock is kept.
    pub clock: Option<clock::Clock>,
    /// The first CPU's model, a number of its maker's; none where they have no numbers.
    pub cpu_model: Option<u64>,
    /// How long parts of it took.
    pub took: NodeTook,
}

/// How long parts of a node's reading took, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeTook {
    /// CPU times.
    pub cpu_ns: u64,
    /// ZFS.
    pub zfs_ns: u64,
    /// The clock's discipline.
    pub clock_ns: u64,
}

impl NodeReading {
    /// Memory that is installed, in bytes, as far as the kernel uses it.
    pub fn memory_total_bytes(&self) -> Option<u64> {
        let total = self.memory.iter().find(|line| line.name == "MemTotal")?;
        total.is_bytes.then_some(total.value)
    }

    /// Takes what the file systems said last, and has them asked again where it is time. Waits for nothing.
    pub fn look_at_space(&mut self, roots: &Arc<Roots>, space: &NodeSpace) {
        self.file_systems = space.look(roots, self.taken_at, &mut Buffer::default());
    }
}

/// What is read of `/proc`, beside the transports' and ZFS's.
const FILES: [&str; 10] = [
    "diskstats",
    "stat",
    "loadavg",
    "meminfo",
    "vmstat",
    "net/dev",
    "pressure/cpu",
    "pressure/memory",
    "pressure/io",
    "sys/fs/file-nr",
];

/// The node's files, kept open: the node must be readable above all when it has no descriptors left.
#[derive(Debug)]
pub struct NodeFiles {
    roots: Arc<Roots>,
    kept: [Option<Kept>; FILES.len()],
    /// It does not change while the node is up.
    cpu_model: Option<u64>,
    clock: Option<clock::Asked>,
}

impl NodeFiles {
    /// Opens those that there are. One that could not be opened is tried again at each reading.
    pub fn open(roots: Arc<Roots>) -> Self {
        let budget = FdBudget::new(FILES.len());
        let kept = FILES.map(|name| Kept::new(roots.proc.join(name), &budget).ok());
        let cpu_model = Buffer::default().read_path(&roots.proc.join("cpuinfo")).ok().and_then(parse_cpu_model);
        Self { roots, kept, cpu_model, clock: clock::Asked::open() }
    }

    /// Reads the node, now, but for its file systems: [`NodeReading::look_at_space`].
    pub fn read(&self) -> NodeReading {
        let mut buffer = Buffer::default();
        let taken_at = Instant::now();
        let transport = network::read(&self.roots, &mut buffer);
        let mut took = NodeTook::default();
        let zfs = timed(&mut took.zfs_ns, || zfs::read(&self.roots, &mut buffer));
        let clock = timed(&mut took.clock_ns, || self.clock.as_ref()?.read());
        let mut text = |name: &str| {
            let kept = FILES.iter().position(|file| *file == name).and_then(|at| self.kept[at].as_ref());
            let text = match kept {
                Some(kept) => kept.read(&mut buffer),
                None => buffer.read_path(&self.roots.proc.join(name)),
            };
            text.map(<[u8]>::to_vec).unwrap_or_default()
        };
        let disks = parse_diskstats(&text("diskstats"));
        let stat = timed(&mut took.cpu_ns, || parse_stat(&text("stat")));
        NodeReading {
            taken_at,
            taken_at_unix: SystemTime::now(),
            vmstat: parse_vmstat(&text("vmstat")),
            transport,
            file_systems: Vec::new(),
            zfs,
            stat,
            load: parse_loadavg(&text("loadavg")),
            memory: parse_meminfo(&text("meminfo")),
            network: netdev::parse_all(&text("net/dev")),
            disks: disks.into_iter().filter(|disk| is_whole(&self.roots, &disk.device)).collect(),
            pressure: ["cpu", "memory", "io"].map(|name| pressure::parse(&text(&format!("pressure/{name}")))),
            files: parse_file_nr(&text("sys/fs/file-nr")),
            clock,
            cpu_model: self.cpu_model,
            took,
        }
    }
}

/// What `work` gives, and how long it took.
fn timed<T>(took_ns: &mut u64, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    *took_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    done
}

/// `/proc/cpuinfo`: `model` of the first CPU, as x86 has it.
pub fn parse_cpu_model(text: &[u8]) -> Option<u64> {
    let end = text.windows(2).position(|pair| pair == b"\n\n").map_or(text.len(), |at| at + 1);
    bytes::lines(&text[..end]).find_map(|line| {
        let (key, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        (key.trim_ascii() == b"model").then(|| bytes::number(value[1..].trim_ascii()))?
    })
}

/// `/proc/stat`.
pub fn parse_stat(text: &[u8]) -> SystemStat {
    let mut stat = SystemStat::default();
    for line in bytes::lines(text) {
        let mut fields = bytes::fields(line);
        let key = fields.next().unwrap_or_default();
        if let Some(cpu) = key.strip_prefix(b"cpu").filter(|cpu| bytes::number(cpu).is_some()) {
            let cpu = String::from_utf8_lossy(cpu).into_owned();
            stat.cpus.extend(cpu_ticks(fields).map(|ticks| CpuTimes { cpu, ticks }));
            continue;
        }
        let slot = match key {
            b"intr" => &mut stat.interrupts,
            b"ctxt" => &mut stat.context_switches,
            b"processes" => &mut stat.forks,
            b"btime" => &mut stat.boot_unix_seconds,
            b"procs_running" => &mut stat.running,
            b"procs_blocked" => &mut stat.blocked,
            _ => continue,
        };
        *slot = fields.next().and_then(bytes::number);
    }
    stat
}

/// Of one CPU; none where one is no number, since a counter that is 0 for once would be a reset.
fn cpu_ticks<'t>(fields: impl Iterator<Item = &'t [u8]>) -> Option<[u64; CPU_MODES.len()]> {
    let mut ticks = [0; CPU_MODES.len()];
    for (slot, field) in ticks.iter_mut().zip(fields) {
        *slot = bytes::number(field)?;
    }
    Some(ticks)
}

/// `/proc/loadavg`: three decimals first.
pub fn parse_loadavg(text: &[u8]) -> Option<[f64; 3]> {
    let mut fields = bytes::fields(bytes::lines(text).next()?);
    let mut load = [0.0; 3];
    for slot in &mut load {
        let value: f64 = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        *slot = (value.is_finite() && value >= 0.0).then_some(value)?;
    }
    Some(load)
}

/// `/proc/meminfo`.
pub fn parse_meminfo(text: &[u8]) -> Vec<MemoryLine> {
    bytes::lines(text)
        .filter_map(|line| {
            let mut fields = bytes::fields(line);
            let name = fields.next()?.strip_suffix(b":")?;
            let value = bytes::number(fields.next()?)?;
            let is_bytes = fields.next() == Some(b"kB");
            let name = std::str::from_utf8(name).ok()?.replace('(', "_").replace(')', "");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            (!name.is_empty() && name.bytes().all(plain)).then_some(())?;
            let value = if is_bytes { value.checked_mul(1024)? } else { value };
            Some(MemoryLine { name, value, is_bytes })
        })
        .collect()
}

/// `/proc/diskstats`; lines with fewer than 14 fields (old kernels' partitions) are left out.
pub fn parse_diskstats(text: &[u8]) -> Vec<Disk> {
    bytes::lines(text)
        .filter_map(|line| {
            let mut line = bytes::fields(line).skip(2);
            let device = std::str::from_utf8(line.next()?).ok()?.to_owned();
            let mut fields = [0; 11];
            for field in &mut fields {
                *field = bytes::number(line.next()?)?;
            }
            let later = [(); 6].map(|()| line.next().and_then(bytes::number));
            Some(Disk { device, fields, later })
        })
        .collect()
}

/// `/proc/vmstat`: of its some 150 lines those of paging, swapping, faults and kills.
pub fn parse_vmstat(text: &[u8]) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    bytes::pairs(text, |key, value| {
        let Ok(key) = std::str::from_utf8(key) else { return };
        let fault = key.starts_with("pg") && key.contains("fault");
        if fault || ["oom_kill", "pgpg", "pswp"].iter().any(|prefix| key.starts_with(prefix)) {
            all.push((key.to_owned(), value));
        }
    });
    all.retain(|(key, _)| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    all
}

/// `/proc/sys/fs/file-nr`: allocated, unused (always 0), most.
fn parse_file_nr(text: &[u8]) -> Option<(u64, u64)> {
    let mut fields = bytes::fields(bytes::lines(text).next()?);
    Some((bytes::number(fields.next()?)?, bytes::number(fields.nth(1)?)?))
}

/// Whether a device is a disk of its own that can be of interest: neither a partition nor a memory or loop device.
fn is_whole(roots: &Roots, device: &str) -> bool {
    let made_up = ["ram", "zram", "loop", "fd"]
        .iter()
        .any(|prefix| device.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u32>().is_ok()));
    let block = roots.sys.join("block");
    // In sysfs a slash in a device's name is an exclamation mark.
    !made_up && (!block.is_dir() || block.join(device.replace('/', "!")).exists())
}

/// The name of the device with this number, `/dev/sda` for `8:0`; the number itself where sysfs does not know it.
pub fn device_name(roots: &Roots, number: &str) -> String {
    let link = roots.sys.join("dev/block").join(number);
    match std::fs::read_link(&link).as_deref().map(Path::file_name) {
        Ok(Some(name)) => format!("/dev/{}", name.to_string_lossy().replace('!', "/")),
        _ => number.to_owned(),
    }
}

/// Seconds of a number of ticks.
pub fn seconds_of_ticks(ticks: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "ticks stay below 2^53 for a million years of a CPU")]
    let ticks = ticks as f64;
    ticks / ticks_per_second() as f64
}

#[cfg(test)]
mod tests;
