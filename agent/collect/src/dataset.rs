//! ZFS's counts of the data set that an instance's root is: `/proc/spl/kstat/zfs/POOL/objset-*`.
//!
//! Each such file is of one data set, whose name stands in it and not in the file's own name; so where which is found is
//! remembered, for all readers of the node together, and looked for anew at most every [`LOOK_EVERY`] a pool. Whatever is read must say
//! the name that was asked for: a number is given again after a data set was destroyed. Which data set it is,
//! [`space`](crate::space) has found out, on threads of its own. Counts are of the data set, whoever else uses it.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::mounts::Roots;
use crate::node::zfs::{DATASETS, Named, POOLS, Value, parse_named};
use crate::reading::Reading;
use crate::source::Buffer;
use crate::zfs::Objset;

/// Between two looks through a pool's files for a data set that is not known: 10 µs a file, thousands of files.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Where the counts of which data set are. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Datasets(Arc<Mutex<Index>>);

#[derive(Debug, Default)]
struct Index {
    files: HashMap<String, PathBuf>,
    /// When each pool was last looked through.
    looked: HashMap<String, Instant>,
}

/// The counts of the data set that a reading's root is; none where that is no ZFS, or has no such counts.
pub(crate) fn of_root(roots: &Roots, reading: &Reading, buffer: &mut Buffer) -> Option<Objset> {
    let dataset = reading.space.as_ref()?.file_system.dataset.as_deref()?;
    roots.datasets.read(&roots.proc, dataset, reading.taken_at, buffer)
}

impl Datasets {
    /// The counts of a data set, now.
    fn read(&self, proc: &Path, dataset: &str, now: Instant, buffer: &mut Buffer) -> Option<Objset> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).files.get(dataset).cloned();
        if let Some(objset) = known.and_then(|path| objset(buffer.read_path(&path).ok()?, dataset)) {
            return Some(objset);
        }
        let path = self.look(proc, dataset, now, buffer)?;
        objset(buffer.read_path(&path).ok()?, dataset)
    }

    /// Looks through the data set's pool, if it is time.
    fn look(&self, proc: &Path, dataset: &str, now: Instant, buffer: &mut Buffer) -> Option<PathBuf> {
        let pool = dataset.split('/').next()?;
        let mut parts = Path::new(pool).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return None;
        }
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = index.looked.get(pool).is_some_and(|at| now.saturating_duration_since(*at) < LOOK_EVERY);
        if rests || (index.looked.len() >= POOLS && !index.looked.contains_key(pool)) {
            return None;
        }
        index.looked.insert(pool.to_owned(), now);
        index.files.retain(|known, _| known.split('/').next() != Some(pool));
        let entries = std::fs::read_dir(proc.join("spl/kstat/zfs").join(pool)).ok()?;
        let files = entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"objset-"));
        for entry in files.take(DATASETS) {
            let named = buffer.read_path(&entry.path()).ok().and_then(parse_named);
            if let Some(Named { dataset: Some(name), .. }) = named {
                index.files.insert(name, entry.path());
            }
        }
        index.files.get(dataset).cloned()
    }
}

/// The counts in a file, if they are this data set's.
fn objset(text: &[u8], dataset: &str) -> Option<Objset> {
    let named = parse_named(text).filter(|named| named.dataset.as_deref() == Some(dataset))?;
    let count = |name: &str| match named.rows.iter().find(|(row, _)| row == name)?.1 {
        Value::Unsigned(value) => Some(value),
        Value::Signed(value) => u64::try_from(value).ok(),
    };
    Some(Objset {
        reads: count("reads"),
        read_bytes: count("nread"),
        writes: count("writes"),
        written_bytes: count("nwritten"),
        unlinks: count("nunlinks"),
        unlinked: count("nunlinked"),
        dataset: dataset.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{FileSystem, Space};

    const HEAD: &str = "24 1 0x01 7 2160 221611904716 7145015038451\nname                            type data\n";

    struct Tree {
        directory: tempfile::TempDir,
        roots: Roots,
    }

    impl Tree {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let root = |name: &str| directory.path().join(name);
            std::fs::create_dir_all(root("proc/self")).unwrap();
            std::fs::create_dir_all(root("proc/spl/kstat/zfs/tank")).unwrap();
            std::fs::write(root("proc/self/mountinfo"), "").unwrap();
            let roots = Roots::of(root("proc"), root("sys"), root("run")).unwrap();
            Self { roots, directory }
        }

        fn objset(&self, number: u32, dataset: &str, rows: &str) {
            let path = self.directory.path().join(format!("proc/spl/kstat/zfs/tank/objset-{number:#x}"));
            std::fs::write(path, format!("{HEAD}dataset_name 7 {dataset}\n{rows}")).unwrap();
        }

        /// What a reading `after` the first tells of an instance whose root is `dataset`.
        fn of(&self, dataset: Option<&str>, began: Instant, after: Duration) -> Option<Objset> {
            let mut reading = Reading::empty();
            reading.taken_at = began + after;
            let file_system = FileSystem {
                kind: "zfs",
                device: "zfs".into(),
                size_bytes: 1,
                block_bytes: 1,
                free_bytes: 1,
                available_bytes: 1,
                inodes: None,
                inodes_free: None,
                read_only: false,
                dataset: dataset.map(str::to_owned),
            };
            reading.space = Some(Space { file_system, age: Duration::ZERO });
            of_root(&self.roots, &reading, &mut Buffer::default())
        }
    }

    const ROWS: &str =
        "writes 4 4\nnwritten 4 12302\nreads 4 2\nnread 4 28\nnunlinks 4 3\nnunlinked 4 1\nzil_commit_count 4 9\n";

    #[test]
    fn counts_of_its_own_data_set_alone() {
        let (tree, began) = (Tree::new(), Instant::now());
        tree.objset(0x36, "tank/a b", ROWS);
        tree.objset(0x41, "tank/a", "reads 4 7\n");
        let objset = tree.of(Some("tank/a b"), began, Duration::ZERO).unwrap();
        let whole = Objset {
            dataset: "tank/a b".into(),
            reads: Some(2),
            read_bytes: Some(28),
            writes: Some(4),
            written_bytes: Some(12302),
            unlinks: Some(3),
            unlinked: Some(1),
        };
        assert_eq!(objset, whole);
        let part = tree.of(Some("tank/a"), began, Duration::ZERO).unwrap();
        assert_eq!((part.reads, part.writes), (Some(7), None), "what is not told is absent");
        for none in [None, Some("tank/other"), Some("tank"), Some("../proc"), Some(""), Some("/tank")] {
            assert_eq!(tree.of(none, began, LOOK_EVERY), None, "{none:?}");
        }
    }

    #[test]
    fn a_number_given_again_is_not_taken_for_it() {
        let (tree, began) = (Tree::new(), Instant::now());
        tree.objset(0x36, "tank/a", ROWS);
        assert!(tree.of(Some("tank/a"), began, Duration::ZERO).is_some());
        // Destroyed and made again under another number, while the old number became another's.
        tree.objset(0x36, "tank/b", ROWS);
        tree.objset(0x37, "tank/a", "reads 4 1\n");
        let just_before = LOOK_EVERY.checked_sub(Duration::from_nanos(1)).unwrap();
        assert_eq!(tree.of(Some("tank/a"), began, just_before), None, "the pool was looked through just now");
        assert_eq!(tree.of(Some("tank/a"), began, LOOK_EVERY).unwrap().reads, Some(1));
        assert_eq!(tree.of(Some("tank/b"), began, LOOK_EVERY).unwrap().reads, Some(2));
    }

    #[test]
    fn garbage_is_nothing() {
        let (tree, began) = (Tree::new(), Instant::now());
        let path = tree.directory.path().join("proc/spl/kstat/zfs/tank/objset-0x1");
        for text in ["", "garbage\n", "24 3 0x01 7 2160 1 2\nx\ny\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(tree.of(Some("tank"), began, Duration::ZERO), None);
        }
    }
}
