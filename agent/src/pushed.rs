//! Sensors that accounts have pushed: a folder for each account, looked at as the operator's is.
//!
//! `state_dir/pushed/ACCOUNT/NAME.wasm`, and beside it `NAME.json` with its settings where it has any. Whoever brings them writes whole files and
//! renames; what is here runs on although they are away. A folder that a proxy fills has a list besides ([`assigned`]), which says what runs where, with which secrets.
//! A pushed sensor runs on instances of its account and no others, and is compiled on its account's bill. The operator's sensors are placed before it: their names and families are not to be had.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use sonde_collect::Match;
use sonde_host::{Digest, LoadError, Sensor};
use sonde_inventory::assignment::MOST_SENSORS;
use sonde_inventory::sensor::Selected;

use crate::config::{SensorRule, is_plain_name};
use crate::sensor_files::{NewFile, SensorFile, SensorFiles, Stamp};

pub(crate) mod assigned;

use assigned::{ListStamp, Listed};

/// Below the agent's state.
pub(crate) const FOLDER: &str = "pushed";

/// Settings of a sensor are some dozens of short values.
const MOST_SETTINGS_BYTES: u64 = 64 << 10;

/// What `NAME.json` has.
#[derive(Debug, Default, PartialEq, Deserialize)]
struct Settings {
    #[serde(default)]
    config: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct OfAccount {
    files: SensorFiles,
    /// By the sensor's name: its settings, or why they cannot be told.
    settings: BTreeMap<String, Result<Settings, String>>,
    /// What a proxy assigned, where one fills the folder.
    listed: Option<(ListStamp, Vec<Listed>)>,
}

impl OfAccount {
    /// Reads the list where it is another. Whether it was.
    fn look_at_list(&mut self, folder: &Path) -> bool {
        let stamp = assigned::stamp(folder);
        if stamp == self.listed.as_ref().map(|(stamp, _)| *stamp) {
            return false;
        }
        self.listed = stamp.map(|stamp| (stamp, assigned::read(folder).unwrap_or_default()));
        true
    }
}

/// All accounts' sensors.
#[derive(Debug)]
pub(crate) struct PushedSensors {
    folder: PathBuf,
    accounts: BTreeMap<Arc<str>, OfAccount>,
}

/// What a look brought.
#[derive(Default)]
pub(crate) struct Look {
    pub(crate) new: Vec<(Arc<str>, NewFile)>,
    pub(crate) changed: bool,
}

impl PushedSensors {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join(FOLDER), accounts: BTreeMap::new() }
    }

    /// Where the folders are from now on; if that is where they were, nothing is read again.
    pub(crate) fn keep_in(&mut self, state_dir: &Path) {
        self.folder = state_dir.join(FOLDER);
    }

    /// Looks at all folders; reads what is new. What an account no longer has stops.
    pub(crate) fn look(&mut self) -> Look {
        let mut look = Look::default();
        let present = accounts(&self.folder);
        let known = self.accounts.len();
        self.accounts.retain(|account, _| present.contains(account));
        look.changed = self.accounts.len() != known;
        for account in present {
            let of_account = self.accounts.entry(account.clone()).or_default();
            let folder = self.folder.join(&*account);
            let files = of_account.files.look(&folder, Some(&account));
            look.changed |= files.changed;
            look.new.extend(files.new.into_iter().map(|file| (account.clone(), file)));
            let settings = settings(&folder, &of_account.files);
            look.changed |= settings != of_account.settings;
            look.changed |= of_account.look_at_list(&folder);
            of_account.settings = settings;
        }
        look
    }

    pub(crate) fn get(&self, account: &str, file: &str) -> Option<&SensorFile> {
        self.accounts.get(account)?.files.get(file)
    }

    pub(crate) fn loaded(
        &mut self,
        account: &str,
        file: &str,
        stamp: Stamp,
        loaded: Result<Arc<Sensor>, LoadError>,
    ) -> bool {
        self.accounts.get_mut(account).is_some_and(|of_account| of_account.files.loaded(file, stamp, loaded))
    }

    /// A rule for each sensor of an account that is for this instance of it, by name.
    pub(crate) fn rules(&self, account: &str, instance: &Selected<'_>) -> Vec<SensorRule> {
        let Some((account, of_account)) = self.accounts.get_key_value(account) else { return Vec::new() };
        if let Some((_, listed)) = &of_account.listed {
            let rules = listed.iter().filter_map(|sensor| self.listed_rule(account, of_account, sensor, instance));
            return rules.take(MOST_SENSORS).collect();
        }
        let rule = |(file, _): (&str, &SensorFile)| {
            let name = file.strip_suffix(".wasm").unwrap_or(file);
            let (config, fault) = match of_account.settings.get(name) {
                Some(Ok(settings)) => (settings.config.clone(), None),
                Some(Err(fault)) => (BTreeMap::new(), Some(fault.clone())),
                None => (BTreeMap::new(), None),
            };
            SensorRule {
                name: name.to_owned(),
                file: file.to_owned(),
                pushed_by: Some(account.clone()),
                matching: Match::default(),
                config,
                secrets: BTreeMap::new(),
                digest: None,
                fault,
            }
        };
        let named_well = |(file, _): &(&str, &SensorFile)| file.strip_suffix(".wasm").is_some_and(is_plain_name);
        of_account.files.iter().filter(named_well).take(MOST_SENSORS).map(rule).collect()
    }

    /// A listed sensor on an instance. A next version that is not loaded leaves the instance with the current one.
    fn listed_rule(
        &self,
        account: &Arc<str>,
        of_account: &OfAccount,
        sensor: &Listed,
        instance: &Selected<'_>,
    ) -> Option<SensorRule> {
        let is_loaded = |digest: Digest, file: &str| {
            let loaded = of_account.files.get(file).and_then(|file| file.sensor.as_ref());
            loaded.is_some_and(|sensor| sensor.digest == digest)
        };
        let chosen = sensor.for_instance(instance)?;
        let (version, file) = match chosen {
            (version, file) if is_loaded(version.digest(), &file) => (version, file),
            _ => sensor.versions().next()?,
        };
        Some(SensorRule {
            name: sensor.name.as_str().to_owned(),
            file,
            pushed_by: Some(account.clone()),
            matching: Match::default(),
            config: version.config.clone(),
            secrets: version.secret_files(&self.folder.join(&**account), &sensor.name),
            digest: Some(version.digest()),
            fault: None,
        })
    }

    /// Each version of each listed sensor, by account, with what became of its file: loaded, or why not; none while it is being loaded.
    pub(crate) fn listed(&self) -> impl Iterator<Item = (&Arc<str>, &Listed, Digest, Option<Result<(), &str>>)> {
        self.accounts.iter().flat_map(|(account, of_account)| {
            let listed = of_account.listed.iter().flat_map(|(_, listed)| listed);
            listed.flat_map(move |sensor| {
                sensor.versions().map(move |(version, file)| {
                    let file = of_account.files.get(&file);
                    let is_loaded =
                        file.and_then(|file| file.sensor.as_ref()).is_some_and(|s| s.digest == version.digest());
                    let fault = file.and_then(|file| file.fault.as_deref());
                    let became = if is_loaded { Some(Ok(())) } else { fault.map(Err) };
                    (account, sensor, version.digest(), became)
                })
            })
        })
    }
}

/// The accounts that have a folder.
fn accounts(folder: &Path) -> Vec<Arc<str>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_plain_name(name)).map(Arc::from).collect()
}

/// What the files' settings are, of those that have any. Those that cannot be told are a fault, and not none: a sensor without what it was meant to have would look elsewhere.
fn settings(folder: &Path, files: &SensorFiles) -> BTreeMap<String, Result<Settings, String>> {
    let names = files.iter().filter_map(|(file, _)| file.strip_suffix(".wasm"));
    names.filter_map(|name| Some((name.to_owned(), read_settings(folder, &format!("{name}.json"))?))).collect()
}

fn read_settings(folder: &Path, file: &str) -> Option<Result<Settings, String>> {
    let path = folder.join(file);
    let unread = |why: &dyn std::fmt::Display| Err(format!("its settings, {file}, cannot be read: {why}"));
    Some(match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => unread(&error),
        Ok(metadata) if !metadata.is_file() => unread(&"it is not a regular file"),
        Ok(metadata) if metadata.len() > MOST_SETTINGS_BYTES => {
            unread(&format!("it is {} bytes, and {MOST_SETTINGS_BYTES} are allowed", metadata.len()))
        }
        Ok(_) => match std::fs::read(&path) {
            // Where, and not what: a secret may be in it.
            Ok(bytes) => serde_json::from_slice(&bytes).or_else(|error| {
                unread(&format!("{:?} error at line {}, column {}", error.classify(), error.line(), error.column()))
            }),
            Err(error) => unread(&error),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pushed: &PushedSensors, account: &str) -> Vec<String> {
        rules(pushed, account).into_iter().map(|rule| rule.name).collect()
    }

    fn rules(pushed: &PushedSensors, account: &str) -> Vec<SensorRule> {
        let labels = Default::default();
        let id = uuid::Uuid::nil();
        pushed.rules(account, &Selected { id, name: "", alias: "", groups: &[], labels: &labels })
    }

    #[test]
    fn a_list_that_cannot_be_read_means_no_sensors() {
        let state = tempfile::tempdir().unwrap();
        let of_account = state.path().join(FOLDER).join("a");
        std::fs::create_dir_all(&of_account).unwrap();
        std::fs::write(of_account.join("x.wasm"), b"\0asm").unwrap();
        let mut pushed = PushedSensors::new(state.path());
        pushed.look();
        assert_eq!(names(&pushed, "a"), ["x"]);
        std::fs::File::create(of_account.join(assigned::LIST)).unwrap().set_len(1 << 30).unwrap();
        assert!(pushed.look().changed);
        assert_eq!(names(&pushed, "a"), Vec::<String>::new());
        assert!(!pushed.look().changed);
    }

    #[test]
    fn an_accounts_sensors_are_its_own_and_end_with_their_files() {
        let state = tempfile::tempdir().unwrap();
        let of = |account: &str| state.path().join(FOLDER).join(account);
        for account in ["a", "b", ".hidden", "not an account"] {
            std::fs::create_dir_all(of(account)).unwrap();
        }
        for (account, file) in
            [("a", "x.wasm"), ("a", "y.wasm"), ("a", "a b.wasm"), ("b", "z.wasm"), (".hidden", "h.wasm")]
        {
            std::fs::write(of(account).join(file), b"\0asm").unwrap();
        }
        let mut pushed = PushedSensors::new(state.path());
        let look = pushed.look();
        assert_eq!(look.new.len(), 4);
        assert_eq!((names(&pushed, "a"), names(&pushed, "b")), (vec!["x".into(), "y".into()], vec!["z".to_owned()]));
        assert_eq!(names(&pushed, ".hidden"), Vec::<String>::new());
        std::fs::write(of("a").join("x.json"), br#"{"config": {"port": "80"}}"#).unwrap();
        let look = pushed.look();
        assert!(look.changed && look.new.is_empty());
        assert_eq!(rules(&pushed, "a")[0].config["port"], "80");
        assert!(!pushed.look().changed);
        std::fs::write(of("a").join("x.json"), br#"{"config": {"port": 80}}"#).unwrap();
        assert!(pushed.look().changed && !pushed.look().changed);
        let [x, y] = &rules(&pushed, "a")[..] else { panic!("both are there") };
        assert_eq!(x.fault.as_deref(), Some("its settings, x.json, cannot be read: Data error at line 1, column 22"));
        assert!(x.config.is_empty() && y.fault.is_none());
        std::fs::File::create(of("a").join("x.json")).unwrap().set_len(MOST_SETTINGS_BYTES + 1).unwrap();
        assert!(pushed.look().changed);
        assert!(rules(&pushed, "a")[0].fault.as_ref().is_some_and(|fault| fault.contains("65537 bytes")));
        std::fs::remove_dir_all(of("b")).unwrap();
        std::fs::remove_file(of("a").join("y.wasm")).unwrap();
        assert!(pushed.look().changed);
        assert_eq!((names(&pushed, "a"), names(&pushed, "b")), (vec!["x".to_owned()], vec![]));
    }
}
