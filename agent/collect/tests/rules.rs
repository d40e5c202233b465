//! The operator's rules over a machine made of files: what they take, leave out and name, and what nobody gains by a name or a label.

mod tree;

use std::sync::Arc;

use sonde_collect::{
    Change, Discovery, DiscoveryConfig, Found, GroupSource, InstanceRule, Kind, Match, ProcessGroup, RefusalReason,
    Rules, Runtime, Template,
};
use tree::{Layout, Tree, docker_file, docker_state, hex};

fn ids(discovery: &Discovery) -> Vec<String> {
    let id = |found: &Arc<Found>| format!("{} {}", found.name.runtime.as_str(), found.name.runtime_id);
    let mut ids: Vec<_> = discovery.instances().map(id).collect();
    ids.sort();
    ids
}

fn only(discovery: &Discovery) -> Arc<Found> {
    let all: Vec<_> = discovery.instances().collect();
    assert_eq!(all.len(), 1, "{all:#?}");
    all[0].clone()
}

fn rule(instance: bool, matching: Match) -> InstanceRule {
    InstanceRule { matching, instance, name: None }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn taking(runtime: &str, cgroup: &str) -> InstanceRule {
    rule(true, Match { runtime: some(runtime), cgroup: some(cgroup), ..Match::default() })
}

#[test]
fn units_slices_and_plain_cgroups_by_rule() {
    let tree = Tree::new(Layout::Hybrid);
    for path in [
        "/system.slice/nginx.service",
        "/system.slice/cron.service",
        "/acme.slice/acme-web.slice/web.service",
        "/batch/7",
    ] {
        tree.cgroup(path);
    }
    tree.cgroup(&format!("/acme.slice/docker-{}.scope", hex("a")));
    tree.cgroup(&format!("/system.slice/docker-{}.scope", hex("b")));
    let mut discovery = tree.discovery();
    discovery.scan();
    assert_eq!(ids(&discovery).len(), 2, "without rules the containers alone");

    let all = taking("systemd", "/system.slice/*");
    let not_cron = rule(false, Match { name: some("cron.service"), ..Match::default() });
    let mut discovery =
        tree.discovery_by(vec![not_cron, all, taking("cgroup", "/batch/*"), taking("systemd-slice", "/acme.slice")]);
    discovery.scan();
    let b = hex("b");
    assert_eq!(
        ids(&discovery),
        [
            "cgroup batch/7".into(),
            format!("docker {b}"),
            "systemd nginx.service".into(),
            "systemd-slice acme.slice".into()
        ]
    );
    let slice = discovery.instances().find(|found| found.name.runtime == Runtime::SystemdSlice).unwrap();
    assert_eq!(
        (slice.nested_claims, slice.cgroup_path.as_str()),
        (1, "/acme.slice"),
        "what is in a slice is the slice's"
    );
    assert_eq!(slice.metadata.place.slices, ["acme.slice"]);

    // Births and deaths as of any other.
    tree.remove_cgroup("/system.slice/nginx.service");
    tree.cgroup("/batch/8");
    let changes = discovery.scan();
    assert!(
        matches!(changes.as_slice(), [Change::Gone(..), Change::Appeared(new)] if new.cgroup_path == "/batch/8"),
        "{changes:?}"
    );
}

#[test]
fn rules_leave_out_and_name() {
    let tree = Tree::new(Layout::Hybrid);
    let (kept, left) = (hex("a"), hex("b"));
    for (id, labels) in [(&kept, r#"{"tier":"web"}"#), (&left, r#"{"tier":"batch"}"#)] {
        tree.cgroup(&format!("/docker/{id}"));
        tree.write(&docker_file(id), &docker_state(id, "x", labels));
    }
    let labels = [("tier".to_owned(), "batch".to_owned())].into();
    let out = rule(false, Match { labels, ..Match::default() });
    let mut named = rule(true, Match::default());
    named.name = Some(Template::parse("d-{name}").unwrap());
    let mut discovery = tree.discovery_by(vec![out, named]);
    discovery.scan();
    assert_eq!(
        (only(&discovery).name.runtime_id.as_str(), only(&discovery).name.name.as_deref()),
        (kept.as_str(), Some("d-x"))
    );
    assert!(discovery.left_out().map(|found| &found.name.runtime_id).eq([&left]));
    assert!(discovery.scan().is_empty());

    // What is left out still holds what it makes: nothing below it takes its place.
    tree.cgroup(&format!("/docker/{left}/docker-{}.scope", hex("c")));
    discovery.scan();
    assert_eq!(only(&discovery).name.runtime_id, kept);

    // Its label changes, and it is one.
    tree.write(&docker_file(&left), &docker_state(&left, "x", "{}"));
    assert!(matches!(discovery.scan().as_slice(), [Change::Appeared(_)]));
    assert_eq!(discovery.left_out().count(), 0);
}

#[test]
fn a_users_cgroups_are_known_as_his_and_are_bounded() {
    let tree = Tree::new(Layout::Unified);
    let service = "/user.slice/user-1000.slice/user@1000.service";
    tree.cgroup(&format!("{service}/user.slice/libpod-{}.scope", hex("a")));
    // Named like another user's slice, and like a unit of the system's.
    tree.cgroup(&format!("{service}/user.slice/user-1001.slice/lxc.payload.x"));
    tree.cgroup(&format!("{service}/app.slice/nginx.service"));
    if !tree.delegate(service, 1000) {
        return;
    }
    let nginx = Match { runtime: some("systemd"), name: some("nginx.service"), ..Match::default() };
    let mut discovery = tree.discovery_by(vec![rule(true, nginx)]);
    discovery.scan();
    assert_eq!(
        ids(&discovery),
        ["lxc x".into(), format!("podman {}", hex("a"))],
        "a user names no unit of the system's"
    );
    for found in discovery.instances() {
        assert!(!found.root_owned);
        assert_eq!(found.metadata.place.user, Some(1000), "{}", found.cgroup_path);
        assert_eq!(found.metadata.place.slices, ["user.slice", "user-1000.slice"]);
    }

    for n in 0..300 {
        tree.cgroup(&format!("{service}/lxc.payload.n{n}"));
    }
    tree.cgroup("/lxc.payload.mine");
    discovery.scan();
    assert_eq!(discovery.instances().count(), 256 + 1, "his are bounded, and nobody else's");
    assert_eq!(discovery.refused()[RefusalReason::Crowded as usize], 1);
    assert!(discovery.refusals().any(|refusal| refusal.what.ends_with(service)), "{:?}", discovery.refusals().next());
    assert!(discovery.instances().any(|found| found.name.runtime_id == "mine"));
}

#[test]
fn a_users_plain_directories_are_bounded_and_watched_last() {
    let tree = Tree::new(Layout::Unified);
    let service = "/user.slice/user-1000.slice/user@1000.service";
    tree.cgroup(&format!("{service}/app.slice"));
    if !tree.delegate(service, 1000) {
        return;
    }
    tree.cgroup("/zzz.slice/mine");
    let mut discovery = tree.discovery();
    discovery.scan();
    assert_eq!(discovery.refused()[RefusalReason::Crowded as usize], 0);
    for n in 0..1100 {
        tree.cgroup(&format!("{service}/app.slice/plain-{n}"));
    }
    discovery.scan();
    let own = tree.path(&format!("cgroup/unified{service}"));
    let is_his = |watch: &&sonde_collect::watcher::Watch| watch.directory.starts_with(&own);
    let watches = discovery.watches();
    let his = watches.iter().filter(is_his).count();
    // The service itself, and what is looked at in it.
    assert_eq!(his, 1 + 1024);
    assert!(watches[watches.len() - his..].iter().all(|watch| is_his(&watch)), "root's come first");
    assert!(watches.iter().any(|watch| watch.directory.ends_with("zzz.slice/mine")));
    assert_eq!(discovery.refused()[RefusalReason::Crowded as usize], 1);
    assert!(discovery.refusals().any(|refusal| refusal.what.ends_with(service)), "{:?}", discovery.refusals().next());
}

#[test]
fn a_forged_label_changes_nobody() {
    let tree = Tree::new(Layout::Hybrid);
    let (victim, forger) = (hex("a"), hex("b"));
    for id in [&victim, &forger] {
        tree.cgroup(&format!("/docker/{id}"));
    }
    tree.write(&docker_file(&victim), &docker_state(&victim, "bank", "{}"));
    let mut discovery = tree.discovery();
    discovery.scan();
    let before = discovery.instances().find(|found| found.name.runtime_id == victim).unwrap().clone();

    // An image's labels say that it is the kubelet's, in the victim's namespace, and the victim itself.
    let forged = format!(
        r#"{{"io.kubernetes.pod.namespace":"bank","io.kubernetes.pod.name":"bank","sonde.owner":"bank","name":"bank","id":"{victim}"}}"#
    );
    tree.write(&docker_file(&forger), &docker_state(&forger, "evil", &forged));
    let changes = discovery.scan();
    let [Change::Updated(changed)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((changed.name.runtime_id.as_str(), changed.name.name.as_deref()), (forger.as_str(), Some("evil")));
    assert_eq!(changed.metadata.pod, None, "the kubelet made nothing here");
    let after = discovery.instances().find(|found| found.name.runtime_id == victim).unwrap();
    assert!(Arc::ptr_eq(&before, after), "nothing of the victim is new");
}

/// A process of the tree's that holds a socket.
fn process(tree: &Tree, pid: u32, start: u64, cgroup: &str, socket: u64) {
    let stat = format!("{pid} (x) S 1 {pid} {pid} 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 {start} 4096 1 1\n");
    tree.write(&format!("proc/{pid}/stat"), &stat);
    tree.write(&format!("proc/{pid}/cgroup"), &format!("4:memory:{cgroup}\n0::{cgroup}\n"));
    std::fs::create_dir_all(tree.path(&format!("proc/{pid}/fd"))).unwrap();
    std::os::unix::fs::symlink(format!("socket:[{socket}]"), tree.path(&format!("proc/{pid}/fd/3"))).unwrap();
}

#[test]
fn a_container_that_is_left_out_is_no_process_group() {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    let tree = Tree::new(Layout::Hybrid);
    let container = format!("/docker/{}", hex("a"));
    tree.cgroup(&container);
    tree.cgroup("/system.slice/app.service");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = std::fs::metadata(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap().ino();
    // The container's process is the older one of the two, and in both files.
    process(&tree, 77, 10, &format!("{container}/below"), socket);
    tree.write("app.pid", "77\n");
    let group = |name: &str, source| ProcessGroup { name: name.into(), source };
    let groups =
        vec![group("by-port", GroupSource::Port(port)), group("by-pid", GroupSource::PidFile(tree.path("app.pid")))];
    let out = rule(false, Match { runtime: some("docker"), ..Match::default() });
    for rules in [vec![out], Vec::new()] {
        let (containers, rules) = (usize::from(rules.is_empty()), Rules::new(rules));
        let mut discovery =
            tree.discovery_of(DiscoveryConfig { rules, process_groups: groups.clone(), ..tree.config() });
        for _ in 0..2 {
            discovery.scan();
            assert_eq!(discovery.instances().count(), containers, "{:?}", ids(&discovery));
        }
        assert_eq!(discovery.refused()[RefusalReason::Nested as usize], 1, "that of the pid file");

        process(&tree, 78, 20, "/system.slice/app.service", socket);
        discovery.scan();
        let leader = discovery.instances().find_map(|found| match found.kind {
            Kind::Processes { pid, .. } => Some((found.name.runtime_id.clone(), pid)),
            Kind::Cgroup => None,
        });
        assert_eq!(leader, Some(("by-port".to_owned(), 78)), "the oldest of those outside");
        std::fs::remove_dir_all(tree.path("proc/78")).unwrap();
    }
}
