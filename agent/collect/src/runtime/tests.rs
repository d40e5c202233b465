use super::*;

const ID: &str = "191904440c3a567c054e56ee1831204c422553732b255ad562f7034e54543554";
const OTHER: &str = "b08c811619ab6a28242d275d964c74c9f0ae0aa9159373d8f4441d2832b6906a";
const POD: &str = "0b2a3c4d-1111-2222-3333-444455556666";

fn check(path: &str, expected: Option<(Runtime, &str)>) {
    let path = path
        .replace("<ID>", ID)
        .replace("<OTHER>", OTHER)
        .replace("<POD>", POD)
        .replace("<POD_>", &POD.replace('-', "_"));
    let found = classify(&path).map(|(runtime, id, _)| (runtime, id));
    let expected = expected.map(|(runtime, id)| (runtime, id.replace("<ID>", ID)));
    assert_eq!(found, expected, "{path}");
}

#[test]
fn every_row_of_the_table() {
    use Runtime::*;
    let hex = |runtime| Some((runtime, "<ID>"));
    for (path, expected) in [
        ("/system.slice/docker-<ID>.scope", hex(Docker)),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-<ID>.scope", hex(Docker)),
        ("/docker/<ID>", hex(Docker)),
        ("/batch/jobs/<ID>", hex(Docker)),
        ("/docker/buildkit/<ID>", None),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<POD_>.slice/cri-containerd-<ID>.scope",
            hex(Containerd),
        ),
        ("/kubepods.slice/kubepods-pod<POD_>.slice/cri-containerd-<ID>.scope", hex(Containerd)),
        ("/kubepods/besteffort/pod<POD>/<ID>", hex(Containerd)),
        ("/kubepods/pod0123456789abcdef0123456789abcdef/<ID>", hex(Containerd)),
        ("/system.slice/containerd.service/kubepods-pod<POD_>.slice:cri-containerd:<ID>", hex(Containerd)),
        ("/system.slice/nerdctl-<ID>.scope", hex(Containerd)),
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod<POD_>.slice/cri-containerd-<ID>.scope",
            hex(Containerd),
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<POD_>.slice/docker-<ID>.scope",
            hex(Docker),
        ),
        ("/kubepods.slice/kubepods-pod<POD_>.slice/crio-<ID>.scope/container", hex(Crio)),
        ("/kubepods.slice/kubepods-pod<POD_>.slice/crio-<ID>", hex(Crio)),
        ("/kubepods/burstable/pod<POD>/crio-<ID>", hex(Crio)),
        ("/kubepods.slice/kubepods-pod<POD_>.slice/crio-conmon-<ID>.scope", None),
        ("/machine.slice/libpod-<ID>.scope/container", hex(Podman)),
        ("/libpod_parent/libpod-<ID>", hex(Podman)),
        ("/libpod_parent/<OTHER>/libpod-<ID>", hex(Podman)),
        ("/machine.slice/machine-libpod_pod_<OTHER>.slice/libpod-<ID>.scope", hex(Podman)),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<ID>.scope/container", hex(Podman)),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-<ID>", hex(Podman)),
        ("/machine.slice/libpod-conmon-<ID>.scope", None),
        ("/system.slice/web.service/libpod-payload-<ID>", hex(Podman)),
        (r"/machine.slice/systemd-nspawn@my\x2dbox.service/payload", Some((Nspawn, "my-box"))),
        (r"/machine.slice/machine-my\x2dbox.scope", Some((Nspawn, "my-box"))),
        (r"/machine.slice/machine-qemu\x2d3\x2dweb\x2d1.scope/libvirt/emulator", Some((Libvirt, "3-web-1"))),
        (r"/machine.slice/machine-lxc\x2d9\x2dbox.scope", Some((Libvirt, "9-box"))),
        ("/machine/web.libvirt-qemu", Some((Libvirt, "web"))),
        ("/machine/qemu-3-web.libvirt-qemu", Some((Libvirt, "3-web"))),
        ("/machine/lxc-13782-my-box.libvirt-lxc", Some((Libvirt, "13782-my-box"))),
        ("/acme.partition/lxc-13782-my-box.libvirt-lxc", Some((Libvirt, "13782-my-box"))),
        ("/machine/qemu-web.libvirt-qemu", Some((Libvirt, "qemu-web"))),
        ("/lxc.payload.box/init.scope", Some((Lxc, "box"))),
        ("/lxc.monitor.box", None),
        ("/lxc.monitor/box", None),
        ("/lxc.payload/box/init.scope", Some((Lxc, "box"))),
        ("/lxc.pivot/lxc.payload.box", None),
        ("/user.slice/user-1000.slice/session-3.scope/lxc.payload.box", Some((Lxc, "box"))),
        ("/machine/box.libvirt-lxc", Some((Libvirt, "box"))),
        ("/lxc/box/ns/system.slice/x.service", Some((Lxc, "box"))),
        ("/lxc/101/ns", Some((Lxc, "101"))),
        ("/qemu.slice/102.scope", Some((Libvirt, "102"))),
        ("/ecstasks.slice/ecstasks-abc.slice/docker-<ID>.scope", hex(Docker)),
        ("/ecs/0a1b2c/<ID>", hex(Docker)),
        ("/nomad.slice/share.slice/<POD>.web.scope", Some((Nomad, "0b2a3c4d-1111-2222-3333-444455556666.web"))),
    ] {
        check(path, expected);
    }
}

#[test]
fn what_is_none_and_what_is_hostile() {
    use Runtime::*;
    for (path, expected) in [
        ("/", None),
        ("", None),
        ("/init.scope", None),
        ("/system.slice/var-lib-docker-<ID>.mount", None),
        ("/system.slice/dev-sda2.swap", None),
        ("/system.slice/sshd.service", None),
        ("/system.slice/docker-XYZ.scope", None),
        ("/system.slice/docker-<ID>0.scope", None),
        ("/DOCKER/0123", None),
        ("/machine.slice/machine-.scope", None),
        // A tenant's own names below its container stay the container's.
        ("/docker/<ID>/docker/<OTHER>", Some((Docker, "<ID>"))),
        ("/docker/<ID>/machine.slice/machine-other.scope", Some((Docker, "<ID>"))),
        ("/lxc.payload.a/lxc.payload.b", Some((Lxc, "a"))),
        ("/machine.slice/libpod-<ID>.scope/container/docker-<OTHER>.scope", Some((Podman, "<ID>"))),
        // Nor does a skipped tree hide anything.
        ("/docker/buildkit/x/docker-<ID>.scope", None),
        // Names of other places do not count where they stand elsewhere.
        ("/system.slice/lxc/box", None),
        ("/system.slice/machine-a.scope", None),
        ("/machine.slice/machine-a\\x0a.scope", None),
        ("/machine.slice/machine-\\x.scope", Some((Nspawn, "\\x"))),
    ] {
        check(path, expected);
    }
}

#[test]
fn units_and_plain_cgroups() {
    use Runtime::*;
    for (path, root_owned, runtime, id) in [
        ("/system.slice/nginx.service", true, Systemd, "nginx.service"),
        (r"/system.slice/system-getty.slice/getty@tty1.service", true, Systemd, "getty@tty1.service"),
        (r"/system.slice/a\x2db.service", true, Systemd, "a-b.service"),
        ("/user.slice/user-1000.slice/session-3.scope", true, Systemd, "session-3.scope"),
        ("/acme.slice", true, SystemdSlice, "acme.slice"),
        ("/acme.slice/acme-web.slice", true, SystemdSlice, "acme-web.slice"),
        ("/batch/7", true, Cgroup, "batch/7"),
        // A user's own manager, and whoever has a cgroup, may name units as they like.
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service",
            false,
            Cgroup,
            "user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service",
        ),
        ("/batch/nginx.service", true, Cgroup, "batch/nginx.service"),
        ("/tenant.slice/nginx.service", false, Cgroup, "tenant.slice/nginx.service"),
    ] {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (name, above) = parts.split_last().unwrap();
        assert_eq!(unclaimed(above, name, root_owned), (runtime, id.to_owned()), "{path}");
        assert_eq!(Runtime::named(runtime.as_str()), Some(runtime));
    }
}

#[test]
fn what_the_kubelet_made() {
    for (path, expected) in [
        ("kubepods/besteffort/podx", true),
        ("kubepods.slice/kubepods-burstable.slice", true),
        ("kubelet.slice/kubelet-kubepods.slice", true),
        ("system.slice", false),
        ("notkubepods.slice", false),
        ("kubepods.service", false),
        ("", false),
    ] {
        let parts: Vec<&str> = path.split('/').collect();
        assert_eq!(is_kubelets(&parts), expected, "{path}");
    }
}
