//! The folder of a running `sonde up`, and what it says of itself in `endpoints.json`.
//!
//! Commands that find a running Sonde look there last, when nothing else was named. What is not there is said with the command that makes it.

use std::path::Path;

use serde_json::Value;

use crate::failure::Failure;

/// Where `sonde up` keeps its files when it is not told.
pub const DEFAULT: &str = "sonde-data";
const ENDPOINTS: &str = "endpoints.json";

/// What it serves, by name.
pub fn endpoints(folder: &Path) -> Result<Value, Failure> {
    let path = folder.join(ENDPOINTS);
    let text = std::fs::read(&path).map_err(|error| {
        let (path, folder) = (path.display(), folder.display());
        Failure::failed(format!("{path} cannot be read ({error}); is `sonde up --data-dir {folder}` running?"))
    })?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::failed(format!("{} is not JSON ({error}); start `sonde up` again, which writes it", path.display()))
    })
}

/// That something is missing in it.
pub fn names_no(folder: &Path, what: &str) -> Failure {
    Failure::failed(format!("{} does not name {what}", folder.join(ENDPOINTS).display()))
}
