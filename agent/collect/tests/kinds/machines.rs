//! Machines, as nspawn, LXC and libvirt call what they run: known by a name and a root that lie in files beside, some of them written late.

use super::*;

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

/// machined and libvirt write of a machine when it runs already, and an owner may hang on its name.
#[test]
fn what_is_yet_to_be_written_of_a_machine_is_looked_for_soon() {
    let soon = Duration::from_secs(1);
    let tree = Tree::new(Layout::Unified);
    tree.cgroup("/machine.slice/machine-lxc\\x2d17\\x2dmybox.scope");
    let mut discovery = tree.discovery();
    discovery.scan();
    assert_eq!((only(&discovery).name.name.as_deref(), discovery.rescan_every()), (Some("17-mybox"), soon));
    let text = "<domstatus><domain type='lxc' id='17'><name>my_box</name></domain></domstatus>";
    tree.write("run/libvirt/lxc/my_box.xml", text);
    assert!(matches!(discovery.scan().as_slice(), [Change::Updated(_)]));
    assert_eq!(only(&discovery).name.name.as_deref(), Some("my_box"));
    assert!(discovery.rescan_every() > soon);
    // docker writes of its containers before it makes their cgroups.
    tree.cgroup(&format!("/docker/{}", hex("a")));
    discovery.scan();
    assert!(discovery.rescan_every() > soon);
}

/// libvirt leaves out of a cgroup's name what is not fit for one, so several domains may seem to be one.
#[test]
fn a_domain_is_known_by_the_number_of_its_life() {
    let tree = Tree::new(Layout::Hybrid);
    let domain = |name: &str, number: &str| {
        let text = format!("<domstatus><domain type='lxc' id='{number}'><name>{name}</name></domain></domstatus>");
        tree.write(&format!("run/libvirt/lxc/{name}.xml"), &text);
    };
    for cgroup in ["/machine/lxc-17-mybox.libvirt-lxc", "/machine/lxc-18-mybox.libvirt-lxc"] {
        tree.cgroup(cgroup);
    }
    domain("my_box", "17");
    domain("mybox", "18");
    // Its file is about an earlier life of it.
    tree.cgroup("/machine/lxc-19-other.libvirt-lxc");
    domain("other", "5");
    let mut discovery = tree.discovery();
    discovery.scan();
    let called: std::collections::BTreeMap<_, _> =
        discovery.instances().map(|f| (f.name.runtime_id.as_str(), f.metadata.name.as_deref())).collect();
    let expected = [("17-mybox", Some("my_box")), ("18-mybox", Some("mybox")), ("19-other", None)];
    assert_eq!(called, expected.into_iter().collect());
    assert!(discovery.instances().all(|found| !found.metadata.unread));
}
