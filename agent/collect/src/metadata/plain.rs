//! The text in which machined, LXC and libvirt keep what they know: `KEY=value`, `key = value`, and a little of an XML document.
//!
//! Parsers alone. Of libvirt's XML only two elements are looked for, by their text, since nothing else of it is wanted; a document that does
//! not have them in the expected place tells nothing.

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

/// libvirt's `/run/libvirt/qemu/NAME.xml`: a `domstatus` with the domain in it. The name is what the file is called, and must agree; the
/// domain's id by which other tools know it is kept as a label.
pub(super) fn libvirt(name: &str, text: &[u8]) -> Option<Told> {
    let text = std::str::from_utf8(text).ok()?;
    let domain = &text[text.find("<domain ").or_else(|| text.find("<domain>"))?..];
    // The first element of a domain is its name (libvirt, `virDomainDefFormatInternal`).
    let named = element(domain, "name").filter(|named| named == name)?;
    let uuid = element(domain, "uuid").filter(|uuid| uuid.parse::<uuid::Uuid>().is_ok());
    let labels = uuid.map(|uuid| ("libvirt.uuid".to_owned(), uuid)).into_iter().collect();
    Some(Told { name: shown(named), image: None, labels })
}

/// The text of the first element of this name.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = after.split_once(&format!("</{name}>"))?;
    if inner.contains('<') {
        return None;
    }
    // The ampersand last: what it made must not be undone again.
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    Some(entities.iter().fold(inner.to_owned(), |text, (entity, plain)| text.replace(entity, plain)))
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

    #[test]
    fn domains() {
        let text = b"<!-- generated -->\n<domstatus state='running' reason='booted' pid='17'>\n <domain type='kvm' id='3'>\n  <name>web&amp;lt;1</name>\n  <uuid>78177d07-ac0e-4057-b1de-9ccd66cbc3d7</uuid>\n </domain>\n</domstatus>";
        let told = libvirt("web&lt;1", text).unwrap();
        assert_eq!(told.name.as_deref(), Some("web&lt;1"));
        assert_eq!(told.labels, [("libvirt.uuid".to_owned(), "78177d07-ac0e-4057-b1de-9ccd66cbc3d7".to_owned())]);
        assert_eq!(libvirt("web", text), None, "the file is another domain's");
        let plain = b"<domain type='kvm'><name>a</name><uuid>no</uuid></domain>";
        assert_eq!(libvirt("a", plain), Some(Told { name: Some("a".into()), ..Told::default() }));
        for broken in
            [&b""[..], b"<domain ", b"<name>a</name>", b"<domain ><name>a", b"<domain ><name><b/></name>", b"\xff"]
        {
            assert_eq!(libvirt("a", broken), None);
        }
    }
}
