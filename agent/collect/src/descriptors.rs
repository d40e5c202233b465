//! Open descriptors of an instance's processes: all of them, or no number at all.
//!
//! A sum over a part is a number that means nothing, and which part would change from one reading to the next. So where one
//! process cannot be asked, for want of a right or of a descriptor of ours, or where there are more than can be asked at each reading,
//! there is none. A process that has ended meanwhile has none open, which is exact.

use std::io;
use std::os::fd::OwnedFd;

use crate::mounts::Roots;
use crate::process;
use crate::reading::Descriptors;
use crate::starvation;

/// With more processes than this their descriptors are not counted: 2 µs each.
const PROCESSES_MAX: usize = 64;
/// Nor where a kernel that must be asked for each descriptor has more than these to list: some 20 ms.
const LISTED_MAX: u64 = 65_536;

/// Soft limits of open files as last read, by pid; none is unlimited. Whoever keeps them forgets them now and again.
pub(crate) type FileLimits = Vec<(u32, Option<u64>)>;

/// Of these processes; none where they are too many, or one of them cannot be asked. Of `held` there is a handle on its folder. `limits` are
/// as last read; of a pid that is not in it, it is looked up.
pub(crate) fn count(
    roots: &Roots,
    pids: &[u32],
    held: Option<(u32, &OwnedFd)>,
    limits: &mut FileLimits,
) -> Option<Descriptors> {
    if pids.len() > PROCESSES_MAX {
        return None;
    }
    let mut all = Descriptors::default();
    let mut counted = false;
    // None as soon as one process's limit is not known: another might be nearer to its own.
    let mut fullest = Some(None);
    for pid in pids {
        let by_handle = held.filter(|(of, _)| of == pid).and_then(|(_, folder)| size(folder));
        let asked = || process::open_descriptors(&roots.proc, *pid, LISTED_MAX.saturating_sub(all.open));
        let open = match by_handle.map_or_else(asked, |size| Ok(Some(size))) {
            Ok(open) => open?,
            Err(error) if process::is_gone(&error) => continue,
            Err(_) => return None,
        };
        counted = true;
        all.open += open;
        fullest = match (fullest, limit(roots, *pid, limits)) {
            (Some(before), Ok(limit)) => Some(fuller(before, limit.map(|limit| (open, limit)))),
            (known, Err(error)) if process::is_gone(&error) => known,
            _ => None,
        };
    }
    all.fullest = fullest.flatten();
    counted.then_some(all)
}

/// How many there are, by a handle on the folder; none where the kernel does not say, or its process has ended.
fn size(folder: &OwnedFd) -> Option<u64> {
    let stat = rustix::fs::fstat(folder).ok()?;
    u64::try_from(stat.st_size).ok().filter(|size| *size > 0)
}

/// Open and limit of the one that is nearer to its limit.
fn fuller(a: Option<(u64, u64)>, b: Option<(u64, u64)>) -> Option<(u64, u64)> {
    let (Some((open, limit)), Some((other, of))) = (a, b) else { return a.or(b) };
    let is_b = u128::from(other) * u128::from(limit) > u128::from(open) * u128::from(of);
    if is_b { b } else { a }
}

fn limit(roots: &Roots, pid: u32, limits: &mut FileLimits) -> io::Result<Option<u64>> {
    if let Some((_, limit)) = limits.iter().find(|(known, _)| *known == pid) {
        return Ok(*limit);
    }
    let text = starvation::noted(std::fs::read(roots.proc.join(pid.to_string()).join("limits")))?;
    let limit = process::open_files_limit(&text);
    limits.push((pid, limit));
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts::Mounts;
    use std::fs;
    use std::path::Path;

    fn limits(soft: &str) -> String {
        format!("Max open files            {soft}                 4096                 files\n")
    }

    fn process(proc: &Path, pid: u32, open: usize, soft: &str) {
        let directory = proc.join(pid.to_string());
        fs::create_dir_all(directory.join("fd")).unwrap();
        for number in 0..open {
            fs::write(directory.join("fd").join(number.to_string()), "").unwrap();
        }
        fs::write(directory.join("limits"), limits(soft)).unwrap();
    }

    #[test]
    fn all_of_them_or_none() {
        let top = tempfile::tempdir().unwrap();
        let proc = top.path().join("proc");
        process(&proc, 1, 3, "10");
        process(&proc, 2, 4, "8");
        process(&proc, 3, 5, "unlimited");
        let at = |name: &str| top.path().join(name);
        let roots = Roots {
            proc: proc.clone(),
            sys: at("sys"),
            run: at("run"),
            lib: at("lib"),
            mounts: Mounts::default(),
            datasets: Default::default(),
        };
        let counted = |pids: &[u32]| count(&roots, pids, None, &mut FileLimits::new());
        // On a file system that gives a folder a size, that is the count, as on the kernels of today.
        let size = |pid: u32| fs::metadata(proc.join(pid.to_string()).join("fd")).unwrap();
        let open = |pid: u32, listed: u64| {
            use std::os::unix::fs::MetadataExt;
            Some(size(pid).size()).filter(|size| *size > 0).unwrap_or(listed)
        };
        let (first, second) = (open(1, 3), open(2, 4));
        let expected = Descriptors { open: first + second, fullest: Some((second, 8)) };
        assert_eq!(counted(&[1, 2]), Some(expected));
        assert_eq!(counted(&[1, 2, 77]), Some(expected), "one that has ended has none open");
        assert_eq!(counted(&[1, 3]).map(|all| all.fullest), Some(Some((first, 10))), "nobody is near to no limit");
        assert_eq!(counted(&[77]), None);
        // One that cannot be asked: its folder is no folder.
        fs::create_dir_all(proc.join("4")).unwrap();
        std::os::unix::fs::symlink("fd", proc.join("4/fd")).unwrap();
        assert_eq!(counted(&[1, 4]), None, "a part is no sum");
        // Of one the limit cannot be read: which is fullest is not known.
        fs::remove_file(proc.join("2/limits")).unwrap();
        fs::create_dir(proc.join("2/limits")).unwrap();
        assert_eq!(counted(&[1, 2]), Some(Descriptors { open: first + second, fullest: None }));
        assert_eq!(counted(&[1; PROCESSES_MAX + 1]), None);
    }
}
