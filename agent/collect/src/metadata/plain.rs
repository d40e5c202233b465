//! The text in which machined and LXC keep what they know: `KEY=value` and `key = value`.
//!
//! Parsers alone, over bytes that are bounded and root's. What is not as expected is none.

use std::collections::BTreeSet;

use super::json::{Told, shown};

/// machined's `/run/systemd/machines/NAME` (systemd, `machine.c`): private to systemd, so whatever is not there is simply not
/// known. The value may be quoted.
pub(super) fn machine(name: &str, text: &[u8]) -> Option<Told> {
    let text = std::str::from_utf8(text).ok()?;
    let of = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value).to_owned())
    };
    let is_it = of("NAME").is_some_and(|named| named == name);
    is_it.then(|| Told { image: of("ROOT").and_then(shown), ..Told::default() })
}

/// LXC's `config` (lxc.container.conf(5)): where the root is, and the groups that the administrator put it in. Later lines win, and an empty
/// `lxc.group` clears those before.
pub(super) fn lxc(text: &[u8]) -> Option<Told> {
    let text = std::str::from_utf8(text).ok()?;
    let mut told = Told::default();
    let mut groups: Vec<&str> = Vec::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match (key.trim(), value.trim()) {
            // `lxc.rootfs` until LXC 2.1. A back end's name may stand before the path.
            ("lxc.rootfs.path" | "lxc.rootfs", root) => {
                told.image = shown(root.split_once(':').map_or(root, |(_, path)| path).to_owned());
            }
            ("lxc.group", "") => groups.clear(),
            ("lxc.group", group) => groups.push(group),
            _ => {}
        }
    }
    if !groups.is_empty() {
        told.labels = super::kept_labels([("lxc.group".to_owned(), groups.join(","))], &BTreeSet::new());
    }
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines() {
        let text = b"# This is private data. Do not parse.\nNAME=box\nSCOPE=systemd-nspawn@box.service\nROOT=\"/var/lib/machines/box\"\nCLASS=container\n";
        assert_eq!(machine("box", text).unwrap().image.as_deref(), Some("/var/lib/machines/box"));
        assert_eq!(machine("other", text), None);
        assert_eq!(machine("box", b"NAME=box\nROOT=\n"), Some(Told::default()));
        assert_eq!(machine("box", b"\xff"), None);
        assert_eq!(machine("box", b"XNAME=box\n"), None);
    }

    #[test]
    fn lxc_containers() {
        let text = b"# Template used\nlxc.rootfs.path = btrfs:/old\nlxc.rootfs.path = dir:/var/lib/lxc/box/rootfs\nlxc.group = a\nlxc.group =\nlxc.group = onboot\nlxc.group=b\nnonsense\n";
        let told = lxc(text).unwrap();
        assert_eq!(told.image.as_deref(), Some("/var/lib/lxc/box/rootfs"));
        assert_eq!(told.labels, [("lxc.group".to_owned(), "onboot,b".to_owned())]);
        assert_eq!(lxc(b"lxc.rootfs = /r\n").unwrap().image.as_deref(), Some("/r"));
        assert_eq!(lxc(b""), Some(Told::default()));
        assert_eq!(lxc(b"\xff"), None);
    }
}
