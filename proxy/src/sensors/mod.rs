//! What tenants push: sensors with their settings, secrets and rollouts, changed in the inventory and nowhere else.
//!
//! Every change is read, checked and written against what was read, so two that push at once do not overwrite each other unseen: whoever changes what is there says
//! which ([`Expected`]). An artifact comes before its record, and its record before anybody runs it. Secrets are a version's; another artifact begins
//! without any. What an account may push is bounded by its own limits, and what is another's is not looked at.

mod artifact;
mod bounds;
mod change;
mod placed;
mod secrets;
mod uploads;
mod vault;
mod view;
mod withheld;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sonde_inventory::artifacts::Unreferred;
use sonde_inventory::sensor::{Rollout, Selector, SensorFault, Version, WHOLE, check_config};
use sonde_inventory::{
    AccountName, ArtifactDigest, Catalogue, PushedSensor, Record, SensorName, Store, Write, WriteError,
};
use uuid::Uuid;

pub use artifact::ArtifactFault;
pub use change::{Asked, Expected, Settings};
pub(crate) use placed::{Placed, mark, placed_on};
pub use uploads::{Upload, UploadFault, Uploads, receive};
pub use vault::{Belongs, Vault, VaultError};
pub(crate) use view::{shown, standing_of};
pub(crate) use withheld::Withheld;

use change::pushed;

/// How often a change is tried again that another one came before.
const MOST_ATTEMPTS: usize = 8;

/// Why something was not done: a sentence for the tenant.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("there is no such thing here")]
    NotFound,
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Fault(#[from] SensorFault),
    #[error(transparent)]
    Artifact(#[from] ArtifactFault),
    #[error("the sensor is there with another artifact ({0}): say in If-Match which one you replace, or \"*\" for any")]
    NotSaid(ArtifactDigest),
    #[error("the sensor is not as you expect it: look at it again, and push over what you saw")]
    NotAsExpected,
    #[error("{0}")]
    Conflict(String),
    #[error("the account has {0} sensors, the most it may: remove one first")]
    TooMany(u32),
    #[error("the account's sensors would have {would} bytes together, and it may have {most}: remove one first")]
    TooLarge { would: u64, most: u64 },
    #[error("this proxy has no key for secrets: its operator names one in [sensors] secrets_key")]
    NoVault,
    #[error("the secret cannot be sealed")]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What came of a push.
#[derive(Debug)]
pub struct Pushed {
    pub sensor: Arc<PushedSensor>,
    pub is_new: bool,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Sensors {
    store: Store,
    catalogue: Arc<Catalogue>,
    vault: Option<Arc<Vault>>,
    secrets_on_any_node: bool,
    pub uploads: Arc<Uploads>,
}

impl Sensors {
    pub fn new(store: Store, catalogue: Arc<Catalogue>, vault: Option<Vault>, secrets_on_any_node: bool) -> Self {
        Self { store, catalogue, vault: vault.map(Arc::new), secrets_on_any_node, uploads: Arc::default() }
    }

    /// Whether a node gets an account's secrets.
    pub(crate) fn has_secrets(&self, node: Uuid, account: &AccountName) -> bool {
        self.secrets_on_any_node || placed::is_named(&self.catalogue, node, account)
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    pub fn get(&self, account: &AccountName, name: &SensorName) -> Result<Arc<PushedSensor>, PushError> {
        self.catalogue.sensor(account, name).ok_or(PushError::NotFound)
    }

    /// Keeps an artifact and makes it the sensor's current version, or its next for a part of the instances. `upload` pays for each time it goes to the
    /// store, whatever comes of the push then.
    ///
    /// # Errors
    /// See [`PushError`].
    pub async fn push(
        &self,
        asked: Asked<'_>,
        bytes: Vec<u8>,
        settings: &Settings,
        upload: &Upload,
    ) -> Result<Pushed, PushError> {
        let manifest = artifact::manifest(&bytes)?;
        if let Some(selector) = &settings.selector {
            selector.check()?;
        }
        if settings.percent.is_some_and(|percent| percent > WHOLE) {
            return Err(PushError::Invalid("percent is 0 to 100".to_owned()));
        }
        let bytes = Arc::new(bytes);
        let sha256 = ArtifactDigest::of(&bytes);
        let change = |was: Option<&PushedSensor>| {
            let version = self.version(asked, was, (sha256, bytes.len() as u64), settings)?;
            check_config(&version.config)?;
            artifact::check_config(&manifest, &version.config)?;
            artifact::check_secrets(&manifest, version.secrets.keys())?;
            pushed(asked, was, version, settings)
        };
        // Before anything is kept: what is refused costs the store nothing.
        let was = self.catalogue.sensor(asked.account, asked.name);
        let becomes = change(was.as_deref())?;
        self.may(asked, was.as_deref(), &becomes)?;
        let is_as_it_was = was.as_deref() == Some(&becomes);
        if is_as_it_was && self.store.has_artifact(sha256).await? {
            return Ok(Pushed { sensor: Arc::new(becomes), is_new: false });
        }
        let keep = async || {
            upload.kept(bytes.len() as u64);
            self.store.put_artifact(bytes.clone(), now_ms()).await
        };
        keep().await?;
        let (sensor, is_new) = self.change(asked, change).await?;
        // Another proxy may have taken it for what nobody refers to, just before.
        if !self.store.has_artifact(sha256).await? {
            keep().await?;
        }
        tracing::info!(account = %asked.account, sensor = %asked.name, %sha256, by = asked.by, "a sensor was pushed");
        Ok(Pushed { sensor, is_new })
    }

    fn version(
        &self,
        asked: Asked<'_>,
        was: Option<&PushedSensor>,
        (sha256, bytes): (ArtifactDigest, u64),
        settings: &Settings,
    ) -> Result<Version, PushError> {
        let same = was.and_then(|was| was.versions().find(|version| version.sha256 == sha256));
        let config = settings.config.clone();
        let config = config.or_else(|| Some(same.or(was.map(|was| &was.current))?.config.clone())).unwrap_or_default();
        let secrets = match &settings.secrets {
            Some(secrets) => self.seal(asked, sha256, secrets)?,
            None => same.map(|same| same.secrets.clone()).unwrap_or_default(),
        };
        let (pushed_at_ms, pushed_by) = match same {
            Some(same) => (same.pushed_at_ms, same.pushed_by.clone()),
            None => (now_ms(), asked.by.to_owned()),
        };
        Ok(Version { sha256, bytes, pushed_at_ms, pushed_by, config, secrets })
    }

    /// Takes a sensor away.
    ///
    /// # Errors
    /// It is not there, or not as expected.
    pub async fn remove(&self, asked: Asked<'_>) -> Result<(), PushError> {
        for _ in 0..MOST_ATTEMPTS {
            let was = self.get(asked.account, asked.name)?;
            if !asked.expected.holds(Some(&was)) {
                return Err(PushError::NotAsExpected);
            }
            match self.store.write(vec![Write::remove(Record::Sensor(was))]).await {
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    tracing::info!(account = %asked.account, sensor = %asked.name, by = asked.by, "a sensor was removed");
                    return Ok(());
                }
            }
        }
        Err(busy(asked))
    }

    /// Sets which instances it is for, and the settings of all its versions. Those read its artifacts: the caller has a place for that in [`Uploads`].
    ///
    /// # Errors
    /// It is not there, or its manifest does not allow them.
    pub async fn configure(
        &self,
        asked: Asked<'_>,
        selector: Option<&Selector>,
        config: Option<&BTreeMap<String, String>>,
    ) -> Result<Arc<PushedSensor>, PushError> {
        selector.map(Selector::check).transpose()?;
        if let Some(config) = config {
            check_config(config)?;
            let was = self.get(asked.account, asked.name)?;
            if !asked.expected.holds(Some(&was)) {
                return Err(PushError::NotAsExpected);
            }
            for version in was.versions() {
                let Some(bytes) = self.store.artifact(version.sha256).await? else { continue };
                artifact::check_config(&artifact::manifest(&bytes)?, config)?;
            }
        }
        let change = |was: Option<&PushedSensor>| {
            let mut sensor = was.ok_or(PushError::NotFound)?.clone();
            if let Some(selector) = selector {
                sensor.selector = selector.clone();
            }
            if let Some(config) = config {
                sensor.current.config = config.clone();
                sensor.next.iter_mut().for_each(|next| next.version.config = config.clone());
            }
            Ok(sensor)
        };
        self.change_what_is_there(asked, change).await
    }

    /// How many run the next version: at 100 it is the current one.
    ///
    /// # Errors
    /// There is no next version.
    pub async fn roll_out(&self, asked: Asked<'_>, percent: u8) -> Result<Arc<PushedSensor>, PushError> {
        if percent > WHOLE {
            return Err(PushError::Invalid("percent is 0 to 100".to_owned()));
        }
        self.change_what_is_there(asked, |was| {
            let mut sensor = was.ok_or(PushError::NotFound)?.clone();
            let none =
                || PushError::Conflict("nothing is being rolled out: push another artifact with a percent".into());
            let next = sensor.next.take().ok_or_else(none)?;
            if percent == WHOLE {
                sensor.current = next.version;
            } else {
                sensor.next = Some(Rollout { percent, ..next });
            }
            Ok(sensor)
        })
        .await
    }

    /// Gives up the next version: all run the current one again.
    ///
    /// # Errors
    /// The sensor is not there.
    pub async fn roll_back(&self, asked: Asked<'_>) -> Result<Arc<PushedSensor>, PushError> {
        self.change_what_is_there(asked, |was| {
            Ok(PushedSensor { next: None, ..was.ok_or(PushError::NotFound)?.clone() })
        })
        .await
    }

    async fn change_what_is_there(
        &self,
        asked: Asked<'_>,
        change: impl Fn(Option<&PushedSensor>) -> Result<PushedSensor, PushError>,
    ) -> Result<Arc<PushedSensor>, PushError> {
        let (sensor, _) = self.change(asked, change).await?;
        tracing::info!(account = %asked.account, sensor = %asked.name, by = asked.by, "a sensor was changed");
        Ok(sensor)
    }

    /// Writes what a change makes of what is there; again where another came before.
    async fn change(
        &self,
        asked: Asked<'_>,
        change: impl Fn(Option<&PushedSensor>) -> Result<PushedSensor, PushError>,
    ) -> Result<(Arc<PushedSensor>, bool), PushError> {
        for _ in 0..MOST_ATTEMPTS {
            let was = self.catalogue.sensor(asked.account, asked.name);
            if !asked.expected.holds(was.as_deref()) {
                return Err(PushError::NotAsExpected);
            }
            let becomes = change(was.as_deref())?;
            self.may(asked, was.as_deref(), &becomes)?;
            let is_new = was.is_none();
            if was.as_deref() == Some(&becomes) {
                return Ok((Arc::new(becomes), is_new));
            }
            match self.store.write(vec![Write::put(was.map(Record::Sensor), becomes.clone())]).await {
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok((Arc::new(becomes), is_new)),
            }
        }
        Err(busy(asked))
    }

    /// Whether the account may have it so.
    fn may(&self, asked: Asked<'_>, was: Option<&PushedSensor>, becomes: &PushedSensor) -> Result<(), PushError> {
        if asked.expected.holds(was) {
            bounds::may(asked, was, becomes, &self.catalogue.sensors_of(asked.account))
        } else {
            Err(PushError::NotAsExpected)
        }
    }

    /// Drops artifacts that nobody refers to, and did not at the last sweep.
    pub(crate) async fn sweep(&self, last: &mut Unreferred) {
        match self.store.sweep_artifacts(&self.catalogue, now_ms(), last).await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(dropped, "artifacts that no sensor refers to any more were dropped"),
            Err(error) => tracing::warn!(%error, "artifacts that no sensor refers to cannot be dropped now"),
        }
    }
}

fn busy(asked: Asked<'_>) -> PushError {
    WriteError::Unavailable { why: format!("sensor {} changes all the time", asked.name) }.into()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
