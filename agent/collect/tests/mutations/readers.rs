//! The same through the real readers, over a machine made of files that change between one reading and the next.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sonde_collect::{Change, Discovery, Reading};

use crate::mutate::{Random, mutated};
use crate::of_each;
use crate::parsers::{PARSERS, numbers_in};
use crate::tree::filled::{container, made, reader};
use crate::tree::{Layout, Tree, V1, docker_file, docker_state, file, hex};

/// Readings of each layout, and with files kept open and not.
const READINGS: usize = 250;
/// Looks for instances.
const SCANS: usize = 300;
/// What a number of a file may be multiplied by: µs to ns, kB.
const UNITS: [i128; 3] = [1, 1000, 1024];

/// All files below, with what they say.
fn files(directory: &Path, all: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&path, all);
        } else if kind.is_file() {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

/// A leader with a network namespace of its own.
fn lead(tree: &Tree) {
    let cgroup = container();
    let lines: String = V1.iter().enumerate().map(|(at, name)| format!("{at}:{name}:{cgroup}\n")).collect();
    tree.write("proc/42/cgroup", &format!("{lines}0::{cgroup}\n"));
    for (name, parser) in [
        ("stat", "process::parse_stat"),
        ("status", "limits::cpus_allowed"),
        ("limits", "limits::open_files"),
        ("net/dev", "netdev"),
        ("net/igmp", "netdev::parse_up"),
        ("net/snmp", "transport"),
        ("net/sockstat", "transport::parse_sockets"),
    ] {
        let sample = PARSERS.iter().find(|it| it.name == parser).unwrap().sample;
        tree.write(&format!("proc/42/{name}"), &sample.replace("9573", "42"));
    }
    tree.write("proc/42/ns/net", "");
    tree.write("proc/self/ns/net", "");
    for mount in ["memory", "unified"] {
        tree.write(&file(mount, &cgroup, "cgroup.procs"), "42\n");
    }
}

/// What a reading has straight from files.
fn told(mut reading: Reading) -> Vec<i128> {
    // Worked out from two files, and held to them by other tests.
    if let (Some(used), Some(all)) = (reading.memory.working_set_bytes, reading.memory.usage_bytes) {
        assert!(used <= all);
    }
    reading.memory.working_set_bytes = None;
    for interface in reading.network.iter_mut().flatten().chain(&mut reading.loopback) {
        interface.name.clear();
    }
    for device in reading.io.iter_mut().flatten() {
        device.device.clear();
    }
    let counters = (reading.cpu, reading.held_ns, &reading.memory, reading.pressure, &reading.io);
    let network = (&reading.network, &reading.loopback, reading.transport);
    let pids = (reading.pids.tasks, reading.pids.limit_hits, reading.pids.peak);
    numbers_in(format!("{counters:?} {network:?} {pids:?}").as_bytes())
}

/// A file goes wrong in some way, or is made well again.
fn disturb(random: &mut Random, path: &Path, well: &[u8], vanishes: bool) {
    let samples: Vec<&str> = PARSERS.iter().map(|parser| parser.sample).collect();
    match random.below(6) {
        0 if vanishes => fs::remove_file(path).unwrap_or(()),
        0 | 1 => fs::write(path, well).unwrap(),
        _ => fs::write(path, mutated(random, well, &samples)).unwrap(),
    }
}

#[test]
fn no_reading_tells_what_no_file_says() {
    for (seed, layout) in (1..).zip([Layout::V1, Layout::Hybrid, Layout::Unified]) {
        for budget in [1000, 0] {
            let tree = made(layout);
            lead(&tree);
            let mut well = BTreeMap::new();
            files(&tree.path(""), &mut well);
            // The list of mounts is read once, when it begins.
            well.retain(|path, _| !path.ends_with("self/mountinfo"));
            let paths: Vec<&PathBuf> = well.keys().collect();
            let mut reader = reader(&tree, budget);
            let mut random = Random::seeded(seed * 2 + u64::from(budget == 0));
            // Of a file that vanished while it was open its last word stays.
            let mut said = well.clone();
            for _ in 0..of_each(READINGS) {
                for _ in 0..=random.below(3) {
                    let path = *random.one_of(&paths);
                    disturb(&mut random, path, &well[path], budget == 0);
                    said.extend(fs::read(path).ok().map(|text| (path.clone(), text)));
                }
                let reading = reader.read().expect("its cgroup is there");
                let all: Vec<i128> = said.values().flat_map(|text| numbers_in(text)).collect();
                for number in told(reading) {
                    let is_said = UNITS.iter().any(|unit| number % unit == 0 && all.contains(&(number / unit)));
                    assert!(is_said, "{layout:?}: {number} is in no file");
                }
            }
            // Made well again, it tells what it told first; but for the network, whose files are found once for a leader, because of one that
            // lives they do not vanish.
            paths.iter().for_each(|path| fs::write(path, &well[*path]).unwrap());
            let (again, first) = (reader.read().unwrap(), crate::tree::filled::reader(&tree, 0).read().unwrap());
            let picture =
                |it: &Reading| format!("{:?} {:?} {:?} {:?} {:?}", it.cpu, it.memory, it.pids, it.pressure, it.io);
            if budget == 0 {
                assert_eq!(picture(&again), picture(&first));
            }
        }
    }
}

/// Which instances there are is said by directories and by names that root gave, whatever is in the files about them.
#[test]
fn no_instance_comes_of_a_broken_file() {
    let tree = made(Layout::Hybrid);
    let docker = hex("a");
    tree.write(&docker_file(&docker), &docker_state(&docker, "web", "{\"owner\":\"acme\"}"));
    tree.cgroup("/plain");
    tree.runc_state("plain", "/plain");
    let mut well = BTreeMap::new();
    for top in ["run", "var", "proc"] {
        if tree.path(top).is_dir() {
            files(&tree.path(top), &mut well);
        }
    }
    well.retain(|path, _| !path.ends_with("self/mountinfo"));
    let paths: Vec<&PathBuf> = well.keys().collect();
    let mut random = Random::seeded(7);
    let mut discovery: Discovery = tree.discovery();
    for _ in 0..of_each(SCANS) {
        let path = *random.one_of(&paths);
        disturb(&mut random, path, &well[path], true);
        let changes = discovery.scan();
        assert!(changes.len() <= 4, "{changes:?}");
        for change in changes {
            if let Change::Appeared(found) | Change::Updated(found) = change {
                assert!([docker.as_str(), "plain"].contains(&found.name.runtime_id.as_str()), "{found:?}");
            }
        }
        assert!(discovery.instances().any(|found| found.name.runtime_id == docker), "its cgroup is there");
    }
}
