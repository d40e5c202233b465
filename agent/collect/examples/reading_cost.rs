//! What a reading costs: `reading_cost CGROUP [KEPT_FILES [PART PARTS]]` reads each instance whose cgroup path has this in it, again and
//! again for some seconds, beside a loop of bare `pread` over the same files of each, kept open. It prints medians over the rounds, for one
//! instance. Both keep all files open, which is more descriptors than one process may have where there are many instances: then it is run for each
//! of some parts of them.
//!
//! `cargo xtask bench reading` makes the instances.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use sonde_collect::mounts::Controller;
use sonde_collect::source::Fault;
use sonde_collect::{Discovery, DiscoveryConfig, FdBudget, Found, InstanceReader, NodeId, Roots, source};

/// What a reading reads each time of a hybrid machine, or of a unified one; what is not there is left out. Of a machine without a cgroup2 tree
/// it reads v1's lists of processes and threads, and opens them anew each time.
const FILES: [(Option<Controller>, &str); 30] = [
    (Some(Controller::Cpuacct), "cpuacct.usage"),
    (None, "cpu.stat"),
    (Some(Controller::Cpu), "cpu.stat"),
    (Some(Controller::Cpu), "cpu.stat.local"),
    (Some(Controller::Memory), "memory.usage_in_bytes"),
    (Some(Controller::Memory), "memory.max_usage_in_bytes"),
    (Some(Controller::Memory), "memory.stat"),
    (Some(Controller::Memory), "memory.failcnt"),
    (Some(Controller::Memory), "memory.oom_control"),
    (Some(Controller::Memory), "memory.kmem.usage_in_bytes"),
    (Some(Controller::Pids), "pids.current"),
    (Some(Controller::Pids), "pids.events"),
    (Some(Controller::Blkio), "blkio.throttle.io_service_bytes_recursive"),
    (Some(Controller::Blkio), "blkio.throttle.io_serviced_recursive"),
    (Some(Controller::Freezer), "freezer.state"),
    (None, "cgroup.events"),
    (None, "cpu.pressure"),
    (None, "memory.pressure"),
    (None, "io.pressure"),
    (None, "memory.current"),
    (None, "memory.peak"),
    (None, "memory.stat"),
    (None, "memory.events"),
    (None, "memory.swap.current"),
    (None, "pids.current"),
    (None, "pids.events"),
    (None, "pids.peak"),
    (None, "cgroup.procs"),
    (None, "cgroup.threads"),
    (None, "io.stat"),
];

/// And of its leader, where that has a network namespace of its own.
const LEADERS: [&str; 7] = ["stat", "net/igmp", "net/dev", "net/snmp", "net/netstat", "net/sockstat", "net/sockstat6"];

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);
/// How long it is measured. A thousand instances are read some forty times in it.
const FOR: Duration = Duration::from_secs(8);
/// Descriptors that readers may keep, unless told: more than they want.
const KEPT_FILES: usize = 1 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let within = arguments.next().ok_or("usage: reading_cost CGROUP [KEPT_FILES [PART PARTS]]")?;
    let kept: usize = arguments.next().map_or(Ok(KEPT_FILES), |kept| kept.parse())?;
    let part: usize = arguments.next().map_or(Ok(0), |part| part.parse())?;
    let parts: usize = arguments.next().map_or(Ok(1), |parts| parts.parse())?;
    let roots = Arc::new(Roots::of_this_machine()?);
    let mut discovery = Discovery::new(roots.clone(), DiscoveryConfig::new(NodeId::new("cost")?));
    let began = Instant::now();
    discovery.scan();
    let scan_ms = began.elapsed().as_secs_f64() * 1e3;
    let wanted = discovery.instances().filter(|found| found.cgroup_path.contains(&within));
    let found: Vec<_> =
        wanted.enumerate().filter(|(at, _)| at % parts == part).map(|(_, found)| found.clone()).collect();

    if found.is_empty() {
        return Err(format!("no instance has {within} in its cgroup path").into());
    }

    let budget = FdBudget::new(kept);
    let mut readers: Vec<_> =
        found.iter().map(|found| InstanceReader::new(found.clone(), roots.clone(), &budget)).collect();
    let mut bare = Bare::default();
    for (reader, found) in readers.iter_mut().zip(&found) {
        let reading = reader.read()?;
        if let Some(problem) = reading.problems.first() {
            return Err(
                format!("a reading lacks {}, and would be too cheap: {:?}", problem.file, problem.reason).into()
            );
        }
        let added = bare.add(&roots, found, reading.leader.map(|leader| leader.pid));
        added.map_err(|fault| format!("a file cannot be opened: {fault:?}"))?;
    }
    let instances = readers.len();
    let mut times: [Vec<f64>; 4] = Default::default();
    let until = Instant::now() + FOR;
    // In turns, so that all see the same machine.
    while Instant::now() < until {
        times[0].push(each_us(instances, || bare.kept_open()));
        times[1].push(each_us(instances, || readers.iter_mut().for_each(|reader| drop(reader.read()))));
        times[2].push(each_us(instances, || bare.by_directory()));
        times[3].push(each_us(instances, || bare.by_path()));
    }
    let rounds = times[0].len();
    let [bare_us, reading_us, by_directory_us, by_path_us] = times.map(median);
    let figures = serde_json::json!({
        "instances": readers.len(),
        "rounds": rounds,
        "files_each": bare.files.len() / instances,
        "kept_each": (kept - budget.left()) as f64 / instances as f64,
        "bare_us": bare_us,
        "reading_us": reading_us,
        "times": reading_us / bare_us,
        "by_directory_us": by_directory_us,
        "by_path_us": by_path_us,
        "scan_ms": scan_ms,
    });
    println!("{figures}");
    Ok(())
}

/// The same files that a reading reads, and nothing done with what they hold.
#[derive(Default)]
struct Bare {
    files: Vec<BareFile>,
    buffer: Vec<u8>,
}

struct BareFile {
    open: OwnedFd,
    directory: Arc<OwnedFd>,
    name: &'static str,
    path: PathBuf,
}

impl Bare {
    fn add(&mut self, roots: &Roots, found: &Found, leader: Option<u32>) -> Result<(), Fault> {
        self.buffer.resize(16 * 1024, 0);
        let of_cgroup = FILES.iter().filter_map(|(place, name)| match place {
            Some(controller) => Some((found.cgroups.v1(*controller)?.to_owned(), *name)),
            // v1's freezer has the word where it is mounted.
            None if *name == "cgroup.events" && found.cgroups.v1(Controller::Freezer).is_some() => None,
            None => Some((found.cgroups.v2.clone()?, *name)),
        });
        let process = leader.map(|pid| roots.proc.join(pid.to_string()));
        let of_leader = LEADERS.iter().filter_map(|name| Some((process.clone()?, *name)));
        let mut directories: HashMap<PathBuf, Arc<OwnedFd>> = HashMap::new();
        for (directory, name) in of_cgroup.chain(of_leader) {
            let path = directory.join(name);
            let open = match source::open(&path) {
                Ok(open) => open,
                Err(Fault::Gone | Fault::Unsupported) => continue,
                Err(problem) => return Err(problem),
            };
            let directory = directories.entry(directory).or_insert_with_key(|directory| {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                Arc::new(rustix::fs::open(directory, flags, Mode::empty()).expect("a file in it was opened just now"))
            });
            self.files.push(BareFile { open, directory: directory.clone(), name, path });
        }
        Ok(())
    }

    fn kept_open(&mut self) {
        for file in &self.files {
            // What cannot be read costs its time all the same, here and below.
            let _ = rustix::io::pread(&file.open, &mut self.buffer[..], 0);
        }
    }

    fn by_directory(&mut self) {
        for file in &self.files {
            if let Ok(fd) = rustix::fs::openat(&*file.directory, file.name, OPEN, Mode::empty()) {
                let _ = rustix::io::read(fd, &mut self.buffer[..]);
            }
        }
    }

    fn by_path(&mut self) {
        for file in &self.files {
            if let Ok(fd) = rustix::fs::open(&file.path, OPEN, Mode::empty()) {
                let _ = rustix::io::read(fd, &mut self.buffer[..]);
            }
        }
    }
}

fn each_us(instances: usize, pass: impl FnOnce()) -> f64 {
    let began = Instant::now();
    pass();
    began.elapsed().as_secs_f64() * 1e6 / instances as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
