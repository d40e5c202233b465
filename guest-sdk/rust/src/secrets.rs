//! Secrets that the grant names. They enter for one run and go with it.
//!
//! Manifest: `[capabilities] secrets = ["password"]`. Never log one.

/// A secret, or `None` where none is set.
pub fn get(name: &str) -> Option<String> {
    crate::raw::secrets::get(name)
}
