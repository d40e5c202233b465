//! Which file systems are asked, and how one is.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, StatVfsMountFlags, StatxFlags};

use super::mount_table::mount_number;
use crate::mounts::Roots;
use crate::node;
use crate::reading::FileSystem;
use crate::source::Buffer;

/// File systems that answer out of the kernel itself.
pub const KINDS: [&str; 14] = [
    "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "overlay", "squashfs", "tmpfs", "vfat",
    "xfs", "zfs",
];

/// What numbers of file systems begin with that no block device stands behind.
const NO_DEVICE: &str = "0:";

/// Of which mount a handle is, by number: as the kernel says of the handle since Linux 5.8, before as its `fdinfo` says.
pub(super) fn handle_number(handle: &OwnedFd, roots: &Roots, buffer: &mut Buffer) -> Option<u64> {
    let said = rustix::fs::statx(handle, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID);
    if let Some(said) = said.ok().filter(|said| said.stx_mask & StatxFlags::MNT_ID.bits() != 0) {
        return Some(said.stx_mnt_id);
    }
    let fdinfo = roots.proc.join("self/fdinfo").join(handle.as_raw_fd().to_string());
    mount_number(buffer.read_path(&fdinfo).ok()?)
}

/// What stands behind a mount, as [`FileSystem::device`] has it.
pub(super) fn device_of(roots: &Roots, number: &str, kind: &str) -> String {
    if number.starts_with(NO_DEVICE) {
        return kind.to_owned();
    }
    match node::device_name(roots, number) {
        name if name.starts_with("/dev/") => name,
        _ => kind.to_owned(),
    }
}

/// Asks it: this may never come back.
pub(super) fn said(
    handle: &OwnedFd,
    kind: &'static str,
    device: String,
    dataset: Option<String>,
) -> Option<FileSystem> {
    let said = rustix::fs::fstatvfs(handle.as_fd()).ok()?;
    let size = |blocks: u64| blocks.checked_mul(said.f_frsize);
    let counted = said.f_files > 0;
    Some(FileSystem {
        kind,
        device,
        size_bytes: size(said.f_blocks)?,
        block_bytes: said.f_frsize,
        free_bytes: size(said.f_bfree)?,
        available_bytes: size(said.f_bavail)?,
        inodes: counted.then_some(said.f_files),
        inodes_free: counted.then_some(said.f_ffree),
        read_only: said.f_flag.contains(StatVfsMountFlags::RDONLY),
        dataset,
    })
}
