//! How full a file system is, as a reading tells it.

use std::time::Duration;

/// What a file system said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// One of the kinds that are asked (`space::KINDS`).
    pub kind: &'static str,
    /// `/dev/NAME`, or the kind again where no device stands behind it.
    pub device: String,
    /// Its size.
    pub size_bytes: u64,
    /// What is not in use.
    pub free_bytes: u64,
    /// Of that, what is not kept for root.
    pub available_bytes: u64,
    /// How many inodes it can have; none where it makes them as it goes.
    pub inodes: Option<u64>,
    /// Of these, how many are not in use.
    pub inodes_free: Option<u64>,
    /// Whether it is mounted so that nothing can be written.
    pub read_only: bool,
}

/// The last answer, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// What it said.
    pub file_system: FileSystem,
    /// How long before the reading.
    pub age: Duration,
}
