//! An account's folder as a proxy's word makes it: `assigned.json`, an artifact for each version that it names, and secrets.
//!
//! Each file is written whole and renamed, artifacts and secrets before the list that names them, so whoever looks finds the old or the new and can run it. What is
//! not assigned any more is removed after that. A version is known by its digest and not by its file's name: between two files of a change nothing runs with the
//! settings or secrets of another. Secrets are files that this user alone can read, because the broker reads them by path, and a node that starts without
//! proxies must have them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sonde_host::Digest;
use sonde_inventory::assignment::{Assigned, AssignedVersion};
use sonde_inventory::sensor::{Selected, Selector, is_among};
use sonde_inventory::{ArtifactDigest, SensorName};

mod artifacts;

use artifacts::Staged;
pub(crate) use artifacts::{keep, missing};

/// What lies in an account's folder where a proxy fills it.
pub(crate) const LIST: &str = "assigned.json";
const SECRETS: &str = "secrets";
/// A list of no sensors.
const NOTHING: &[u8] = b"[]";
/// A hundred sensors with all the settings they may have, twice.
const MOST_LIST_BYTES: u64 = 16 << 20;
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// One sensor of the list: an assignment without what is secret in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) name: SensorName,
    #[serde(default, rename = "match")]
    pub(crate) selector: Selector,
    pub(crate) current: ListedVersion,
    #[serde(default)]
    pub(crate) next: Option<ListedVersion>,
    #[serde(default)]
    pub(crate) percent: u8,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListedVersion {
    pub(crate) sha256: ArtifactDigest,
    #[serde(default)]
    pub(crate) config: BTreeMap<String, String>,
    /// Their names.
    #[serde(default)]
    pub(crate) secrets: BTreeSet<String>,
}

impl ListedVersion {
    fn of(version: &AssignedVersion) -> Self {
        let secrets = version.secrets.keys().filter(|key| is_plain(key)).cloned().collect();
        Self { sha256: version.sha256, config: version.config.clone(), secrets }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(self.sha256.0)
    }

    /// Where each secret is.
    pub(crate) fn secret_files(&self, folder: &Path, sensor: &SensorName) -> BTreeMap<String, PathBuf> {
        let of_version = secrets_of(folder, sensor, self.sha256);
        self.secrets.iter().map(|key| (key.clone(), of_version.join(key))).collect()
    }
}

impl Listed {
    fn of(assigned: &Assigned) -> Self {
        Self {
            name: assigned.name.clone(),
            selector: assigned.selector.clone(),
            current: ListedVersion::of(&assigned.current),
            next: assigned.next.as_ref().map(ListedVersion::of),
            percent: assigned.percent,
        }
    }

    /// The versions, each with its file.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&ListedVersion, String)> {
        let next = self.next.as_ref().map(|next| (next, file(&self.name, true)));
        [(&self.current, file(&self.name, false))].into_iter().chain(next)
    }

    /// The version that an instance is to run, if it is meant at all.
    pub(crate) fn for_instance(&self, instance: &Selected<'_>) -> Option<(&ListedVersion, String)> {
        let is_next = self.next.is_some() && is_among(self.percent, &self.name, instance.id);
        let chosen = if is_next { self.versions().nth(1) } else { self.versions().next() };
        chosen.filter(|_| self.selector.has(instance))
    }
}

/// A sensor's name has no dot, so no other sensor has this file.
fn file(name: &SensorName, is_next: bool) -> String {
    if is_next { format!("{name}.next.wasm") } else { format!("{name}.wasm") }
}

fn secrets_of(folder: &Path, sensor: &SensorName, sha256: ArtifactDigest) -> PathBuf {
    folder.join(SECRETS).join(sensor.as_str()).join(sha256.to_string())
}

/// What tells whether a list is another than it was.
pub(crate) type ListStamp = (u64, u64, i64, i64);
/// Of a list that cannot be looked at: no file has inode 0.
const UNKNOWN: ListStamp = (0, 0, 0, 0);

/// Whether a proxy fills the folder: it has a list, of whatever kind.
pub(crate) fn is_filled(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder.join(LIST)).is_ok()
}

/// The list's stamp. None is a folder without one, which a person filled; a list that cannot be read is still a list.
pub(crate) fn stamp(folder: &Path) -> Option<ListStamp> {
    match std::fs::symlink_metadata(folder.join(LIST)) {
        Ok(file) => Some((file.ino(), file.len(), file.ctime(), file.ctime_nsec())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        Err(_) => Some(UNKNOWN),
    }
}

/// The list; one that cannot be read is none, and its account's sensors stop.
pub(crate) fn read(folder: &Path) -> Option<Vec<Listed>> {
    let path = folder.join(LIST);
    match read_list(&path) {
        Ok(list) => Some(list),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "the list of an account's sensors cannot be read; they stop");
            None
        }
    }
}

fn read_list(path: &Path) -> io::Result<Vec<Listed>> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MOST_LIST_BYTES + 1).read_to_end(&mut bytes)?;
    check_length(&bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn check_length(list: &[u8]) -> io::Result<()> {
    if list.len() as u64 > MOST_LIST_BYTES {
        return Err(io::Error::other(format!("the list is longer than {MOST_LIST_BYTES} bytes")));
    }
    Ok(())
}

/// Makes an account's folder what is assigned. What was [`missing`] has been kept.
///
/// # Errors
/// The list would be too long, or a file cannot be written; what was there before runs on.
pub(crate) fn write(folder: &Path, sensors: &[Assigned]) -> io::Result<()> {
    let listed: Vec<Listed> = sensors.iter().map(Listed::of).collect();
    let list = serde_json::to_vec(&listed)?;
    // What could not be read back is not begun.
    check_length(&list)?;
    make_folder(folder)?;
    let staged = Staged::of(folder, &listed)?;
    for (sensor, version) in sensors.iter().flat_map(|s| [&s.current].into_iter().chain(&s.next).map(move |v| (s, v))) {
        write_secrets(folder, sensor, version)?;
    }
    if !is_filled(folder) {
        // Where writing ends half-way, an artifact without a list would run on all instances.
        replace(&folder.join(LIST), NOTHING)?;
    }
    staged.rename()?;
    replace(&folder.join(LIST), &list)?;
    clean(folder, &listed);
    Ok(())
}

/// Keys were checked where they came in; one that would lead elsewhere is not taken here all the same.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && !key.starts_with('.') && !key.contains('/')
}

fn write_secrets(folder: &Path, sensor: &Assigned, version: &AssignedVersion) -> io::Result<()> {
    if version.secrets.is_empty() {
        return Ok(());
    }
    let of_version = secrets_of(folder, &sensor.name, version.sha256);
    make_folder(&of_version)?;
    for (key, secret) in &version.secrets {
        if !is_plain(key) {
            continue;
        }
        let path = of_version.join(key);
        if std::fs::read(&path).ok().as_deref() != Some(secret.as_bytes()) {
            replace(&path, secret.as_bytes())?;
        }
    }
    Ok(())
}

/// Removes what no version has any more. What cannot be removed now is at the next change.
fn clean(folder: &Path, listed: &[Listed]) {
    let files: BTreeSet<String> = listed.iter().flat_map(Listed::versions).map(|(_, file)| file).collect();
    let is_kept = |name: &str| name == LIST || name == SECRETS || files.contains(name);
    remove_all_but(folder, is_kept);
    let secrets = folder.join(SECRETS);
    remove_all_but(&secrets, |name| listed.iter().any(|sensor| sensor.name.as_str() == name));
    for sensor in listed {
        let of_sensor = secrets.join(sensor.name.as_str());
        let version = |sha256: &str| sensor.versions().find(|(version, _)| version.sha256.to_string() == sha256);
        remove_all_but(&of_sensor, |sha256| version(sha256).is_some_and(|(version, _)| !version.secrets.is_empty()));
        for (version, _) in sensor.versions() {
            remove_all_but(&of_sensor.join(version.sha256.to_string()), |key| version.secrets.contains(key));
        }
    }
}

fn remove_all_but(folder: &Path, is_kept: impl Fn(&str) -> bool) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&is_kept) {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed =
            if is_folder { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
        if let Err(error) = removed {
            tracing::warn!(path = %entry.path().display(), %error, "what an account has no more cannot be removed");
        }
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
}

/// By way of a file beside it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path)?;
    let mut file = create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}

/// A name with a dot before it is not looked at.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| io::Error::other("it has no name"))?;
    Ok(path.with_file_name(format!(".{name}.new")))
}

/// For this user alone from its first byte.
fn create(path: &Path) -> io::Result<std::fs::File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sonde_inventory::Labels;
    use sonde_inventory::assignment::MOST_ARTIFACT_BYTES;
    use uuid::Uuid;

    use super::*;

    fn version(bytes: &[u8], secret: Option<&str>) -> AssignedVersion {
        let secrets = secret.map(|secret| ("key".to_owned(), secret.to_owned())).into_iter().collect();
        AssignedVersion {
            sha256: ArtifactDigest::of(bytes),
            bytes: bytes.len() as u64,
            config: BTreeMap::new(),
            secrets,
        }
    }

    fn sensor(name: &str, current: AssignedVersion, next: Option<AssignedVersion>) -> Assigned {
        let name = SensorName::new(name).unwrap();
        Assigned { name, selector: Selector::default(), current, next, percent: 50 }
    }

    fn keep_all(folder: &Path, all: &[&[u8]]) {
        all.iter().for_each(|bytes| keep(folder, ArtifactDigest::of(bytes), bytes).unwrap());
    }

    #[test]
    fn a_folder_becomes_what_is_assigned_and_nothing_more() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("acme");
        let first = [sensor("web", version(b"one", Some("s3cret")), Some(version(b"two", None)))];
        assert_eq!(missing(&folder, &first).len(), 2);
        keep_all(&folder, &[b"one", b"neither"]);
        assert_eq!(missing(&folder, &first).len(), 1);
        assert!(write(&folder, &first).is_err(), "one is not there");
        let files = || std::fs::read_dir(&folder).unwrap().count();
        assert_eq!((read(&folder), files()), (Some(vec![]), 2), "the list, which has nothing, and what is kept");
        keep_all(&folder, &[b"two"]);
        write(&folder, &first).unwrap();
        assert_eq!(files(), 4, "two artifacts, the list and the secrets");
        let list = read(&folder).unwrap();
        let secret = list[0].current.secret_files(&folder, &list[0].name)["key"].clone();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "s3cret");
        assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(folder.join(LIST)).unwrap().contains("s3cret"));
        // The next becomes the current: nothing is fetched, and the secret of the other is gone.
        let second = [sensor("web", version(b"two", None), None), sensor("db", version(b"two", None), None)];
        assert!(missing(&folder, &second).is_empty());
        let stamped = stamp(&folder);
        write(&folder, &second).unwrap();
        assert_ne!(stamp(&folder), stamped);
        assert_eq!(std::fs::read(folder.join("web.wasm")).unwrap(), b"two");
        assert_eq!(std::fs::read(folder.join("db.wasm")).unwrap(), b"two");
        assert!(!secret.exists() && !folder.join("web.next.wasm").exists());
        write(&folder, &[]).unwrap();
        assert!(!folder.join("web.wasm").exists() && read(&folder) == Some(vec![]));
    }

    #[test]
    fn a_list_that_is_too_long_is_not_written_and_none_that_is_there_is_overlooked() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("acme");
        let mut long = sensor("web", version(b"one", None), None);
        long.current.config.insert("text".into(), "x".repeat(MOST_LIST_BYTES as usize));
        let refused = write(&folder, &[long]).unwrap_err();
        assert!(refused.to_string().contains("longer than"), "{refused}");
        assert!(!folder.exists(), "nothing was begun");
        assert_eq!(stamp(&folder), None);
        std::fs::create_dir(&folder).unwrap();
        let list = folder.join(LIST);
        std::fs::File::create(&list).unwrap().set_len(MOST_LIST_BYTES + 1).unwrap();
        assert!(stamp(&folder).is_some() && is_filled(&folder) && read(&folder).is_none(), "too long");
        std::fs::write(&list, b"[{").unwrap();
        assert!(stamp(&folder).is_some() && is_filled(&folder) && read(&folder).is_none(), "broken");
        std::fs::remove_file(&list).unwrap();
        std::os::unix::fs::symlink("elsewhere", &list).unwrap();
        assert!(stamp(&folder).is_some() && is_filled(&folder) && read(&folder).is_none(), "no file");
        keep_all(&folder, &[b"one"]);
        write(&folder, &[sensor("web", version(b"one", None), None)]).unwrap();
        assert_eq!(read(&folder).unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_is_as_it_should_be_is_not_written_again() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("acme");
        let of = |names: &[&str]| -> Vec<Assigned> {
            names.iter().map(|name| sensor(name, version(b"one", None), None)).collect()
        };
        keep_all(&folder, &[b"one"]);
        write(&folder, &of(&["a", "b"])).unwrap();
        let inodes = || ["a.wasm", "b.wasm"].map(|file| std::fs::metadata(folder.join(file)).unwrap().ino());
        let before = inodes();
        assert!(before[0] != before[1] && missing(&folder, &of(&["c"])).is_empty());
        write(&folder, &of(&["a", "b", "c"])).unwrap();
        assert_eq!((inodes(), std::fs::read(folder.join("c.wasm")).unwrap()), (before, b"one".to_vec()));
        // More than an artifact can be is none, and is not read to see.
        std::fs::File::create(folder.join("d.wasm")).unwrap().set_len(MOST_ARTIFACT_BYTES + 1).unwrap();
        assert!(write(&folder, &[sensor("d", version(b"other", None), None)]).is_err());
    }

    #[test]
    fn an_instance_runs_one_version_or_none() {
        let mut both = Listed::of(&sensor("web", version(b"one", None), Some(version(b"two", None))));
        let (labels, groups) = (Labels::default(), vec!["a".to_owned()]);
        let file_of = |listed: &Listed, id| {
            let id = Uuid::from_u128(id);
            let selected = Selected { id, name: "n", alias: "", groups: &groups, labels: &labels };
            listed.for_instance(&selected).map(|(_, file)| file)
        };
        let files: BTreeSet<_> = (0..100).map(|id| file_of(&both, id).unwrap()).collect();
        assert_eq!(files.len(), 2);
        both.percent = 0;
        assert!((0..100).all(|id| file_of(&both, id).as_deref() == Some("web.wasm")));
        both.selector.groups = vec!["b".to_owned()];
        assert_eq!(file_of(&both, 1), None);
    }
}
