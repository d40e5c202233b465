//! Zones of illumos as instances: which there are, and a reading of one, from a chain of kstats.
//!
//! Everything here is a function of the chain ([`sonde_kstat::Kstat`]), so it is the same on every system and is tested with recorded
//! chains; what takes the chain from libkstat (`native.rs`) is on illumos alone. A reading has the fields that a container's has, so that names,
//! judgement and what sensors see are one for both; what only zones have is for sensors under the kernel's own names.
//!
//! A kstat belongs to a zone by its number, and its name is cut at 30 bytes. So a zone is known by number, whole name
//! (`zonename`) and birth (the kstat's creation), and a link, which is found by the zone's name alone, by that.

#[cfg(target_os = "illumos")]
pub mod native;

use std::time::{Instant, SystemTime};

use sonde_kstat::{Header, Kstat, Value};

use crate::kstats::{self, KstatValue};
use crate::reading::{Cpu, DeviceIo, Gone, Interface, Limits, Memory, Reading};
use crate::transport::{Tcp, Transport};
use crate::zfs::{self, Zfs};

/// The global zone's number: the node itself.
const GLOBAL: i32 = 0;
/// CPU caps are in percent of one CPU: of this period, this many microseconds are a percent.
const PERIOD_US: u64 = 100_000;
const PERIOD_US_PER_PERCENT: u64 = PERIOD_US / 100;
/// From here a cap of memory is none: OmniOS writes as many pages as fit 32 bits, SmartOS as many bytes as fit 64.
const UNCAPPED_BYTES: u64 = (u32::MAX as u64) * 4096;
/// Zones of a node, at most: the kernel's own bound (`MAX_ZONES`).
const ZONES_MAX: usize = 8192;

/// Modules whose kstats of a zone's number are that zone's.
const OF_ZONE: [&str; 6] = ["zones", "memory_cap", "caps", "zone_vfs", "zone_zfs", "tcp"];
/// The module of network links, numbered by something else.
const LINK: &str = "link";

/// One zone that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its number, until it halts.
    pub id: i32,
    /// Its whole name.
    pub name: String,
    /// When its kstats were made, in nanoseconds since boot: with the number, which life of the name it is.
    pub created_ns: i64,
}

/// The zones of a chain but for the global one, in the order of their numbers.
pub fn zones(chain: &[Kstat]) -> Vec<Zone> {
    let mut zones: Vec<Zone> = chain.iter().filter_map(zone).filter(|zone| zone.id != GLOBAL).take(ZONES_MAX).collect();
    zones.sort_by_key(|zone| zone.id);
    zones
}

fn zone(kstat: &Kstat) -> Option<Zone> {
    let header = &kstat.header;
    // The kstat's own name is the zone's, cut.
    let name = kstat.text("zonename").filter(|name| name.starts_with(&header.name))?;
    let is_one = header.module == "zones" && header.class == "zone_misc";
    is_one.then(|| Zone { id: header.instance, name: name.to_owned(), created_ns: header.created_ns })
}

/// Which kstats list the zones.
pub fn lists_zones(header: &Header) -> bool {
    header.module == "zones"
}

impl Zone {
    /// Which kstats may tell of this zone: those of links are told apart once they are read.
    pub fn wants(&self, header: &Header) -> bool {
        let numbered = header.instance == self.id && OF_ZONE.contains(&header.module.as_str());
        numbered || (header.module == LINK && header.class == "net")
    }

    /// Whether it is in the chain, in this life.
    pub fn is_in(&self, chain: &[Kstat]) -> bool {
        chain.iter().filter_map(zone).any(|zone| zone == *self)
    }

    /// A reading, from a chain that has what the zone [wants](Zone::wants). Who took the chain asks [`Zone::is_in`] of a later one.
    pub fn reading(&self, chain: &[Kstat]) -> Result<Reading, Gone> {
        if !self.is_in(chain) {
            return Err(Gone);
        }
        let mut reading = Reading::empty();
        (reading.taken_at, reading.taken_at_unix) = (Instant::now(), SystemTime::now());
        for kstat in self.kstats(chain) {
            self.take(kstat, &mut reading);
        }
        reading.memory.set_working_set(Some(0));
        Ok(reading)
    }

    /// Its kstats in the chain.
    fn kstats<'c>(&self, chain: &'c [Kstat]) -> impl Iterator<Item = &'c Kstat> {
        chain.iter().filter(|kstat| match kstat.text("zonename") {
            Some(name) => self.wants(&kstat.header) && name == self.name,
            // Some that go by the number do not tell the name; a link without one is the node's.
            None => self.wants(&kstat.header) && kstat.header.module != LINK,
        })
    }

    fn take(&self, kstat: &Kstat, reading: &mut Reading) {
        match kstat.header.module.as_str() {
            "zones" => misc(kstat, reading),
            "memory_cap" => memory(kstat, &mut reading.memory, &mut reading.limits),
            "caps" => self.cap(kstat, reading),
            "tcp" => reading.transport = Some(Transport { tcp: tcp(kstat), ..Transport::default() }),
            "zone_vfs" => reading.io.get_or_insert_default().push(io(kstat, "vfs")),
            "zone_zfs" => reading.io.get_or_insert_default().push(io(kstat, "zfs")),
            LINK => reading.network.get_or_insert_default().extend(self.interface(kstat)),
            _ => {}
        }
    }

    fn cap(&self, kstat: &Kstat, reading: &mut Reading) {
        let name = kstat.header.name.as_str();
        if name.starts_with("cpucaps_zone") {
            let percent = kstat.number("value").filter(|percent| *percent > 0);
            reading.limits.cpu_quota_us = percent.and_then(|percent| percent.checked_mul(PERIOD_US_PER_PERCENT));
            reading.limits.cpu_period_us = reading.limits.cpu_quota_us.map(|_| PERIOD_US);
        } else if name.starts_with("nprocs_zone") {
            reading.pids.processes = kstat.number("usage");
            reading.live_processes = kstat.number("usage");
        }
    }

    /// `z12_net0` is `net0` inside; one whose counts are not whole is left out.
    fn interface(&self, kstat: &Kstat) -> Option<Interface> {
        let name = kstat.header.name.as_str();
        let inside = name.strip_prefix(&format!("z{}_", self.id)).unwrap_or(name);
        Some(Interface {
            name: inside.to_owned(),
            receive_bytes: kstat.number("rbytes64")?,
            receive_packets: kstat.number("ipackets64")?,
            receive_errors: kstat.number("ierrors")?,
            receive_dropped: kstat.number("norcvbuf")?,
            transmit_bytes: kstat.number("obytes64")?,
            transmit_packets: kstat.number("opackets64")?,
            transmit_errors: kstat.number("oerrors")?,
            transmit_dropped: kstat.number("noxmtbuf")?,
            // Who set a link up is asked of `dladm`; its kstats do not tell.
            up: None,
        })
    }

    /// Its kstats as a sensor sees them, by the kernel's own names, of a module or of all where `module` is empty.
    pub fn kstats_for_sensors(&self, chain: &[Kstat], module: &str) -> Vec<kstats::Kstat> {
        let of_module = |kstat: &&Kstat| module.is_empty() || kstat.header.module == module;
        self.kstats(chain).filter(of_module).filter_map(seen).collect()
    }
}

fn misc(kstat: &Kstat, reading: &mut Reading) {
    let (user_ns, system_ns) = (kstat.number("nsec_user"), kstat.number("nsec_sys"));
    if let (Some(user), Some(system)) = (user_ns, system_ns) {
        reading.cpu = Some(Cpu { usage_ns: user.saturating_add(system), user_ns, system_ns });
    }
    reading.pids.limit_hits = kstat.number("forkfail_cap");
    reading.started_unix_seconds = kstat.number("boot_time").map(|seconds| seconds as f64);
}

/// Resident memory is all that is charged: the page cache is the node's. Swap is what is reserved of it, as illumos counts.
fn memory(kstat: &Kstat, memory: &mut Memory, limits: &mut Limits) {
    let cap = |name| kstat.number(name).filter(|cap| *cap > 0 && *cap < UNCAPPED_BYTES);
    memory.rss_bytes = kstat.number("rss");
    memory.usage_bytes = memory.rss_bytes;
    memory.swap_bytes = kstat.number("swap");
    memory.limit_hits = kstat.number("nover");
    memory.events.oom = kstat.number("anon_alloc_fail");
    limits.memory_bytes = cap("physcap");
    limits.swap_bytes = cap("swapcap");
}

fn tcp(kstat: &Kstat) -> Tcp {
    let listen_drops = kstat.number("listenDrop");
    Tcp {
        activeopens: kstat.number("activeOpens"),
        passiveopens: kstat.number("passiveOpens"),
        attemptfails: kstat.number("attemptFails"),
        estabresets: kstat.number("estabResets"),
        currestab: kstat.number("currEstab"),
        retranssegs: kstat.number("retransSegs"),
        // It counts full accept queues, and nothing else drops there.
        listenoverflows: listen_drops,
        listendrops: listen_drops,
        tcpreqqfulldrop: kstat.number("listenDropQ0"),
        tcpabortontimeout: kstat.number("timRetransDrop"),
        ..Tcp::default()
    }
}

fn io(kstat: &Kstat, device: &str) -> DeviceIo {
    DeviceIo {
        device: device.to_owned(),
        number: device.to_owned(),
        read_bytes: kstat.number("nread"),
        written_bytes: kstat.number("nwritten"),
        reads: kstat.number("reads"),
        writes: kstat.number("writes"),
        ..DeviceIo::default()
    }
}

/// As a sensor sees it; none of a module that sensors are not shown.
fn seen(kstat: &Kstat) -> Option<kstats::Kstat> {
    let module = OF_ZONE.into_iter().chain([LINK]).find(|module| *module == kstat.header.module)?;
    let shown = |value: &Value| match value {
        Value::Unsigned(value) => KstatValue::Unsigned(*value),
        Value::Signed(value) => KstatValue::Signed(*value),
        Value::Float(value) => KstatValue::Float(*value),
        Value::Text(text) => KstatValue::Text(text.clone()),
    };
    let statistics = kstat.statistics.iter().map(|(name, value)| (name.clone().into(), shown(value))).collect();
    Some(kstats::Kstat { module, name: kstat.header.name.clone(), statistics })
}

/// ZFS of the whole node, as on Linux: `zfs:0:arcstats` and its like, those that are numbers.
pub fn zfs(chain: &[Kstat]) -> Option<Zfs> {
    let mut zfs = Zfs::default();
    for kstat in chain.iter().filter(|kstat| is_zfs(&kstat.header)) {
        let number = |value: &Value| match value {
            Value::Unsigned(value) => Some(zfs::Value::Unsigned(*value)),
            Value::Signed(value) => Some(zfs::Value::Signed(*value)),
            Value::Float(_) | Value::Text(_) => None,
        };
        let rows: Vec<_> =
            kstat.statistics.iter().filter_map(|(name, value)| Some((name.clone(), number(value)?))).collect();
        if !rows.is_empty() {
            zfs.modules.push((kstat.header.name.clone(), rows));
        }
    }
    zfs.modules.sort_by(|one, other| one.0.cmp(&other.0));
    (!zfs.modules.is_empty()).then_some(zfs)
}

/// Which kstats tell of ZFS as a whole.
pub fn is_zfs(header: &Header) -> bool {
    header.module == "zfs" && header.instance == 0 && header.class == "misc"
}
