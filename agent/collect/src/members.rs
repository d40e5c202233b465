//! The lists of who is in an instance's cgroup: its processes, and how many of their threads live.
//!
//! v1's lists are cached with the open file, and each read within a second of the last gets the old list and keeps it alive: a file
//! that was kept open would never tell of who came and went. These are opened anew each time, 10 µs each and more than any other file of
//! a cgroup. The cgroup2 tree's have no such cache and are kept open. Where a hybrid layout has them beside v1's they are
//! taken instead, but only while they list as many threads as v1 counts (`pids.current`, with all that is below): a runtime may
//! have left its processes elsewhere in that tree, and the ended count until somebody has waited for them.

use std::path::Path;

use crate::found::Found;
use crate::mounts::{Controller, Mode, Roots};
use crate::reading::Reading;
use crate::source::{Buffer, Fault, FdBudget, Kept};
use crate::state::ReadProblem;
use crate::{bytes, process};

const PROCS: &str = "cgroup.procs";
const THREADS_V1: &str = "tasks";
const THREADS_V2: &str = "cgroup.threads";

#[derive(Debug, Default)]
pub(crate) struct Members {
    /// In the hierarchy where instances are looked for.
    processes: Option<(&'static str, Kept)>,
    /// Where tasks are counted.
    threads: Option<(&'static str, Kept)>,
    /// Both in the cgroup2 tree of a hybrid layout.
    beside: Option<(Kept, Kept)>,
}

impl Members {
    /// Opens the lists anew. What cannot be opened for a reason that may pass stays as it was.
    pub(crate) fn open(&mut self, found: &Found, roots: &Roots, budget: &FdBudget, problems: &mut Vec<ReadProblem>) {
        let anew = FdBudget::new(0);
        let unified = roots.mounts.mode() == Mode::Unified;
        let v2 = found.cgroups.v2.as_deref();
        let of_v1 = found.cgroups.v1(Controller::Pids).map(|directory| (directory, THREADS_V1, &anew));
        let threads = of_v1.or(v2.map(|directory| (directory, THREADS_V2, budget)));
        let processes = found.cgroups.primary(roots);
        let processes = processes.map(|directory| (directory, PROCS, if unified { budget } else { &anew }));
        for (list, place) in [(&mut self.processes, processes), (&mut self.threads, threads)] {
            let Some((directory, name, budget)) = place else { continue };
            match Kept::new(directory.join(name), budget) {
                Ok(file) => *list = Some((name, file)),
                Err(Fault::Problem(reason)) => problems.push(ReadProblem { file: name, reason }),
                Err(Fault::Gone | Fault::Unsupported) => *list = None,
            }
        }
        if !unified && self.beside.is_none() {
            self.beside = v2.and_then(|directory| beside(directory, budget));
        }
    }

    /// The processes of the cgroup itself, none where they cannot be told. The count of living threads goes into `reading`, which must
    /// have the tasks.
    pub(crate) fn read(&self, reading: &mut Reading, buffer: &mut Buffer) -> Option<Vec<u32>> {
        if let Some(pids) = self.read_beside(reading, buffer) {
            return Some(pids);
        }
        self.read_threads(reading, buffer);
        text(self.processes.as_ref()?, reading, buffer).map(pids_in)
    }

    /// Only how many threads live.
    pub(crate) fn read_threads(&self, reading: &mut Reading, buffer: &mut Buffer) {
        if let Some(text) = self.threads.as_ref().and_then(|list| text(list, reading, buffer)) {
            reading.pids.live_threads = Some(count(text));
        }
    }

    fn read_beside(&self, reading: &mut Reading, buffer: &mut Buffer) -> Option<Vec<u32>> {
        let (processes, threads) = self.beside.as_ref()?;
        let live = count(threads.read(buffer).ok()?);
        if reading.pids.tasks != Some(live) {
            return None;
        }
        let pids = pids_in(processes.read(buffer).ok()?);
        reading.pids.live_threads = Some(live);
        Some(pids)
    }
}

fn beside(directory: &Path, budget: &FdBudget) -> Option<(Kept, Kept)> {
    let kept = |name| Kept::new(directory.join(name), budget).ok();
    Some((kept(PROCS)?, kept(THREADS_V2)?))
}

fn text<'b>(list: &(&'static str, Kept), reading: &mut Reading, buffer: &'b mut Buffer) -> Option<&'b [u8]> {
    match list.1.read(buffer) {
        Ok(text) => Some(text),
        Err(Fault::Problem(reason)) => {
            reading.problems.push(ReadProblem { file: list.0, reason });
            None
        }
        Err(Fault::Gone | Fault::Unsupported) => None,
    }
}

fn count(text: &[u8]) -> u64 {
    bytes::lines(text).count() as u64
}

fn pids_in(text: &[u8]) -> Vec<u32> {
    let mut pids = Vec::new();
    process::parse_pids(text, &mut pids);
    pids
}
