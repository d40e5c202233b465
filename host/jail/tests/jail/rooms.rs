//! Rooms in the machine's own cgroups: made, limited, joined and removed, with nothing left behind;
//! and the agent's own side, in children.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use sonde_jail::Layer;
use sonde_jail::cgroup::{CgroupLimits, CgroupRoom, sweep};

use crate::Test;
use crate::outcome::Outcome::{Done, Killed, Refused};
use crate::outcome::{attempt, jail};

pub const TESTS: &[Test] = &[
    ("a_room_has_its_limits_and_goes", true, a_room_has_its_limits_and_goes),
    ("all_layers_are_in_force_for_root", true, all_layers_are_in_force_for_root),
    ("too_much_memory_kills_the_child_alone", true, too_much_memory_kills_the_child_alone),
    ("too_many_threads_are_refused", true, too_many_threads_are_refused),
];

const LIMITS: CgroupLimits = CgroupLimits { memory_bytes: 64 << 20, pids: 8, cpu_weight: 50 };

fn folders(room: &CgroupRoom) -> Vec<PathBuf> {
    room.join_paths().iter().map(|procs| procs.parent().unwrap().to_owned()).collect()
}

fn a_room_has_its_limits_and_goes() {
    let room = CgroupRoom::create("limits", &LIMITS).unwrap();
    assert_eq!(room.missing(), []);
    let folders = folders(&room);
    let value = |names: &[&str]| {
        let found = folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
        found.filter_map(|path| fs::read_to_string(path).ok()).next().unwrap().trim().to_owned()
    };
    assert_eq!(value(&["memory.limit_in_bytes", "memory.max"]), LIMITS.memory_bytes.to_string());
    assert_eq!(value(&["pids.max"]), "8");
    let weight = value(&["cpu.shares", "cpu.weight"]);
    assert!(["512", "50"].contains(&weight.as_str()), "{weight}");
    // Ours is alive, so nothing of it is swept.
    sweep().unwrap();
    assert!(folders.iter().all(|folder| folder.exists()));
    room.remove().unwrap();
    assert!(folders.iter().all(|folder| !folder.exists()));
}

fn all_layers_are_in_force_for_root() {
    let room = CgroupRoom::create("all", &LIMITS).unwrap();
    let mut jail = jail(&[]);
    jail.cgroup = room.join_paths();
    let (reports, outcome) = attempt("nothing", &jail, Stdio::null());
    assert_eq!(outcome, Done);
    assert_eq!(reports.iter().map(|report| report.layer).collect::<Vec<_>>(), Layer::ALL);
    for report in &reports {
        assert_eq!(report.fault, None, "{report:?}");
        println!("  {}: in force {}", report.layer.as_str(), report.detail.as_deref().unwrap_or_default());
    }
    room.remove().unwrap();
}

fn too_much_memory_kills_the_child_alone() {
    let room = CgroupRoom::create("memory", &LIMITS).unwrap();
    let mut jail = jail(&[]);
    assert_eq!(attempt("memory", &jail, Stdio::null()).1, Done);
    jail.cgroup = room.join_paths();
    assert_eq!(attempt("memory", &jail, Stdio::null()).1, Killed(libc::SIGKILL));
    room.remove().unwrap();
}

fn too_many_threads_are_refused() {
    let room = CgroupRoom::create("pids", &CgroupLimits { pids: 1, ..LIMITS }).unwrap();
    // Without seccomp and without a limit of the user, the room is what holds.
    let mut jail = jail(&[Layer::Seccomp, Layer::Rlimits]);
    jail.cgroup = room.join_paths();
    assert_eq!(attempt("fork", &jail, Stdio::null()).1, Refused(libc::EAGAIN));
    room.remove().unwrap();
}
