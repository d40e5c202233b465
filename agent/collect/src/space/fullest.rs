//! Of the file systems that an instance can write to, which has the least left.
//!
//! A disk that is full is mostly not the root: it is a volume, or a tmpfs with a size. So all mounts of the leader's own table that are
//! not read-only are looked at, each file system once and a few at most. Points are a tenant's to choose: they are no label of a series, and
//! are walked from a handle on its root, below it and through no symbolic link; and what was reached counts only where its
//! mount has the number that the table gives it. Whatever another mount hides is thereby passed over.
//!
//! What has the node's own root, as services do, sees all of the node's mounts, and most are no matter of its: a full `/boot` is not the
//! lack of every service. Of such the root's file system alone is asked.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::file_system::{device_of, handle_number, said};
use super::mount_table::mounts_of;
use crate::mounts::{Roots, unescaped};
use crate::reading::FileSystem;
use crate::source::Buffer;

/// File systems of one instance that are asked at most. Containers have a handful, and each is some 10 µs.
const FILE_SYSTEMS: usize = 16;

/// A mount that can be written to.
pub(super) struct Writable {
    number: u64,
    device: String,
    point: PathBuf,
    kind: &'static str,
}

/// The first [`FILE_SYSTEMS`] of a mount table that are not read-only and can be asked, by device; of `only` one mount, where it is given.
pub(super) fn writable(mountinfo: &[u8], only: Option<u64>) -> Vec<Writable> {
    let mut found: Vec<Writable> = Vec::new();
    let is_meant = |number| only.is_none_or(|only| only == number);
    for mount in mounts_of(mountinfo).filter(|mount| !mount.read_only && is_meant(mount.number)) {
        let Some(kind) = mount.kind else { continue };
        if found.len() == FILE_SYSTEMS {
            break;
        }
        if found.iter().all(|known| known.device != mount.device) {
            let device = mount.device.to_owned();
            found.push(Writable { number: mount.number, device, point: unescaped(mount.point), kind });
        }
    }
    found
}

/// Whether this is the root of the node's first process; of ours, where that may not be looked at.
pub(super) fn is_the_nodes(root: &OwnedFd, roots: &Roots) -> bool {
    let place = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    let first = ["1/root", "self/root"].iter().find_map(|path| rustix::fs::stat(roots.proc.join(path)).ok());
    match (rustix::fs::fstat(root), first) {
        (Ok(root), Some(first)) => place(root) == place(first),
        _ => false,
    }
}

/// Asks them: this may never come back. `root` is a handle on the root of the process that the table is of.
pub(super) fn fullest(
    root: &OwnedFd,
    writable: Vec<Writable>,
    roots: &Roots,
    buffer: &mut Buffer,
) -> Option<FileSystem> {
    let ask = |mount: Writable| {
        let below = mount.point.strip_prefix("/").ok()?.as_os_str();
        let path = if below.is_empty() { OsStr::new(".") } else { below };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let handle = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).ok()?;
        if handle_number(&handle, roots, buffer)? != mount.number {
            return None;
        }
        said(&handle, mount.kind, device_of(roots, &mount.device, mount.kind), None)
    };
    writable.into_iter().filter_map(ask).filter(can_fill).min_by(nearer)
}

/// Whether it has a size, and whether the whole file system, not this mount of it alone, can be written.
fn can_fill(it: &FileSystem) -> bool {
    it.size_bytes > 0 && !it.read_only
}

/// What is full comes before what is not; then by the part that is left.
fn nearer(a: &FileSystem, b: &FileSystem) -> std::cmp::Ordering {
    let part = |left: &FileSystem, of: &FileSystem| u128::from(left.available_bytes) * u128::from(of.size_bytes);
    b.is_full().cmp(&a.is_full()).then_with(|| part(a, b).cmp(&part(b, a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_that_can_be_written_once_and_a_few_at_most() {
        let table = b"1 0 0:40 / / rw - overlay overlay rw\n2 1 0:41 / /run rw - tmpfs t rw\n3 1 0:41 /x /x rw - tmpfs t rw\n\
            4 1 0:42 / /acpi ro - tmpfs t rw\n5 1 0:43 / /fuse rw - fuse.x x rw\n6 1 8:1 / /a\\040b rw,nosuid - ext4 /dev/sda1 rw\n";
        let found: Vec<_> = writable(table, None).into_iter().map(|it| (it.number, it.point)).collect();
        assert_eq!(found, [(1, "/".into()), (2, "/run".into()), (6, PathBuf::from("/a b"))]);
        let root: Vec<_> = writable(table, Some(3)).into_iter().map(|it| it.number).collect();
        assert_eq!(root, [3], "though another mount of it comes first");
        let many: String = (0..100).map(|n| format!("{n} 0 0:{n} / /{n} rw - tmpfs t rw\n")).collect();
        assert_eq!(writable(many.as_bytes(), None).len(), FILE_SYSTEMS);
    }

    #[test]
    fn the_full_one_before_a_larger_part() {
        let made = |size_bytes, available_bytes, inodes_free: Option<u64>| FileSystem {
            kind: "tmpfs",
            device: "tmpfs".into(),
            size_bytes,
            block_bytes: 4096,
            free_bytes: available_bytes,
            available_bytes,
            inodes: inodes_free.map(|_| 1 << 20),
            inodes_free,
            read_only: false,
            dataset: None,
        };
        let least = |all: &[FileSystem]| all.iter().cloned().min_by(nearer);
        let (disk, small) = (made(1 << 40, 1 << 33, None), made(1 << 20, 1 << 19, None));
        assert_eq!(least(&[small.clone(), disk.clone()]), Some(disk.clone()), "neither is full");
        let out_of_inodes = made(1 << 40, 1 << 39, Some(0));
        assert_eq!(least(&[small, disk, out_of_inodes.clone()]), Some(out_of_inodes));
    }
}
