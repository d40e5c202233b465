//! What the processes of a node took: CPU and memory of the agent's side, the broker and the runners.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// `USER_HZ`, which the kernel's interface fixes at 100 on every architecture that Rust knows.
const TICK: Duration = Duration::from_millis(10);

/// What one kind of process has taken so far.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cost {
    pub processes: usize,
    pub cpu_seconds: f64,
    /// Resident, each page counted in full where it is.
    pub resident_bytes: u64,
    /// Shared pages divided among those who share them.
    pub proportional_bytes: u64,
    pub descriptors: usize,
    pub threads: usize,
    pub mappings: usize,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.processes += other.processes;
        self.cpu_seconds += other.cpu_seconds;
        self.resident_bytes += other.resident_bytes;
        self.proportional_bytes += other.proportional_bytes;
        self.descriptors += other.descriptors;
        self.threads += other.threads;
        self.mappings += other.mappings;
    }
}

/// All kinds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Usage {
    pub agent: Cost,
    pub broker: Cost,
    pub runners: Cost,
}

impl Usage {
    /// Of this process, a broker and its children, now.
    pub(crate) fn now(broker: u32) -> Self {
        let mut runners = Cost::default();
        for child in children(broker) {
            runners += cost(child);
        }
        Self { agent: cost(std::process::id()), broker: cost(broker), runners }
    }

    /// All together.
    pub fn total(&self) -> Cost {
        let mut total = self.agent;
        total += self.broker;
        total += self.runners;
        total
    }
}

/// Children of a process's main thread (proc_pid_children(5)).
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let listed = std::fs::read_to_string(path).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn cost(pid: u32) -> Cost {
    let proc = format!("/proc/{pid}");
    let proc = Path::new(&proc);
    let read = |file: &str| std::fs::read_to_string(proc.join(file)).unwrap_or_default();
    let count = |folder: &str| std::fs::read_dir(proc.join(folder)).map_or(0, Iterator::count);
    let stat = read("stat");
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    let rollup = read("smaps_rollup");
    let kib = |key: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    };
    Cost {
        processes: 1,
        cpu_seconds: ticks * TICK.as_secs_f64(),
        resident_bytes: kib("Rss:"),
        proportional_bytes: kib("Pss:"),
        descriptors: count("fd"),
        threads: count("task"),
        mappings: read("maps").lines().count(),
    }
}
