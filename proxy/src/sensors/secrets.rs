//! Secrets of pushed sensors: sealed as they come in, opened for the node that runs them.
//!
//! A secret belongs to one version of one sensor, and is sealed so: another artifact under the same name begins without any. Nothing of one is ever in a log or an
//! error. What cannot be opened is left out and said, and the rest is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use sonde_inventory::sensor::{Version, check_secret_text, check_secrets};
use sonde_inventory::{ArtifactDigest, PushedSensor, Sealed};

use super::{Asked, Belongs, PushError, Sensors};

impl Sensors {
    /// Changes the secrets of one version: those given are set, those that are `None` removed; `all` removes what is not named.
    ///
    /// # Errors
    /// It is not there, or there are too many.
    pub async fn set_secrets(
        &self,
        asked: Asked<'_>,
        of: Option<ArtifactDigest>,
        given: &BTreeMap<String, Option<String>>,
        all: bool,
    ) -> Result<Arc<PushedSensor>, PushError> {
        let set: BTreeMap<String, String> =
            given.iter().filter_map(|(key, secret)| Some((key.clone(), secret.clone()?))).collect();
        let change = |was: Option<&PushedSensor>| {
            let mut sensor = was.ok_or(PushError::NotFound)?.clone();
            let of = of.unwrap_or(sensor.current.sha256);
            let sealed = self.seal(asked, of, &set)?;
            let versions = [&mut sensor.current].into_iter().chain(sensor.next.as_mut().map(|next| &mut next.version));
            let version = versions.into_iter().find(|version| version.sha256 == of);
            let version = version.ok_or_else(|| {
                PushError::Conflict(
                    "no version of the sensor has this digest: secrets are bound to one that is there".to_owned(),
                )
            })?;
            version.secrets.retain(|key, _| !all && !given.contains_key(key));
            version.secrets.extend(sealed);
            check_secrets(version.secrets.keys().map(|key| (key, 0)).collect::<Vec<_>>().into_iter())?;
            Ok(sensor)
        };
        self.change_what_is_there(asked, change).await
    }

    /// Seals secrets for one version of a sensor.
    pub(super) fn seal(
        &self,
        asked: Asked<'_>,
        sha256: ArtifactDigest,
        secrets: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Sealed>, PushError> {
        check_secrets(secrets.iter().map(|(key, secret)| (key, secret.len())))?;
        check_secret_text(secrets)?;
        if secrets.is_empty() {
            return Ok(BTreeMap::new());
        }
        let vault = self.vault.as_ref().ok_or(PushError::NoVault)?;
        let seal = |(key, secret): (&String, &String)| {
            let belongs = Belongs { account: asked.account, sensor: asked.name, sha256, key };
            Ok((key.clone(), vault.seal(belongs, secret)?))
        };
        secrets.iter().map(seal).collect()
    }

    /// Whether all of a version's secrets can be opened here; what cannot is said where it is missed, and not to whoever asks.
    pub(super) fn opens(&self, sensor: &PushedSensor, version: &Version) -> bool {
        version.secrets.iter().all(|(key, sealed)| {
            let belongs = Belongs { account: &sensor.account, sensor: &sensor.name, sha256: version.sha256, key };
            self.vault.as_ref().is_some_and(|vault| vault.open_sealed(belongs, sealed).is_ok())
        })
    }

    /// A version's secrets, open: for the node that runs it. One that cannot be opened is left out, and said.
    pub(crate) fn unseal(&self, sensor: &PushedSensor, version: &Version) -> BTreeMap<String, String> {
        let mut open = BTreeMap::new();
        for (key, sealed) in &version.secrets {
            let belongs = Belongs { account: &sensor.account, sensor: &sensor.name, sha256: version.sha256, key };
            match self.vault.as_ref().map(|vault| vault.open_sealed(belongs, sealed)) {
                Some(Ok(secret)) => drop(open.insert(key.clone(), secret)),
                Some(Err(error)) => {
                    tracing::error!(account = %sensor.account, sensor = %sensor.name, key, %error, "a secret is not given to nodes");
                }
                None => {
                    tracing::error!(account = %sensor.account, sensor = %sensor.name, key, "a secret is not given to nodes: this proxy has no key for secrets");
                }
            }
        }
        open
    }
}
