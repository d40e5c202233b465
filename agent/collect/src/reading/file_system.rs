//! How full a file system is, as a reading tells it, and when it counts as full.

use std::time::Duration;

/// One part in so many left, or less, is as good as none, where it is little in itself too: a twentieth of a large disk is not.
const FULL_PART: u64 = 20;
/// This many bytes are little: a log or a database writes them within a second or few.
const FEW_BYTES: u64 = 64 << 20;
/// This many inodes are.
const FEW_INODES: u64 = 1024;

/// What a file system said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// One of the kinds that are asked (`space::KINDS`).
    pub kind: &'static str,
    /// `/dev/NAME`, or the kind again where no device stands behind it.
    pub device: String,
    /// Its size.
    pub size_bytes: u64,
    /// What it is counted in; of ZFS the `recordsize`.
    pub block_bytes: u64,
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
    /// Of ZFS which data set it is, by the name that ZFS itself gives as the mount's source.
    pub dataset: Option<String>,
}

impl FileSystem {
    /// Whether next to nothing more can be written: bytes or inodes are used up.
    pub fn is_full(&self) -> bool {
        let inodes = self.inodes.zip(self.inodes_free);
        !self.read_only
            && (is_little(self.available_bytes, self.size_bytes, FEW_BYTES)
                || inodes.is_some_and(|(all, free)| is_little(free, all, FEW_INODES)))
    }
}

fn is_little(left: u64, of: u64, few: u64) -> bool {
    of > 0 && left < few && left <= of / FULL_PART
}

/// The last answer, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// What it said.
    pub file_system: FileSystem,
    /// How long before the reading.
    pub age: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_is_little_in_part_and_in_itself() {
        let made = |size_bytes, available_bytes, inodes: Option<(u64, u64)>| FileSystem {
            kind: "xfs",
            device: "/dev/x".into(),
            size_bytes,
            block_bytes: 4096,
            free_bytes: available_bytes,
            available_bytes,
            inodes: inodes.map(|(all, _)| all),
            inodes_free: inodes.map(|(_, free)| free),
            read_only: false,
            dataset: None,
        };
        for (size, left, inodes, full) in [
            (1 << 20, 0, None, true),
            (1 << 20, (1 << 20) / 20, None, true),
            (1 << 20, (1 << 20) / 20 + 1, None, false),
            // A large disk with a twentieth left has room; with some megabytes it has not.
            (1 << 40, 1 << 35, None, false),
            (1 << 40, FEW_BYTES, None, false),
            (1 << 40, FEW_BYTES - 1, None, true),
            // Bytes enough and no inode.
            (1 << 40, 1 << 39, Some((1_000_000, 0)), true),
            (1 << 40, 1 << 39, Some((1_000_000, FEW_INODES)), false),
            (1 << 40, 1 << 39, Some((0, 0)), false),
            // No size, such as that of a mount that only has a view.
            (0, 0, None, false),
            (u64::MAX, u64::MAX, Some((u64::MAX, u64::MAX)), false),
        ] {
            let mut it = made(size, left, inodes);
            assert_eq!(it.is_full(), full, "{it:?}");
            it.read_only = true;
            assert!(!it.is_full(), "nobody could write there anyway");
        }
    }
}
