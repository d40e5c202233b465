//! What `/proc/<pid>` says of one process: parsers, and the few reads that are made of it.
//!
//! The command line is never read: it may hold secrets, and reading it takes the target's mmap lock and
//! can block. A process's name is its `comm`, which it sets itself and which may hold blanks and
//! parentheses: fields are counted from the *last* parenthesis.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::io::Errno;

use crate::bytes;
use crate::mounts::Controller;
use crate::starvation;

/// From `/proc/<pid>/stat` (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its pid.
    pub pid: u32,
    /// Its `comm`, at most 15 bytes; bytes that are no UTF-8 replaced.
    pub comm: String,
    /// `R`, `S`, `D`, `Z`, `T`, `t`, …
    pub state: u8,
    /// Its parent.
    pub parent: u32,
    /// CPU time in user mode, in ticks.
    pub user_ticks: u64,
    /// CPU time in the kernel, in ticks.
    pub system_ticks: u64,
    /// Of children that it waited for, in ticks.
    pub children_user_ticks: u64,
    /// The same, in the kernel.
    pub children_system_ticks: u64,
    /// Threads.
    pub threads: u64,
    /// Start, in ticks since boot.
    pub start_ticks: u64,
    /// Resident, in pages.
    pub resident_pages: u64,
}

/// Parses `/proc/<pid>/stat`.
pub fn parse_stat(text: &[u8]) -> Option<Stat> {
    let line = text.strip_suffix(b"\n")?;
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let comm = line.get(open + 1..close)?;
    // Numbered as in the manual, where the state is field 3.
    let mut fields = bytes::fields(line.get(close + 1..)?).enumerate();
    let mut field = |number: usize| {
        let wanted = number - 3;
        fields.find(|(at, _)| *at == wanted).map(|(_, field)| field)
    };
    Some(Stat {
        pid: u32::try_from(bytes::number(line[..open].trim_ascii())?).ok()?,
        comm: String::from_utf8_lossy(comm).into_owned(),
        state: *field(3)?.first()?,
        parent: u32::try_from(bytes::number(field(4)?)?).ok()?,
        user_ticks: bytes::number(field(14)?)?,
        system_ticks: bytes::number(field(15)?)?,
        children_user_ticks: bytes::number(field(16)?)?,
        children_system_ticks: bytes::number(field(17)?)?,
        threads: bytes::number(field(20)?)?,
        start_ticks: bytes::number(field(22)?)?,
        resident_pages: bytes::number(field(24)?)?,
    })
}

/// Longest `stat`: 52 numbers of at most 20 digits, and a `comm`. The kernel makes it at the first read and gives all of it.
const STAT_BYTES: usize = 52 * 21 + 64;

/// Reads and parses a process's `stat`.
pub fn stat(proc: &Path, pid: u32) -> io::Result<Stat> {
    let mut text = [0; STAT_BYTES];
    let opened = File::open(proc.join(pid.to_string()).join("stat"));
    let length = starvation::noted(opened)?.read(&mut text)?;
    parse_stat(&text[..length]).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Whether an error says that the process is no more, and not that it could not be asked.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::SRCH))
}

/// A process is live when it is neither a zombie nor just being buried.
pub fn is_live(state: u8) -> bool {
    !matches!(state, b'Z' | b'X' | b'x')
}

/// One line of `/proc/<pid>/cgroup` (cgroups(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupEntry<'a> {
    /// Of the cgroup2 tree.
    pub unified: bool,
    names: &'a [u8],
    /// The path in its hierarchy.
    pub path: &'a str,
}

impl CgroupEntry<'_> {
    /// The v1 controllers of this hierarchy that matter here.
    pub fn controllers(&self) -> impl Iterator<Item = Controller> {
        self.names.split(|byte| *byte == b',').filter_map(Controller::of_kernel_name)
    }
}

/// Parses `/proc/<pid>/cgroup`. A path may hold colons; one that is no UTF-8, climbs out of a
/// namespace (`/../x`) or belongs to a removed cgroup (`… (deleted)`) is left out.
pub fn cgroup_entries(text: &[u8]) -> impl Iterator<Item = CgroupEntry<'_>> {
    bytes::lines(text).filter_map(|line| {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (hierarchy, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = std::str::from_utf8(path).ok()?;
        let usable = path.starts_with('/') && !path.starts_with("/..");
        (usable && !path.ends_with(" (deleted)")).then_some(CgroupEntry {
            unified: hierarchy == b"0" && names.is_empty(),
            names,
            path,
        })
    })
}

/// The pid that a process has in its innermost pid namespace: the last of `NSpid:` in `status`.
pub fn innermost_pid(status: &[u8]) -> Option<u64> {
    let line = bytes::lines(status).find_map(|line| line.strip_prefix(b"NSpid:"))?;
    bytes::number(bytes::fields(line).last()?)
}

/// The soft limit of open files, from `/proc/<pid>/limits`; none where it is unlimited.
pub fn open_files_limit(limits: &[u8]) -> Option<u64> {
    let line = bytes::lines(limits).find_map(|line| line.strip_prefix(b"Max open files "))?;
    bytes::number(bytes::fields(line).next()?)
}

/// How many descriptors a process has open. Since Linux 6.2 that is the size of its `fd` directory; before, the
/// size is 0 and they are counted one by one, up to `most`: none where there are more.
pub fn open_descriptors(proc: &Path, pid: u32, most: u64) -> io::Result<Option<u64>> {
    use std::os::unix::fs::MetadataExt;
    let directory = proc.join(pid.to_string()).join("fd");
    match std::fs::metadata(&directory)?.size() {
        0 => entries(&directory, most),
        count => Ok(Some(count)),
    }
}

fn entries(directory: &Path, most: u64) -> io::Result<Option<u64>> {
    let enough = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
    let count = std::fs::read_dir(directory)?.take(enough).count() as u64;
    Ok(Some(count).filter(|count| *count <= most))
}

/// All pids under `/proc`.
pub fn all_pids(proc: &Path) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir(proc)? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// The pids in a `cgroup.procs` file. 0 stands for a process of a foreign pid namespace and is left out.
pub fn parse_pids(text: &[u8], pids: &mut Vec<u32>) {
    pids.extend(
        bytes::lines(text).filter_map(bytes::number).filter_map(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
    );
}

/// Threads of one process whose children are looked for.
const TASKS_MAX: usize = 1024;

/// At most this many members of a process group are followed; a fork bomb is counted up to here.
const MEMBERS_MAX: usize = 4096;

/// A process and its descendants, as `/proc/<pid>/task/<tid>/children` has them: the process
/// first. A descendant whose parent ended belongs to init and is lost to the group.
pub fn with_descendants(proc: &Path, leader: u32) -> Vec<u32> {
    let mut members = vec![leader];
    let mut next = 0;
    while let Some(pid) = members.get(next).copied() {
        next += 1;
        let Ok(tasks) = starvation::noted(std::fs::read_dir(proc.join(pid.to_string()).join("task"))) else {
            continue;
        };
        // A process of a hundred thousand threads must not hold up whoever reads it.
        for task in tasks.flatten().take(TASKS_MAX) {
            let Ok(mut text) = starvation::noted(std::fs::read(task.path().join("children"))) else {
                continue;
            };
            // One line of pids, with a blank after each and no newline.
            text.push(b'\n');
            for field in bytes::lines(&text).flat_map(bytes::fields) {
                let child = bytes::number(field).and_then(|pid| u32::try_from(pid).ok());
                if let Some(child) = child.filter(|child| !members.contains(child))
                    && members.len() < MEMBERS_MAX
                {
                    members.push(child);
                }
            }
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_counts_from_the_last_parenthesis() {
        let tail = "T 1 9 9 0 -1 4194560 603 0 0 0 11 12 13 14 20 0 3 0 87360 2322432 364 18446744073709551615 1\n";
        for comm in ["sh", "a b", "x) R 1 (y", "", "(("] {
            let text = format!("9573 ({comm}) {tail}");
            let stat = parse_stat(text.as_bytes()).unwrap();
            assert_eq!(stat.comm, comm);
            assert_eq!((stat.pid, stat.state, stat.parent), (9573, b'T', 1));
            assert_eq!((stat.user_ticks, stat.system_ticks), (11, 12));
            assert_eq!((stat.children_user_ticks, stat.children_system_ticks), (13, 14));
            assert_eq!((stat.threads, stat.start_ticks, stat.resident_pages), (3, 87360, 364));
        }
        for broken in ["", "\n", "1 (a", "1 (a) S 1\n", "x (a) S\n", ")(\n"] {
            assert_eq!(parse_stat(broken.as_bytes()), None, "{broken:?}");
        }
        assert_eq!(parse_stat(b"9 (a) S 1 9 9 0 -1 4194560 603 0 0 0 11"), None);
    }

    #[test]
    fn cgroup_lines() {
        let text =
            b"9:name=systemd:/a\n5:cpu,cpuacct:/b:c\n4:memory:/x (deleted)\n3:pids:/../y\n2:hugetlb:/z\n0::/u\nbad\n";
        let entries: Vec<_> = cgroup_entries(text).collect();
        let paths: Vec<_> = entries.iter().map(|entry| entry.path).collect();
        assert_eq!(paths, ["/a", "/b:c", "/z", "/u"]);
        let controllers: Vec<_> = entries[1].controllers().collect();
        assert_eq!(controllers, [Controller::Cpu, Controller::Cpuacct]);
        assert_eq!(entries[2].controllers().count(), 0);
        assert!(entries[3].unified && !entries[0].unified);
    }

    #[test]
    fn status_and_limits() {
        assert_eq!(innermost_pid(b"Name:\tx\nNSpid:\t9573\t1\n"), Some(1));
        assert_eq!(innermost_pid(b"NSpid:\t9573\n"), Some(9573));
        assert_eq!(innermost_pid(b"Name:\tx\n"), None);
        let limits = b"Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(open_files_limit(limits), Some(1024));
        assert_eq!(open_files_limit(b"Max open files  unlimited unlimited files\n"), None);
        assert_eq!(open_files_limit(b""), None);
    }

    #[test]
    fn this_process() {
        let proc = Path::new("/proc");
        let pid = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let members = with_descendants(proc, pid);
        let stat = stat(proc, child.id()).unwrap();
        let descriptors = open_descriptors(proc, pid, 1 << 16).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(members[0], pid);
        assert!(members.contains(&stat.pid));
        assert_eq!(stat.parent, pid);
        assert!(descriptors.unwrap() >= 3);
    }

    #[test]
    fn descriptors_are_counted_so_far_only() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["0", "1", "2"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(entries(directory.path(), 3).unwrap(), Some(3));
        assert_eq!(entries(directory.path(), 2).unwrap(), None, "a part is no count");
    }
}
