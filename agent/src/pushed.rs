//! Sensors that accounts have pushed: a folder for each account, looked at as the operator's is.
//!
//! `state_dir/pushed/ACCOUNT/NAME.wasm`, and beside it `NAME.json` with its settings where it has any. Whoever brings them writes whole files and
//! renames; what is here runs on although they are away. A pushed sensor runs on instances of its account and no others, is compiled on
//! its account's bill, and has no secrets. The operator's sensors are placed before it: their names and families are not to be had.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use sonde_collect::Match;
use sonde_host::{LoadError, Sensor};

use crate::config::{SensorRule, is_plain_name};
use crate::sensor_files::{NewFile, SensorFile, SensorFiles, Stamp};

/// Below the agent's state.
pub(crate) const FOLDER: &str = "pushed";

/// Sensors of one account that are looked at; whoever brings them allows fewer.
const MOST_SENSORS: usize = 256;
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
    /// By the sensor's name.
    settings: BTreeMap<String, Settings>,
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
            let files = of_account.files.look(&folder);
            look.changed |= files.changed;
            look.new.extend(files.new.into_iter().map(|file| (account.clone(), file)));
            let settings = settings(&folder, &of_account.files);
            look.changed |= settings != of_account.settings;
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

    /// A rule for each sensor of an account, by name.
    pub(crate) fn rules(&self, account: &str) -> Vec<SensorRule> {
        let Some((account, of_account)) = self.accounts.get_key_value(account) else { return Vec::new() };
        let rule = |(file, _): (&str, &SensorFile)| {
            let name = file.strip_suffix(".wasm").unwrap_or(file);
            SensorRule {
                name: name.to_owned(),
                file: file.to_owned(),
                pushed_by: Some(account.clone()),
                matching: Match::default(),
                config: of_account.settings.get(name).map(|settings| settings.config.clone()).unwrap_or_default(),
                secrets: BTreeMap::new(),
            }
        };
        let named_well = |(file, _): &(&str, &SensorFile)| file.strip_suffix(".wasm").is_some_and(is_plain_name);
        of_account.files.iter().filter(named_well).take(MOST_SENSORS).map(rule).collect()
    }
}

/// The accounts that have a folder.
fn accounts(folder: &Path) -> Vec<Arc<str>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_plain_name(name)).map(Arc::from).collect()
}

/// What the files' settings are; those that cannot be read are none, and then the sensor is told what it lacks.
fn settings(folder: &Path, files: &SensorFiles) -> BTreeMap<String, Settings> {
    let names = files.iter().filter_map(|(file, _)| file.strip_suffix(".wasm"));
    names.filter_map(|name| Some((name.to_owned(), read_settings(&folder.join(format!("{name}.json")))?))).collect()
}

fn read_settings(path: &Path) -> Option<Settings> {
    let is_small =
        std::fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() <= MOST_SETTINGS_BYTES);
    if !is_small {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pushed: &PushedSensors, account: &str) -> Vec<String> {
        pushed.rules(account).into_iter().map(|rule| rule.name).collect()
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
        assert_eq!(pushed.rules("a")[0].config["port"], "80");
        assert!(!pushed.look().changed);
        std::fs::remove_dir_all(of("b")).unwrap();
        std::fs::remove_file(of("a").join("y.wasm")).unwrap();
        assert!(pushed.look().changed);
        assert_eq!((names(&pushed, "a"), names(&pushed, "b")), (vec!["x".to_owned()], vec![]));
    }
}
