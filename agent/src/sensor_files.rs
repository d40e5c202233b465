//! The folder of sensors: which files are there, and what has been loaded of them.
//!
//! A file is loaded when its stamp changes. If the new version cannot be loaded, the old one stays and the fault is
//! kept beside it: a bad copy must not take a working probe away.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use sonde_host::{LoadError, MAX_SENSOR_BYTES, Sensor};

/// After a fault of the node's a file is tried again, each time after twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Of an account's files together, those that are loaded and those that are read anew: a look holds what it reads in memory.
pub(crate) const MOST_ACCOUNT_BYTES: u64 = 256 << 20;

/// Which version of a file this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size_bytes: u64,
    changed_ns: i128,
}

/// What is known of a file.
#[derive(Debug, Default)]
pub(crate) struct SensorFile {
    stamp: Option<Stamp>,
    /// The newest version that could be loaded.
    pub(crate) sensor: Option<Arc<Sensor>>,
    /// Why the newest version could not be.
    pub(crate) fault: Option<Arc<str>>,
    /// The node was short of something: how often in a row, and when it is tried again.
    again: Option<(u32, Instant)>,
}

impl SensorFile {
    /// Keeps a fault, and says it once while it stays the same. Whether it is new.
    fn refuse(&mut self, name: &str, fault: String) -> bool {
        if self.fault.as_deref() == Some(fault.as_str()) {
            return false;
        }
        tracing::warn!(sensor = name, fault, "a sensor was refused");
        self.fault = Some(fault.into());
        true
    }
}

/// The files of the folder by name.
#[derive(Debug, Default)]
pub(crate) struct SensorFiles {
    files: BTreeMap<String, SensorFile>,
    /// Why the folder itself cannot be read; said once.
    unreadable: Option<String>,
}

/// A file whose bytes are new.
pub(crate) struct NewFile {
    pub(crate) name: String,
    pub(crate) stamp: Stamp,
    pub(crate) bytes: Vec<u8>,
}

/// What a look at the folder brought.
#[derive(Default)]
pub(crate) struct Look {
    pub(crate) new: Vec<NewFile>,
    /// A file is gone or has become unreadable: what runs where must be gone over again.
    pub(crate) changed: bool,
}

impl SensorFiles {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &SensorFile)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&SensorFile> {
        self.files.get(name)
    }

    /// Looks at the folder. Reads what is new, at most [`MAX_SENSOR_BYTES`] of each, and of an account's [`MOST_ACCOUNT_BYTES`] in all: by name,
    /// what is beyond does not run. The operator's has no account. A missing folder is an empty one.
    pub(crate) fn look(&mut self, folder: &Path, account: Option<&str>) -> Look {
        let mut look = Look::default();
        let mut present = Vec::new();
        match std::fs::read_dir(folder) {
            Ok(entries) => {
                self.unreadable = None;
                for entry in entries.flatten() {
                    let Ok(name) = entry.file_name().into_string() else { continue };
                    // A name beginning with a dot is a copy in progress.
                    if name.ends_with(".wasm") && !name.starts_with('.') {
                        present.push(name);
                    }
                }
                // Those that are within the bound are so at each look.
                present.sort();
                let mut bytes = 0;
                for name in &present {
                    let path = folder.join(name);
                    bytes += size(&path);
                    match account.filter(|_| bytes > MOST_ACCOUNT_BYTES) {
                        Some(account) => self.leave_out(name, account, &mut look),
                        None => self.look_at(name, &path, &mut look),
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let words = error.to_string();
                if self.unreadable.as_ref() != Some(&words) {
                    tracing::warn!(folder = %folder.display(), %error, "the sensors' folder cannot be read; what runs goes on");
                    self.unreadable = Some(words);
                }
                return look;
            }
        }
        self.files.retain(|name, _| {
            let is_there = present.contains(name);
            if !is_there {
                tracing::info!(sensor = name, "a sensor's file is gone; it stops");
                look.changed = true;
            }
            is_there
        });
        look
    }

    /// A file that is over its account's bound: nothing of it is read or stays loaded.
    fn leave_out(&mut self, name: &str, account: &str, look: &mut Look) {
        let file = self.files.entry(name.to_owned()).or_default();
        (file.stamp, file.sensor, file.again) = (None, None, None);
        let fault = format!(
            "account {account} has more than {MOST_ACCOUNT_BYTES} bytes of sensors on this node, and this one is not run"
        );
        look.changed |= file.refuse(name, fault);
    }

    fn look_at(&mut self, name: &str, path: &Path, look: &mut Look) {
        let Ok(metadata) = std::fs::metadata(path) else { return };
        let changed_ns = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
        let stamp = Stamp { inode: metadata.ino(), size_bytes: metadata.len(), changed_ns };
        let file = self.files.entry(name.to_owned()).or_default();
        if file.stamp == Some(stamp) && file.again.is_none_or(|(_, at)| at > Instant::now()) {
            return;
        }
        if file.stamp.replace(stamp) != Some(stamp) {
            file.again = None;
        }
        match read(path) {
            Ok(bytes) => look.new.push(NewFile { name: name.to_owned(), stamp, bytes }),
            Err(fault) => {
                file.stamp = None;
                look.changed |= file.refuse(name, fault);
            }
        }
    }

    /// Takes in what loading a file came to. False where the file has changed again meanwhile.
    pub(crate) fn loaded(&mut self, name: &str, stamp: Stamp, loaded: Result<Arc<Sensor>, LoadError>) -> bool {
        let Some(file) = self.files.get_mut(name).filter(|file| file.stamp == Some(stamp)) else { return false };
        match loaded {
            Ok(sensor) => {
                tracing::info!(sensor = name, version = sensor.manifest.version, digest = %sensor.digest, "a sensor was loaded");
                file.sensor = Some(sensor);
                file.fault = None;
                file.again = None;
            }
            Err(error) => {
                file.again = error.is_transient().then(|| {
                    let times = file.again.map_or(0, |(times, _)| times);
                    let wait = FIRST_WAIT.saturating_mul(1 << times.min(16)).min(LONGEST_WAIT);
                    (times + 1, Instant::now() + wait)
                });
                file.refuse(name, crate::chain(&error));
            }
        }
        true
    }
}

/// What reading a file would bring: nothing where it is refused unread.
fn size(path: &Path) -> u64 {
    let file = std::fs::metadata(path).ok().filter(|file| file.is_file() && file.len() <= MAX_SENSOR_BYTES as u64);
    file.map_or(0, |file| file.len())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let sentence = |error: std::io::Error| format!("the file cannot be read: {error}");
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path).map_err(sentence)?;
    let metadata = file.metadata().map_err(sentence)?;
    if !metadata.is_file() {
        return Err("it is not a regular file".into());
    }
    let too_large = || format!("it is {} bytes, and a sensor has at most {MAX_SENSOR_BYTES}", metadata.len());
    if metadata.len() > MAX_SENSOR_BYTES as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_SENSOR_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(sentence)?;
    if bytes.len() > MAX_SENSOR_BYTES { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_an_accounts_bound_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str, bytes: u64| {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_len(bytes).unwrap();
        };
        let fit = MOST_ACCOUNT_BYTES / MAX_SENSOR_BYTES as u64;
        for n in 0..fit {
            // Sparse: it is read, and has no room on the disk.
            of(&format!("{n:02}.wasm"), MAX_SENSOR_BYTES as u64);
        }
        of("a.wasm", MAX_SENSOR_BYTES as u64 + 1);
        of("z.wasm", 1);
        let mut files = SensorFiles::default();
        let look = files.look(folder.path(), Some("acme"));
        let bytes: usize = look.new.iter().map(|file| file.bytes.len()).sum();
        assert_eq!((look.new.len() as u64, bytes as u64), (fit, MOST_ACCOUNT_BYTES));
        drop(look);
        let fault = files.get("z.wasm").unwrap().fault.clone().unwrap();
        assert!(fault.contains("account acme has more than"), "{fault}");
        assert!(!files.look(folder.path(), Some("acme")).changed, "it is said once");
        // The operator has no such bound, and room that becomes free is taken.
        assert_eq!(SensorFiles::default().look(folder.path(), None).new.len() as u64, fit + 1);
        of("00.wasm", 1);
        let names: Vec<_> = files.look(folder.path(), Some("acme")).new.into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["00.wasm", "z.wasm"]);
    }
}
