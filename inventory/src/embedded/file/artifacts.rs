//! Artifacts in the file: their bytes in one table by digest, and in another how many and since when.

use redb::{ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::File;
use crate::artifacts::{Bytes, Kept};
use crate::sensor::ArtifactDigest;

const ARTIFACTS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("artifacts");
/// Bytes, and when it was last put, in ms since 1970.
const ABOUT_ARTIFACTS: TableDefinition<&[u8; 32], (u64, u64)> = TableDefinition::new("about_artifacts");

pub(super) fn begin(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    drop(transaction.open_table(ARTIFACTS)?);
    drop(transaction.open_table(ABOUT_ARTIFACTS)?);
    Ok(())
}

impl File {
    /// Puts it whether or not it is there: how long that takes must not tell.
    pub(in crate::embedded) fn put_artifact(
        &self,
        sha256: ArtifactDigest,
        bytes: &Bytes,
        at_ms: u64,
    ) -> Result<(), redb::Error> {
        let transaction = self.0.begin_write()?;
        transaction.open_table(ARTIFACTS)?.insert(&sha256.0, bytes.as_slice())?;
        transaction.open_table(ABOUT_ARTIFACTS)?.insert(&sha256.0, (bytes.len() as u64, at_ms))?;
        Ok(transaction.commit()?)
    }

    pub(in crate::embedded) fn artifact(&self, sha256: ArtifactDigest) -> Result<Option<Bytes>, redb::Error> {
        let artifacts = self.0.begin_read()?.open_table(ARTIFACTS)?;
        Ok(artifacts.get(&sha256.0)?.map(|bytes| bytes.value().to_vec().into()))
    }

    pub(in crate::embedded) fn artifacts(&self) -> Result<Vec<Kept>, redb::Error> {
        let about = self.0.begin_read()?.open_table(ABOUT_ARTIFACTS)?;
        let mut all = Vec::new();
        for entry in about.iter()? {
            let (sha256, about) = entry?;
            let (bytes, put_at_ms) = about.value();
            all.push(Kept { sha256: ArtifactDigest(*sha256.value()), bytes, put_at_ms, revision: 0 });
        }
        Ok(all)
    }

    pub(in crate::embedded) fn drop_artifact(&self, sha256: ArtifactDigest, at_ms: u64) -> Result<(), redb::Error> {
        let transaction = self.0.begin_write()?;
        let is_as_listed = {
            let mut about = transaction.open_table(ABOUT_ARTIFACTS)?;
            let is_as_listed = about.get(&sha256.0)?.is_some_and(|about| about.value().1 == at_ms);
            if is_as_listed {
                about.remove(&sha256.0)?;
                transaction.open_table(ARTIFACTS)?.remove(&sha256.0)?;
            }
            is_as_listed
        };
        if is_as_listed {
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        Ok(())
    }
}
