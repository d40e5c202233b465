//! Secrets at rest: sealed with a key that is in a file of the operator's, and bound to whose they are, for which artifact and under which name.
//!
//! AES-256-GCM with a nonce drawn for each. What it is bound to goes in as associated data, so a sealed secret that is moved to another account,
//! artifact or name, by whoever may write the store, opens nowhere. The key is 32 bytes in hexadecimal; it is made where an embedded store has none.
//! Nothing of a secret or of the key is in an error, a log or `Debug`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use sonde_inventory::{AccountName, ArtifactDigest, Sealed, SensorName};

use crate::issue::{IssueError, write_secret};

const KEY_BYTES: usize = 32;

/// Why there is no vault, or a secret is not sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the key of secrets {} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a key of secrets: 64 hexadecimal digits are, as `openssl rand -hex 32` prints them", path.display())]
    NotAKey { path: PathBuf },
    #[error("the key of secrets cannot be made")]
    Make(#[from] IssueError),
    #[error("no random number can be had from the kernel")]
    Randomness,
    #[error("a secret cannot be opened: it was sealed with another key, or for something else")]
    NotOurs,
}

/// What a secret belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Belongs<'a> {
    pub account: &'a AccountName,
    pub sensor: &'a SensorName,
    pub sha256: ArtifactDigest,
    pub key: &'a str,
}

impl Belongs<'_> {
    /// None of the parts has a NUL.
    fn text(&self) -> String {
        format!("sonde secret 1\0{}\0{}\0{}\0{}", self.account, self.sensor, self.sha256, self.key)
    }
}

/// See the module.
pub struct Vault(LessSafeKey);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// The vault with a file's key.
    ///
    /// # Errors
    /// The file cannot be read or is no key.
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| VaultError::Read { path: path.to_owned(), source })?;
        let not_a_key = || VaultError::NotAKey { path: path.to_owned() };
        let digits = text.trim();
        if digits.len() != 2 * KEY_BYTES || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(not_a_key());
        }
        let mut key = [0; KEY_BYTES];
        for (byte, at) in key.iter_mut().zip((0..digits.len()).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| not_a_key())?;
        }
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| not_a_key())?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// The same; a file that is not there is made, for this user alone.
    ///
    /// # Errors
    /// See [`Vault::open`]; or it cannot be made.
    pub fn open_or_create(path: &Path) -> Result<Self, VaultError> {
        if !path.exists() {
            let mut key = [0; KEY_BYTES];
            SystemRandom::new().fill(&mut key).map_err(|_| VaultError::Randomness)?;
            let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            write_secret(path, format!("{digits}\n").as_bytes())?;
            tracing::info!(path = %path.display(), "a key of tenants' secrets was made; without it what is sealed is lost, so back it up beside the inventory");
        }
        Self::open(path)
    }

    /// # Errors
    /// The kernel gives no random numbers.
    pub fn seal(&self, belongs: Belongs<'_>, secret: &str) -> Result<Sealed, VaultError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| VaultError::Randomness)?;
        let mut sealed = secret.as_bytes().to_vec();
        let aad = Aad::from(belongs.text());
        let sealing = self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed);
        sealing.map_err(|_| VaultError::Randomness)?;
        let mut whole = nonce.to_vec();
        whole.extend_from_slice(&sealed);
        Ok(Sealed(STANDARD.encode(whole)))
    }

    /// # Errors
    /// It was sealed with another key or for something else, or was changed.
    pub fn open_sealed(&self, belongs: Belongs<'_>, sealed: &Sealed) -> Result<String, VaultError> {
        let whole = STANDARD.decode(&sealed.0).map_err(|_| VaultError::NotOurs)?;
        let (nonce, rest) = whole.split_first_chunk::<NONCE_LEN>().ok_or(VaultError::NotOurs)?;
        let mut rest = rest.to_vec();
        let aad = Aad::from(belongs.text());
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut rest);
        let opened = opened.map_err(|_| VaultError::NotOurs)?;
        String::from_utf8(opened.to_vec()).map_err(|_| VaultError::NotOurs)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_opens_where_it_belongs_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.key");
        let vault = Vault::open_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let account = |name| AccountName::new(name).unwrap();
        let sensor = |name| SensorName::new(name).unwrap();
        let (acme, rival, web, db) = (account("acme"), account("rival"), sensor("web"), sensor("db"));
        let (one, other) = (ArtifactDigest::of(b"one"), ArtifactDigest::of(b"other"));
        let own = Belongs { account: &acme, sensor: &web, sha256: one, key: "password" };
        let sealed = vault.seal(own, "hunter2").unwrap();
        assert!(!sealed.0.contains("hunter2") && vault.seal(own, "hunter2").unwrap() != sealed);
        // After a restart, too.
        assert_eq!(Vault::open_or_create(&path).unwrap().open_sealed(own, &sealed).unwrap(), "hunter2");
        for moved in [
            Belongs { account: &rival, ..own },
            Belongs { sensor: &db, ..own },
            Belongs { sha256: other, ..own },
            Belongs { key: "token", ..own },
        ] {
            assert!(matches!(vault.open_sealed(moved, &sealed), Err(VaultError::NotOurs)), "{moved:?}");
        }
        for broken in ["", "x", "AAAA", &sealed.0[4..]] {
            assert!(vault.open_sealed(own, &Sealed(broken.to_owned())).is_err(), "{broken}");
        }
        let elsewhere = Vault::open_or_create(&folder.path().join("another.key")).unwrap();
        assert!(elsewhere.open_sealed(own, &sealed).is_err());
        std::fs::write(&path, "not a key").unwrap();
        let error = Vault::open(&path).unwrap_err().to_string();
        assert!(error.contains("64 hexadecimal digits"), "{error}");
    }
}
