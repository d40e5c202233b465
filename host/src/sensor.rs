//! A sensor that can run: its manifest, what it described, and where its compiled code is.
//!
//! Shared by everything that runs the same bytes. What comes back from a runner is judged here and nowhere else: decoded, checked
//! against the description, held to the grant.

use std::fs::File;
use std::sync::Arc;

use sonde_manifest::Manifest;

use crate::check::{Churn, Collected, Families, Reserved, check_batch, check_description};
use crate::digest::Digest;
use crate::failure::RunFailure;
use crate::grant::Grant;
use crate::outcome::{RunReport, report};
use crate::wire::{self, Outcome, batch};

/// A sensor, ready to run. Cheap to share, dear to make.
pub struct Sensor {
    pub manifest: Manifest,
    pub digest: Digest,
    /// Compiled code, verified on this very file, which nobody but the agent can write.
    pub code: File,
    families: Families,
    reserved: Arc<Reserved>,
}

impl std::fmt::Debug for Sensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sensor").field("name", &self.manifest.name).field("digest", &self.digest).finish()
    }
}

impl Sensor {
    /// Of code that has described itself.
    ///
    /// # Errors
    /// It failed to, or its description breaks a rule.
    pub fn described(
        manifest: Manifest,
        digest: Digest,
        code: File,
        outcome: Outcome,
        reserved: Arc<Reserved>,
    ) -> Result<Self, RunFailure> {
        let description: batch::Description = decoded(outcome.result)?;
        let families = check_description(description, &manifest.limits, &reserved).map_err(RunFailure::tamed)?;
        Ok(Self { manifest, digest, code, families, reserved })
    }

    /// Names and kinds of the families it described, or `None` where they are dynamic.
    pub fn families(&self) -> Option<&[sonde_expo::model::Family]> {
        match &self.families {
            Families::Static(families) => Some(families),
            Families::Dynamic => None,
        }
    }

    /// What a run came to, checked. `churn` knows the series of the result before; where there is none, all are welcome.
    pub fn judge(&self, mut outcome: Outcome, grant: &Grant, churn: Option<&mut Churn>) -> RunReport {
        let encoded = std::mem::replace(&mut outcome.result, Ok(serde_bytes::ByteBuf::new()));
        let result = self.check(encoded, grant, churn);
        report(outcome, grant, result)
    }

    fn check(
        &self,
        encoded: Result<serde_bytes::ByteBuf, RunFailure>,
        grant: &Grant,
        churn: Option<&mut Churn>,
    ) -> Result<Collected, RunFailure> {
        let limit_bytes = grant.limits.result_bytes;
        if encoded.as_ref().is_ok_and(|bytes| bytes.len() as u64 > limit_bytes) {
            return Err(RunFailure::Result { limit_bytes });
        }
        check_batch(decoded(encoded)?, &self.families, &grant.limits, &self.reserved, churn)
    }
}

/// What the runner wrote. Where it cannot be read the runner is at fault, not the sensor: its bytes were never a guest's own.
fn decoded<T: serde::de::DeserializeOwned>(result: Result<serde_bytes::ByteBuf, RunFailure>) -> Result<T, RunFailure> {
    let bytes = result.map_err(RunFailure::tamed)?;
    wire::decode(&bytes)
        .map_err(|_| RunFailure::Internal { message: "the runner returned what is no result at all".into() })
}
