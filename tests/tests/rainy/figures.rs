//! Series beside the kernel's own files: read before and after a scrape, what was exposed must lie between.
//!
//! Files of cgroup v1 and of v2, whichever this machine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sonde_tests::{Container, Exposition};

/// How the value can move between two looks.
#[derive(Clone, Copy, PartialEq)]
enum Moves {
    /// Only up: a value outside the two looks is wrong.
    Up,
    /// Both ways: it may have been elsewhere between the looks, so it is looked at until it was not.
    Freely,
}

/// Where the kernel says it: file and key; no key where it is the first word of the file.
type Place = (&'static str, &'static str);

/// A series and its place in the kernel.
struct Figure {
    series: &'static str,
    controller: &'static str,
    v1: Place,
    v2: Place,
    /// Of the kernel's unit in the series' one, v1 and v2.
    units: [f64; 2],
    moves: Moves,
}

const ONE: [f64; 2] = [1.0, 1.0];
/// v1 counts CPU time in ns, v2 in µs.
const SECONDS: [f64; 2] = [1e9, 1e6];

const fn figure(series: &'static str, controller: &'static str, v1: Place, v2: Place, moves: Moves) -> Figure {
    Figure { series, controller, v1, v2, units: ONE, moves }
}

const DESCRIPTORS: &str = "container_file_descriptors";

const FIGURES: [Figure; 10] = [
    Figure {
        units: SECONDS,
        ..figure(
            "container_cpu_usage_seconds_total",
            "cpuacct",
            ("cpuacct.usage", ""),
            ("cpu.stat", "usage_usec"),
            Moves::Up,
        )
    },
    figure("container_cpu_cfs_periods_total", "cpu", ("cpu.stat", "nr_periods"), ("cpu.stat", "nr_periods"), Moves::Up),
    figure(
        "container_cpu_cfs_throttled_periods_total",
        "cpu",
        ("cpu.stat", "nr_throttled"),
        ("cpu.stat", "nr_throttled"),
        Moves::Up,
    ),
    figure(
        "container_memory_usage_bytes",
        "memory",
        ("memory.usage_in_bytes", ""),
        ("memory.current", ""),
        Moves::Freely,
    ),
    figure("container_memory_failcnt", "memory", ("memory.failcnt", ""), ("memory.events", "max"), Moves::Up),
    figure(
        "container_oom_events_total",
        "memory",
        ("memory.oom_control", "oom_kill"),
        ("memory.events", "oom_kill"),
        Moves::Up,
    ),
    figure(
        "container_spec_memory_limit_bytes",
        "memory",
        ("memory.limit_in_bytes", ""),
        ("memory.max", ""),
        Moves::Freely,
    ),
    figure("container_spec_cpu_quota", "cpu", ("cpu.cfs_quota_us", ""), ("cpu.max", ""), Moves::Freely),
    figure("container_threads", "pids", ("pids.current", ""), ("pids.current", ""), Moves::Freely),
    figure("sonde_instance_forks_refused_total", "pids", ("pids.events", "max"), ("pids.events", "max"), Moves::Up),
];

/// Where a container's figures are; fixed, so that looking costs no more than the reads.
struct Kernel {
    folders: [PathBuf; FIGURES.len()],
    procs: PathBuf,
}

/// What the kernel said at one moment; what it did not say is none.
#[derive(Clone, Copy)]
struct Look {
    figures: [Option<f64>; FIGURES.len()],
    descriptors: f64,
}

impl Kernel {
    fn of(container: &Container) -> Self {
        let folders = FIGURES.each_ref().map(|figure| container.cgroup(figure.controller));
        Self { folders, procs: container.cgroup("memory").join("cgroup.procs") }
    }

    fn look(&self) -> Look {
        let mut figures = [None; FIGURES.len()];
        for ((slot, figure), folder) in figures.iter_mut().zip(&FIGURES).zip(&self.folders) {
            *slot = [figure.v1, figure.v2]
                .into_iter()
                .zip(figure.units)
                .find_map(|(place, unit)| Some(number(folder, place)? / unit));
        }
        let procs = fs::read_to_string(&self.procs).unwrap_or_default();
        let descriptors = procs.lines().map(open_descriptors).sum::<u64>() as f64;
        Look { figures, descriptors }
    }
}

/// Linux 6.2 and later say it as the size of the folder. That counts what `accept` has reserved for the next client too, which is
/// taken from the limit and is not yet listed.
fn open_descriptors(pid: &str) -> u64 {
    let folder = Path::new("/proc").join(pid).join("fd");
    match fs::metadata(&folder).map_or(0, |folder| folder.len()) {
        0 => fs::read_dir(folder).map_or(0, |listed| listed.count() as u64),
        count => count,
    }
}

fn number(folder: &Path, (file, key): Place) -> Option<f64> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    let word = match key {
        "" => text.split_whitespace().next()?,
        key => text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?.trim(),
    };
    word.parse().ok()
}

/// Which figures have been seen to agree, and what the kernel said until now.
pub struct Agreement {
    kernel: Kernel,
    looks: Vec<(Instant, Look)>,
    seen: Vec<&'static str>,
    /// The last disagreement that another look may yet explain.
    other: Vec<String>,
}

impl Agreement {
    pub fn of(container: &Container) -> Self {
        let mut agreement =
            Self { kernel: Kernel::of(container), looks: Vec::new(), seen: Vec::new(), other: Vec::new() };
        agreement.look();
        agreement
    }

    /// Reads the kernel's files.
    pub fn look(&mut self) {
        let look = self.kernel.look();
        self.looks.push((Instant::now(), look));
    }

    /// Holds what was exposed to the kernel's word: the last before the reading, and all after. The scrape began at `began`, so its reading is at
    /// most its age older than that. Panics where a counter lies outside. A reading from before the first look is passed over.
    #[track_caller]
    pub fn compare(&mut self, began: Instant, exposition: &Exposition) {
        self.look();
        let age = exposition.value("sonde_reading_age_seconds", &[]).expect("a reading has an age");
        let taken_after = began.checked_sub(Duration::from_secs_f64(age));
        let Some(first) = self.looks.iter().rposition(|(at, _)| Some(*at) <= taken_after) else { return };
        let looks: Vec<Look> = self.looks[first..].iter().map(|(_, look)| *look).collect();
        self.other.clear();
        for (at, figure) in FIGURES.iter().enumerate() {
            let said = looks.iter().map(|look| look.figures[at]).collect();
            self.hold(figure.series, figure.moves, exposition, said);
        }
        let said = looks.iter().map(|look| Some(look.descriptors)).collect();
        self.hold(DESCRIPTORS, Moves::Freely, exposition, said);
    }

    #[track_caller]
    fn hold(&mut self, series: &'static str, moves: Moves, exposition: &Exposition, said: Vec<Option<f64>>) {
        let exposed = exposition.all(series, &[]).next().map(|sample| sample.value);
        let words = format!("{series} is {exposed:?}; the kernel said {said:?}");
        let is_right = lies_within(exposed, &said);
        assert!(is_right || moves == Moves::Freely, "{words}");
        if is_right {
            self.seen.push(series);
        } else {
            self.other.push(words);
        }
    }

    /// Those not yet seen to agree.
    pub fn open(&self) -> Result<(), String> {
        let all = FIGURES.iter().map(|figure| figure.series).chain([DESCRIPTORS]);
        let open: Vec<_> = all.filter(|series| !self.seen.contains(series)).collect();
        if open.is_empty() { Ok(()) } else { Err(format!("{open:?} were never seen to agree: {:?}", self.other)) }
    }
}

/// Whether a value is between the least and the most of others; absent where all are.
fn lies_within(exposed: Option<f64>, said: &[Option<f64>]) -> bool {
    let numbers: Option<Vec<f64>> = said.iter().copied().collect();
    match (exposed, numbers) {
        (Some(exposed), Some(numbers)) => {
            numbers.iter().any(|number| *number <= exposed) && numbers.iter().any(|number| *number >= exposed)
        }
        (None, _) => said.iter().all(Option::is_none),
        (Some(_), None) => false,
    }
}
