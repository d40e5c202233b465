//! What libvirt keeps of a domain that runs: `/run/libvirt/{qemu,lxc}/NAME.xml`, a `domstatus` with the domain in it.
//!
//! A cgroup has a domain's name only as far as it is fit for one of a machine: other characters are left out of it and its end is cut off
//! (libvirt, `virDomainGenerateMachineName`). So `my_box` is in `lxc-17-mybox`, and so would `mybox` be: what tells them apart is the number of
//! the domain's life before the name, which its file has too. Of the XML only the name, that number and the uuid are looked for, by their text; a
//! document that does not have them in the expected place tells nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::json::{Told, shown};
use crate::{runtime, starvation};

/// Under `/run`: one driver's domains each.
const PLACES: [&str; 2] = ["libvirt/qemu", "libvirt/lxc"];
/// No more files of a driver's are looked through for a name that is not the cgroup's: a machine runs hundreds.
const FILES_MAX: usize = 4096;
/// A whole machine's name has 64 bytes with driver and number before it, so one that is shorter than this was not cut off.
const CUT_OFF_BYTES: usize = 40;

/// An id that libvirt made: the number of the domain's life, none where the cgroup has none, and the name as the cgroup has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life<'a> {
    number: Option<&'a str>,
    name: &'a str,
}

impl<'a> Life<'a> {
    fn of(id: &'a str) -> Self {
        match runtime::numbered(id) {
            Some((number, name)) => Self { number: Some(number), name },
            None => Self { number: None, name: id },
        }
    }
}

/// What is left of a name in a machine's (libvirt, `virDomainMachineNameAppendValid`), its length aside.
fn machine_name(domain: &str) -> String {
    let mut machine = String::with_capacity(domain.len());
    let mut follows_separator = true;
    for character in domain.chars() {
        if matches!(character, '.' | '-') {
            if !follows_separator {
                machine.push(character);
            }
            follows_separator = true;
            continue;
        }
        follows_separator = false;
        if character.is_ascii_alphanumeric() {
            machine.push(character);
        }
    }
    machine.trim_end_matches(['-', '.']).to_owned()
}

/// The files of all domains, by what is left of their names. Looked for once for all instances of a scan.
#[derive(Debug, Default)]
pub(super) struct DomainFiles(HashMap<String, Vec<PathBuf>>);

impl DomainFiles {
    pub(super) fn below(run: &Path) -> Self {
        let mut found: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for place in PLACES {
            let entries = starvation::noted(std::fs::read_dir(run.join(place))).into_iter().flatten().flatten();
            for path in entries.take(FILES_MAX).map(|entry| entry.path()) {
                let Some(machine) = domain_of(&path).map(machine_name) else { continue };
                found.entry(machine).or_default().push(path);
            }
        }
        Self(found)
    }

    /// Those in which something may stand of the domain of an id.
    pub(super) fn of(&self, id: &str) -> Vec<PathBuf> {
        let life = Life::of(id);
        let mut files: Vec<_> = match life.number {
            // Where there is nothing to tell them apart by, the name must be the same.
            None => self.called(&machine_name(life.name)).filter(|path| domain_of(path) == Some(life.name)).collect(),
            Some(_) if life.name.len() < CUT_OFF_BYTES => self.called(life.name).collect(),
            Some(_) => {
                let may_be = |(machine, files): (&String, &'_ Vec<PathBuf>)| -> Vec<PathBuf> {
                    if machine.starts_with(life.name) { files.clone() } else { Vec::new() }
                };
                self.0.iter().flat_map(may_be).collect()
            }
        };
        files.sort();
        files
    }

    fn called(&self, machine: &str) -> impl Iterator<Item = PathBuf> + use<'_> {
        self.0.get(machine).into_iter().flatten().cloned()
    }
}

/// The name of the domain that a file is about.
fn domain_of(file: &Path) -> Option<&str> {
    file.file_name()?.to_str()?.strip_suffix(".xml")
}

/// What a file told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Domain {
    /// Of the domain with that id.
    Told(Told),
    /// Of another one, or of another life of it.
    Another,
    /// Nothing that could be used.
    Nothing,
}

/// A file's text. The name is what the file is called, and must agree; the uuid by which other tools know the domain is kept as a label.
pub(super) fn domain(id: &str, file: &Path, text: &[u8]) -> Domain {
    parse(Life::of(id), file, text).unwrap_or(Domain::Nothing)
}

fn parse(life: Life<'_>, file: &Path, text: &[u8]) -> Option<Domain> {
    let text = std::str::from_utf8(text).ok()?;
    let domain = &text[text.find("<domain ").or_else(|| text.find("<domain>"))?..];
    // The first element of a domain is its name (libvirt, `virDomainDefFormatInternal`).
    let named = element(domain, "name").filter(|named| domain_of(file) == Some(named))?;
    if let (Some(number), Some(told)) = (life.number, number_of(domain))
        && number != told
    {
        return Some(Domain::Another);
    }
    let uuid = element(domain, "uuid").filter(|uuid| uuid.parse::<uuid::Uuid>().is_ok());
    let labels = uuid.map(|uuid| ("libvirt.uuid".to_owned(), uuid)).into_iter().collect();
    Some(Domain::Told(Told { name: shown(named), image: root_of(domain).and_then(shown), labels }))
}

/// The number of its life, which the first tag has.
fn number_of(domain: &str) -> Option<&str> {
    let (tag, _) = domain.split_once('>')?;
    let (_, after) = tag.split_once(" id='")?;
    after.split('\'').next()
}

/// The folder that a container has as its root; none of a virtual machine, which has disks.
fn root_of(domain: &str) -> Option<String> {
    let mut file_systems = domain.split("<filesystem ").skip(1).filter_map(|text| text.split("</filesystem>").next());
    let (_, source) = file_systems.find(|text| text.contains("<target dir='/'/>"))?.split_once("<source dir='")?;
    source.split('\'').next().map(unescaped)
}

/// The text of the first element of this name.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = after.split_once(&format!("</{name}>"))?;
    (!inner.contains('<')).then(|| unescaped(inner))
}

fn unescaped(text: &str) -> String {
    // The ampersand last: what it made must not be undone again.
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str, name: &str, text: &[u8]) -> Domain {
        domain(id, Path::new(&format!("/run/libvirt/qemu/{name}.xml")), text)
    }

    #[test]
    fn domains() {
        let text = b"<!-- generated -->\n<domstatus state='running' reason='booted' pid='17'>\n <domain type='kvm' id='3'>\n  <name>web&amp;lt;1</name>\n  <uuid>78177d07-ac0e-4057-b1de-9ccd66cbc3d7</uuid>\n </domain>\n</domstatus>";
        for id in ["3-weblt1", "web&lt;1"] {
            let Domain::Told(told) = of(id, "web&lt;1", text) else { panic!("{id}") };
            assert_eq!(told.name.as_deref(), Some("web&lt;1"));
            assert_eq!(told.labels, [("libvirt.uuid".to_owned(), "78177d07-ac0e-4057-b1de-9ccd66cbc3d7".to_owned())]);
        }
        assert_eq!(of("4-weblt1", "web&lt;1", text), Domain::Another);
        assert_eq!(of("3-web", "web", text), Domain::Nothing, "the file is not what it is called");
        let plain = b"<domain type='kvm'><name>a</name><uuid>no</uuid></domain>";
        assert_eq!(of("a", "a", plain), Domain::Told(Told { name: Some("a".into()), ..Told::default() }));
        for broken in
            [&b""[..], b"<domain ", b"<name>a</name>", b"<domain ><name>a", b"<domain ><name><b/></name>", b"\xff"]
        {
            assert_eq!(of("a", "a", broken), Domain::Nothing);
        }
    }

    /// What libvirt 9.0 writes of a container, in part.
    #[test]
    fn a_containers_root_is_its_image() {
        let file_system = |source: &str, target: &str| {
            format!(
                "<filesystem type='mount' accessmode='passthrough'>\n<source dir='{source}'/>\n<target dir='{target}'/>\n</filesystem>"
            )
        };
        let image_of = |devices: &str| {
            let text = format!("<domain type='lxc' id='3'><name>a</name><devices>{devices}</devices></domain>");
            let Domain::Told(told) = of("3-a", "a", text.as_bytes()) else { panic!("{text}") };
            told.image
        };
        let both = file_system("/srv/data", "/data") + &file_system("/srv/a&amp;b", "/");
        assert_eq!(image_of(&both).as_deref(), Some("/srv/a&b"));
        assert_eq!(image_of(&file_system("/srv/data", "/data")), None);
        assert_eq!(image_of("<filesystem type='ram'><target dir='/'/></filesystem>"), None);
    }

    /// As libvirt 9.0 was seen to make them.
    #[test]
    fn machines_are_called_by_what_is_left_of_a_name() {
        for (domain, machine) in [
            ("my-box", "my-box"),
            ("my_box.with_long", "mybox.withlong"),
            ("--a..b-", "a.b"),
            ("a_.b", "a.b"),
            ("w\u{fc}b", "wb"),
            ("_", ""),
        ] {
            assert_eq!(machine_name(domain), machine, "{domain}");
        }
        assert_eq!(Life::of("102"), Life { number: None, name: "102" });
        assert_eq!(Life::of("17-my-box"), Life { number: Some("17"), name: "my-box" });
    }

    #[test]
    fn files_that_may_be_about_a_machine() {
        let run = tempfile::tempdir().unwrap();
        let long = "a_".repeat(60);
        std::fs::create_dir_all(run.path().join("libvirt/lxc")).unwrap();
        for name in ["my_box.xml", "mybox.xml", "mybox.pid", "other.xml", &format!("{long}.xml")] {
            std::fs::write(run.path().join("libvirt/lxc").join(name), "").unwrap();
        }
        let files = DomainFiles::below(run.path());
        let of = |id: &str| {
            let names = files.of(id).into_iter().map(|path| domain_of(&path).unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(of("17-mybox"), ["my_box", "mybox"]);
        assert_eq!(of("mybox"), ["mybox"], "there is nothing to tell them apart by");
        assert_eq!(of("my_box"), ["my_box"]);
        assert_eq!(of(&format!("17-{}", "a".repeat(50))), [long], "its end was cut off");
        assert!(of(&format!("17-{}", "a".repeat(30))).is_empty());
        assert!(DomainFiles::below(&run.path().join("none")).of("17-mybox").is_empty());
    }
}
