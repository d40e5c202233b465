//! Paths as they are: bytes, not text. A tenant may name a directory of its own as it likes, and what cannot be written must not be a panic.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_os_str().as_bytes().serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Vec::deserialize(deserializer).map(path)
}

/// A path that may be absent.
pub(crate) mod option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_ref().map(|path| path.as_os_str().as_bytes()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<Vec<u8>>::deserialize(deserializer)?.map(path))
    }
}

/// So many of them.
pub(crate) mod array {
    use super::*;

    pub(crate) fn serialize<const N: usize, S: Serializer>(
        paths: &[Option<PathBuf>; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bytes: Vec<Option<&[u8]>> =
            paths.iter().map(|path| path.as_ref().map(|path| path.as_os_str().as_bytes())).collect();
        bytes.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[Option<PathBuf>; N], D::Error> {
        let paths: Vec<Option<Vec<u8>>> = Vec::deserialize(deserializer)?;
        let paths: Vec<Option<PathBuf>> = paths.into_iter().map(|bytes| bytes.map(path)).collect();
        paths.try_into().map_err(|_| serde::de::Error::custom("another number of paths than there are controllers"))
    }
}
