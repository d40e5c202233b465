//! Rooms in trees of plain files: what is written where, for each way a system mounts cgroups. That
//! the kernel takes it is asked in `tests/jail`.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

const LIMITS: CgroupLimits = CgroupLimits { memory_bytes: 64 << 20, pids: 32, cpu_weight: 50 };
const V1_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
const V2_MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

/// A tree in which the process has these memberships, with these files.
fn tree(memberships: &str, mounts: &str, files: &[(&str, &str)]) -> TempDir {
    let tree = TempDir::new().unwrap();
    for (path, text) in files.iter().chain(&[("self/cgroup", memberships), ("self/mountinfo", mounts)]) {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    tree
}

fn place(tree: &TempDir) -> Place {
    Place::read(&tree.path().join("self"), tree.path()).unwrap()
}

fn text(tree: &TempDir, path: &str) -> String {
    fs::read_to_string(tree.path().join(path)).unwrap()
}

/// A room's directory is not empty in a tree of plain files, as it would be to the kernel.
fn empty(room: &Path) {
    for entry in fs::read_dir(room).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}

fn name() -> String {
    format!("sonde-{}-a", std::process::id())
}

#[test]
fn hybrid_has_a_room_in_each_hierarchy_that_limits() {
    let memberships = "9:name=systemd:/\n8:pids:/\n4:memory:/agent\n1:cpu,cpuacct:/\n0::/\n";
    let cgroup = "sys/fs/cgroup";
    let files = ["memory/agent/x", "pids/x", "cpu,cpuacct/x"].map(|file| format!("{cgroup}/{file}"));
    let unified = format!("{cgroup}/unified/cgroup.controllers");
    let mut files: Vec<(&str, &str)> = files.iter().map(|file| (file.as_str(), "")).collect();
    files.push((&unified, "hugetlb\n"));
    let tree = tree(memberships, V1_MOUNTS, &files);

    let room = CgroupRoom::create_in(&place(&tree), "a", &LIMITS).unwrap();
    let name = name();
    assert_eq!(text(&tree, &format!("{cgroup}/memory/agent/{name}/memory.limit_in_bytes")), "67108864");
    assert_eq!(text(&tree, &format!("{cgroup}/pids/{name}/pids.max")), "32");
    assert_eq!(text(&tree, &format!("{cgroup}/cpu,cpuacct/{name}/cpu.shares")), "512");
    assert_eq!(room.missing(), []);
    let expected = ["pids", "memory/agent", "cpu,cpuacct"].map(|at| format!("{cgroup}/{at}/{name}/cgroup.procs"));
    assert_eq!(room.join_paths(), expected.map(|path| tree.path().join(path)));

    let rooms = room.rooms.clone();
    rooms.iter().for_each(|room| empty(room));
    room.remove().unwrap();
    assert!(rooms.iter().all(|room| !room.exists()));
}

#[test]
fn v2_moves_its_processes_into_a_leaf_first() {
    let base = "sys/fs/cgroup/system.slice/sonde.service";
    let file = |name: &str| format!("{base}/{name}");
    let names = ["cgroup.controllers", "cgroup.subtree_control", "cgroup.type", "sonde-self/cgroup.procs"].map(file);
    let texts = ["cpu memory pids\n", "pids\n", "domain\n", ""];
    let files: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(texts).collect();
    let tree = tree("0::/system.slice/sonde.service\n", V2_MOUNTS, &files);
    // A plain file does not lose a process that is moved, so the rounds run out; that is the error.
    fs::write(tree.path().join(file("cgroup.procs")), "41\n").unwrap();
    let error = CgroupRoom::create_in(&place(&tree), "a", &LIMITS).unwrap_err();
    assert!(matches!(error, CgroupError::Settle { .. }), "{error:?}");
    assert_eq!(text(&tree, &file("sonde-self/cgroup.procs")), "41");

    fs::write(tree.path().join(file("cgroup.procs")), "").unwrap();
    let room = CgroupRoom::create_in(&place(&tree), "a", &LIMITS).unwrap();
    assert_eq!(text(&tree, &file("cgroup.subtree_control")), "+memory +cpu");
    let name = name();
    assert_eq!(text(&tree, &file(&format!("{name}/memory.max"))), "67108864");
    assert_eq!(text(&tree, &file(&format!("{name}/pids.max"))), "32");
    assert_eq!(text(&tree, &file(&format!("{name}/cpu.weight"))), "50");
    assert_eq!(room.join_paths(), [tree.path().join(file(&format!("{name}/cgroup.procs")))]);
}

#[test]
fn v2_that_has_settled_makes_rooms_beside_its_leaf() {
    let files =
        [("sys/fs/cgroup/a/cgroup.controllers", "memory pids"), ("sys/fs/cgroup/a/sonde-self/cgroup.procs", "")];
    let tree = tree("0::/a/sonde-self\n", V2_MOUNTS, &files);
    let place = place(&tree);
    assert_eq!(place.hierarchies[0].path, tree.path().join("sys/fs/cgroup/a"));
    assert_eq!(place.missing(), [Controller::Cpu]);
}

#[test]
fn a_mount_of_a_part_of_the_hierarchy_is_seen_through() {
    let mounts = "31 23 0:28 /docker/c1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let files = [("sys/fs/cgroup/in/cgroup.controllers", "memory")];
    let inside = tree("0::/docker/c1/in\n", mounts, &files);
    assert_eq!(place(&inside).hierarchies[0].path, inside.path().join("sys/fs/cgroup/in"));
    for foreign in ["0::/../other\n", "0::/docker/c1/../x\n", "0::/docker/c2\n"] {
        let outside = tree(foreign, mounts, &files);
        let error = Place::read(&outside.path().join("self"), outside.path()).unwrap_err();
        assert!(matches!(error, CgroupError::NoHierarchy), "{foreign}: {error:?}");
    }
}

#[test]
fn names_are_not_paths() {
    for name in ["", "..", "a/b", "a.b", "a\n", &"a".repeat(33)] {
        assert!(matches!(place::room_name(1, name), Err(CgroupError::Name { .. })), "{name:?}");
    }
    let of = place::creator_of;
    assert_eq!(of(&place::room_name(77, "r-1").unwrap()), Some(77));
    assert_eq!([of("sonde-self"), of("sonde-x-1"), of("other-1-1"), of("sonde-1")], [None; 4]);
}

#[test]
fn sweep_takes_only_rooms_of_the_dead() {
    let files = [("sys/fs/cgroup/cgroup.controllers", "memory")];
    let tree = tree("0::/\n", V2_MOUNTS, &files);
    let directory = |name: &str| tree.path().join("sys/fs/cgroup").join(name);
    for name in ["sonde-5-a", "sonde-6-a", "sonde-self", "other"] {
        fs::create_dir(directory(name)).unwrap();
    }
    assert_eq!(sweep_in(&place(&tree), |pid| pid == 6), 1);
    assert!(!directory("sonde-5-a").exists());
    assert!(["sonde-6-a", "sonde-self", "other"].iter().all(|name| directory(name).exists()));
}

#[test]
fn a_room_that_exists_and_is_in_use_is_an_error() {
    let used = format!("sys/fs/cgroup/{}/cgroup.procs", name());
    let files = [
        ("sys/fs/cgroup/cgroup.controllers", "memory"),
        ("sys/fs/cgroup/cgroup.subtree_control", "memory"),
        (&used, "5"),
    ];
    let tree = tree("0::/\n", V2_MOUNTS, &files);
    let error = CgroupRoom::create_in(&place(&tree), "a", &LIMITS).unwrap_err();
    assert!(matches!(error, CgroupError::Create { .. }), "{error:?}");
}
