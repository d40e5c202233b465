//! A sensor's few bytes of state, kept over a restart of the agent.
//!
//! One file a sensor, instance and bringer: two sensors of one name that the operator and an account brought, or two accounts, never see each other's
//! bytes, and where the bringer changes those before are removed. `INSTANCE/SENSOR.state` is the operator's, and what an agent before this one
//! kept; an account's is `INSTANCE/pushed/ACCOUNT/SENSOR.state`. It is written whole to another name and then renamed, so that a crash leaves the old or the new
//! and never a half. Losing state is never fatal: a sensor that finds none begins anew.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A file larger than any grant's state is not ours.
const MOST_BYTES: u64 = 64 << 10;

/// In an instance's folder, a folder for each account; no sensor's file has this name, because those end in `.state`.
const PUSHED: &str = "pushed";

/// The folder of all state.
#[derive(Debug, Clone)]
pub(crate) struct StateFiles {
    folder: PathBuf,
}

impl StateFiles {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// An account's name and a sensor's lead nowhere else: both are plain names.
    fn path(&self, instance: Uuid, brought_by: Option<&str>, sensor: &str) -> PathBuf {
        let of_instance = self.folder.join(instance.to_string());
        let of_bringer = match brought_by {
            None => of_instance,
            Some(account) => of_instance.join(PUSHED).join(account),
        };
        of_bringer.join(format!("{sensor}.state"))
    }

    /// What was stored, or nothing. No bringer is the operator.
    pub(crate) fn load(&self, instance: Uuid, brought_by: Option<&str>, sensor: &str) -> Vec<u8> {
        let path = self.path(instance, brought_by, sensor);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= MOST_BYTES => std::fs::read(&path).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn store(&self, instance: Uuid, brought_by: Option<&str>, sensor: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(instance, brought_by, sensor);
        std::fs::create_dir_all(path.parent().expect("it was joined to a folder"))?;
        let unfinished = path.with_extension("new");
        std::fs::write(&unfinished, bytes)?;
        std::fs::rename(unfinished, path)
    }

    /// Removes what sensors of this name kept that another brought.
    pub(crate) fn forget_others(&self, instance: Uuid, brought_by: Option<&str>, sensor: &str) {
        if brought_by.is_some() {
            remove(&self.path(instance, None, sensor));
        }
        let pushed = self.folder.join(instance.to_string()).join(PUSHED);
        for account in std::fs::read_dir(pushed).into_iter().flatten().flatten() {
            let account = account.file_name();
            if let Some(other) = account.to_str().filter(|account| brought_by != Some(account)) {
                remove(&self.path(instance, Some(other), sensor));
            }
        }
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

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "the state of a sensor that another brought cannot be removed");
        }
        _ => {}
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
        assert!(files.load(instance, None, "redis").is_empty());
        files.store(instance, None, "redis", b"one").unwrap();
        files.store(instance, None, "redis", b"two").unwrap();
        assert_eq!(files.load(instance, None, "redis"), b"two");
        files.sweep(|id| id == instance);
        assert_eq!(files.load(instance, None, "redis"), b"two");
        files.sweep(|_| false);
        assert!(files.load(instance, None, "redis").is_empty());
    }

    #[test]
    fn what_one_brought_is_never_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let files = StateFiles::new(folder.path());
        let (instance, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let (operator, acme, globex) = (None, Some("acme"), Some("globex"));
        for bringer in [operator, acme, globex] {
            files.store(instance, bringer, "redis", bringer.unwrap_or("operator").as_bytes()).unwrap();
        }
        assert_eq!(files.load(instance, operator, "redis"), b"operator");
        assert_eq!(files.load(instance, acme, "redis"), b"acme");
        // Where an agent before this one kept it.
        std::fs::write(folder.path().join(instance.to_string()).join("nginx.state"), b"old").unwrap();
        assert_eq!(files.load(instance, operator, "nginx"), b"old");
        assert!(files.load(instance, acme, "nginx").is_empty());
        files.store(other, operator, "redis", b"elsewhere").unwrap();
        files.forget_others(instance, acme, "redis");
        assert_eq!(files.load(instance, acme, "redis"), b"acme");
        assert!(files.load(instance, operator, "redis").is_empty() && files.load(instance, globex, "redis").is_empty());
        assert_eq!(files.load(other, operator, "redis"), b"elsewhere");
        assert_eq!(files.load(instance, operator, "nginx"), b"old", "another sensor's");
        files.forget_others(instance, operator, "redis");
        assert!(files.load(instance, acme, "redis").is_empty());
        files.store(instance, acme, "redis", b"acme").unwrap();
        files.forget(instance);
        assert!(files.load(instance, acme, "redis").is_empty());
    }
}
