//! Lives that are over before anybody looks, and what is said where the kernel does not tell.

#![cfg(target_os = "linux")]

mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use sonde_collect::matching::Match;
use sonde_collect::unheard::{Of, Unheard, Why};
use sonde_collect::{
    Change, Discovery, Events, FdBudget, Found, InstanceReader, InstanceRule, RefusalReason, Runtime, Watcher,
};
use tree::{Layout, Tree, hex, skipped};

/// What the kernel queues by default before it says that it has lost some.
const QUEUED: &str = "/proc/sys/fs/inotify/max_queued_events";
/// Beyond this nobody has set it for a test to fill.
const FILLED: usize = 200_000;

fn unread(changes: &[Change]) -> Vec<(Arc<Found>, u32)> {
    let of = |change: &Change| match change {
        Change::Unread(found, lives) => Some((found.clone(), *lives)),
        _ => None,
    };
    changes.iter().filter_map(of).collect()
}

/// As `runtime id`, for each unread life.
fn named(changes: &[Change]) -> Vec<String> {
    let name = |(found, lives): &(Arc<Found>, u32)| {
        format!("{} {} {lives}", found.name.runtime.as_str(), found.name.runtime_id)
    };
    unread(changes).iter().map(name).collect()
}

/// A discovery that has looked once, and who watches.
fn begun(tree: &Tree, mut discovery: Discovery) -> (Discovery, Watcher, Arc<Unheard>) {
    let unheard = Arc::<Unheard>::default();
    let mut watcher = Watcher::counting(unheard.clone()).unwrap();
    for folder in ["run/runc", "run/docker/runtime-runc/moby"] {
        fs::create_dir_all(tree.path(folder)).unwrap();
    }
    watcher.scan(&mut discovery);
    (discovery, watcher, unheard)
}

fn lives(tree: &Tree, path: &str, times: usize) {
    for _ in 0..times {
        tree.cgroup(path);
        tree.remove_cgroup(path);
    }
}

#[test]
fn who_lived_between_two_looks_is_told_once() {
    for layout in [Layout::Hybrid, Layout::Unified, Layout::V1] {
        let tree = Tree::new(layout);
        tree.cgroup("/docker");
        let (mut discovery, mut watcher, unheard) = begun(&tree, tree.discovery());
        let path = format!("/docker/{}", hex("a"));
        lives(&tree, &path, 3);
        let changes = watcher.scan(&mut discovery);
        let told = unread(&changes);
        assert_eq!((changes.len(), told.len()), (3, 3), "{layout:?}: {changes:?}");
        let ids: BTreeSet<_> = told.iter().map(|(found, _)| found.name.uuid).collect();
        assert_eq!(ids.len(), 3, "each is a life of its own");
        let (found, lives_of_it) = &told[0];
        assert_eq!((found.name.runtime, &*found.cgroup_path, *lives_of_it), (Runtime::Docker, &*path, 1));
        assert_eq!((found.name.name.as_deref(), found.metadata.unread), (None, true));
        assert!(watcher.scan(&mut discovery).is_empty());

        // One that is seen; then another in its place, with one between them that nobody saw.
        tree.cgroup(&path);
        assert!(matches!(watcher.scan(&mut discovery).as_slice(), [Change::Appeared(_)]));
        tree.retire_cgroup(&path);
        lives(&tree, &path, 1);
        tree.cgroup(&path);
        let changes = watcher.scan(&mut discovery);
        assert!(
            matches!(changes.as_slice(), [Change::Gone(..), Change::Appeared(_), Change::Unread(_, 1)]),
            "{changes:?}"
        );
        assert!(watcher.scan(&mut discovery).is_empty());
        // More than anybody makes in so short a time: told as some, that stand for all.
        lives(&tree, &format!("/docker/{}", hex("b")), 100);
        let told = unread(&watcher.scan(&mut discovery));
        assert_eq!((told.len(), told.iter().map(|(_, lives)| lives).sum::<u32>()), (64, 100));
        assert_eq!(unheard.news(), []);
    }
}

#[test]
fn what_is_no_instance_has_no_life() {
    let tree = Tree::new(Layout::Hybrid);
    for path in ["/docker", "/batch", "/r"] {
        tree.cgroup(path);
    }
    let matching = |runtime: &str, cgroup: &str| Match {
        runtime: Some(runtime.into()),
        cgroup: Some(cgroup.into()),
        ..Match::default()
    };
    let rule = |matching, instance| InstanceRule { matching, instance, name: None };
    let rules = vec![rule(matching("docker", "*c0*"), false), rule(matching("cgroup", "/batch/*"), true)];
    let (mut discovery, mut watcher, _) = begun(&tree, tree.discovery_by(rules));
    let alive = format!("/docker/{}", hex("a"));
    tree.cgroup(&alive);
    watcher.scan(&mut discovery);
    // Left out by a rule; nobody's; in an instance; below what is no instance's place.
    lives(&tree, &format!("/docker/{}", hex("c")), 1);
    lives(&tree, "/plain", 1);
    lives(&tree, &format!("{alive}/{}", hex("d")), 1);
    lives(&tree, "/docker/x.mount", 1);
    // A container of plain runc that is only now known to be one: what was in its cgroup is its own.
    lives(&tree, &format!("/r/docker-{}.scope", hex("e")), 1);
    tree.runc_state("r", "/r");
    // Taken by a rule.
    lives(&tree, "/batch/job", 1);
    let changes = watcher.scan(&mut discovery);
    assert_eq!(named(&changes), ["cgroup batch/job 1"], "{changes:?}");
    assert_eq!(changes.len(), 2, "and the container: {changes:?}");
    // What is gone with all that it lay in cannot say whose it was.
    tree.cgroup("/pods/one");
    watcher.scan(&mut discovery);
    lives(&tree, &format!("/pods/one/{}", hex("f")), 1);
    tree.remove_cgroup("/pods");
    let told = unread(&watcher.scan(&mut discovery));
    assert_eq!(told.len(), 1);
    assert!(!told[0].0.root_owned, "nothing vouches for it");
}

#[test]
fn a_state_directory_and_a_cgroup_tell_of_one_life() {
    let tree = Tree::new(Layout::Hybrid);
    tree.cgroup("/docker");
    let (mut discovery, mut watcher, _) = begun(&tree, tree.discovery());
    let folder = |id: &str, of: &str| tree.path(&format!("run/{of}/{id}"));
    let state = |id: &str, of: &str, there: bool| {
        let done = if there { fs::create_dir_all(folder(id, of)) } else { fs::remove_dir_all(folder(id, of)) };
        done.unwrap();
    };
    let mut scan = || watcher.scan(&mut discovery);
    // Plain runc's has no other trace.
    state("job", "runc", true);
    state("job", "runc", false);
    assert_eq!(named(&scan()), ["runc job 1"]);
    // One that was seen being made, and never was.
    state("job", "runc", true);
    assert!(scan().is_empty());
    state("job", "runc", false);
    assert_eq!(named(&scan()), ["runc job 1"]);
    // One that became an instance.
    tree.cgroup("/job");
    tree.runc_state("job", "/job");
    assert!(matches!(scan().as_slice(), [Change::Appeared(_)]));
    tree.remove_cgroup("/job");
    assert!(matches!(scan().as_slice(), [Change::Gone(..)]));
    state("job", "runc", false);
    assert!(scan().is_empty(), "it was told");

    if !rustix::process::geteuid().is_root() {
        skipped("what is not root's covers nothing");
        return;
    }
    // Docker's has both, and they come and go one after the other; a look may be between any two.
    let (place, docker) = ("docker/runtime-runc/moby", format!("/docker/{}", hex("a")));
    for looks in 0..8 {
        let mut told = Vec::new();
        let mut look = |at: usize| told.extend(if looks & (1 << at) == 0 { Vec::new() } else { scan() });
        state(&hex("a"), place, true);
        look(0);
        tree.cgroup(&docker);
        look(1);
        tree.retire_cgroup(&docker);
        look(2);
        state(&hex("a"), place, false);
        told.extend(scan());
        told.extend(scan());
        let births = told.iter().filter(|change| matches!(change, Change::Appeared(_))).count();
        let deaths = told.iter().filter(|change| matches!(change, Change::Gone(..))).count();
        let unread: u32 = unread(&told).iter().map(|(_, lives)| lives).sum();
        assert_eq!((births, births as u32 + unread), (deaths, 1), "looks {looks:03b}: {told:?}");
        for at in 0.. {
            let retired = tree.path(&format!("retired-{at}"));
            if !retired.exists() {
                break;
            }
            fs::remove_dir_all(retired).unwrap();
        }
    }
}

/// A user's cgroup that is called as a container of root's.
#[test]
fn nobody_dies_in_anothers_name() {
    let tree = Tree::new(Layout::Unified);
    let (theirs, roots) = ("/user.slice/user-1000.slice/user@1000.service", format!("/docker/{}", hex("a")));
    for path in [&format!("{theirs}/app.slice"), &roots] {
        tree.cgroup(path);
    }
    if !tree.delegate(theirs, 1000) || !tree.delegate(&format!("{theirs}/app.slice"), 1000) {
        return;
    }
    let (mut discovery, mut watcher, _) = begun(&tree, tree.discovery());
    lives(&tree, &format!("{theirs}/app.slice/docker-{}.scope", hex("a")), 2);
    assert!(watcher.scan(&mut discovery).is_empty());
    assert_eq!(discovery.refused()[RefusalReason::Duplicate as usize], 1);
    // Nor does it hide one: root's life of that name is told beside it.
    lives(&tree, &format!("{theirs}/app.slice/docker-{}.scope", hex("b")), 1);
    fs::create_dir(tree.path(&format!("run/docker/runtime-runc/moby/{}", hex("b")))).unwrap();
    fs::remove_dir(tree.path(&format!("run/docker/runtime-runc/moby/{}", hex("b")))).unwrap();
    let told = unread(&watcher.scan(&mut discovery));
    let mut whose: Vec<bool> = told.iter().map(|(found, _)| found.root_owned).collect();
    whose.sort_unstable();
    assert_eq!(whose, [false, true], "{told:?}");
}

/// Makes more events in a directory than a queue of the kernel's holds. False where that is more than a test should.
fn overflows(tree: &Tree, folder: &str) -> bool {
    let queued: usize = fs::read_to_string(QUEUED).unwrap().trim().parse().unwrap();
    let fills = queued < FILLED;
    if !fills {
        skipped("the kernel's queue of events is longer than a test fills");
    }
    let files = ["a", "b"].map(|name| tree.path(&format!("cgroup/memory/{folder}/{name}")));
    files.iter().for_each(|file| fs::write(file, "").unwrap());
    // One and the other by turns: the same event twice is one.
    for turn in 0..if fills { queued + 100 } else { 0 } {
        drop(fs::OpenOptions::new().append(true).open(&files[turn % 2]).unwrap());
    }
    fills
}

#[test]
fn a_full_queue_is_counted_and_all_is_looked_at() {
    let tree = Tree::new(Layout::Hybrid);
    for path in ["/docker", "/later", "/user.slice/user-1000.slice/user@1000.service/app.slice"] {
        tree.cgroup(path);
    }
    let is_delegated = tree.delegate("/user.slice/user-1000.slice/user@1000.service", 1000);
    let (mut discovery, mut watcher, unheard) = begun(&tree, tree.discovery());
    if is_delegated {
        // A user's storm in his own tree costs nobody else's life.
        lives(&tree, &format!("/user.slice/user-1000.slice/user@1000.service/app.slice/docker-{}.scope", hex("c")), 1);
        if !overflows(&tree, "user.slice/user-1000.slice/user@1000.service/app.slice") {
            return;
        }
        lives(&tree, &format!("/docker/{}", hex("a")), 1);
        let changes = watcher.scan(&mut discovery);
        let of_root = unread(&changes).into_iter().filter(|(found, _)| found.root_owned).count();
        assert_eq!(of_root, 1);
        assert_eq!(unheard.news(), [(Of::ForeignBirths, Why::Overflow)]);
        let theirs = unread(&changes).into_iter().find(|(found, _)| !found.root_owned);
        assert_eq!(theirs.unwrap().0.metadata.place.user, Some(1000));
    }
    if !overflows(&tree, "docker") {
        return;
    }
    // What happens now nobody is told of: one is born, and a watched directory is another.
    tree.remove_cgroup("/later");
    tree.cgroup(&format!("/docker/{}", hex("b")));
    tree.cgroup("/later");
    let of = if is_delegated { Of::Births } else { Of::ForeignBirths };
    let changes = watcher.scan(&mut discovery);
    assert_eq!((unheard.times(of, Why::Overflow), unheard.news()), (1, vec![(of, Why::Overflow)]));
    assert!(changes.iter().any(|change| matches!(change, Change::Appeared(_))), "{changes:?}");
    // From now on everything is told again.
    lives(&tree, &format!("/later/{}", hex("c")), 2);
    assert_eq!(unread(&watcher.scan(&mut discovery)).len(), 2);
    assert!(unheard.news().is_empty());
}

/// So many watches are given to whoever runs in the namespace of [`inside_a_namespace_with_few_watches`].
const FEW: usize = 5;

#[test]
fn what_the_kernel_refuses_to_watch_is_counted() {
    let order = format!("echo {FEW} > /proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &order]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "inside_a_namespace_with_few_watches", "--ignored", "--nocapture"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed") {
        skipped("no user namespace can be made here");
        return;
    }
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "what_the_kernel_refuses_to_watch_is_counted runs it, where the kernel gives few watches"]
fn inside_a_namespace_with_few_watches() {
    let tree = Tree::new(Layout::Hybrid);
    let paths: Vec<String> = (0..FEW).map(|n| format!("/plain/{n}")).collect();
    paths.iter().for_each(|path| tree.cgroup(path));
    tree.cgroup(&format!("/docker/{}", hex("a")));
    let (mut discovery, mut watcher, unheard) = begun(&tree, tree.discovery());
    let refused = unheard.times(Of::Births, Why::Kernel);
    assert!(refused > 0 && unheard.news() == [(Of::Births, Why::Kernel)], "{unheard:?}");
    watcher.scan(&mut discovery);
    assert_eq!(unheard.times(Of::Births, Why::Kernel), refused, "counted once while it is so");
    // Instances are found as ever, and their limits are read as ever.
    let found = discovery.instances().next().unwrap().clone();
    let events = Events::start(unheard.clone()).unwrap();
    let mut reader = InstanceReader::new(found, tree.roots(), &FdBudget::new(100)).with_events(&events, None);
    assert!(reader.read().is_ok());
    assert!(unheard.times(Of::Limits, Why::Kernel) > 0, "{unheard:?}");
    assert_eq!(unheard.news(), [(Of::Limits, Why::Kernel)]);
}
