//! Plain runc, and containerd's use of it: `state.json`, which the runtime keeps as root.
//!
//! A container of plain runc can have any cgroup path, so only its state file tells that it is one. The
//! file is believed when root owns it and the directories above it below the state root, and nobody else may write
//! to any of them. Its cgroup paths must lie in this machine's hierarchies, and not be a hierarchy's root.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;

use crate::found::CgroupDirs;
use crate::mounts::{Controller, Roots};
use crate::root_file::{self, RootFileError, Trust};
use crate::runtime::{self, Runtime};

/// The file's name in a container's state directory.
pub const STATE_FILE: &str = "state.json";
/// A state file is some 6 KB; one of a megabyte is not one.
const STATE_MAX_BYTES: u64 = 1 << 20;

/// What is believed of a state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Whose state it is, by where it was found.
    pub runtime: Runtime,
    /// The container's name.
    pub id: String,
    /// containerd's name space, in which alone that name is its own.
    pub namespace: Option<String>,
    /// Its first process and that process's start in ticks since boot.
    pub init: (u32, u64),
    /// Its cgroups, in our hierarchies.
    pub cgroups: CgroupDirs,
    /// When it was created.
    pub created: Option<SystemTime>,
    /// The bundle's annotations, as many as the file holds: a tenant must not crowd out what decides.
    pub annotations: Vec<(String, String)>,
    /// The bundle.
    pub bundle: Option<PathBuf>,
}

/// Why a state file is not believed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Someone other than root could have written it.
    #[error("{0} or a directory above it can be written by others than root")]
    Writable(PathBuf),
    /// It is no state file.
    #[error("{path} is no state file of runc")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Option<serde_json::Error>,
    },
}

/// Annotations in which runtimes keep the image's name, CRI's, CRI-O's and OCI's.
const IMAGE_ANNOTATIONS: [&str; 3] =
    ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "org.opencontainers.image.ref.name"];

impl State {
    /// The image's name, where an annotation has it.
    pub fn image(&self) -> Option<String> {
        let of = |key: &&str| self.annotations.iter().find(|(name, _)| name == key);
        let (_, image) = IMAGE_ANNOTATIONS.iter().find_map(of)?;
        Some(image.clone())
    }
}

#[derive(Deserialize)]
struct Raw {
    id: String,
    #[serde(default)]
    init_process_pid: i64,
    #[serde(default)]
    init_process_start: u64,
    #[serde(default)]
    created: String,
    #[serde(default)]
    cgroup_paths: HashMap<String, PathBuf>,
    #[serde(default)]
    config: RawConfig,
}

#[derive(Default, Deserialize)]
struct RawConfig {
    /// `key=value`; runc adds the bundle as one of them.
    #[serde(default)]
    labels: Option<Vec<String>>,
}

/// Reads and checks the state file in `directory`, which is `trusted_root` or below it. `owner` is whose it must be: 0 outside tests.
pub fn read(
    roots: &Roots,
    trusted_root: &Path,
    directory: &Path,
    runtime: Runtime,
    owner: u32,
) -> Result<State, StateError> {
    let path = directory.join(STATE_FILE);
    let trust = Trust { root: trusted_root, owner, root_group: false };
    let text = root_file::read(&path, trust, STATE_MAX_BYTES).map_err(|error| match error {
        RootFileError::Read(source) => StateError::Read { path: path.clone(), source },
        RootFileError::Writable => StateError::Writable(path.clone()),
        RootFileError::TooLong => StateError::Malformed { path: path.clone(), source: None },
    })?;
    parse(roots, directory, runtime, &text)
}

fn parse(roots: &Roots, directory: &Path, runtime: Runtime, text: &[u8]) -> Result<State, StateError> {
    let malformed = |source| StateError::Malformed { path: directory.join(STATE_FILE), source };
    let raw: Raw = serde_json::from_slice(text).map_err(|error| malformed(Some(error)))?;
    let pid = u32::try_from(raw.init_process_pid).map_err(|_| malformed(None))?;
    if !runtime::acceptable(&raw.id) || directory.file_name() != Some(raw.id.as_ref()) {
        return Err(malformed(None));
    }
    let mut annotations = Vec::new();
    let mut bundle = None;
    for label in raw.config.labels.unwrap_or_default() {
        match label.split_once('=') {
            Some(("bundle", path)) => bundle = Some(PathBuf::from(path)),
            Some((key, value)) => {
                annotations.push((key.to_owned(), value.to_owned()));
            }
            None => {}
        }
    }
    Ok(State {
        runtime,
        id: raw.id,
        namespace: None,
        init: (pid, raw.init_process_start),
        cgroups: cgroups(roots, &raw.cgroup_paths),
        created: rfc3339(&raw.created),
        annotations,
        bundle,
    })
}

/// The paths that lie in our hierarchies. The key is the v1 controller, or empty for cgroup2.
fn cgroups(roots: &Roots, paths: &HashMap<String, PathBuf>) -> CgroupDirs {
    let mut dirs = CgroupDirs::default();
    let inside = |mount: &crate::mounts::Mount, path: &Path| {
        let below = path.strip_prefix(&mount.point).ok()?;
        let plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        (plain && below != Path::new("")).then(|| path.to_owned())
    };
    for (name, path) in paths {
        if name.is_empty() {
            dirs.v2 = roots.mounts.v2.as_ref().and_then(|mount| inside(mount, path));
        } else if let Some(controller) = Controller::of_kernel_name(name.as_bytes())
            && let Some(mount) = roots.mounts.v1(controller)
            && let Some(path) = inside(mount, path)
        {
            dirs.set_v1(controller, path);
        }
    }
    dirs
}

/// A time as Go writes it, in UTC: `2026-11-22T18:32:37.450448356Z`.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.split(':').map(str::parse::<i64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let nanoseconds: u32 = format!("{fraction:0<9.9}").parse().ok()?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970 of a Gregorian date, with the year begun in March so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    let seconds = u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).ok()?;
    Some(SystemTime::UNIX_EPOCH + std::time::Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let unix = |text| {
            rfc3339(text)
                .map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
                .map(|time| (time.as_secs(), time.subsec_nanos()))
        };
        assert_eq!(unix("1970-01-01T00:00:00Z"), Some((0, 0)));
        assert_eq!(unix("2000-02-29T12:00:00.5Z"), Some((951_825_600, 500_000_000)));
        assert_eq!(unix("2026-11-22T18:32:37.450448356Z"), Some((1_795_372_357, 450_448_356)));
        for bad in ["", "x", "2026-11-22", "2026-13-01T00:00:00Z", "1960-01-01T00:00:00Z", "2026-11-22T18:32:37+01:00"]
        {
            assert_eq!(unix(bad), None, "{bad}");
        }
    }
}
