//! Artifacts beside the records: bytes by their digest, one copy each, kept for as long as any sensor refers to them.
//!
//! Nobody watches them and no catalogue holds them: they are written once, and read when a node asks. Whether a digest is there already is told to nobody, so one is
//! always written as if it were not. What no record refers to is dropped after [`UNREFERRED_MS`], because an artifact comes before its record,
//! by a proxy that is current and has seen it so twice ([`Unreferred`]); who has written a record looks whether its artifact still is there ([`Store::has_artifact`]), and so nothing is lost to a proxy whose catalogue was late.

use std::collections::HashSet;
use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::sensor::ArtifactDigest;
use crate::store::{Health, Store};
use crate::write::WriteError;

/// How long an artifact may lie without a record: longer than any proxy takes from one to the other.
pub const UNREFERRED_MS: u64 = 60_000;

/// An artifact's bytes, shared by all who are being sent it.
pub type Bytes = Arc<Vec<u8>>;

/// An artifact that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub sha256: ArtifactDigest,
    pub bytes: u64,
    /// When it was last put, in ms since 1970.
    pub put_at_ms: u64,
    /// Of etcd's key.
    pub(crate) revision: i64,
}

/// What nothing referred to when it was last looked, with when it was put. Only what is so at two looks that follow each other is dropped: a watch that
/// is late, and does not know it yet, is known to be late by the next.
#[derive(Debug, Default)]
pub struct Unreferred(HashSet<(ArtifactDigest, u64)>);

impl Store {
    /// Keeps an artifact under its own digest.
    ///
    /// # Errors
    /// The store takes no changes now.
    pub async fn put_artifact(&self, bytes: Bytes, now_ms: u64) -> Result<ArtifactDigest, WriteError> {
        let sha256 = ArtifactDigest::of(&bytes);
        match self {
            Self::Embedded(embedded) => embedded.put_artifact(sha256, bytes, now_ms).await?,
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd) => etcd.put_artifact(sha256, &bytes, now_ms).await?,
        }
        Ok(sha256)
    }

    /// An artifact, if it is there and whole.
    ///
    /// # Errors
    /// The store cannot be read now.
    pub async fn artifact(&self, sha256: ArtifactDigest) -> Result<Option<Bytes>, WriteError> {
        let bytes = match self {
            Self::Embedded(embedded) => embedded.artifact(sha256).await?,
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd) => etcd.artifact(sha256).await?,
        };
        let is_whole = |bytes: &Bytes| {
            let is_whole = ArtifactDigest::of(bytes) == sha256;
            if !is_whole {
                tracing::error!(%sha256, "an artifact in the store is not what its digest says, and is given to nobody");
            }
            is_whole
        };
        Ok(bytes.filter(is_whole))
    }

    /// Whether it is there, without its bytes.
    ///
    /// # Errors
    /// The store cannot be read now.
    pub async fn has_artifact(&self, sha256: ArtifactDigest) -> Result<bool, WriteError> {
        match self {
            Self::Embedded(embedded) => Ok(embedded.artifacts().await?.iter().any(|kept| kept.sha256 == sha256)),
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd) => etcd.has_artifact(sha256).await,
        }
    }

    /// All artifacts that are there.
    ///
    /// # Errors
    /// The store cannot be read now.
    pub async fn artifacts(&self) -> Result<Vec<Kept>, WriteError> {
        match self {
            Self::Embedded(embedded) => embedded.artifacts().await,
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd) => etcd.artifacts().await,
        }
    }

    /// Drops what nothing refers to, and did not at the last sweep; returns how many. A catalogue that is not current refers to less than there is,
    /// and by it nothing is dropped.
    ///
    /// # Errors
    /// The store cannot be read or changed now.
    pub async fn sweep_artifacts(
        &self,
        catalogue: &Catalogue,
        now_ms: u64,
        last: &mut Unreferred,
    ) -> Result<usize, WriteError> {
        // Whatever becomes of this sweep, the next is compared with none before it.
        let before = std::mem::take(&mut last.0);
        let is_current = || catalogue.is_synced() && self.health() == Health::Current;
        if !is_current() {
            return Ok(0);
        }
        let kept = self.artifacts().await?;
        // Read after the list: what was referred to then is in it.
        let referred = catalogue.artifacts();
        if !is_current() {
            return Ok(0);
        }
        let is_old = |kept: &Kept| now_ms.saturating_sub(kept.put_at_ms) >= UNREFERRED_MS;
        let mut dropped = 0;
        for kept in kept.iter().filter(|kept| !referred.contains(&kept.sha256) && is_old(kept)) {
            if !before.contains(&(kept.sha256, kept.put_at_ms)) {
                last.0.insert((kept.sha256, kept.put_at_ms));
                continue;
            }
            match self {
                Self::Embedded(embedded) => embedded.drop_artifact(kept).await?,
                #[cfg(feature = "etcd")]
                Self::Etcd(etcd) => etcd.drop_artifact(kept).await?,
            }
            dropped += 1;
        }
        Ok(dropped)
    }
}
