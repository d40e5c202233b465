//! Instances of every kind over a machine made of files: what each runtime's own state tells of them, and what it costs where that is
//! missing, broken or not root's.

mod machines;
#[path = "../tree/mod.rs"]
mod tree;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use sonde_collect::{Change, Discovery, Found, RefusalReason, Runtime};
use tree::{Layout, Tree, docker_file, docker_state, hex};

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
fn docker_that_maps_users_keeps_its_files_below() {
    let id = hex("a");
    let file = |below: &str| docker_file(&id).replace("docker/", &format!("docker/{below}/"));
    let called = |below: &str| {
        let found = found_with(&format!("/docker/{id}"), |tree| {
            tree.write(&file(below), &docker_state(&id, "web", "{}"));
        });
        found.name.name.clone()
    };
    assert_eq!(called("100000.100000").as_deref(), Some("web"));
    for other in ["volumes", "100000", "100000.", ".5", "1.2.3", "a.b"] {
        assert_eq!(called(other), None, "{other}");
    }
    // Two that have one id are neither for certain.
    let found = found_with(&format!("/docker/{id}"), |tree| {
        for below in ["1.1", "2.2"] {
            tree.write(&file(below), &docker_state(&id, below, "{}"));
        }
    });
    assert_eq!((found.name.name.as_deref(), found.metadata.unread), (None, true));
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
        assert!(found.metadata.unread, "{what} is not the same as absent");
    };
    let mode = |tree: &Tree, path: &str, mode| {
        fs::set_permissions(tree.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    nothing("garbage", &|tree| tree.write(&docker_file(&id), "{\"ID\":"));
    nothing("another's", &|tree| tree.write(&docker_file(&id), &docker_state(&hex("b"), "web", "{}")));
    nothing("too long", &|tree| tree.write(&docker_file(&id), &format!("{good}{}", " ".repeat(8 << 20))));
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
    for padding in [0, 2 << 20] {
        let padded = format!("{good}{}", " ".repeat(padding));
        let found = found_with(&cgroup, |tree| tree.write(&docker_file(&id), &padded));
        assert_eq!((name_and_image(&found).0, found.metadata.unread), (Some("web"), false), "{padding}");
    }
    assert!(!found_with(&cgroup, |_| {}).metadata.unread, "absent is absent");
}

#[test]
fn a_file_that_becomes_useless_leaves_doubt() {
    let tree = Tree::new(Layout::Hybrid);
    let id = hex("a");
    tree.cgroup(&format!("/docker/{id}"));
    let mut discovery = tree.discovery();
    discovery.scan();
    assert!(!only(&discovery).metadata.unread);
    tree.write(&docker_file(&id), "{");
    discovery.scan();
    assert!(only(&discovery).metadata.unread);
    tree.write(&docker_file(&id), &docker_state(&id, "web", "{}"));
    discovery.scan();
    assert_eq!((only(&discovery).name.name.as_deref(), only(&discovery).metadata.unread), (Some("web"), false));
}

#[test]
fn a_pod_is_not_crowded_out_by_its_authors_annotations() {
    let id = hex("b");
    let crowd: String = (0..1000).map(|n| format!(r#""io.kubernetes.a{n:04}":"","#)).collect();
    let annotations = format!(
        r#"{{"ociVersion":"1","annotations":{{{crowd}"io.kubernetes.cri.sandbox-namespace":"shop","nerdctl/name":"bank"}}}}"#
    );
    let file = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json");
    let found = found_with(&format!("{POD}/cri-containerd-{id}.scope"), |tree| tree.write(&file, &annotations));
    assert_eq!(found.metadata.pod.as_ref().map(|pod| pod.namespace.as_str()), Some("shop"));
    assert_eq!(found.name.name, None, "a pod's author does not name it by nerdctl's key");
}

#[test]
fn a_name_of_nerdctls_is_containerds_alone() {
    let id = hex("c");
    let file = format!("var/lib/containers/storage/overlay-containers/{id}/userdata/config.json");
    let found = found_with(&format!("/machine.slice/libpod-{id}.scope"), |tree| {
        tree.write(&file, r#"{"ociVersion":"1","annotations":{"nerdctl/name":"bank"}}"#);
    });
    assert_eq!((found.name.name.clone(), found.metadata.label("nerdctl/name")), (None, Some("bank")));
}

#[test]
fn labels_that_rules_ask_for_are_not_crowded_out() {
    let tree = Tree::new(Layout::Hybrid);
    let id = hex("a");
    tree.cgroup(&format!("/docker/{id}"));
    let crowd: String = (0..1000).map(|n| format!(r#""a{n:04}":"","#)).collect();
    tree.write(&docker_file(&id), &docker_state(&id, "web", &format!(r#"{{{crowd}"owner":"acme"}}"#)));
    let mut discovery = tree.discovery_asking(["owner"]);
    discovery.scan();
    assert_eq!(only(&discovery).metadata.label("owner"), Some("acme"));
    assert_eq!(only(&discovery).metadata.label("a0999"), None, "others are bounded");
}

#[test]
fn a_claim_in_a_users_tree_gets_nothing_of_roots_container() {
    let tree = Tree::new(Layout::Unified);
    let service = "/user.slice/user-1000.slice/user@1000.service";
    let id = hex("a");
    tree.cgroup(&format!("{service}/user.slice/docker-{id}.scope"));
    tree.write(&docker_file(&id), &docker_state(&id, "bank", r#"{"owner":"bank"}"#));
    if !tree.delegate(service, 1000) {
        return;
    }
    let mut discovery = tree.discovery();
    discovery.scan();
    let found = only(&discovery);
    assert!(!found.root_owned);
    assert_eq!((name_and_image(&found), found.metadata.labels.len()), ((None, None), 0));
    assert_eq!(found.metadata.place.user, Some(1000), "where it is counts");
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
