//! Discovery over a machine made of files: births, deaths, names of every kind, and forgeries.

mod tree;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use sonde_collect::{Change, Discovery, GroupSource, ProcessGroup, Reason, RefusalReason, Runtime, Watcher};
use tree::{Layout, Tree, hex};

fn names(discovery: &Discovery) -> Vec<(Runtime, String)> {
    let mut names: Vec<_> =
        discovery.instances().map(|found| (found.name.runtime, found.name.runtime_id.clone())).collect();
    names.sort();
    names
}

fn refused(discovery: &Discovery, reason: RefusalReason) -> u64 {
    discovery.refused()[reason as usize]
}

#[test]
fn births_and_deaths_in_every_layout() {
    for layout in [Layout::V1, Layout::Hybrid, Layout::Unified] {
        let tree = Tree::new(layout);
        let mut discovery = tree.discovery();
        assert!(discovery.scan().is_empty());

        let docker = format!("/docker/{}", hex("a"));
        tree.cgroup(&docker);
        tree.cgroup("/system.slice/cron.service");
        let changes = discovery.scan();
        let [Change::Appeared(found)] = changes.as_slice() else { panic!("{layout:?}: {changes:?}") };
        assert_eq!(found.name.runtime_id, hex("a"));
        assert_eq!(found.cgroup_path, docker);
        assert_eq!(found.cgroups.v2.is_some(), layout != Layout::V1);
        let first = found.name.uuid;
        assert!(discovery.scan().is_empty(), "nothing new is no change");

        // The same id again, in another life: another instance.
        tree.retire_cgroup(&docker);
        tree.cgroup(&docker);
        let changes = discovery.scan();
        let [Change::Gone(gone, Reason::Removed), Change::Appeared(second)] = changes.as_slice() else {
            panic!("{layout:?}: {changes:?}")
        };
        assert_eq!(*gone, first);
        assert_ne!(second.name.uuid, first);

        // A new discovery, as after a restart of the agent, gives the same id.
        let mut again = tree.discovery();
        let changes = again.scan();
        let [Change::Appeared(same)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(same.name.uuid, second.name.uuid);

        tree.remove_cgroup(&docker);
        assert!(matches!(discovery.scan().as_slice(), [Change::Gone(..)]));
    }
}

#[test]
fn runc_is_known_from_its_state() {
    let tree = Tree::new(Layout::Hybrid);
    tree.cgroup("/anything/at-all");
    let mut discovery = tree.discovery();
    discovery.scan();
    assert!(names(&discovery).is_empty());

    tree.runc_state("redis", "/anything/at-all");
    // A state whose cgroup is not there yet is not an instance yet.
    tree.runc_state("early", "/later");
    discovery.scan();
    assert_eq!(names(&discovery), [(Runtime::Runc, "redis".into())]);
    let found = discovery.instances().next().unwrap().clone();
    assert_eq!(found.name.name.as_deref(), Some("redis"));
    assert_eq!(found.annotations, [("a.b".to_owned(), "c=d".to_owned())]);
    assert_eq!(found.bundle.as_deref(), Some("/b".as_ref()));
    let created = found.created.unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(created, Duration::from_millis(1_767_323_045_500));

    tree.cgroup("/later");
    discovery.scan();
    assert_eq!(names(&discovery).len(), 2);
    // The state alone does not keep an instance: its cgroup is what lives.
    tree.remove_cgroup("/later");
    assert!(matches!(discovery.scan().as_slice(), [Change::Gone(..)]));
}

#[test]
fn a_state_that_comes_late_completes_what_the_path_told() {
    let tree = Tree::new(Layout::Hybrid);
    let path = format!("/docker/{}", hex("b"));
    tree.cgroup(&path);
    let mut discovery = tree.discovery();
    discovery.scan();
    tree.runc_state("web", &path);
    let changes = discovery.scan();
    let [Change::Updated(found)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((found.name.runtime, found.name.runtime_id.as_str()), (Runtime::Docker, hex("b").as_str()));
    assert_eq!(found.name.name.as_deref(), Some("web"));
    assert!(discovery.scan().is_empty());
}

#[test]
fn what_is_nested_is_the_outer_ones() {
    let tree = Tree::new(Layout::Hybrid);
    let (victim, tenant) = (format!("/docker/{}", hex("a")), format!("/docker/{}", hex("b")));
    tree.cgroup(&victim);
    tree.cgroup(&tenant);
    tree.cgroup("/plain");
    tree.runc_state("plain", "/plain");
    let mut discovery = tree.discovery();
    discovery.scan();
    let before = names(&discovery);
    assert_eq!(before.len(), 3);
    let ids: Vec<_> = discovery.instances().map(|found| found.name.uuid).collect();

    // Tenants name cgroups of their own like another's container.
    tree.cgroup(&format!("{tenant}/docker-{}.scope", hex("a")));
    tree.cgroup(&format!("{tenant}/system.slice/lxc.payload.x"));
    tree.cgroup(&format!("/plain/docker/{}", hex("a")));
    // And a state file names a cgroup inside another container.
    tree.runc_state("inner", &format!("{victim}/inner"));
    tree.cgroup(&format!("{victim}/inner"));
    let changes = discovery.scan();
    assert!(changes.iter().all(|change| matches!(change, Change::Updated(_))), "{changes:?}");
    assert_eq!(names(&discovery), before);
    assert!(discovery.instances().all(|found| ids.contains(&found.name.uuid)));
    assert_eq!(refused(&discovery, RefusalReason::Nested), 3);
    let nested: u32 = discovery.instances().map(|found| found.nested_claims).sum();
    assert_eq!(nested, 3);
    // Counted once, not at every look.
    discovery.scan();
    assert_eq!(refused(&discovery, RefusalReason::Nested), 3);
}

#[test]
fn two_claims_to_one_id() {
    let tree = Tree::new(Layout::Hybrid);
    let path = format!("/docker/{}", hex("a"));
    tree.cgroup(&path);
    let mut discovery = tree.discovery();
    discovery.scan();
    let served = discovery.instances().next().unwrap().name.uuid;

    // A newcomer takes the id of one that is served: it is refused, the other stays.
    let forged = format!("/user.slice/docker-{}.scope", hex("a"));
    tree.cgroup(&forged);
    assert!(discovery.scan().is_empty());
    assert_eq!(discovery.instances().next().unwrap().name.uuid, served);
    assert_eq!(refused(&discovery, RefusalReason::Duplicate), 1);
    let refusal = discovery.refusals().next().unwrap();
    assert!(refusal.what.starts_with(&forged), "{refusal:?}");

    // To one who cannot tell which was first, neither is served.
    let mut stranger = tree.discovery();
    assert!(stranger.scan().is_empty());
    assert_eq!(refused(&stranger, RefusalReason::Duplicate), 2);

    // Unless root's own state confirms one.
    tree.runc_state(&hex("a"), &path);
    let mut informed = tree.discovery();
    if rustix::process::getuid().is_root() {
        // As root both trees are root's: make the forged one's parent somebody else's.
        for mount in tree::V1 {
            let parent = tree.path(&format!("cgroup/{mount}/user.slice"));
            std::os::unix::fs::chown(parent, Some(12345), None).unwrap();
        }
        let changes = informed.scan();
        assert!(matches!(changes.as_slice(), [Change::Appeared(found)] if found.cgroup_path == path), "{changes:?}");
    } else {
        println!("skipped in part: only root can give a directory away");
    }
}

#[test]
fn a_squatter_gives_way_to_root() {
    if !rustix::process::getuid().is_root() {
        println!("skipped: only root can give a directory away");
        return;
    }
    let tree = Tree::new(Layout::Hybrid);
    tree.cgroup("/user.slice/lxc.payload.db");
    for mount in tree::V1 {
        let delegated = tree.path(&format!("cgroup/{mount}/user.slice"));
        std::os::unix::fs::chown(delegated, Some(12345), None).unwrap();
    }
    let mut discovery = tree.discovery();
    let changes = discovery.scan();
    let [Change::Appeared(squatter)] = changes.as_slice() else { panic!("{changes:?}") };
    assert!(!squatter.root_owned, "a tenant may have chosen this name");

    // The true one comes later, and is not kept out.
    tree.cgroup("/lxc.payload.db");
    let changes = discovery.scan();
    let [Change::Gone(gone, _), Change::Appeared(owner)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((*gone, owner.root_owned), (squatter.name.uuid, true));
    assert_eq!(owner.cgroup_path, "/lxc.payload.db");
    assert_eq!(refused(&discovery, RefusalReason::Duplicate), 1);
}

#[test]
fn two_states_for_one_cgroup() {
    let tree = Tree::new(Layout::Hybrid);
    tree.cgroup("/one");
    tree.runc_state("first", "/one");
    let mut discovery = tree.discovery();
    discovery.scan();
    tree.runc_state("second", "/one");
    assert!(discovery.scan().is_empty());
    assert_eq!(names(&discovery), [(Runtime::Runc, "first".into())]);
    assert_eq!(refused(&discovery, RefusalReason::Duplicate), 1);
}

#[test]
fn states_that_are_not_believed() {
    let tree = Tree::new(Layout::Hybrid);
    tree.cgroup("/ok");
    tree.runc_state("ok", "/ok");
    tree.cgroup("/x");
    for id in ["writable", "above", "renamed", "garbage", "climbing", "root", "elsewhere"] {
        tree.runc_state(id, "/x");
    }
    let mode = |path: &str, mode| {
        fs::set_permissions(tree.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("run/runc/writable/state.json", 0o666);
    mode("run/runc/above", 0o777);
    fs::rename(tree.path("run/runc/renamed"), tree.path("run/runc/another")).unwrap();
    tree.write("run/runc/garbage/state.json", "{\"id\": 3");
    // These are believed but name no cgroup of ours.
    tree.runc_state("climbing", "/ok/../../../etc");
    tree.runc_state("root", "/");
    tree.write(
        "run/runc/elsewhere/state.json",
        r#"{"id": "elsewhere", "init_process_pid": 1, "cgroup_paths": {"memory": "/etc"}}"#,
    );
    // A link in place of the file is not followed.
    fs::create_dir(tree.path("run/runc/linked")).unwrap();
    let target = tree.path("run/runc/ok/state.json");
    std::os::unix::fs::symlink(target, tree.path("run/runc/linked/state.json")).unwrap();

    let mut discovery = tree.discovery();
    discovery.scan();
    assert_eq!(names(&discovery), [(Runtime::Runc, "ok".into())]);
    assert_eq!(refused(&discovery, RefusalReason::Untrusted), 4);
}

#[test]
fn process_groups() {
    let tree = Tree::new(Layout::Hybrid);
    // The real /proc, so that real processes can be found; cgroups of files.
    let mut roots = (*tree.roots()).clone();
    roots.proc = "/proc".into();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let pid_file = tree.path("app.pid");
    let group = |name: &str, source| ProcessGroup { name: name.into(), source };
    let node = sonde_collect::NodeId::new("node").unwrap();
    let mut config = sonde_collect::DiscoveryConfig::new(node);
    config.process_groups = vec![
        group("by-pid", GroupSource::PidFile(pid_file.clone())),
        group("by-port", GroupSource::Port(port)),
        group("by-cgroup", GroupSource::Cgroup("/app.slice".into())),
        group("by-port", GroupSource::Port(port)),
    ];
    let mut discovery = Discovery::new(std::sync::Arc::new(roots), config);
    let mut watcher = Watcher::new().unwrap();
    watcher.scan(&mut discovery);
    let group_names = |discovery: &Discovery| -> Vec<String> {
        names(discovery).into_iter().map(|(runtime, id)| format!("{} {id}", runtime.as_str())).collect()
    };
    assert_eq!(group_names(&discovery), ["process-group by-port"]);
    assert_eq!(refused(&discovery, RefusalReason::Duplicate), 1);
    assert_eq!(discovery.rescan_every(), Duration::from_secs(1));

    fs::write(&pid_file, format!("{}\n", child.id())).unwrap();
    assert!(watcher.wait(Duration::from_secs(10)).unwrap(), "a pid file is noticed");
    tree.cgroup("/app.slice");
    watcher.scan(&mut discovery);
    let all = ["process-group by-cgroup", "process-group by-pid", "process-group by-port"];
    assert_eq!(group_names(&discovery), all);

    // A file that anybody may write says nothing.
    fs::set_permissions(&pid_file, fs::Permissions::from_mode(0o666)).unwrap();
    watcher.scan(&mut discovery);
    assert_eq!(group_names(&discovery), ["process-group by-cgroup", "process-group by-port"]);
    fs::set_permissions(&pid_file, fs::Permissions::from_mode(0o644)).unwrap();
    watcher.scan(&mut discovery);
    assert_eq!(group_names(&discovery), all);

    let began = Instant::now();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(watcher.wait(Duration::from_secs(10)).unwrap(), "a leader's end is noticed");
    assert!(began.elapsed() < Duration::from_secs(1));
    let changes = watcher.scan(&mut discovery);
    assert!(matches!(changes.as_slice(), [Change::Gone(_, Reason::Removed)]), "{changes:?}");
    drop(listener);
    watcher.scan(&mut discovery);
    assert_eq!(group_names(&discovery), ["process-group by-cgroup"]);
}

#[test]
fn births_and_deaths_wake_the_watcher() {
    let tree = Tree::new(Layout::Hybrid);
    let mut discovery = tree.discovery();
    let mut watcher = Watcher::new().unwrap();
    watcher.scan(&mut discovery);
    watcher.drain();
    assert!(!watcher.wait(Duration::ZERO).unwrap());

    // In a directory that did not exist at the scan before: found at once, or by the next event.
    let path = format!("/docker/{}", hex("c"));
    let began = Instant::now();
    tree.cgroup(&path);
    while discovery.instances().count() == 0 {
        assert!(watcher.wait(Duration::from_secs(5)).unwrap(), "the birth was not noticed");
        watcher.scan(&mut discovery);
    }
    // A container of plain runc: its state directory comes first, its file by a rename.
    tree.cgroup("/r");
    fs::create_dir_all(tree.path("run/runc/r")).unwrap();
    assert!(watcher.wait(Duration::from_secs(5)).unwrap());
    watcher.scan(&mut discovery);
    tree.runc_state("r2", "/r");
    fs::rename(tree.path("run/runc/r2/state.json"), tree.path("run/runc/r/state.json")).unwrap();
    let text = fs::read_to_string(tree.path("run/runc/r/state.json")).unwrap().replace("\"r2\"", "\"r\"");
    fs::write(tree.path("run/runc/r/state.json"), text).unwrap();
    while discovery.instances().count() < 2 {
        assert!(watcher.wait(Duration::from_secs(5)).unwrap(), "the state was not noticed");
        watcher.scan(&mut discovery);
    }
    tree.remove_cgroup(&path);
    while discovery.instances().count() == 2 {
        assert!(watcher.wait(Duration::from_secs(5)).unwrap(), "the death was not noticed");
        watcher.scan(&mut discovery);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
