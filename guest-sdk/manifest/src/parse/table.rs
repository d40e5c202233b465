//! A table of the manifest being taken apart, key by key; each fault goes to the one list.
//!
//! Every reader takes its key out and gives a default where the key is absent or faulty, so that the
//! walk goes on and finds the next fault.

use std::time::Duration;

use toml::{Table, Value};

use crate::value::{duration, show_duration, size};

/// Bounds a list in `[capabilities]` and the number of configuration keys.
pub(super) const MAX_ITEMS: usize = 64;
/// Bounds texts for people.
const MAX_TEXT_BYTES: usize = 1024;

/// A table being taken apart.
pub(super) struct Section<'f> {
    pub(super) table: Table,
    /// With a dot at its end, or empty for the file itself.
    pub(super) path: String,
    pub(super) faults: &'f mut Vec<String>,
}

impl Section<'_> {
    pub(super) fn fault(&mut self, key: &str, what: &str) {
        self.faults.push(format!("{}{key} {what}", self.path));
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.table.remove(key)? {
            Value::String(text) => Some(text),
            other => {
                self.fault(key, &format!("is {other}: text in quotes is allowed"));
                None
            }
        }
    }

    /// A text that must be there and pass a check.
    pub(super) fn required(&mut self, key: &str, check: impl Fn(&str) -> Result<(), String>) -> String {
        let missing = !self.table.contains_key(key);
        let text = self.text(key);
        match (&text, missing) {
            (None, true) => self.fault(key, "is missing: every manifest has one"),
            (Some(text), _) => {
                if let Err(allowed) = check(text) {
                    self.fault(key, &format!("is {text:?}: {allowed}"));
                }
            }
            (None, false) => {}
        }
        text.unwrap_or_default()
    }

    /// A text for people.
    pub(super) fn prose(&mut self, key: &str) -> String {
        let text = self.text(key).unwrap_or_default();
        if text.len() > MAX_TEXT_BYTES {
            self.fault(key, &format!("has {} bytes: at most {MAX_TEXT_BYTES} are allowed", text.len()));
        }
        text
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        match self.table.remove(key) {
            None => false,
            Some(Value::Boolean(flag)) => flag,
            Some(other) => {
                self.fault(key, &format!("is {other}: true or false is allowed"));
                false
            }
        }
    }

    pub(super) fn duration(&mut self, key: &str, default: Duration, least: Duration, most: Duration) -> Duration {
        let Some(text) = self.text(key) else { return default };
        match duration(&text) {
            Ok(value) if value >= least && value <= most => value,
            Ok(_) => {
                let (least, most) = (show_duration(least), show_duration(most));
                self.fault(key, &format!("is {text:?}: {least} to {most} is allowed"));
                default
            }
            Err(allowed) => {
                self.fault(key, &format!("is {text:?}: {allowed}"));
                default
            }
        }
    }

    pub(super) fn number(&mut self, key: &str, default: u64, most: u64) -> u64 {
        let Some(value) = self.table.remove(key) else { return default };
        let parsed = match &value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::String(text) => size(text).ok(),
            _ => None,
        };
        match parsed {
            Some(number) if number <= most => number,
            _ => {
                self.fault(key, &format!("is {value}: 0 to {most} is allowed (sizes may be text like \"256 KiB\")"));
                default
            }
        }
    }

    pub(super) fn list(&mut self, key: &str) -> Vec<Value> {
        match self.table.remove(key) {
            None => Vec::new(),
            Some(Value::Array(items)) if items.len() <= MAX_ITEMS => items,
            Some(Value::Array(items)) => {
                self.fault(key, &format!("has {} entries: at most {MAX_ITEMS} are allowed", items.len()));
                Vec::new()
            }
            Some(other) => {
                self.fault(key, &format!("is {other}: a list in square brackets is allowed"));
                Vec::new()
            }
        }
    }

    pub(super) fn section(&mut self, key: &str) -> Section<'_> {
        let table = match self.table.remove(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.fault(key, &format!("is {other}: a table is allowed"));
                Table::new()
            }
        };
        Section { table, path: format!("{}{key}.", self.path), faults: self.faults }
    }

    /// Names what is left.
    pub(super) fn finish(self, allowed: &str) {
        for key in self.table.keys() {
            self.faults.push(format!("{}{key} is not a key of a manifest (allowed here: {allowed})", self.path));
        }
    }
}
