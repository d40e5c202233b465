//! A sensor's few bytes of state, kept over a restart of the agent.
//!
//! One file a sensor and instance, written whole to another name and then renamed, so that a crash leaves the old or the new
//! and never a half. Losing state is never fatal: a sensor that finds none begins anew.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A file larger than any grant's state is not ours.
const MOST_BYTES: u64 = 64 << 10;

/// The folder of all state.
#[derive(Debug, Clone)]
pub(crate) struct StateFiles {
    folder: PathBuf,
}

impl StateFiles {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self, instance: Uuid, sensor: &str) -> PathBuf {
        self.folder.join(instance.to_string()).join(format!("{sensor}.state"))
    }

    /// What was stored, or nothing.
    pub(crate) fn load(&self, instance: Uuid, sensor: &str) -> Vec<u8> {
        let path = self.path(instance, sensor);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= MOST_BYTES => std::fs::read(&path).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn store(&self, instance: Uuid, sensor: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(instance, sensor);
        std::fs::create_dir_all(path.parent().expect("it was joined to a folder"))?;
        let unfinished = path.with_extension("new");
        std::fs::write(&unfinished, bytes)?;
        std::fs::rename(unfinished, path)
    }

    /// Removes the state of every instance that is not known.
    pub(crate) fn sweep(&self, is_known: impl Fn(Uuid) -> bool) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<Uuid>().ok());
        ids.filter(|id| !is_known(*id)).for_each(|id| self.forget(id));
    }

    /// Removes all state of an instance that will not come back.
    pub(crate) fn forget(&self, instance: Uuid) {
        let _ = std::fs::remove_dir_all(self.folder.join(instance.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let files = StateFiles::new(folder.path());
        let instance = Uuid::from_u128(7);
        assert!(files.load(instance, "redis").is_empty());
        files.store(instance, "redis", b"one").unwrap();
        files.store(instance, "redis", b"two").unwrap();
        assert_eq!(files.load(instance, "redis"), b"two");
        files.sweep(|id| id == instance);
        assert_eq!(files.load(instance, "redis"), b"two");
        files.sweep(|_| false);
        assert!(files.load(instance, "redis").is_empty());
    }
}
