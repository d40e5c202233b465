//! Bringing what proxies assign to the folder of pushed sensors: a task beside the reports, so that an artifact on its way delays no beat.
//!
//! A proxy's answer to a report has a mark of what the node is to run. Where it is another than what the folder was made of, the same proxy is asked for all of it, and for
//! each artifact that is not here; its digest is checked before anything is written. When no proxy answers, what is here runs on. What is not a proxy's, a folder that a person filled,
//! is left alone.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use sonde_inventory::ArtifactDigest;
use sonde_inventory::assignment::{
    ARTIFACTS_PATH, Assignments, MOST_ARTIFACT_BYTES, MOST_ASSIGNMENT_BYTES, OfAccount, SENSORS_PATH,
};
use tokio::sync::watch;

use super::credentials::Credentials;
use super::link::Link;
use crate::config::Config;
use crate::pushed::{self, assigned};

/// How long the list, and an artifact, may take.
const LIST_WITHIN: Duration = Duration::from_secs(15);
const ARTIFACT_WITHIN: Duration = Duration::from_secs(60);
/// After a failure, the first wait and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a proxy said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) proxy: String,
    pub(super) mark: String,
}

/// See the module.
pub(super) struct Carrier {
    credentials: Option<Arc<Credentials>>,
    config: watch::Receiver<Arc<Config>>,
    told: watch::Receiver<Option<Told>>,
    link: Option<Link>,
    /// What the folder was made of, since the start.
    have: Option<String>,
    /// Of each account what its folder was made of: one that changes often costs the others' folders nothing.
    brought: HashMap<String, ArtifactDigest>,
}

impl Carrier {
    pub(super) fn new(
        credentials: Option<Arc<Credentials>>,
        config: watch::Receiver<Arc<Config>>,
        told: watch::Receiver<Option<Told>>,
    ) -> Self {
        Self { credentials, config, told, link: None, have: None, brought: HashMap::new() }
    }

    /// Until nobody can say anything any more.
    pub(super) async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        let mut said = String::new();
        loop {
            let told = self.told.borrow_and_update().clone();
            let due = told.filter(|told| self.have.as_ref() != Some(&told.mark));
            let Some(told) = due else {
                if self.told.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.carry(&told).await {
                Ok(mark) => {
                    tracing::info!(proxy = told.proxy, "what accounts pushed for this node is here");
                    (self.have, wait) = (Some(mark), FIRST_WAIT);
                    said.clear();
                }
                Err(why) => {
                    if said != why {
                        tracing::warn!(
                            proxy = told.proxy,
                            why,
                            "what accounts pushed for this node could not be brought; what is here runs on"
                        );
                        said = why;
                    }
                    self.link = None;
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    async fn carry(&mut self, told: &Told) -> Result<String, String> {
        if self.link.as_ref().is_none_or(|link| link.proxy() != told.proxy) {
            self.link = Some(Link::new(told.proxy.clone(), self.credentials.clone()));
        }
        let assignments = match &told.mark {
            // Nothing at all: it need not be asked what.
            none if none.is_empty() => Assignments::default(),
            _ => self.ask().await?,
        };
        let folder = self.config.borrow().state_dir.join(pushed::FOLDER);
        // One account's that cannot be brought is no other's loss; the first reason is said, and all of it is tried again.
        let mut failed = None;
        for of_account in &assignments.accounts {
            let json = serde_json::to_vec(of_account).map_err(|error| error.to_string())?;
            let (account, digest) = (of_account.account.to_string(), ArtifactDigest::of(&json));
            if self.brought.get(&account) == Some(&digest) {
                continue;
            }
            if let Err(why) = self.bring(&folder, of_account).await {
                failed = failed.or(Some(why));
                // A proxy that is away would be waited for once an account.
                if self.link.as_ref().is_none_or(|link| !link.is_open()) {
                    break;
                }
            } else {
                self.brought.insert(account, digest);
            }
        }
        let keep: HashSet<String> = assignments.accounts.iter().map(|of| of.account.to_string()).collect();
        self.brought.retain(|account, _| keep.contains(account));
        tokio::task::spawn_blocking(move || remove_others(&folder, &keep)).await.map_err(|error| error.to_string())?;
        failed.map_or(Ok(assignments.mark), Err)
    }

    async fn ask(&mut self) -> Result<Assignments, String> {
        let body = self.get(SENSORS_PATH, MOST_ASSIGNMENT_BYTES, LIST_WITHIN).await?;
        // Where and not what: secrets are in it.
        serde_json::from_slice(&body)
            .map_err(|error| format!("the list of sensors is not understood: {:?} error", error.classify()))
    }

    async fn bring(&mut self, folder: &Path, of_account: &OfAccount) -> Result<(), String> {
        let name = of_account.account.to_string();
        let folder: PathBuf = folder.join(&name);
        let (at, sensors) = (folder.clone(), of_account.sensors.clone());
        let missing = tokio::task::spawn_blocking(move || assigned::missing(&at, &sensors)).await;
        let cannot = |error| format!("the sensors of account {name} cannot be written: {error}");
        for (sha256, bytes) in missing.map_err(|error| error.to_string())? {
            let (at, artifact) = (folder.clone(), self.artifact(sha256, bytes).await?);
            let kept = tokio::task::spawn_blocking(move || assigned::keep(&at, sha256, &artifact)).await;
            kept.map_err(|error| error.to_string())?.map_err(cannot)?;
        }
        let sensors = of_account.sensors.clone();
        let written = tokio::task::spawn_blocking(move || assigned::write(&folder, &sensors)).await;
        written.map_err(|error| error.to_string())?.map_err(cannot)
    }

    /// An artifact whose digest is what it should be.
    async fn artifact(&mut self, sha256: ArtifactDigest, bytes: u64) -> Result<Vec<u8>, String> {
        let most = usize::try_from(bytes.min(MOST_ARTIFACT_BYTES)).unwrap_or(usize::MAX);
        let body = self.get(&format!("{ARTIFACTS_PATH}{sha256}"), most, ARTIFACT_WITHIN).await?;
        let own = ArtifactDigest::of(&body);
        if own == sha256 {
            Ok(body)
        } else {
            Err(format!("the proxy sent {own} for the artifact {sha256}, and it was thrown away"))
        }
    }

    async fn get(&mut self, path: &str, most: usize, within: Duration) -> Result<Vec<u8>, String> {
        let link = self.link.as_mut().ok_or("no proxy")?;
        match link.get(path, most, within).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, body) => {
                let said: String = String::from_utf8_lossy(&body).trim().chars().take(300).collect();
                Err(format!("{path} was answered with {status}: {said}"))
            }
        }
    }
}

/// Removes the folders of accounts that have nothing here any more, of those that a proxy filled.
fn remove_others(folder: &Path, keep: &HashSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_other = entry.file_name().to_str().is_some_and(|name| !keep.contains(name));
        if !is_other || !assigned::is_filled(&entry.path()) {
            continue;
        }
        let removed = std::fs::remove_dir_all(entry.path());
        match removed {
            Ok(()) => {
                tracing::info!(account = ?entry.file_name(), "an account has no sensors here any more");
            }
            Err(error) => {
                tracing::warn!(path = %entry.path().display(), %error, "an account's sensors cannot be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_any_list_goes_with_its_account() {
        let state = tempfile::tempdir().unwrap();
        for account in ["long", "broken", "kept", "persons"] {
            std::fs::create_dir(state.path().join(account)).unwrap();
            std::fs::write(state.path().join(account).join("x.wasm"), b"x").unwrap();
        }
        let list = |account: &str| std::fs::File::create(state.path().join(account).join(assigned::LIST)).unwrap();
        list("long").set_len(1 << 30).unwrap();
        list("broken");
        list("kept");
        remove_others(state.path(), &HashSet::from(["kept".to_owned()]));
        let is_there = |account: &str| state.path().join(account).exists();
        assert_eq!(["long", "broken", "kept", "persons"].map(is_there), [false, false, true, true]);
    }
}
