//! Reading what runtimes keep of their instances, again only where a file has changed.
//!
//! A file that is missing, broken or not root's costs its knowledge and nothing else; that one is there and cannot be used is told, because
//! what it would have said of the owner is then not known, rather than not so. Of what another than root could have
//! made nothing is read: its id may be that of a container of root's. What was known of an instance stays while
//! the instance lives: a runtime that ends removes its files first, and a name must not change in a container's last second.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::json::{self, Indexed, Told};
use super::libvirt::{self, Domain, DomainFiles};
use super::{Metadata, Place, plain, pod};
use crate::mounts::Roots;
use crate::root_file::{self, RootFileError, Signature, Trust};
use crate::runc::State;
use crate::runtime::{self, Runtime};
use crate::starvation;

/// What a runtime writes of one container: a bundle of Kubernetes with a hundred mounts has 60 KB. An image's labels and a pod's
/// annotations are in it, and nobody is to get out of sight by those.
const FILE_MAX_BYTES: u64 = 8 << 20;
/// All containers of a storage in one file, some 1 KB each.
const INDEX_MAX_BYTES: u64 = 16 << 20;
/// containerd's namespaces that are looked through. A node has two or three.
const NAMESPACES_MAX: usize = 32;

/// Under `/var/lib/containers/storage`: each storage driver has a directory of its own.
const STORAGES: [&str; 4] = ["overlay-containers", "vfs-containers", "btrfs-containers", "zfs-containers"];
/// The lasting containers', and those of `podman run --rm`.
const INDEX_FILES: [&str; 2] = ["containers.json", "volatile-containers.json"];

/// Whose metadata are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) runtime: Runtime,
    pub(crate) id: &'a str,
    pub(crate) directory: &'a Path,
    pub(crate) cgroup_path: &'a str,
    pub(crate) named_by_root: usize,
    pub(crate) root_owned: bool,
    pub(crate) state: Option<&'a State>,
}

/// Why a file told nothing.
enum Untold {
    /// It has gone since it was seen, or is about another.
    Gone,
    /// It is there.
    Unread,
}

/// What metadata were made of: unchanged, so are they.
#[derive(Debug, PartialEq, Eq)]
struct Inputs {
    runtime: Runtime,
    id: String,
    place: Place,
    root_owned: bool,
    files: Vec<(PathBuf, Signature)>,
    indexed: Option<Indexed>,
    /// Which life of a container of runc's.
    init: Option<(u32, u64)>,
}

#[derive(Debug)]
struct Known {
    inputs: Inputs,
    metadata: Arc<Metadata>,
    seen: bool,
}

/// An index of containers/storage as it was read.
#[derive(Debug, Default)]
struct Index {
    signature: Option<Signature>,
    entries: HashMap<String, Indexed>,
}

#[derive(Debug)]
pub(crate) struct MetadataReader {
    run: PathBuf,
    lib: PathBuf,
    owner: u32,
    /// Keys of labels that the operator's rules ask for.
    asked: BTreeSet<String>,
    known: HashMap<PathBuf, Known>,
    namespaces: Vec<PathBuf>,
    docker_roots: Vec<PathBuf>,
    domains: DomainFiles,
    indexes: HashMap<PathBuf, Index>,
}

impl MetadataReader {
    pub(crate) fn new(roots: &Roots, owner: u32, asked: BTreeSet<String>) -> Self {
        let (run, lib) = (roots.run.clone(), roots.lib.clone());
        Self {
            run,
            lib,
            owner,
            asked,
            known: HashMap::new(),
            namespaces: Vec::new(),
            docker_roots: Vec::new(),
            domains: DomainFiles::default(),
            indexes: HashMap::new(),
        }
    }

    /// Before a round of [`Self::look`]: what all of them share is read.
    pub(crate) fn begin(&mut self) {
        self.namespaces = directories(&self.run.join("containerd/io.containerd.runtime.v2.task"));
        self.docker_roots = docker_roots(self.lib.join("docker"));
        self.domains = DomainFiles::below(&self.run);
        for storage in STORAGES {
            for name in INDEX_FILES {
                self.read_index(self.lib.join("containers/storage").join(storage).join(name));
            }
        }
    }

    fn read_index(&mut self, path: PathBuf) {
        let Some(signature) = root_file::signature(&path) else {
            self.indexes.remove(&path);
            return;
        };
        if self.indexes.get(&path).is_some_and(|index| index.signature == Some(signature)) {
            return;
        }
        let text = root_file::read(&path, self.trust(&self.lib, false), INDEX_MAX_BYTES).ok();
        if starvation::was_noted() {
            // Not known now, which is not the same as empty.
            return;
        }
        let entries = text.and_then(|text| json::index(&text)).unwrap_or_default();
        self.indexes.insert(path, Index { signature: Some(signature), entries });
    }

    /// After a round: forgets what was not asked for.
    pub(crate) fn end(&mut self) {
        self.known.retain(|_, known| std::mem::take(&mut known.seen));
    }

    /// What is known of one now.
    pub(crate) fn look(&mut self, wanted: Wanted<'_>) -> Arc<Metadata> {
        let inputs = self.inputs(wanted);
        let before = self
            .known
            .get_mut(wanted.directory)
            .filter(|known| (known.inputs.runtime, &known.inputs.id) == (inputs.runtime, &inputs.id));
        if let Some(known) = before
            && known.inputs == inputs
        {
            known.seen = true;
            return known.metadata.clone();
        }
        let (told, unread) = self.tell(wanted, &inputs);
        if (told.is_none() || unread) && starvation::was_noted() {
            let before = self.known.get_mut(wanted.directory).map(|known| {
                known.seen = true;
                known.metadata.clone()
            });
            return before.unwrap_or_default();
        }
        let mut metadata = Metadata { place: inputs.place.clone(), unread, ..Metadata::default() };
        let before = self.known.remove(wanted.directory);
        match (told, before) {
            (Some((told, namespace)), _) => {
                metadata.pod = pod(wanted.runtime, &inputs.place, &told.labels);
                metadata.containerd_namespace = namespace;
                (metadata.name, metadata.image, metadata.labels) = (told.name, told.image, told.labels);
            }
            // The same one, of which nothing is told any more.
            (None, Some(known))
                if inputs.root_owned && (known.inputs.runtime, &known.inputs.id) == (inputs.runtime, &inputs.id) =>
            {
                let unread = unread || known.metadata.unread;
                metadata = Metadata { place: metadata.place, unread, ..(*known.metadata).clone() };
            }
            (None, _) => {}
        }
        let metadata = Arc::new(metadata);
        let known = Known { inputs, metadata: metadata.clone(), seen: true };
        self.known.insert(wanted.directory.to_owned(), known);
        metadata
    }

    fn inputs(&self, wanted: Wanted<'_>) -> Inputs {
        let of = |path: PathBuf| root_file::signature(&path).map(|signature| (path, signature));
        Inputs {
            runtime: wanted.runtime,
            id: wanted.id.to_owned(),
            place: Place::of(wanted.cgroup_path, wanted.named_by_root),
            root_owned: wanted.root_owned,
            files: self.files(wanted).into_iter().filter_map(of).collect(),
            indexed: self.indexed(wanted.runtime, wanted.id).filter(|_| wanted.root_owned),
            init: wanted.state.map(|state| state.init),
        }
    }

    /// Where something may stand of an id. Ids are names of directories with systemd's escapes undone, so one may hold a slash.
    fn files(&self, wanted: Wanted<'_>) -> Vec<PathBuf> {
        let id = wanted.id;
        if !wanted.root_owned || id.contains('/') || matches!(id, "" | "." | "..") {
            return Vec::new();
        }
        match wanted.runtime {
            Runtime::Docker => {
                let of = |root: &PathBuf| root.join("containers").join(id).join("config.v2.json");
                self.docker_roots.iter().map(of).collect()
            }
            Runtime::Containerd => {
                let told = wanted.state.and_then(|state| state.namespace.as_deref());
                let is_it = |namespace: &&PathBuf| told.is_none_or(|told| namespace.ends_with(told));
                let namespaces = self.namespaces.iter().filter(is_it);
                namespaces.map(|namespace| namespace.join(id).join("config.json")).collect()
            }
            Runtime::Crio | Runtime::Podman => {
                let of = |storage: &str| self.lib.join("containers/storage").join(storage).join(id);
                STORAGES.into_iter().map(|storage| of(storage).join("userdata/config.json")).collect()
            }
            Runtime::Nspawn => vec![self.run.join("systemd/machines").join(id)],
            Runtime::Lxc => vec![self.lib.join("lxc").join(id).join("config")],
            Runtime::Libvirt => self.domains.of(id),
            _ => Vec::new(),
        }
    }

    fn indexed(&self, runtime: Runtime, id: &str) -> Option<Indexed> {
        let stored = matches!(runtime, Runtime::Crio | Runtime::Podman);
        self.indexes.values().filter(|_| stored).find_map(|index| index.entries.get(id).cloned())
    }

    /// What files, index and state tell together, and containerd's namespace, none where none of them tells anything; and whether a file
    /// is there that cannot be used.
    fn tell(&self, wanted: Wanted<'_>, inputs: &Inputs) -> (Option<(Told, Option<String>)>, bool) {
        let mut unread = false;
        let mut read: Vec<(&Path, Told)> = Vec::new();
        for (path, _) in &inputs.files {
            match self.tell_one(wanted, path) {
                Ok(told) => read.push((path, told)),
                Err(Untold::Gone) => {}
                Err(Untold::Unread) => unread = true,
            }
        }
        // An id that two namespaces have is neither's for certain.
        let file = match read.as_slice() {
            [(path, told)] => Some((*path, told.clone())),
            several => {
                unread |= !several.is_empty();
                None
            }
        };
        let of_state = |state: &State| Told::of_annotations(state.annotations.iter().cloned(), &self.asked);
        let told = wanted.state.and_then(|state| state.namespace.clone());
        let namespace = told.or_else(|| file.as_ref().and_then(|(path, _)| namespace_of(wanted.runtime, path)));
        let told = file.map(|(_, told)| told).or_else(|| wanted.state.map(of_state));
        if told.is_none() && inputs.indexed.is_none() {
            return (None, unread);
        }
        let mut told = told.unwrap_or_default();
        if wanted.runtime == Runtime::Containerd && !inputs.place.kubelets {
            told = told.named_by_nerdctl();
        }
        if let Some(indexed) = &inputs.indexed {
            told.name = told.name.or_else(|| indexed.name.clone());
            told.image = told.image.or_else(|| indexed.image.clone());
        }
        (Some((told, namespace)), unread)
    }

    fn tell_one(&self, wanted: Wanted<'_>, path: &Path) -> Result<Told, Untold> {
        let (runtime, id) = (wanted.runtime, wanted.id);
        let root = if path.starts_with(&self.run) { &self.run } else { &self.lib };
        let trust = self.trust(root, runtime == Runtime::Lxc);
        let text = root_file::read(path, trust, FILE_MAX_BYTES).map_err(|error| match error {
            RootFileError::Read(error) if error.kind() == std::io::ErrorKind::NotFound => Untold::Gone,
            _ => Untold::Unread,
        })?;
        let told = match runtime {
            Runtime::Docker => json::docker(id, &text, &self.asked),
            Runtime::Containerd | Runtime::Crio | Runtime::Podman => json::bundle(&text, &self.asked),
            Runtime::Nspawn => plain::machine(id, &text),
            Runtime::Lxc => plain::lxc(&text),
            Runtime::Libvirt => match libvirt::domain(id, path, &text) {
                Domain::Told(told) => Some(told),
                Domain::Another => return Err(Untold::Gone),
                Domain::Nothing => None,
            },
            _ => None,
        };
        told.ok_or(Untold::Unread)
    }

    fn trust<'a>(&self, root: &'a Path, root_group: bool) -> Trust<'a> {
        Trust { root, owner: self.owner, root_group }
    }
}

/// The namespace in `…/NAMESPACE/ID/config.json`.
fn namespace_of(runtime: Runtime, path: &Path) -> Option<String> {
    let namespace = path.parent()?.parent()?.file_name()?.to_str()?;
    (runtime == Runtime::Containerd && runtime::acceptable(namespace)).then(|| namespace.to_owned())
}

/// Where docker keeps what it keeps: its data root, and below that, where it maps users, a root for each mapping, `UID.GID`.
fn docker_roots(data: PathBuf) -> Vec<PathBuf> {
    let is_mapping = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.split_once('.'))
            .is_some_and(|(user, group)| runtime::is_number(user) && runtime::is_number(group))
    };
    let mut roots: Vec<_> = directories(&data).into_iter().filter(is_mapping).collect();
    roots.push(data);
    roots
}

fn directories(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = starvation::noted(std::fs::read_dir(parent)) else {
        return Vec::new();
    };
    let is_directory = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut found: Vec<_> =
        entries.flatten().filter(is_directory).map(|entry| entry.path()).take(NAMESPACES_MAX).collect();
    found.sort();
    found
}
