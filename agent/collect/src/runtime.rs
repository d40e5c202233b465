//! From a cgroup path to the runtime and its id, by matching bytes: no expressions, no calls to
//! a runtime's API.
//!
//! [`classify`] looks at each component from the root down and stops at the first that a rule matches, so
//! the outermost claim wins: a tenant with a delegated cgroup may name a child like another's
//! container, and it stays a part of the tenant's own. What runtimes make for themselves (conmon, buildkit,
//! LXC's monitor) and systemd's mounts and swaps are passed over with all that is below them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Who runs an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Runtime {
    /// Docker, also under ECS.
    Docker,
    /// containerd: CRI, nerdctl, ctr.
    Containerd,
    /// CRI-O.
    Crio,
    /// Podman.
    Podman,
    /// systemd-nspawn.
    Nspawn,
    /// libvirt and Proxmox virtual machines.
    Libvirt,
    /// LXC, LXD, Incus, Proxmox containers.
    Lxc,
    /// Nomad's own drivers.
    Nomad,
    /// Plain runc, known from its state files only.
    Runc,
    /// A process group that the configuration names.
    ProcessGroup,
}

impl Runtime {
    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::Docker,
        Self::Containerd,
        Self::Crio,
        Self::Podman,
        Self::Nspawn,
        Self::Libvirt,
        Self::Lxc,
        Self::Nomad,
        Self::Runc,
        Self::ProcessGroup,
    ];

    /// As configurations, labels and JSON spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Crio => "cri-o",
            Self::Podman => "podman",
            Self::Nspawn => "nspawn",
            Self::Libvirt => "libvirt",
            Self::Lxc => "lxc",
            Self::Nomad => "nomad",
            Self::Runc => "runc",
            Self::ProcessGroup => "process-group",
        }
    }
}

/// What a component of a cgroup path is, in the light of those above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match<'a> {
    /// The cgroup of an instance.
    Instance(Runtime, Cow<'a, str>),
    /// Never an instance, nor anything below it.
    Skip,
    /// Nothing known: look further down.
    Neither,
}

/// The longest id or name taken from a path: what a directory's name can hold.
const ID_MAX_BYTES: usize = 255;

/// The first claim in a path, with the number of components up to and with it.
pub fn classify(path: &str) -> Option<(Runtime, String, usize)> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for depth in 0..parts.len() {
        match component(&parts[..depth], parts[depth]) {
            Match::Instance(runtime, id) => return Some((runtime, id.into_owned(), depth + 1)),
            Match::Skip => return None,
            Match::Neither => {}
        }
    }
    None
}

/// Judges the last component of a path. `above` are the components before it, from the root.
pub fn component<'a>(above: &[&str], name: &'a str) -> Match<'a> {
    if skipped(above, name) {
        return Match::Skip;
    }
    if let Some((runtime, id)) = hex_claim(above, name) {
        return Match::Instance(runtime, Cow::Borrowed(id));
    }
    match named_claim(above, name) {
        Some((runtime, id)) if acceptable(&id) => Match::Instance(runtime, id),
        _ => Match::Neither,
    }
}

fn skipped(above: &[&str], name: &str) -> bool {
    name == "init.scope"
        || name.ends_with(".mount")
        || name.ends_with(".swap")
        || name.starts_with("crio-conmon-")
        || name.starts_with("libpod-conmon-")
        || name.starts_with("lxc.monitor")
        || (name == "buildkit" && above.last() == Some(&"docker"))
}

/// Runtimes whose ids are 64 hex digits.
fn hex_claim<'a>(above: &[&str], name: &'a str) -> Option<(Runtime, &'a str)> {
    const PREFIXES: [(&str, Runtime); 6] = [
        ("docker-", Runtime::Docker),
        ("cri-containerd-", Runtime::Containerd),
        ("nerdctl-", Runtime::Containerd),
        ("crio-", Runtime::Crio),
        ("libpod-payload-", Runtime::Podman),
        ("libpod-", Runtime::Podman),
    ];
    let bare = name.strip_suffix(".scope").unwrap_or(name);
    if is_hex_id(name) {
        // A bare id: the kubelet's with the cgroupfs driver is containerd's; elsewhere it is how docker
        // names them, whatever --cgroup-parent or ECS put above.
        let runtime = match above.last() {
            Some(parent) if is_pod(parent) && above.contains(&"kubepods") => Runtime::Containerd,
            _ => Runtime::Docker,
        };
        return Some((runtime, name));
    }
    for (prefix, runtime) in PREFIXES {
        if let Some(id) = bare.strip_prefix(prefix).filter(|id| is_hex_id(id)) {
            return Some((runtime, id));
        }
    }
    // What the kubelet and containerd make of it when they disagree on the driver.
    let (rest, id) = name.rsplit_once(':')?;
    (is_hex_id(id) && rest.ends_with(":cri-containerd")).then_some((Runtime::Containerd, id))
}

/// Runtimes whose ids are names.
fn named_claim<'a>(above: &[&str], name: &'a str) -> Option<(Runtime, Cow<'a, str>)> {
    let parent = above.last().copied().unwrap_or_default();
    let scope = name.strip_suffix(".scope");
    if parent == "machine.slice" {
        if let Some(machine) = scope.and_then(|name| name.strip_prefix("machine-")) {
            for kind in [r"qemu\x2d", r"lxc\x2d"] {
                if let Some(domain) = machine.strip_prefix(kind) {
                    return Some((Runtime::Libvirt, unescaped(domain)));
                }
            }
            return Some((Runtime::Nspawn, unescaped(machine)));
        }
        if let Some(machine) = name.strip_prefix("systemd-nspawn@").and_then(|name| name.strip_suffix(".service")) {
            return Some((Runtime::Nspawn, unescaped(machine)));
        }
    }
    if let Some(domain) = name.strip_suffix(".libvirt-qemu") {
        return Some((Runtime::Libvirt, Cow::Borrowed(domain)));
    }
    if let Some(container) = name.strip_prefix("lxc.payload.") {
        return Some((Runtime::Lxc, Cow::Borrowed(container)));
    }
    // Only at the top: a directory named lxc further down is anybody's.
    if above == ["lxc"] {
        return Some((Runtime::Lxc, Cow::Borrowed(name)));
    }
    if parent == "qemu.slice" {
        let vm = scope.filter(|vm| vm.bytes().all(|byte| byte.is_ascii_digit()))?;
        return Some((Runtime::Libvirt, Cow::Borrowed(vm)));
    }
    if above.contains(&"nomad.slice") {
        let task = scope?;
        let (allocation, _) = task.split_once('.')?;
        return is_uuid(allocation).then_some((Runtime::Nomad, Cow::Borrowed(task)));
    }
    None
}

/// 64 lower-case hex digits.
pub fn is_hex_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(is_hex_digit)
}

fn is_hex_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// `pod<uid>`: 36 characters with hyphens, or a static pod's 32 hex digits.
fn is_pod(name: &str) -> bool {
    name.strip_prefix("pod").is_some_and(|uid| is_uuid(uid) || (uid.len() == 32 && uid.bytes().all(is_hex_digit)))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A name fit to be shown: not empty, of a directory's length, without control characters.
pub fn acceptable(id: &str) -> bool {
    !id.is_empty() && id.len() <= ID_MAX_BYTES && !id.chars().any(char::is_control)
}

/// Undoes systemd's `\x2d` escapes (systemd.unit(5)); a broken one stays as it is.
fn unescaped(name: &str) -> Cow<'_, str> {
    if !name.contains(r"\x") {
        return Cow::Borrowed(name);
    }
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .strip_prefix(b"x")
            .filter(|_| *first == b'\\')
            .and_then(|hex| std::str::from_utf8(hex.get(..2)?).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        plain.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    match String::from_utf8(plain) {
        Ok(plain) => Cow::Owned(plain),
        Err(_) => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
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
            ("/kubepods.slice/kubepods-pod<POD_>.slice/crio-<ID>.scope/container", hex(Crio)),
            ("/kubepods.slice/kubepods-pod<POD_>.slice/crio-<ID>", hex(Crio)),
            ("/kubepods/burstable/pod<POD>/crio-<ID>", hex(Crio)),
            ("/kubepods.slice/kubepods-pod<POD_>.slice/crio-conmon-<ID>.scope", None),
            ("/machine.slice/libpod-<ID>.scope/container", hex(Podman)),
            ("/libpod_parent/libpod-<ID>", hex(Podman)),
            ("/machine.slice/libpod-conmon-<ID>.scope", None),
            ("/system.slice/web.service/libpod-payload-<ID>", hex(Podman)),
            (r"/machine.slice/systemd-nspawn@my\x2dbox.service/payload", Some((Nspawn, "my-box"))),
            (r"/machine.slice/machine-my\x2dbox.scope", Some((Nspawn, "my-box"))),
            (r"/machine.slice/machine-qemu\x2d3\x2dweb\x2d1.scope/libvirt/emulator", Some((Libvirt, "3-web-1"))),
            (r"/machine.slice/machine-lxc\x2d9\x2dbox.scope", Some((Libvirt, "9-box"))),
            ("/machine/web.libvirt-qemu", Some((Libvirt, "web"))),
            ("/lxc.payload.box/init.scope", Some((Lxc, "box"))),
            ("/lxc.monitor.box", None),
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
}
