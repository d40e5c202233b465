//! Artifacts in etcd: pieces of [`PIECE_BYTES`] under `PREFIX/artifacts/v1/SHA256/`, and `about`, which is written first.
//!
//! etcd takes 1.5 MiB in one request and sends every event to every watcher, so the pieces are small and lie where no proxy watches. `about` comes
//! first, so that who sweeps leaves alone what is being put; what is not whole shows that by its digest.

use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, Txn, TxnOp};
use serde::{Deserialize, Serialize};

use super::connection::MESSAGE_BYTES;
use super::{Etcd, keys, unavailable};
use crate::artifacts::{Bytes, Kept};
use crate::assignment::MOST_ARTIFACT_BYTES;
use crate::sensor::ArtifactDigest;
use crate::write::WriteError;

/// A third of what etcd takes in one request.
const PIECE_BYTES: usize = 512 << 10;

#[derive(Debug, Serialize, Deserialize)]
struct About {
    bytes: u64,
    put_at_ms: u64,
}

impl Etcd {
    pub(crate) async fn put_artifact(
        &self,
        sha256: ArtifactDigest,
        bytes: &Bytes,
        now_ms: u64,
    ) -> Result<(), WriteError> {
        let about = About { bytes: bytes.len() as u64, put_at_ms: now_ms };
        let about = serde_json::to_vec(&about).map_err(|source| WriteError::Failed { source: source.into() })?;
        self.put(format!("{}{sha256}/about", self.shared.artifacts), about).await?;
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            self.put(self.piece(sha256, number), piece.to_vec()).await?;
        }
        Ok(())
    }

    pub(crate) async fn has_artifact(&self, sha256: ArtifactDigest) -> Result<bool, WriteError> {
        // One that is damaged is not there: who pushes it again puts it anew.
        Ok(self.about(sha256).await?.is_some_and(|about| about.is_some()))
    }

    /// What is known of an artifact; `None` within where that cannot be read.
    async fn about(&self, sha256: ArtifactDigest) -> Result<Option<Option<About>>, WriteError> {
        let about = self.get(format!("{}{sha256}/about", self.shared.artifacts)).await?;
        Ok(about.map(|about| serde_json::from_slice(&about).ok()))
    }

    async fn put(&self, key: String, value: Vec<u8>) -> Result<(), WriteError> {
        let put = self.shared.connection.call(|mut client| {
            let (key, value) = (key.clone(), value.clone());
            async move { client.put(key, value, None).await }
        });
        put.await.map(drop).map_err(unavailable)
    }

    fn piece(&self, sha256: ArtifactDigest, number: usize) -> String {
        format!("{}{sha256}/{number:05}", self.shared.artifacts)
    }

    pub(crate) async fn artifact(&self, sha256: ArtifactDigest) -> Result<Option<Bytes>, WriteError> {
        let Some(Some(about)) = self.about(sha256).await? else { return Ok(None) };
        let whole = usize::try_from(about.bytes.min(MOST_ARTIFACT_BYTES)).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(whole);
        for number in 0..whole.div_ceil(PIECE_BYTES) {
            let Some(piece) = self.get(self.piece(sha256, number)).await? else { return Ok(None) };
            bytes.extend_from_slice(&piece);
        }
        Ok(Some(bytes.into()))
    }

    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, WriteError> {
        let got = self.shared.connection.call(|mut client| {
            let key = key.clone();
            async move { client.get(key, None).await }
        });
        let got = got.await.map_err(unavailable)?;
        Ok(got.kvs().first().map(|kv| kv.value().to_vec()))
    }

    /// Only keys are read of the pieces. Of one whose `about` cannot be read nothing is known, not even that it is young: so it is dropped where nobody refers to
    /// it, and otherwise counted, until it is pushed again.
    pub(crate) async fn artifacts(&self) -> Result<Vec<Kept>, WriteError> {
        let prefix = &self.shared.artifacts;
        let keys = self.shared.connection.call(|client| {
            let (prefix, options) = (prefix.clone(), GetOptions::new().with_prefix().with_keys_only());
            let mut kv = client.kv_client().max_decoding_message_size(MESSAGE_BYTES);
            async move { kv.get(prefix, Some(options)).await }
        });
        let keys = keys.await.map_err(unavailable)?;
        let (mut all, mut damaged) = (Vec::new(), 0);
        for kv in keys.kvs() {
            let Some(sha256) = keys::parse_artifact(prefix, kv.key()) else { continue };
            // Dropped meanwhile where it is not there.
            let Some(about) = self.about(sha256).await? else { continue };
            damaged += u64::from(about.is_none());
            let (bytes, put_at_ms) = about.map_or((0, 0), |about| (about.bytes, about.put_at_ms));
            all.push(Kept { sha256, bytes, put_at_ms, revision: kv.mod_revision() });
        }
        self.shared.tally.damaged(damaged);
        Ok(all)
    }

    /// Drops one, unless it was put anew since it was listed.
    pub(crate) async fn drop_artifact(&self, kept: &Kept) -> Result<(), WriteError> {
        let folder = format!("{}{}/", self.shared.artifacts, kept.sha256);
        let about = format!("{folder}about");
        let dropping = self.shared.connection.call(|mut client| {
            let as_listed = Compare::mod_revision(about.clone(), CompareOp::Equal, kept.revision);
            let all = TxnOp::delete(folder.clone(), Some(DeleteOptions::new().with_prefix()));
            async move { client.txn(Txn::new().when([as_listed]).and_then([all])).await }
        });
        dropping.await.map(drop).map_err(unavailable)
    }
}
