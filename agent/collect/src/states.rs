//! The state files of all containers of runc and of containerd's runc, read once and again only when
//! they change.
//!
//! A state directory without a usable file is either being made, and is then watched until it has one, or
//! not to be believed, and is then refused.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::claims::{Refusal, RefusalReason};
use crate::lives::Seen;
use crate::mounts::Roots;
use crate::root_file::{self, Signature, Trust};
use crate::runc::{self, STATE_FILE, State, StateError};
use crate::runtime::{self, Runtime};
use crate::starvation;
use crate::watcher::Watch;

/// Under `/run`: the directory, whose containers they are, and whether a directory a name space comes between.
const PLACES: [(&str, Runtime, bool); 3] = [
    ("runc", Runtime::Runc, false),
    ("containerd/runc", Runtime::Containerd, true),
    ("docker/runtime-runc", Runtime::Docker, true),
];

#[derive(Debug)]
pub(crate) struct States {
    /// The state roots, before they are looked for.
    places: Vec<(PathBuf, Runtime, bool)>,
    owner: u32,
    read: HashMap<PathBuf, (Signature, Option<Arc<State>>)>,
    /// Directories that have no file yet.
    pending: Vec<PathBuf>,
    /// Directories whose children are containers or name spaces.
    parents: Vec<PathBuf>,
    /// The containers' directories, and whether they were refused.
    folders: HashMap<PathBuf, Seen<Mark>>,
}

/// What tells a directory from a later one of the same path: the inode, and when it was made, where the file system knows.
pub(crate) type Mark = (u64, Option<SystemTime>);

/// A container of which there is, or was, a state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stated {
    pub(crate) runtime: Runtime,
    pub(crate) id: String,
    pub(crate) namespace: Option<String>,
}

impl States {
    pub(crate) fn new(roots: &Roots, owner: u32) -> Self {
        let place = |(path, runtime, spaces): (&str, Runtime, bool)| (roots.run.join(path), runtime, spaces);
        Self {
            places: PLACES.into_iter().map(place).collect(),
            owner,
            read: HashMap::new(),
            pending: Vec::new(),
            parents: Vec::new(),
            folders: HashMap::new(),
        }
    }

    /// All that can be believed now.
    pub(crate) fn read(&mut self, roots: &Roots, refusals: &mut HashSet<Refusal>) -> Vec<Arc<State>> {
        let mut before = std::mem::take(&mut self.read);
        self.pending.clear();
        self.parents.clear();
        self.folders.clear();
        let mut found = Vec::new();
        for (place, runtime, spaces) in self.places.clone() {
            let parents = match spaces {
                true => children(&place),
                false => vec![place.clone()],
            };
            if spaces && place.is_dir() {
                self.parents.push(place.clone());
            }
            for parent in parents.into_iter().filter(|parent| parent.is_dir()) {
                for directory in children(&parent) {
                    let Ok(metadata) = std::fs::symlink_metadata(&directory) else { continue };
                    let known = before.remove(&directory);
                    let entry = self.read_one(roots, &place, runtime, &directory, known, refusals);
                    let told = entry.as_ref().is_some_and(|(_, state)| state.is_none());
                    let mark = (metadata.ino(), metadata.created().ok());
                    self.folders.insert(directory.clone(), Seen { mark, told });
                    if let Some((signature, state)) = entry {
                        found.extend(state.clone());
                        self.read.insert(directory, (signature, state));
                    }
                }
                self.parents.push(parent);
            }
        }
        found
    }

    fn read_one(
        &mut self,
        roots: &Roots,
        place: &Path,
        runtime: Runtime,
        directory: &Path,
        known: Option<(Signature, Option<Arc<State>>)>,
        refusals: &mut HashSet<Refusal>,
    ) -> Option<(Signature, Option<Arc<State>>)> {
        let file = directory.join(STATE_FILE);
        let Some(signature) = root_file::signature(&file) else {
            self.pending.push(directory.to_owned());
            return None;
        };
        let state = match known {
            Some((before, state)) if before == signature => state,
            _ => match runc::read(roots, place, directory, runtime, self.owner) {
                Ok(state) => Some(Arc::new(State { namespace: namespace(runtime, directory), ..state })),
                Err(StateError::Read { .. }) => {
                    self.pending.push(directory.to_owned());
                    return None;
                }
                Err(StateError::Writable(_) | StateError::Malformed { .. }) => None,
            },
        };
        if state.is_none() {
            refusals.insert(Refusal { reason: RefusalReason::Untrusted, what: file.display().to_string() });
        }
        Some((signature, state))
    }

    /// The directories of containers at the last look; of these those are told that were refused.
    pub(crate) fn take_folders(&mut self) -> HashMap<PathBuf, Seen<Mark>> {
        std::mem::take(&mut self.folders)
    }

    /// Whose state a directory is for, whether it is there or not; none where it is no container's.
    pub(crate) fn whose(&self, directory: &Path) -> Option<Stated> {
        let id = directory.file_name()?.to_str().filter(|id| runtime::acceptable(id))?;
        let is_in = |(place, _, spaces): &&(PathBuf, Runtime, bool)| {
            directory.ancestors().nth(if *spaces { 2 } else { 1 }) == Some(place)
        };
        let (_, runtime, _) = self.places.iter().find(is_in)?;
        Some(Stated { runtime: *runtime, id: id.to_owned(), namespace: namespace(*runtime, directory) })
    }

    /// Whether root alone can have made that directory, where there is one.
    pub(crate) fn is_roots(&self, directory: &Path) -> bool {
        let place = self.places.iter().map(|(place, ..)| place).find(|place| directory.starts_with(place));
        place.is_some_and(|place| {
            let trust = Trust { root: place, owner: self.owner, root_group: false };
            directory.parent().is_some_and(|parent| root_file::is_trusted(parent, trust))
        })
    }

    /// Where a state can appear or vanish.
    pub(crate) fn watches(&self, roots: &Roots) -> Vec<Watch> {
        let mut watches = vec![Watch::directories(roots.run.clone())];
        let above = self.places.iter().filter_map(|(place, ..)| place.parent());
        watches.extend(
            above
                .filter(|above| *above != roots.run && above.is_dir())
                .map(|above| Watch::directories(above.to_owned())),
        );
        watches.extend(self.parents.iter().cloned().map(Watch::directories));
        let pending = self.pending.iter().cloned();
        watches.extend(pending.map(|directory| Watch::file(directory, STATE_FILE.into())));
        watches
    }
}

/// The directory between containerd's state root and a container's own.
fn namespace(runtime: Runtime, directory: &Path) -> Option<String> {
    let name = directory.parent()?.file_name()?.to_str()?;
    (runtime == Runtime::Containerd && runtime::acceptable(name)).then(|| name.to_owned())
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = starvation::noted(std::fs::read_dir(directory)) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
