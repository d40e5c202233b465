//! Containers of a real libvirt: known by names that their cgroups do not have.

use std::sync::Arc;

use sonde_tests::{Libvirtd, Room, Rootfs, Sonde, unique_name};

use crate::runtimes::{MEMORY_LIMIT_BYTES, SOON, assert_gone, assert_known, listed};

const SLEEP: [&str; 2] = ["/bin/sleep", "100000"];

#[test]
fn a_container_of_libvirts_is_known_by_its_whole_name() {
    let room = Arc::new(Room::make());
    let (libvirtd, rootfs) = (Libvirtd::start(&room), Rootfs::with(&[]));
    // No machine's name has an underscore, so the cgroups of these two have one name but for a number.
    let name = unique_name("lib_virt");
    let twin = name.replace('_', "");
    let left_out = unique_name("left-out");
    for domain in [&name, &twin, &left_out] {
        libvirtd.create(domain, 64 << 20, rootfs.path(), &SLEEP);
    }
    let uuid = libvirtd.command(&["domuuid", &left_out]);
    let rules = format!("[[instance]]\nmatch = {{ labels = {{ \"libvirt.uuid\" = \"{uuid}\" }} }}\ninstance = false\n");
    let sonde = Sonde::configure().inside(&room).config(&rules).up();
    for domain in [&name, &twin] {
        assert_known(&sonde, domain, "libvirt", &rootfs.path().to_string_lossy());
        let number = libvirtd.command(&["domid", domain]);
        assert_eq!(listed(&sonde, domain)["runtime_id"], format!("{number}-{twin}"));
        let exposition = sonde.scrape(domain);
        assert_eq!(
            exposition.value("container_spec_memory_limit_bytes", &[("name", domain)]),
            Some(MEMORY_LIMIT_BYTES)
        );
    }
    let others = sonde.instances();
    assert!(others.iter().all(|entry| entry["name"] != *left_out), "{others:?}");

    libvirtd.command(&["suspend", &name]);
    sonde.wait_for_value(&name, "sonde_instance_state", &[("state", "frozen")], SOON, |frozen| frozen == 1.0);
    assert_eq!(listed(&sonde, &twin)["state"], "running");
    libvirtd.command(&["resume", &name]);
    sonde.wait_for_value(&name, "sonde_instance_state", &[("state", "running")], SOON, |running| running == 1.0);
    libvirtd.command(&["destroy", &name]);
    assert_gone(&sonde, &name);
    assert_eq!(listed(&sonde, &twin)["state"], "running");
}
