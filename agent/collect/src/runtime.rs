//! From a cgroup path to the runtime and its id, by matching bytes: no expressions, no calls to
//! a runtime's API.
//!
//! [`classify`] looks at each component from the root down and stops at the first that a rule matches, so
//! the outermost claim wins: a tenant with a delegated cgroup may name a child like another's
//! container, and it stays a part of the tenant's own. What runtimes make for themselves (conmon, buildkit,
//! LXC's monitor) and systemd's mounts and swaps are passed over with all that is below them.
//!
//! Every other cgroup is nobody's container: a unit of systemd's or a plain one ([`unclaimed`]), an instance only where a
//! rule of the operator's takes it.

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
    /// A service or scope of the system's systemd, where a rule takes it.
    Systemd,
    /// A slice of the system's systemd with all that is in it, where a rule takes it.
    SystemdSlice,
    /// Any other cgroup, where a rule takes it.
    Cgroup,
}

impl Runtime {
    /// All there are.
    pub const ALL: [Self; 13] = [
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
        Self::Systemd,
        Self::SystemdSlice,
        Self::Cgroup,
    ];

    /// Those whose cgroups nobody claims by their names: instances only where a rule says so.
    pub const UNCLAIMED: [Self; 3] = [Self::Systemd, Self::SystemdSlice, Self::Cgroup];

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
            Self::Systemd => "systemd",
            Self::SystemdSlice => "systemd-slice",
            Self::Cgroup => "cgroup",
        }
    }

    /// By its spelling.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|runtime| runtime.as_str() == name)
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

/// How the name of a slice of systemd's ends.
const SLICE: &str = ".slice";

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

/// What an unclaimed cgroup would be if a rule took it, and its id. `root_owned` says whether all above it belongs to root: the system's
/// systemd makes its units nowhere else, and a user's may have any name.
pub fn unclaimed(above: &[&str], name: &str, root_owned: bool) -> (Runtime, String) {
    let in_slices = root_owned && above.iter().all(|part| part.ends_with(SLICE));
    let unit = match name.rsplit_once('.') {
        Some((_, "service" | "scope")) => Some(Runtime::Systemd),
        Some((_, "slice")) => Some(Runtime::SystemdSlice),
        _ => None,
    };
    match unit.filter(|_| in_slices) {
        Some(runtime) => (runtime, unescaped(name).into_owned()),
        None => (Runtime::Cgroup, [above, &[name]].concat().join("/")),
    }
}

/// Whether a path's beginning, which root alone can make, shows that the kubelet made what is below it.
pub fn is_kubelets(root_owned_parts: &[&str]) -> bool {
    root_owned_parts.iter().any(|part| {
        *part == "kubepods" || part.strip_suffix(SLICE).is_some_and(|slice| slice.split('-').any(|p| p == "kubepods"))
    })
}

fn skipped(above: &[&str], name: &str) -> bool {
    name == "init.scope"
        || name.ends_with(".mount")
        || name.ends_with(".swap")
        || name.starts_with("crio-conmon-")
        || name.starts_with("libpod-conmon-")
        || name.starts_with("lxc.monitor")
        // Where LXC leaves its own process while it moves a container's.
        || name.starts_with("lxc.pivot")
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
        return match above.last() {
            Some(parent) if is_pod(parent) && above.contains(&"kubepods") => Some((Runtime::Containerd, name)),
            // A pod of podman's, with its containers in it.
            Some(&"libpod_parent") => None,
            _ => Some((Runtime::Docker, name)),
        };
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
    for (suffix, kind) in [(".libvirt-qemu", "qemu-"), (".libvirt-lxc", "lxc-")] {
        if let Some(domain) = name.strip_suffix(suffix) {
            let life = domain.strip_prefix(kind).filter(|life| numbered(life).is_some());
            return Some((Runtime::Libvirt, Cow::Borrowed(life.unwrap_or(domain))));
        }
    }
    if let Some(container) = name.strip_prefix("lxc.payload.") {
        return Some((Runtime::Lxc, Cow::Borrowed(container)));
    }
    // Only at the top: a directory named lxc further down is anybody's. LXC 3.1 to 3.2 had the second.
    if above == ["lxc"] || above == ["lxc.payload"] {
        return Some((Runtime::Lxc, Cow::Borrowed(name)));
    }
    if parent == "qemu.slice" {
        let vm = scope.filter(|vm| is_number(vm))?;
        return Some((Runtime::Libvirt, Cow::Borrowed(vm)));
    }
    if above.contains(&"nomad.slice") {
        let task = scope?;
        let (allocation, _) = task.split_once('.')?;
        return is_uuid(allocation).then_some((Runtime::Nomad, Cow::Borrowed(task)));
    }
    None
}

/// The number of a life and a name, of `3-web`: as libvirt has called machines since it numbers their lives; before, it was their name alone.
pub(crate) fn numbered(life: &str) -> Option<(&str, &str)> {
    life.split_once('-').filter(|(number, name)| is_number(number) && !name.is_empty())
}

/// Decimal digits, and nothing else.
pub(crate) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
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
mod tests;
