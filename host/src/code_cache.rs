//! Compiled code on disk: private to the node, keyed by what it was made of and for, and never believed without its mark.
//!
//! Code is what the sandbox *is*: whoever could put other bytes here would run them in the runner. So the folder is the agent's alone
//! (0700, its own user), a file is opened without following links, looked at as opened, and its mark (HMAC-SHA-256 under a
//! key of this node) is computed over the very descriptor that goes to the runner. The key of an entry holds the
//! sensor's digest, its class, and the compiler's compatibility hash, and so does the mark: files cannot be swapped. Nothing comes into it
//! from a tenant or a network; what does not fit is removed, counted and compiled anew.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hmac::{Hmac, Mac};
use rustix::fs::OFlags;
use sha2::Sha256;
use sonde_manifest::Class;

use crate::digest::Digest;

/// Largest compiled sensor: half of what a runner holds of code. A component becomes some three times as large.
pub(crate) const MOST_CODE_BYTES: u64 = 128 << 20;
/// What the folder may hold before the longest unused goes.
const MOST_BYTES: u64 = 4 << 30;
const MOST_ENTRIES: usize = 20_000;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const CODE: &str = "code";
const MARK: &str = "mark";
/// What the names of files begin with that are being written.
const UNFINISHED: &str = ".";

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the folder for compiled code, {}, cannot be used", path.display())]
pub struct CodeCacheError {
    path: PathBuf,
    source: io::Error,
}

/// What code was made of, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeKey {
    pub digest: Digest,
    pub class: Class,
    /// The compiler's, of this class.
    pub compatibility: u64,
}

impl CodeKey {
    fn file(&self, ending: &str) -> String {
        format!("{}-{}-{:016x}.{ending}", self.digest, self.class.name(), self.compatibility)
    }
}

/// The folder.
#[derive(Debug)]
pub struct CodeCache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    rejected: AtomicU64,
    written: AtomicU64,
}

impl CodeCache {
    /// Opens the folder, made if missing. It must belong to this user alone.
    ///
    /// # Errors
    /// It cannot be made, belongs to another, or the node's key in it cannot be read or written.
    pub fn open(folder: &Path) -> Result<Self, CodeCacheError> {
        let fault = |source| CodeCacheError { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault)?;
        let metadata = std::fs::symlink_metadata(folder).map_err(fault)?;
        if !metadata.is_dir() || !is_private(&metadata) {
            return Err(fault(io::Error::other("it is not a folder of this user's with mode 0700")));
        }
        clear_unfinished(folder).map_err(fault)?;
        let key = key(&folder.join(KEY_FILE)).map_err(fault)?;
        Ok(Self { folder: folder.to_owned(), key, rejected: AtomicU64::new(0), written: AtomicU64::new(0) })
    }

    /// Entries that were there and not believed.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// The code of an entry, verified, at its beginning. Reads the whole file; blocks.
    pub fn get(&self, key: &CodeKey) -> Option<File> {
        let path = self.folder.join(key.file(CODE));
        let mut file = match open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return self.reject(key, &error),
        };
        match self.verify(key, &mut file) {
            Ok(()) => {
                // When it was last of use, for `make_room`. Only the order of evictions hangs on it.
                let _ = file.set_modified(SystemTime::now());
                Some(file)
            }
            Err(error) => self.reject(key, &error),
        }
    }

    fn verify(&self, key: &CodeKey, file: &mut File) -> io::Result<()> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || !is_private(&metadata) || metadata.len() > MOST_CODE_BYTES {
            return Err(io::Error::other("it is not a regular file of this user's alone"));
        }
        let mut mark = [0; KEY_BYTES];
        open(&self.folder.join(key.file(MARK)))?.read_exact(&mut mark)?;
        let mut mac = self.mac(key, metadata.len());
        let mut chunk = vec![0; 256 << 10];
        let mut left = metadata.len();
        while left > 0 {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            mac.update(&chunk[..read]);
            left = left.saturating_sub(read as u64);
        }
        mac.verify_slice(&mark).map_err(|_| io::Error::other("its mark is not this node's"))?;
        file.rewind()
    }

    fn reject(&self, key: &CodeKey, error: &io::Error) -> Option<File> {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(digest = %key.digest, %error, "compiled code was not believed and is made anew");
        self.forget(key);
        None
    }

    /// Removes an entry.
    pub fn forget(&self, key: &CodeKey) {
        for ending in [CODE, MARK] {
            let _ = std::fs::remove_file(self.folder.join(key.file(ending)));
        }
    }

    /// Keeps code; returns it as it is kept, to be read from its beginning. Blocks.
    ///
    /// # Errors
    /// The folder cannot be written to; then nothing is there under the key.
    pub fn put(&self, key: &CodeKey, code: &[u8]) -> io::Result<File> {
        self.make_room(code.len() as u64);
        let mut mac = self.mac(key, code.len() as u64);
        mac.update(code);
        self.forget(key);
        self.write(&key.file(MARK), &mac.finalize().into_bytes())?;
        let mut file = self.write(&key.file(CODE), code)?;
        file.rewind()?;
        Ok(file)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<File> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.folder.join(format!("{UNFINISHED}{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&unfinished);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&unfinished);
        let written = file.and_then(|mut file| {
            file.write_all(bytes)?;
            std::fs::rename(&unfinished, self.folder.join(name))?;
            Ok(file)
        });
        if written.is_err() {
            let _ = std::fs::remove_file(&unfinished);
        }
        // Read only from here on: the descriptor that goes to a runner must not be one to write by.
        drop(written?);
        open(&self.folder.join(name))
    }

    /// Removes what was longest of no use until there is room.
    fn make_room(&self, needed: u64) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .flatten()
            .filter(|entry| entry.file_name().as_encoded_bytes().ends_with(b".code"))
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut held: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        let mut count = files.len();
        for (_, bytes, path) in files {
            if held + needed <= MOST_BYTES && count < MOST_ENTRIES {
                break;
            }
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_file(path.with_extension(MARK));
            held -= bytes;
            count -= 1;
        }
    }

    fn mac(&self, key: &CodeKey, code_bytes: u64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(&key.digest.0);
        mac.update(&[key.class as u8]);
        mac.update(&key.compatibility.to_le_bytes());
        mac.update(&code_bytes.to_le_bytes());
        mac
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Removes what an agent that was cut off has left: half-written files, and marks of code that is not there.
fn clear_unfinished(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let unfinished = entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes());
        let orphaned = path.extension().is_some_and(|ending| ending == MARK) && !path.with_extension(CODE).exists();
        if unfinished || orphaned {
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}

fn is_private(metadata: &std::fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0
}

/// The node's key, made once.
fn key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    match open(path) {
        Ok(mut file) => {
            if !is_private(&file.metadata()?) {
                return Err(io::Error::other("the node's key is not its user's alone"));
            }
            file.read_exact(&mut key)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut filled = 0;
            while filled < KEY_BYTES {
                filled += rustix::rand::getrandom(&mut key[filled..], rustix::rand::GetRandomFlags::empty())?;
            }
            // Whole or not at all: an agent that is cut off here must not leave the next one half a key.
            let unfinished = path.with_file_name(format!("{UNFINISHED}{KEY_FILE}"));
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?.write_all(&key)?;
            std::fs::rename(&unfinished, path)?;
        }
        Err(error) => return Err(error),
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn cache() -> (tempfile::TempDir, CodeCache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(&folder.path().join("code")).unwrap();
        (folder, cache)
    }

    fn named(name: &str) -> CodeKey {
        CodeKey { digest: Digest::of(name.as_bytes()), class: Class::Small, compatibility: 7 }
    }

    fn read(file: Option<File>) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        file?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn what_was_put_is_had_again_also_by_the_next_agent() {
        let (folder, cache) = cache();
        let code = vec![3; 700_000];
        assert_eq!(read(Some(cache.put(&named("a"), &code).unwrap())), Some(code.clone()));
        let again = CodeCache::open(&folder.path().join("code")).unwrap();
        assert_eq!(read(again.get(&named("a"))), Some(code));
        assert_eq!(read(again.get(&CodeKey { compatibility: 8, ..named("a") })), None);
        assert_eq!(again.rejected(), 0);
    }

    #[test]
    fn what_was_changed_swapped_or_linked_is_not_believed() {
        let (folder, cache) = cache();
        let at = |key: &CodeKey, ending: &str| folder.path().join("code").join(key.file(ending));
        let (a, b) = (named("a"), named("b"));
        let both = || [&a, &b].map(|key| drop(cache.put(key, key.file("x").as_bytes()).unwrap()));

        both();
        let mut bytes = std::fs::read(at(&a, CODE)).unwrap();
        bytes[3] ^= 1;
        std::fs::write(at(&a, CODE), &bytes).unwrap();
        assert!(cache.get(&a).is_none(), "one bit");
        assert!(!at(&a, CODE).exists(), "and it is gone");

        both();
        for ending in [CODE, MARK] {
            std::fs::rename(at(&b, ending), at(&a, ending)).unwrap();
        }
        assert!(cache.get(&a).is_none(), "another's code with its own good mark");

        both();
        std::fs::rename(at(&a, CODE), folder.path().join("elsewhere")).unwrap();
        symlink(folder.path().join("elsewhere"), at(&a, CODE)).unwrap();
        assert!(cache.get(&a).is_none(), "a link");

        both();
        std::fs::set_permissions(at(&a, CODE), std::fs::Permissions::from_mode(0o620)).unwrap();
        assert!(cache.get(&a).is_none(), "a file that others can write");
        assert_eq!(cache.rejected(), 4);
        assert!(cache.get(&b).is_some());
    }

    #[test]
    fn replaced_after_it_was_verified_does_not_matter() {
        let (folder, cache) = cache();
        let file = cache.put(&named("a"), b"honest").unwrap();
        let path = folder.path().join("code").join(named("a").file(CODE));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"poison").unwrap();
        assert_eq!(read(Some(file)), Some(b"honest".to_vec()));
    }

    #[test]
    fn what_was_cut_off_is_cleared_away() {
        let (folder, cache) = cache();
        drop(cache.put(&named("a"), b"whole").unwrap());
        let at = folder.path().join("code");
        for name in [".77-0", ".key", "0-small-1.mark"] {
            std::fs::write(at.join(name), b"half").unwrap();
        }
        let again = CodeCache::open(&at).unwrap();
        assert!(read(again.get(&named("a"))).is_some());
        assert_eq!(std::fs::read_dir(&at).unwrap().count(), 3, "the key, and code with its mark");
    }

    #[test]
    fn a_folder_of_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(CodeCache::open(folder.path()).is_err());
    }
}
