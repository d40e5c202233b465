//! Faults of a manifest or of a configuration: several at once, each a whole sentence.
//!
//! Whoever wrote the file mends it in one go only if they are told everything in one go, so these
//! types hold lists. They carry no structure beyond the sentence: nobody matches on which key was
//! wrong, people read it.

use std::fmt;

/// Everything that is wrong with a manifest; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ManifestErrors {
    faults: Vec<String>,
}

impl ManifestErrors {
    pub(crate) fn new(faults: Vec<String>) -> Self {
        debug_assert!(!faults.is_empty(), "an error without a fault");
        Self { faults }
    }

    /// One sentence a fault, in the order of the file's keys.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the manifest is not valid: {}", self.faults.join("; "))
    }
}

/// Everything that is wrong with the configuration given to a sensor; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    sensor: String,
    faults: Vec<String>,
}

impl ConfigErrors {
    pub(crate) fn new(sensor: &str, faults: Vec<String>) -> Self {
        debug_assert!(!faults.is_empty(), "an error without a fault");
        Self { sensor: sensor.to_owned(), faults }
    }

    /// One sentence a fault.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration of the sensor {} is not valid: {}", self.sensor, self.faults.join("; "))
    }
}
