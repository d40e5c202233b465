//! Instances of every kind over a machine made of files: what each runtime's own state tells of them, and what the operator's rules make
//! of them.

mod tree;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use sonde_collect::{Change, Discovery, Found, InstanceRule, Match, RefusalReason, Runtime, Template};
use tree::{Layout, Tree, hex};

const POD: &str = "/kubepods.slice/kubepods-pod0b2a3c4d_1111_2222_3333_444455556666.slice";

fn only(discovery: &Discovery) -> Arc<Found> {
    let all: Vec<_> = discovery.instances().collect();
    assert_eq!(all.len(), 1, "{all:#?}");
    all[0].clone()
}

fn ids(discovery: &Discovery) -> Vec<String> {
    let id = |found: &Arc<Found>| format!("{} {}", found.name.runtime.as_str(), found.name.runtime_id);
    let mut ids: Vec<_> = discovery.instances().map(id).collect();
    ids.sort();
    ids
}

/// The one instance of a tree with one cgroup, whatever its runtime keeps of it written by `state`.
fn found_with(cgroup: &str, state: impl Fn(&Tree)) -> Arc<Found> {
    let tree = Tree::new(Layout::Hybrid);
    tree.cgroup(cgroup);
    state(&tree);
    let mut discovery = tree.discovery();
    discovery.scan();
    only(&discovery)
}

fn name_and_image(found: &Found) -> (Option<&str>, Option<&str>) {
    (found.name.name.as_deref(), found.name.image.as_deref())
}

fn docker_file(id: &str) -> String {
    format!("var/lib/docker/containers/{id}/config.v2.json")
}

fn docker_state(id: &str, name: &str, labels: &str) -> String {
    format!(r#"{{"ID":"{id}","Name":"/{name}","Config":{{"Image":"nginx:1","Labels":{labels}}}}}"#)
}

#[test]
fn docker_tells_name_image_and_labels() {
    let id = hex("a");
    let found = found_with(&format!("/system.slice/docker-{id}.scope"), |tree| {
        tree.write(&docker_file(&id), &docker_state(&id, "web", r#"{"owner":"me"}"#));
    });
    assert_eq!(name_and_image(&found), (Some("web"), Some("nginx:1")));
    assert_eq!(found.metadata.label("owner"), Some("me"));
    assert_eq!(found.metadata.place.slices, ["system.slice"]);
    assert_eq!(found.metadata.pod, None);
}

#[test]
fn containerd_tells_pod_and_namespaces() {
    let id = hex("b");
    let bundle = |namespace: &str| format!("run/containerd/io.containerd.runtime.v2.task/{namespace}/{id}/config.json");
    let annotations = r#"{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri.sandbox-namespace":"shop",
        "io.kubernetes.cri.sandbox-name":"web-1","io.kubernetes.cri.container-name":"nginx","io.kubernetes.cri.image-name":"docker.io/nginx:1"}}"#;
    let found =
        found_with(&format!("{POD}/cri-containerd-{id}.scope"), |tree| tree.write(&bundle("k8s.io"), annotations));
    assert_eq!(name_and_image(&found), (None, Some("docker.io/nginx:1")));
    let pod = found.metadata.pod.clone().unwrap();
    assert_eq!(
        (pod.namespace.as_str(), pod.name.as_deref(), pod.container.as_deref()),
        ("shop", Some("web-1"), Some("nginx"))
    );
    assert_eq!(found.metadata.containerd_namespace.as_deref(), Some("k8s.io"));

    // Outside the kubelet's cgroups nobody vouches for a pod, and nerdctl's name counts.
    let nerdctl =
        r#"{"ociVersion":"1.1.0","annotations":{"nerdctl/name":"web","io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
    let found = found_with(&format!("/system.slice/nerdctl-{id}.scope"), |tree| tree.write(&bundle("acme"), nerdctl));
    assert_eq!(name_and_image(&found).0, Some("web"));
    assert_eq!((found.metadata.pod.clone(), found.metadata.containerd_namespace.as_deref()), (None, Some("acme")));

    // One id in two namespaces is neither's for certain.
    let found = found_with(&format!("/system.slice/nerdctl-{id}.scope"), |tree| {
        tree.write(&bundle("acme"), nerdctl);
        tree.write(&bundle("other"), nerdctl);
    });
    assert_eq!((found.name.name.clone(), found.metadata.containerd_namespace.clone()), (None, None));
}

#[test]
fn one_name_in_two_of_containerds_namespaces_is_two_containers() {
    let tree = Tree::new(Layout::Hybrid);
    for namespace in ["acme", "other"] {
        tree.cgroup(&format!("/{namespace}/redis"));
        tree.runc_state("redis", &format!("/{namespace}/redis"));
        let to = tree.path(&format!("run/containerd/runc/{namespace}"));
        fs::create_dir_all(&to).unwrap();
        fs::rename(tree.path("run/runc/redis"), to.join("redis")).unwrap();
        tree.write(
            &format!("run/containerd/io.containerd.runtime.v2.task/{namespace}/redis/config.json"),
            &format!(r#"{{"ociVersion":"1","annotations":{{"of":"{namespace}"}}}}"#),
        );
    }
    let mut discovery = tree.discovery();
    discovery.scan();
    assert_eq!(ids(&discovery), ["containerd redis", "containerd redis"]);
    for found in discovery.instances() {
        let namespace = found.cgroup_path.split('/').nth(1);
        assert_eq!(found.metadata.containerd_namespace.as_deref(), namespace);
        assert_eq!(found.metadata.label("of"), namespace, "each has its own bundle's");
    }
    assert_eq!(discovery.refused(), [0; RefusalReason::ALL.len()]);
}

#[test]
fn podman_and_cri_o_share_a_storage() {
    let (lasting, brief) = (hex("c"), hex("d"));
    let storage = |rest: &str| format!("var/lib/containers/storage/overlay-containers/{rest}");
    let tree = Tree::new(Layout::Unified);
    tree.cgroup(&format!("/machine.slice/libpod-{lasting}.scope/container"));
    tree.cgroup(&format!("{POD}/crio-{brief}.scope"));
    let entry = |id: &str, name: &str| {
        format!(r#"[{{"id":"{id}","names":["{name}"],"metadata":"{{\"image-name\":\"quay.io/{name}\"}}"}}]"#)
    };
    tree.write(&storage("containers.json"), &entry(&lasting, "web"));
    tree.write(&storage("volatile-containers.json"), &entry(&brief, "k8s_nginx"));
    tree.write(
        &storage(&format!("{brief}/userdata/config.json")),
        r#"{"ociVersion":"1","annotations":{"io.kubernetes.pod.namespace":"shop","io.kubernetes.cri-o.Namespace":"forged","io.kubernetes.container.name":"nginx"}}"#,
    );
    let mut discovery = tree.discovery();
    discovery.scan();
    let of =
        |discovery: &Discovery, runtime| discovery.instances().find(|f| f.name.runtime == runtime).unwrap().clone();
    let podman = of(&discovery, Runtime::Podman);
    assert_eq!(name_and_image(&podman), (Some("web"), Some("quay.io/web")));
    let crio = of(&discovery, Runtime::Crio);
    assert_eq!(name_and_image(&crio), (Some("k8s_nginx"), Some("quay.io/k8s_nginx")));
    assert_eq!(crio.metadata.pod.as_ref().unwrap().namespace, "shop");
    assert!(crio.metadata.place.kubelets);

    // An index that is written anew is read anew, and the other container does not notice.
    tree.write(&storage("containers.json"), &entry(&lasting, "renamed"));
    let changes = discovery.scan();
    assert!(
        matches!(changes.as_slice(), [Change::Updated(found)] if found.name.name.as_deref() == Some("renamed")),
        "{changes:?}"
    );
    assert!(discovery.scan().is_empty());
}

#[test]
fn machines_of_nspawn_lxc_and_libvirt() {
    let found = found_with(r"/machine.slice/systemd-nspawn@my\x2dbox.service", |tree| {
        tree.write("run/systemd/machines/my-box", "NAME=my-box\nROOT=/var/lib/machines/my-box\n");
    });
    assert_eq!(name_and_image(&found), (Some("my-box"), Some("/var/lib/machines/my-box")));

    let found = found_with("/lxc.payload.box", |tree| {
        tree.write("var/lib/lxc/box/config", "lxc.rootfs.path = dir:/srv/box\nlxc.group = onboot\n");
    });
    assert_eq!(name_and_image(&found), (Some("box"), Some("/srv/box")));
    assert_eq!(found.metadata.label("lxc.group"), Some("onboot"));

    let found = found_with(r"/machine.slice/machine-qemu\x2d3\x2dweb\x2d1.scope", |tree| {
        tree.write(
            "run/libvirt/qemu/web-1.xml",
            "<domstatus><domain type='kvm' id='3'><name>web-1</name></domain></domstatus>",
        );
    });
    assert_eq!((found.name.runtime_id.as_str(), found.name.name.as_deref()), ("3-web-1", Some("web-1")));
}

#[test]
fn every_instance_is_there_without_its_files() {
    let tree = Tree::new(Layout::Hybrid);
    for path in [
        format!("/docker/{}", hex("a")),
        format!("{POD}/cri-containerd-{}.scope", hex("b")),
        format!("{POD}/crio-{}.scope", hex("c")),
        format!("/machine.slice/libpod-{}.scope", hex("d")),
        "/lxc.payload.box".into(),
        "/machine.slice/machine-box.scope".into(),
        r"/machine.slice/machine-qemu\x2d3\x2dweb.scope".into(),
        // A name that would lead elsewhere if it were taken for a part of a path.
        r"/machine.slice/machine-..\x2fescaped.scope".into(),
    ] {
        tree.cgroup(&path);
    }
    tree.write("run/systemd/escaped", "NAME=../escaped\nROOT=/forged\n");
    let mut discovery = tree.discovery();
    discovery.scan();
    assert_eq!(discovery.instances().count(), 8);
    assert!(discovery.instances().all(|found| found.name.image.is_none() && found.metadata.labels.is_empty()));
}

#[test]
fn files_that_are_broken_or_not_roots_cost_what_they_would_tell() {
    let id = hex("a");
    let cgroup = format!("/docker/{id}");
    let good = docker_state(&id, "web", "{}");
    let nothing = |what: &str, state: &dyn Fn(&Tree)| {
        let found = found_with(&cgroup, state);
        assert_eq!(name_and_image(&found), (None, None), "{what}");
    };
    let mode = |tree: &Tree, path: &str, mode| {
        fs::set_permissions(tree.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    nothing("garbage", &|tree| tree.write(&docker_file(&id), "{\"ID\":"));
    nothing("another's", &|tree| tree.write(&docker_file(&id), &docker_state(&hex("b"), "web", "{}")));
    nothing("too long", &|tree| tree.write(&docker_file(&id), &format!("{good}{}", " ".repeat(1 << 20))));
    nothing("writable by others", &|tree| {
        tree.write(&docker_file(&id), &good);
        mode(tree, &docker_file(&id), 0o666);
    });
    nothing("below what others may write", &|tree| {
        tree.write(&docker_file(&id), &good);
        mode(tree, "var/lib/docker/containers", 0o777);
    });
    nothing("a link", &|tree| {
        tree.write("elsewhere.json", &good);
        fs::create_dir_all(tree.path(&docker_file(&id)).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(tree.path("elsewhere.json"), tree.path(&docker_file(&id))).unwrap();
    });
    nothing("below a link", &|tree| {
        tree.write(&format!("elsewhere/{id}/config.v2.json"), &good);
        fs::create_dir_all(tree.path("var/lib/docker")).unwrap();
        std::os::unix::fs::symlink(tree.path("elsewhere"), tree.path("var/lib/docker/containers")).unwrap();
    });
    nothing("a pipe that would make a reader wait", &|tree| {
        fs::create_dir_all(tree.path(&docker_file(&id)).parent().unwrap()).unwrap();
        let path = tree.path(&docker_file(&id));
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    });
    if rustix::process::getuid().is_root() {
        nothing("another's than root's", &|tree| {
            tree.write(&docker_file(&id), &good);
            std::os::unix::fs::chown(tree.path(&docker_file(&id)), Some(12345), None).unwrap();
        });
    }
    assert_eq!(name_and_image(&found_with(&cgroup, |tree| tree.write(&docker_file(&id), &good))).0, Some("web"));
}

#[test]
fn metadata_come_change_and_stay_to_the_end() {
    let tree = Tree::new(Layout::Hybrid);
    let id = hex("a");
    let cgroup = format!("/docker/{id}");
    tree.cgroup(&cgroup);
    let mut discovery = tree.discovery();
    discovery.scan();
    let uuid = only(&discovery).name.uuid;

    tree.write(&docker_file(&id), &docker_state(&id, "early", "{}"));
    assert!(matches!(discovery.scan().as_slice(), [Change::Updated(_)]));
    tree.write(&docker_file(&id), &docker_state(&id, "later", "{}"));
    assert!(matches!(discovery.scan().as_slice(), [Change::Updated(_)]));
    assert_eq!((only(&discovery).name.name.as_deref(), only(&discovery).name.uuid), (Some("later"), uuid));

    // docker removes its file before the cgroup goes.
    fs::remove_file(tree.path(&docker_file(&id))).unwrap();
    assert!(discovery.scan().is_empty());
    assert_eq!(only(&discovery).name.name.as_deref(), Some("later"));

    // Another life of the same id knows nothing of it.
    tree.remove_cgroup(&cgroup);
    discovery.scan();
    tree.cgroup(&cgroup);
    discovery.scan();
    assert_eq!(only(&discovery).name.name, None);
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
