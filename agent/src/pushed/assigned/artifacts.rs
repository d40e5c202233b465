//! The artifacts of an account's folder: which are there, which are not yet, and bringing each under its names.
//!
//! An artifact may have many names, and all of an account's are gigabytes: at most one is in memory at a time. What a proxy sent lies under its
//! digest with a dot before it, where nobody looks, until all are here. What is to be written is copied beside its place first, because a version that becomes
//! current lies in another's file. A file that is larger than an artifact can be is none.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sonde_inventory::ArtifactDigest;
use sonde_inventory::assignment::{Assigned, MOST_ARTIFACT_BYTES};

use super::{LIST, Listed, NOTHING, beside, create, make_folder, replace};

/// Where each artifact lies, by digest.
struct Present(BTreeMap<ArtifactDigest, BTreeSet<PathBuf>>);

impl Present {
    fn of(folder: &Path) -> Self {
        let mut present = BTreeMap::<_, BTreeSet<_>>::new();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let could_be = path.extension().is_some_and(|extension| extension == "wasm")
                && entry.metadata().is_ok_and(|file| file.is_file() && file.len() <= MOST_ARTIFACT_BYTES);
            if let Some(bytes) = could_be.then(|| std::fs::read(&path).ok()).flatten() {
                present.entry(ArtifactDigest::of(&bytes)).or_default().insert(path);
            }
        }
        Self(present)
    }
}

/// Where an artifact is until its names are written.
fn fetched(folder: &Path, sha256: ArtifactDigest) -> PathBuf {
    folder.join(format!(".{sha256}.wasm"))
}

/// The artifacts that an assignment needs and the folder does not have. What was fetched for an earlier one alone goes.
pub(crate) fn missing(folder: &Path, sensors: &[Assigned]) -> Vec<(ArtifactDigest, u64)> {
    let present = Present::of(folder);
    let versions = sensors.iter().flat_map(|sensor| [&sensor.current].into_iter().chain(&sensor.next));
    let mut wanted: BTreeMap<ArtifactDigest, u64> = versions.map(|version| (version.sha256, version.bytes)).collect();
    for (sha256, paths) in present.0.iter().filter(|(sha256, _)| !wanted.contains_key(sha256)) {
        let fetched = fetched(folder, *sha256);
        // Where it cannot be removed, the next write does.
        let _ = paths.contains(&fetched).then(|| std::fs::remove_file(fetched));
    }
    wanted.retain(|sha256, _| !present.0.contains_key(sha256));
    wanted.into_iter().collect()
}

/// Puts an artifact that was missing into the folder, for [`super::write`].
///
/// # Errors
/// It cannot be written.
pub(crate) fn keep(folder: &Path, sha256: ArtifactDigest, bytes: &[u8]) -> io::Result<()> {
    if !folder.exists() {
        // From the beginning a proxy's, and removed with its account although nothing more comes.
        make_folder(folder)?;
        replace(&folder.join(LIST), NOTHING)?;
    }
    replace(&fetched(folder, sha256), bytes)
}

/// What lies beside its place, to be renamed.
pub(super) struct Staged(Vec<(PathBuf, PathBuf)>);

impl Staged {
    /// Copies beside its place each file that is not yet what it is to be.
    pub(super) fn of(folder: &Path, listed: &[Listed]) -> io::Result<Self> {
        let present = Present::of(folder);
        let mut copies = Vec::new();
        for (version, file) in listed.iter().flat_map(Listed::versions) {
            let path = folder.join(&file);
            let Some(has_it) = present.0.get(&version.sha256) else {
                return Err(io::Error::other(format!("the artifact {} is not here", version.sha256)));
            };
            if !has_it.contains(&path) {
                copies.extend(has_it.first().map(|from| (from, path)));
            }
        }
        let mut staged = Vec::with_capacity(copies.len());
        for (from, path) in copies {
            let beside = beside(&path)?;
            let mut file = create(&beside)?;
            io::copy(&mut std::fs::File::open(from)?.take(MOST_ARTIFACT_BYTES), &mut file)?;
            file.sync_all()?;
            staged.push((beside, path));
        }
        Ok(Self(staged))
    }

    pub(super) fn rename(self) -> io::Result<()> {
        self.0.into_iter().try_for_each(|(beside, path)| std::fs::rename(beside, path))
    }
}
