//! `/proc/<pid>/mountinfo` and `/proc/self/fdinfo`: which mount a handle is on, and of which kind.

use std::path::Path;

use super::KINDS;
use crate::bytes;

/// `mnt_id:` of `/proc/self/fdinfo/<fd>`.
pub fn mount_number(fdinfo: &[u8]) -> Option<u64> {
    bytes::lines(fdinfo).find_map(|line| bytes::number(line.strip_prefix(b"mnt_id:")?.trim_ascii()))
}

/// One line of a mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountLine<'t> {
    /// Its number.
    pub number: u64,
    /// `MAJ:MIN`.
    pub device: &'t str,
    /// Still with its octal escapes.
    pub point: &'t [u8],
    /// None where it is not one of [`KINDS`].
    pub kind: Option<&'static str>,
    /// Whether this mount is; the file system can be besides.
    pub read_only: bool,
    /// Still with its octal escapes.
    source: &'t [u8],
}

impl MountLine<'_> {
    /// The source as the name of a data set.
    pub(super) fn dataset(&self) -> Option<String> {
        crate::mounts::unescaped(self.source).into_os_string().into_string().ok().filter(|name| !name.is_empty())
    }
}

/// The lines of `/proc/<pid>/mountinfo` (proc_pid_mountinfo(5)).
pub fn mounts_of(mountinfo: &[u8]) -> impl Iterator<Item = MountLine<'_>> {
    bytes::lines(mountinfo).filter_map(|line| {
        let mut fields = bytes::fields(line);
        let number = bytes::number(fields.next()?)?;
        let device = std::str::from_utf8(fields.nth(1)?).ok()?;
        let point = fields.nth(1)?;
        let read_only = fields.next()?.split(|byte| *byte == b',').any(|option| option == b"ro");
        // Optional fields follow, up to a lone hyphen.
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = fields.next()?;
        let source = fields.next().unwrap_or_default();
        let kind = KINDS.into_iter().find(|known| known.as_bytes() == kind);
        Some(MountLine { number, device, point, kind, read_only, source })
    })
}

/// Mount points that node_exporter leaves out by default: the kernel's own, and those of containers.
pub fn is_left_out(point: &Path) -> bool {
    let below = |prefix: &str| point.strip_prefix(prefix).is_ok_and(|rest| !rest.as_os_str().is_empty());
    ["/dev", "/proc", "/sys"].iter().any(|prefix| point.starts_with(prefix))
        || ["/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"].into_iter().any(below)
}
