//! The processes of an instance as a sensor sees them: the shape of `sonde:sensor/processes`.

use std::path::Path;
use std::time::SystemTime;

use crate::found::Found;
use crate::mounts::Roots;
use crate::process;
use crate::reader::{started_unix_seconds, ticks_per_second};

/// The interface promises no more processes than this.
pub const PROCESSES_MAX: usize = 1024;

/// A process of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// As the node numbers it.
    pub pid: u32,
    /// The kernel's `comm`.
    pub name: String,
    /// `R`, `S`, `D`, `Z`, `T`, …
    pub state: char,
    /// Threads.
    pub threads: u32,
    /// Resident memory.
    pub resident_bytes: u64,
    /// CPU time, user and system.
    pub cpu_milliseconds: u64,
    /// Start, in milliseconds since 1970.
    pub started_milliseconds: u64,
}

/// The instance's processes now, at most [`PROCESSES_MAX`]. One that ends meanwhile is left out.
pub fn processes(roots: &Roots, found: &Found) -> Vec<Process> {
    found.pids(roots, PROCESSES_MAX).into_iter().filter_map(|pid| process_of(&roots.proc, pid)).collect()
}

fn process_of(proc: &Path, pid: u32) -> Option<Process> {
    let stat = process::stat(proc, pid).ok()?;
    let ticks = stat.user_ticks.saturating_add(stat.system_ticks);
    let started = std::time::Duration::try_from_secs_f64(started_unix_seconds(stat.start_ticks));
    let started = SystemTime::UNIX_EPOCH.checked_add(started.ok()?)?;
    let started = started.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Process {
        pid: stat.pid,
        name: stat.comm,
        state: char::from(stat.state),
        threads: u32::try_from(stat.threads).unwrap_or(u32::MAX),
        resident_bytes: stat.resident_pages.saturating_mul(rustix::param::page_size() as u64),
        cpu_milliseconds: ticks.saturating_mul(1_000 / ticks_per_second()),
        started_milliseconds: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
    })
}
